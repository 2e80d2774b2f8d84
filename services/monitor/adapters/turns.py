"""Adapters whose checks each cost a program of their own make only so many at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.monitor.adapters.platform import ProbeFailed


class Turns:
    """The turns of one adapter, `at_once` at a time; the other checks wait for at most `patience_s` seconds."""

    def __init__(self, adapter: str, at_once: int, patience_s: float) -> None:
        """Raises ValueError for an `at_once` below 1."""
        if at_once < 1:
            raise ValueError(f"{adapter}: at_once is at least 1")
        self._adapter, self._patience_s = adapter, patience_s
        self._room = asyncio.Semaphore(at_once)

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Wait for a turn, which lasts as long as the block. Raises ProbeFailed when none came in time."""
        try:
            async with asyncio.timeout(self._patience_s):
                await self._room.acquire()
        except TimeoutError:
            setting = f"MONITOR_PLATFORMS__{self._adapter.upper()}__AT_ONCE"
            raise ProbeFailed(f"busy with other channels; see {setting}") from None
        try:
            yield
        finally:
            self._room.release()
