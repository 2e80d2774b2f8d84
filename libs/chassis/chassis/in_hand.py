"""Deliveries that are being handled: the bus hears that they are, so that it may soon give those of a dead process to another one.

The bus waits :data:`contracts.streams.ACK_WAIT_S` for an acknowledgement, which is short because a killed process settles nothing. Whatever takes
longer is told to be in progress.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count

import structlog
from contracts.streams import ACK_WAIT_S
from nats.errors import Error as NatsError

from chassis.delivery import Delivery

EVERY_S = ACK_WAIT_S / 4
LONGEST_S = 300.0
"""A handler that takes longer hangs, and its message is for another replica to try."""
log = structlog.get_logger(__name__)


class InHand:
    """What one consumer works on, and the task that says so."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: dict[int, tuple[float, Sequence[Delivery]]] = {}
        self._keys = count()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to tell."""
        self._task = asyncio.create_task(self._run(), name="in-hand")

    async def stop(self) -> None:
        """Tell no more; what is still in hand comes again."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    @contextmanager
    def holding(self, *deliveries: Delivery) -> Iterator[None]:
        """Deliveries are in hand until the block ends or each is settled."""
        key = next(self._keys)
        self._held[key] = (self._clock(), deliveries)
        try:
            yield
        finally:
            del self._held[key]

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self._tell()
            except (NatsError, OSError) as error:
                # They may come again; the inbox makes the repeat harmless.
                log.warning("in_hand.not_told", error=repr(error))

    async def _tell(self) -> None:
        now = self._clock()
        # Most are settled long before: only those that were in hand the last time, too.
        for since, deliveries in list(self._held.values()):
            if EVERY_S <= now - since < LONGEST_S:
                for delivery in deliveries:
                    await delivery.in_progress()
