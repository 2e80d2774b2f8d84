"""The FastStream edge: one pull subscriber per durable consumer, settled by the dispatcher.

FastStream's defaults are not safe for history (a failing message is terminated, a declared stream is rewritten), hence MANUAL acknowledgement
and ``declare=False``; both are pinned by tests. Ordering per key comes from the dispatcher's lanes: the subscriber starts the messages of a
fetch in the order of the stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog
from contracts import streams, subjects
from contracts.streams import ConsumerSpec
from faststream import AckPolicy
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from chassis.bus import Bus, connection_options, end
from chassis.delivery import Delivery
from chassis.dispatcher import Dispatcher
from chassis.in_hand import InHand
from chassis.pull import Pull

log = structlog.get_logger(__name__)
FETCH = 100
FETCH_TIMEOUT_S = 2.0
"""Short, because a pull request that outlives its process delivers to nobody."""
FETCH_PAUSE_S = 0.5


class NotProvisioned(RuntimeError):
    """A stream or consumer that the provisioning job makes is not there."""


class Broker:
    """Receives a service's commands and events and hands each delivery to the dispatcher."""

    def __init__(
        self,
        service: str,
        url: str,
        *,
        user: str = "",
        password: str = "",
        closed: Callable[[], None] | None = None,
        finish_s: float = 20.0,
    ) -> None:
        self.service = service
        options = connection_options(url, service, user=user, password=password, closed=closed)
        if user:
            options["security"] = _plain(options.pop("user"), options.pop("password"))
        self.faststream = NatsBroker(
            options.pop("servers"),
            logger=None,
            # Nothing is injected and nothing is decoded here. Without the second, a pydantic model would be made of each handler's signature.
            apply_types=False,
            serializer=None,
            graceful_timeout=finish_s,
            **options,
        )
        self.bus: Bus | None = None
        self._bound: list[ConsumerSpec] = []
        self._in_hand = InHand()

    async def connect(self) -> Bus:
        """Connect and return the bus that shares the connection."""
        await self.faststream.connect()
        self.bus = Bus(self.faststream.config.connection_state.connection, self.service)
        return self.bus

    def subscribe(self, spec: ConsumerSpec, dispatcher: Dispatcher) -> None:
        """Bind a durable consumer that the provisioning job has made."""
        self._bound.append(spec)
        subject = subjects.commands_of(spec.name) if spec.stream == "COMMANDS" else "evt.>"

        async def receive(message: NatsMessage) -> None:
            # FastStream would swallow an error here without a trace; the message then comes again after ack_wait.
            try:
                delivery = Delivery.of(message.raw_message)
                with self._in_hand.holding(delivery):
                    await dispatcher.deliver(f"{spec.stream.lower()}-{spec.name}", delivery)
            except Exception:
                log.exception("delivery.unsettled", subject=message.raw_message.subject)

        self.faststream.subscriber(
            subject,
            stream=JStream(spec.stream, declare=False),
            durable=spec.name,
            pull_sub=PullSub(batch_size=FETCH, timeout=FETCH_TIMEOUT_S),
            ack_policy=AckPolicy.MANUAL,
            decoder=_whole,
            no_reply=True,
        )(receive)

    async def start(self) -> None:
        """Begin to pull; raises NotProvisioned when a consumer is missing."""
        assert self.bus is not None
        for spec in self._bound:
            # The client would make one, with other filters: the service would bury every event it has no handler for.
            try:
                await self.bus.jetstream.consumer_info(spec.stream, spec.name)
            except NotFoundError:
                raise NotProvisioned(f"no consumer {spec.stream}/{spec.name}: run chassis.provision first") from None
        await self._in_hand.start()
        subscribers: list[Any] = list(self.faststream.subscribers)
        for one in subscribers:
            # FastStream finds a subscription and begins none: of the client's own one a late status would stay unread for ever, and closing
            # the connection waits until everything is read.
            one.subscription = await _Pull.of(one, self.bus)
        await self.faststream.start()
        for one in subscribers:
            one.add_task(one._consume_pull, func_kwargs={"cb": one.consume})

    async def stop_pulling(self) -> None:
        """Ask for nothing more and wait for the messages in hand. What was fetched and not begun is delivered again elsewhere."""
        await asyncio.gather(*(subscriber.stop() for subscriber in self.faststream.subscribers))
        await self._in_hand.stop()

    async def close(self) -> None:
        """Drain and close the connection; one that is down at the moment is just closed."""
        client = self.bus.client if self.bus else None
        try:
            await self.faststream.stop()
        except NatsError as error:
            log.warning("bus.not_drained", error=repr(error))
        if client is not None:
            await end(client)


class _Pull:
    """What FastStream pulls with: our own fetch, with its errors made harmless.

    FastStream asks again at once after any error, without a pause when the connection is closed: the event loop would never run anything else.
    """

    def __init__(self, pull: Pull) -> None:
        self._pull = pull

    @classmethod
    async def of(cls, subscriber: Any, bus: Bus) -> _Pull:
        """For a subscriber that has not begun."""
        pull = Pull(bus, subscriber.stream.name, subscriber.extra_options["durable"])
        await pull.start()
        return cls(pull)

    async def fetch(self, batch: int, timeout: float) -> Any:
        """Messages; none when there are none for whatever reason."""
        try:
            return await self._pull.fetch(batch, timeout)
        except (NatsError, OSError, ValueError) as error:
            log.warning("fetch.failed", error=repr(error))
            await asyncio.sleep(FETCH_PAUSE_S)
            return []

    async def unsubscribe(self) -> None:
        """Take no more messages."""
        await self._pull.unsubscribe()


def consumers_of(service: str) -> list[ConsumerSpec]:
    """The durable consumers that FastStream serves for a service."""
    return [spec for spec in streams.consumers() if spec.name == service]


async def _whole(message: Any) -> Any:
    # The handler gets the whole message: the registry decodes, because it knows versions and upcasters.
    return message


def _plain(user: str, password: str) -> Any:
    from faststream.security import SASLPlaintext

    return SASLPlaintext(username=user, password=password, use_ssl=False)
