"""A service of the chassis in this process, and the wire it hangs on, for tests with real engines.

The services are shaped like the real ones (their contracts, consumers and subjects) with handlers that a test chooses.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import nats
from chassis import migrate, provision
from chassis.bus import connection_options, end
from chassis.database import Pool, open_pool
from chassis.delivery import Delivery
from chassis.handlers import Handler, Handlers
from chassis.ids import new_id
from chassis.service import Service
from chassis.settings import ServiceSettings
from chassis.telemetry import new_metadata
from contracts import config, subjects, topology
from contracts.aggregate import Aggregate
from contracts.envelope import Envelope, Metadata, wrap
from contracts.message import Event, Message
from contracts.registry import load_vocabulary
from contracts.system import SHAPES
from nats.aio.client import Client
from nats.js.errors import NotFoundError

from tests.deadline import DEADLINE_S

STREAMER: Aggregate[tuple[Event, ...]] = Aggregate("streamer", (), lambda state, event: (*state, event))
"""Its state is its history."""


async def eventually(condition: Callable[[], Awaitable[Any]], what: str = "", deadline_s: float = DEADLINE_S) -> Any:
    """Ask again until the condition returns something true, and return that; fails the test after the deadline."""
    end = time.monotonic() + deadline_s
    while not (found := await condition()):
        assert time.monotonic() < end, f"not within {deadline_s} s: {what or condition}"
        await asyncio.sleep(0.02)
    return found


async def within(event: asyncio.Event, what: str = "", deadline_s: float = DEADLINE_S) -> None:
    """Wait for an event of asyncio; fails the test after the deadline."""
    try:
        async with asyncio.timeout(deadline_s):
            await event.wait()
    except TimeoutError:
        raise AssertionError(f"not within {deadline_s} s: {what}") from None


def handlers_of(service: str, reactions: Mapping[type[Message], Handler] | None = None) -> Handlers:
    """Handlers for everything a service must handle: those given, and for the rest one that does nothing."""
    given = dict(reactions or {})
    handlers = Handlers(service)
    owned = [cls for cls in load_vocabulary().commands() if cls.service == service and not issubclass(cls, SHAPES)]
    for command in owned:
        register = handlers.direct if command in topology.DIRECT else handlers.command
        register(command)(given.pop(command, _nothing))
    for event in topology.CONSUMES[service]:
        handlers.event(event)(given.pop(event, _nothing))
    assert not given, f"{service} does not handle {given}"
    return handlers


async def _nothing(message: Any, work: Any) -> None:
    """React to nothing."""


def settings(service: str, dsn: str, nats_url: str, **overrides: Any) -> ServiceSettings:
    """Settings for tests: retries begin at 50 ms."""
    given = {"retry_base_s": 0.05, "worker": f"{service}-1", **overrides}
    return ServiceSettings(service=service, database_dsn=dsn, nats_url=nats_url, **given)


@asynccontextmanager
async def running(service: Service) -> AsyncIterator[Service]:
    """Start a service and stop it at the end, whatever happens in between."""
    try:
        await service.start()
        yield service
    finally:
        await service.stop()


async def healthy(service: Service) -> None:
    """Wait until nothing fails that readiness asks: each question has two seconds, which a busy machine may take."""

    async def nothing_fails() -> bool:
        return not await service.health.failures()

    await eventually(nothing_fails, "the service is ready")


def add_streamer(streamer_id: str = "s1", name: str = "x") -> config.AddStreamer:
    """A command of the config service, its name is the only part that tests tell apart."""
    return config.AddStreamer(streamer_id=streamer_id, url="https://example.org/live.flv", name=name)


def streamer_added(streamer_id: str = "s1", name: str = "x") -> config.StreamerAdded:
    """The event that follows from it."""
    return config.StreamerAdded(
        streamer_id=streamer_id, url="https://example.org/live.flv", name=name, platform="direct"
    )


def streamer_changed(streamer_id: str = "s1", name: str = "x") -> config.StreamerChanged:
    """An event that a stream may have many of."""
    return config.StreamerChanged(streamer_id=streamer_id, name=name)


async def append_name(command: Any, work: Any) -> None:
    """A handler: one ``streamer.changed`` with the name of the command."""
    at = await work.load(STREAMER, command.streamer_id)
    await work.append(at, [streamer_changed(command.streamer_id, command.name or "")])


class Wire:
    """The bus as an outsider sees it: sends commands, reads streams."""

    def __init__(self, client: Client) -> None:
        self.client, self.js = client, client.jetstream(timeout=DEADLINE_S)

    async def send(
        self, command: Message, *, id: UUID | None = None, metadata: Metadata | None = None, fresh: bool = False
    ) -> Envelope:
        """Publish a command as the gateway would. ``fresh`` evades the broker's own dropping of repeated ids."""
        envelope = wrap(command, id=id or new_id(), metadata=metadata or new_metadata(), source="gateway")
        headers = envelope.to_headers()
        if fresh:
            headers["Nats-Msg-Id"] = str(new_id())
        await self.js.publish(subjects.of(command), envelope.data, stream="COMMANDS", headers=headers)
        return envelope

    async def raw(self, subject: str, data: bytes, headers: dict[str, str] | None = None) -> int:
        """Publish anything; returns its sequence."""
        ack = await self.js.publish(subject, data, headers=dict(headers or {}))
        return ack.seq

    async def messages(self, stream: str = "EVENTS") -> list[Any]:
        """Everything a stream holds, in its order."""
        state = (await self.js.stream_info(stream)).state
        found = []
        for sequence in range(state.first_seq, state.last_seq + 1):
            try:
                found.append(await self.js.get_msg(stream, sequence))
            except NotFoundError:
                continue
        return found

    async def events(self) -> list[Envelope]:
        """The envelopes of the EVENTS stream."""
        return [Envelope.from_headers(one.headers, one.data) for one in await self.messages()]

    async def count(self, stream: str = "EVENTS") -> int:
        """How many messages a stream holds."""
        return (await self.js.stream_info(stream)).state.messages

    async def holds(self, number: int, stream: str = "EVENTS") -> list[Any]:
        """Wait until a stream holds ``number`` messages and return them."""

        async def enough() -> bool:
            return await self.count(stream) >= number

        await eventually(enough, f"{number} messages in {stream}")
        found = await self.messages(stream)
        assert len(found) == number, f"{len(found)} messages in {stream} instead of {number}"
        return found

    async def emptied(self, stream: str) -> None:
        """Wait until a stream holds nothing: the server removes what was acknowledged a moment after it has taken note of it."""

        async def empty() -> bool:
            return not await self.count(stream)

        await eventually(empty, f"nothing in {stream}")

    async def settled(self, service: str, stream: str = "COMMANDS") -> None:
        """Wait until a service has nothing more to get and nothing to acknowledge."""

        async def idle() -> bool:
            info = await self.js.consumer_info(stream, service)
            return not info.num_pending and not info.num_ack_pending

        await eventually(idle, f"{stream}/{service} is idle")

    async def let_wait(self, stream: str, consumer: str, seconds: float) -> None:
        """Change how long the bus waits for an acknowledgement before it delivers again."""
        current = (await self.js.consumer_info(stream, consumer)).config
        await self.js.add_consumer(stream, current.evolve(ack_wait=float(seconds)))

    @asynccontextmanager
    async def in_progress(self, stream: str, consumer: str) -> AsyncIterator[InProgress]:
        """Listen to what is said to be still in hand."""
        told = InProgress()
        subscription = await self.client.subscribe(f"$JS.ACK.{stream}.{consumer}.>", cb=told.hear)
        await self.client.flush()
        try:
            yield told
        finally:
            await subscription.unsubscribe()


