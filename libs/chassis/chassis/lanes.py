"""Order per key: one message of a session at a time, in the order of the stream, while different sessions run side by side.

A delivery that fails goes back to the broker with a delay, and the broker would then hand out its successors first. A lane that waits for a
failed message therefore sends later ones of the same key back too, until the failed one has been dealt with or the wait has expired (another
replica may have had it).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Lanes:
    """First come, first served locks by key, and the sequence each key waits for."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._waiting: dict[str, int] = {}
        self._parked: dict[str, tuple[int, float]] = {}

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

    def blocked(self, key: str, sequence: int) -> bool:
        """Whether an earlier message of this key is still to be redelivered."""
        parked = self._parked.get(key)
        if parked is None:
            return False
        first, until = parked
        if time.monotonic() > until:
            del self._parked[key]
            return False
        return sequence > first

    def park(self, key: str, sequence: int, delay_s: float) -> None:
        """Remember that a message failed and comes back after ``delay_s``."""
        first = min(sequence, self._parked.get(key, (sequence, 0.0))[0])
        self._parked[key] = (first, time.monotonic() + 2 * delay_s + 30)

    def clear(self, key: str, sequence: int) -> None:
        """The parked message of a key was dealt with."""
        if key in self._parked and self._parked[key][0] == sequence:
            del self._parked[key]
