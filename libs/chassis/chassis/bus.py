"""The connection to NATS: reconnects for ever; if the client closes all the same, the process must end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import nats
import structlog
from contracts import access, streams, subjects
from contracts.envelope import Metadata, wrap
from contracts.message import Command, Message, Signal
from contracts.registry import load_vocabulary
from nats.aio.client import Client
from nats.js import JetStreamContext

from chassis.ids import new_id
from chassis.telemetry import new_metadata

_ATTEMPT_S = 0.05
log = structlog.get_logger(__name__)


class Bus:
    """One NATS connection of one service, with what may be published directly: signals, chat, media, channel checks."""

    def __init__(self, client: Client, service: str) -> None:
        self.client, self.service = client, service
        self.jetstream: JetStreamContext = client.jetstream(timeout=5)

    async def signal(self, signal: Signal) -> None:
        """Publish a last value. Not awaited by anybody: it may be lost."""
        if self.client.is_connected:
            await self.client.publish(subjects.of(signal), signal.to_json(), headers={"ce-type": signal.full_type()})

    async def send_direct(self, command: Command, *, metadata: Metadata | None = None) -> None:
        """Publish a command without outbox and wait for the bus to store it. For callers that have no state to keep with it."""
        envelope = wrap(command, id=new_id(), metadata=metadata or new_metadata(), source=self.service)
        await self.publish(subjects.of(command), envelope.data, envelope.to_headers())

    async def publish(self, subject: str, data: bytes, headers: dict[str, str]) -> None:
        """Publish to the stream that captures ``subject`` and wait for its acknowledgement."""
        # The client writes into the dictionary it is given, hence the copy.
        await self.jetstream.publish(subject, data, stream=streams.stream_of(subject), headers=dict(headers), timeout=5)

    async def last_signal(self, cls: type[Signal], key: str) -> Signal | None:
        """The last value of a signal, or ``None`` when there is none."""
        subject = f"$JS.API.DIRECT.GET.SIGNALS.{subjects.signal(cls, key)}"
        reply = await self.client.request(subject, b"", timeout=2)
        if reply.headers and reply.headers.get("Status"):
            return None
        message = load_vocabulary().decode(cls.message_type, reply.data)
        return message if isinstance(message, Signal) else None

    async def listen(self, subject: str, handler: Callable[[str, Message], Awaitable[None]]) -> Any:
        """Follow signals as they are published; returns a subscription with ``unsubscribe()``."""
        registry = load_vocabulary()

        async def receive(raw: Any) -> None:
            kind = (raw.headers or {}).get("ce-type", "")
            try:
                await handler(raw.subject, registry.decode(kind, raw.data))
            except (LookupError, ValueError) as error:
                log.warning("signal.unreadable", subject=raw.subject, error=str(error))

        return await self.client.subscribe(subject, cb=receive)

    async def ping(self) -> None:
        """A round trip through JetStream; raises when the bus does not answer."""
        reply = await self.client.request("$JS.API.INFO", b"", timeout=2)
        if "error" in json.loads(reply.data):
            raise ConnectionError(reply.data.decode())

    async def close(self) -> None:
        """Send what is buffered and close."""
        if not self.client.is_closed:
            await self.client.drain()


def connection_options(
    url: str, service: str, *, user: str = "", password: str = "", closed: Callable[[], None] | None = None
) -> dict[str, Any]:
    """The options every client of ours connects with."""

    async def on_closed() -> None:
        if closed is not None:
            closed()

    async def on_error(error: Exception) -> None:
        log.warning("bus.error", error=repr(error))

    async def on_disconnect() -> None:
        # Also on every orderly end; an outage shows in the errors of the attempts to reconnect.
        log.info("bus.disconnected")

    async def on_reconnect() -> None:
        log.info("bus.reconnected")

    options: dict[str, Any] = {
        "servers": url.split(","),
        "name": f"aircheck-{service}",
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": 0.25,
        "ping_interval": 20,
        "max_outstanding_pings": 2,
        "pending_size": 16 << 20,
        "inbox_prefix": access.inbox_prefix(service),
        "allow_reconnect": True,
        "connect_timeout": 5,
        "closed_cb": on_closed,
        "error_cb": on_error,
        "disconnected_cb": on_disconnect,
        "reconnected_cb": on_reconnect,
    }
    if user:
        options |= {"user": user, "password": password}
    return options


async def connect(url: str, service: str, *, wait_s: float = 30.0, **credentials: Any) -> Bus:
    """Connect, waiting up to ``wait_s`` for the server; raises the last error after that."""
    options = connection_options(url, service, **credentials)
    async with asyncio.timeout(wait_s):
        return Bus(await nats.connect(**options), service)


async def end(client: Client) -> None:
    """Close a connection for good, also one that tries to reconnect.

    The client's attempt drops its cancellation when it fails in the very moment (``asyncio.wait_for`` of Python 3.11), and would be repeated
    for ever: the loop of the process would never end.
    """
    await client.close()
    attempt = client._reconnection_task
    while attempt is not None and not attempt.done():
        attempt.cancel()
        await asyncio.wait([attempt], timeout=_ATTEMPT_S)
