"""Order per key: one message of a session at a time, in the order of the stream, while different sessions run side by side.

A delivery that fails goes back to the broker with a delay, and the broker would then hand out its successors first. So a message is held back while
an earlier one of its key is still to come again, and is itself remembered as still to come. The order holds within one replica; with several, the
broker may give two messages of one key to two of them, which is why reactions to events tolerate any order.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

AFTER_S = 0.5
"""How long after the message it waits for a held-back one comes again: time for the first one to be handled."""
GRACE_S = 10.0
"""How long a message may be overdue before its successors go on without it: another replica may have had it."""


class Lanes:
    """First come, first served locks by key, and the messages of each consumer and key that are still to come again."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._waiting: dict[str, int] = {}
        self._parked: dict[tuple[str, str], dict[int, float]] = {}

    @asynccontextmanager
    async def turn(self, key: str) -> AsyncIterator[None]:
        """Hold the lane of a key; those who asked first go first."""
        lock = self._locks.setdefault(key, asyncio.Lock())
        self._waiting[key] = self._waiting.get(key, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key], self._locks[key]

    def hold_back_s(self, consumer: str, key: str, sequence: int) -> float | None:
        """Seconds after which a message should come again because an earlier one of its key has not been dealt with; ``None``: go on."""
        now = time.monotonic()
        parked = self._parked.get((consumer, key), {})
        due = [at for earlier, at in parked.items() if earlier < sequence and now < at + GRACE_S]
        return max(min(due) - now, 0.0) + AFTER_S if due else None

    def park(self, consumer: str, key: str, sequence: int, delay_s: float) -> None:
        """Remember that a message comes again after ``delay_s``."""
        self._forget_overdue()
        self._parked.setdefault((consumer, key), {})[sequence] = time.monotonic() + delay_s

    def clear(self, consumer: str, key: str, sequence: int) -> None:
        """A message was dealt with."""
        parked = self._parked.get((consumer, key))
        if parked is not None:
            parked.pop(sequence, None)
            if not parked:
                del self._parked[consumer, key]

    @property
    def parked(self) -> int:
        """How many messages are to come again."""
        return sum(len(parked) for parked in self._parked.values())

    def _forget_overdue(self) -> None:
        now = time.monotonic()
        for lane, parked in list(self._parked.items()):
            for sequence in [sequence for sequence, at in parked.items() if now >= at + GRACE_S]:
                self.clear(*lane, sequence)
