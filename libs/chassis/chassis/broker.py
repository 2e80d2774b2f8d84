"""The FastStream edge: one pull subscriber per durable consumer, settled by the dispatcher.

FastStream's defaults are not safe for history (a failing message is terminated, a declared stream is rewritten), hence MANUAL acknowledgement
and ``declare=False``; both are pinned by tests. Ordering per key comes from the dispatcher's lanes: the subscriber starts the messages of a
fetch in the order of the stream.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from contracts import streams, subjects
from contracts.streams import ConsumerSpec
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub

from chassis.bus import Bus, connection_options
from chassis.delivery import Delivery
from chassis.dispatcher import Dispatcher

log = structlog.get_logger(__name__)
FETCH = 100
FETCH_TIMEOUT_S = 2.0
"""Short, because a pull request that outlives its process delivers to nobody."""


class Broker:
    """Receives a service's commands and events and hands each delivery to the dispatcher."""

    def __init__(
        self, service: str, url: str, *, user: str = "", password: str = "", closed: Callable[[], None] | None = None
    ) -> None:
        self.service = service
        options = connection_options(url, service, user=user, password=password, closed=closed)
        if user:
            options["security"] = _plain(options.pop("user"), options.pop("password"))
        self.faststream = NatsBroker(
            options.pop("servers"), logger=None, apply_types=False, graceful_timeout=20, **options
        )
        self.bus: Bus | None = None

    async def connect(self) -> Bus:
        """Connect and return the bus that shares the connection."""
        await self.faststream.connect()
        self.bus = Bus(self.faststream.config.connection_state.connection, self.service)
        return self.bus

    def subscribe(self, spec: ConsumerSpec, dispatcher: Dispatcher) -> None:
        """Bind a durable consumer that the provisioning job has made."""
        subject = subjects.commands_of(spec.name) if spec.stream == "COMMANDS" else "evt.>"

        async def receive(message: NatsMessage) -> None:
            # FastStream would swallow an error here without a trace; the message then comes again after ack_wait.
            try:
                await dispatcher.deliver(f"{spec.stream.lower()}-{spec.name}", Delivery.of(message.raw_message))
            except Exception:
                log.exception("delivery.unsettled", subject=message.raw_message.subject)

        self.faststream.subscriber(
            subject,
            stream=JStream(spec.stream, declare=False),
            durable=spec.name,
            pull_sub=PullSub(batch_size=FETCH, timeout=FETCH_TIMEOUT_S),
            ack_policy=AckPolicy.MANUAL,
            decoder=_whole,
        )(receive)

    async def start(self) -> None:
        """Begin to pull."""
        await self.faststream.start()

    async def stop_pulling(self) -> None:
        """Ask for nothing more and wait for the messages in hand. What was fetched and not begun is delivered again elsewhere."""
        for subscriber in self.faststream.subscribers:
            await subscriber.stop()

    async def close(self) -> None:
        """Drain and close the connection."""
        await self.faststream.stop()


def consumers_of(service: str) -> list[ConsumerSpec]:
    """The durable consumers that FastStream serves for a service."""
    return [spec for spec in streams.consumers() if spec.name == service]


async def _whole(message: Any) -> Any:
    # The handler gets the whole message: the registry decodes, because it knows versions and upcasters.
    return message


def _plain(user: str, password: str) -> Any:
    from faststream.security import SASLPlaintext

    return SASLPlaintext(username=user, password=password, use_ssl=False)
