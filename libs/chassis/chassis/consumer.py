"""A pull loop on the NATS client itself, for the hot paths: whole batches to one function, acknowledged after it returns."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog
from nats.errors import Error as NatsError

from chassis.bus import Bus
from chassis.database import UNREACHABLE
from chassis.delivery import Delivery
from chassis.in_hand import InHand
from chassis.pull import Pull
from chassis.waiting import wait_for_event

OnBatch = Callable[[Sequence[Delivery]], Awaitable[None]]
LONGEST_PAUSE_S = 10.0
log = structlog.get_logger(__name__)


class BatchConsumer:
    """Pulls from one durable consumer and gives batches in stream order to ``on_batch``.

    A batch is all or nothing: it is acknowledged when the function returns and given to it again, after a pause, when it raises. It is kept here
    meanwhile, because the bus would hand out later messages before it.
    """

    def __init__(
        self, bus: Bus, stream: str, durable: str, on_batch: OnBatch, *, batch: int = 500, expires_s: float = 2.0
    ) -> None:
        self.bus, self.stream, self.durable, self.on_batch = bus, stream, durable, on_batch
        self.batch, self.expires_s = batch, expires_s
        self._in_hand = InHand()
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._pull = Pull(bus, stream, durable)

    async def start(self) -> None:
        """Bind the consumer, which must exist, and begin to pull."""
        await self._pull.start()
        await self._in_hand.start()
        self._task = asyncio.create_task(self._run(), name=f"consumer-{self.durable}")

    async def stop(self) -> None:
        """Finish the batch in hand and stop."""
        self._stopping.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=self.expires_s + 10)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._in_hand.stop()
        if self.bus.client.is_connected:
            await self._pull.unsubscribe()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            deliveries = await self._fetch()
            if deliveries:
                await self._handle(deliveries)

    async def _handle(self, deliveries: Sequence[Delivery]) -> None:
        failures = 0
        while True:
            with self._in_hand.holding(*deliveries):
                try:
                    await self.on_batch(deliveries)
                except Exception as error:
                    failures += 1
                    delay = min(0.1 * 2.0**failures, LONGEST_PAUSE_S)
                    log.warning("batch.retry", durable=self.durable, size=len(deliveries), delay_s=delay, error=repr(error)[:500],
                                exc_info=not isinstance(error, UNREACHABLE))  # fmt: skip
                else:
                    await self._settle(deliveries, Delivery.ack)
                    return
                await self._settle(deliveries, Delivery.in_progress)
                if await wait_for_event(self._stopping, delay):
                    await self._settle(deliveries, Delivery.give_back)
                    return

    async def _fetch(self) -> list[Delivery]:
        try:
            raw = await self._pull.fetch(self.batch, self.expires_s)
        except (NatsError, OSError) as error:
            log.warning("fetch.failed", durable=self.durable, error=repr(error))
            await wait_for_event(self._stopping, 0.5)
            return []
        return [Delivery.of(message) for message in raw]

    async def _settle(self, deliveries: Sequence[Delivery], settle: Callable[[Delivery], Awaitable[None]]) -> None:
        try:
            for delivery in deliveries:
                await settle(delivery)
        except (NatsError, OSError) as error:
            # Unacknowledged messages come again; the inbox or the unique event id makes the repeat harmless.
            log.warning("settle.failed", durable=self.durable, error=repr(error))