class InProgress:
    """How often a consumer's messages were said to be in progress."""

    def __init__(self) -> None:
        self.times = 0

    async def hear(self, message: Any) -> None:
        """One settlement of any kind."""
        self.times += message.data == b"+WPI"

    def at_least(self, times: int) -> Callable[[], Awaitable[bool]]:
        """A condition for :func:`eventually`."""

        async def enough() -> bool:
            return self.times >= times

        return enough


@asynccontextmanager
async def wire(nats_url: str, **options: Any) -> AsyncIterator[Wire]:
    """A provisioned bus."""
    async with client(nats_url, **options) as connected:
        await provision.provision(connected.jetstream(timeout=DEADLINE_S))
        yield Wire(connected)


@asynccontextmanager
async def client(nats_url: str, **options: Any) -> AsyncIterator[Client]:
    """A plain connection."""
    connected = await nats.connect(nats_url, **{"reconnect_time_wait": 0.1, "max_reconnect_attempts": -1, **options})
    try:
        yield connected
    finally:
        await end(connected)


@asynccontextmanager
async def database(dsn: str, **options: Any) -> AsyncIterator[Pool]:
    """A migrated database without a service."""
    pool = await open_pool(dsn, name="test", **options)
    try:
        await migrate.migrate(pool, migrate.CHASSIS)
        yield pool
    finally:
        await pool.close()


@asynccontextmanager
async def connection(dsn: str) -> AsyncIterator[Any]:
    """One bare connection."""
    opened = await asyncpg.connect(dsn)
    try:
        yield opened
    finally:
        await opened.close()


def names(envelopes: list[Envelope]) -> list[str]:
    """The ``name`` in the body of each message."""
    return [json.loads(envelope.data)["name"] for envelope in envelopes]


class FakeRaw:
    """A message of the NATS client that remembers how it was settled."""

    def __init__(self) -> None:
        self.settled: list[tuple[str, float]] = []

    async def ack(self) -> None:
        self.settled.append(("ack", 0.0))

    async def nak(self, delay: float = 0) -> None:
        self.settled.append(("nak", delay))

    async def term(self) -> None:
        self.settled.append(("term", 0.0))

    async def in_progress(self) -> None:
        self.settled.append(("in_progress", 0.0))


def delivery(envelope: Envelope, *, sequence: int = 1, deliveries: int = 1, subject: str = "") -> Delivery:
    """One delivery of a message, without a bus; ``.raw.settled`` tells how it ended."""
    return Delivery(
        FakeRaw(), subject or "cmd.config.add_streamer.v1", envelope.to_headers(), envelope.data, sequence, deliveries
    )


def delivery_of(message: Message, *, id: UUID | None = None, sequence: int = 1, deliveries: int = 1) -> Delivery:
    """Like :func:`delivery`, for a message in a new envelope."""
    envelope = wrap(message, id=id or new_id(), metadata=new_metadata(), source="gateway")
    return delivery(envelope, sequence=sequence, deliveries=deliveries, subject=subjects.of(message))


__all__ = ["connection_options"]
