"""Messages that may have ended the process that handled them: found by deliveries nobody answered, convicted by a mark that outlived its process.

The broker's count of deliveries alone proves nothing: it grows with each answer that asks for another one, when an acknowledgement is lost,
when a process is replaced, and with everything else that was in hand when some other message ended the process. It only tells whom to watch. Who
is watched is handled alone, while a row of the database says so. The row is removed when the handling ends, however it ends, and only a process
that died in the middle of it leaves it behind.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_fixed

from chassis import deadletters
from chassis.database import UNREACHABLE, Pool, end_session
from chassis.delivery import Delivery
from chassis.ids import new_key
from chassis.retries import Tally
from chassis.sql import beside

QUERIES = beside(__file__, "suspects.sql")
UNANSWERED = 2
"""Deliveries that this life of the process did not see, from which on a message is suspect."""
_LOCK = 0x53555350
_UNMARK_S = 20.0
"""How long an outage of the database may keep a mark from being removed: longer than its usual restart."""
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Case:
    """A suspect in hand. ``crashes`` is how many processes ended while they handled it alone, ``crashed_now`` whether the last of them is news."""

    consumer: str
    message_id: str
    crashes: int
    crashed_now: bool


class Suspects:
    """The suspects of one service as this process sees them. A message on its first delivery costs one comparison."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._life = new_key()
        self._received = Tally()
        self._open: Case | None = None
        self._leaving = False

    def is_one(self, consumer: str, delivery: Delivery) -> bool:
        """Whether a delivery has to be handled alone: more earlier ones than this process has outlived. Ask once per delivery."""
        if delivery.deliveries == 1:
            return False
        received = self._received.add(consumer, delivery.sequence)
        return delivery.deliveries - received >= UNANSWERED

    def forget(self, consumer: str, sequence: int) -> None:
        """The message was dealt with."""
        self._received.forget(consumer, sequence)

    @asynccontextmanager
    async def watch(self, consumer: str, delivery: Delivery) -> AsyncIterator[Case | None]:
        """Mark a message as being handled alone until the block ends; ``None`` when it must not be handled here now.

        That is so while another replica has it in hand, and when this process is about to end. Raises what :data:`UNREACHABLE` names.
        """
        message_id, _ = deadletters.identity(delivery)
        async with self.pool.acquire() as connection:
            try:
                # The session is what tells a handler that lives from one that died: its lock ends with it.
                held = await connection.fetchval(QUERIES["hold"], _LOCK, consumer, message_id)
                if not held or self._leaving:
                    yield None
                    return
                [row] = await connection.fetch(QUERIES["begin"], consumer, message_id, self._life)
                case = self._open = Case(consumer, message_id, row["crashes"], row["crashed_now"])
                try:
                    yield case
                finally:
                    if self._open is case:
                        await self._unmark(case)
            finally:
                with suppress(*UNREACHABLE):  # the connection is closed then, and the lock with it
                    await end_session(connection)

    async def leave(self) -> None:
        """The process is about to end because somebody wants it to: whatever that interrupts is not the message's doing."""
        self._leaving = True
        if self._open is not None:
            await self._unmark(self._open)

    async def _unmark(self, case: Case) -> None:
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(UNREACHABLE),
                stop=stop_after_delay(_UNMARK_S),
                wait=wait_fixed(0.2),
                reraise=True,
            ):
                with attempt:
                    await self.pool.execute(QUERIES["end"], case.consumer, case.message_id, self._life)
        except UNREACHABLE as error:
            # It then counts against the message, unless this process or a server started later finds it.
            log.warning("suspect.still_marked", consumer=case.consumer, message=case.message_id, error=repr(error))
        self._open = None
