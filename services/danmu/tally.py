"""What the running chat of one session is like: counted beside the journal, told every few seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import structlog
from contracts.danmu import Statistics
from media.chat.message import ChatMessage
from media.chat.statistics import ChatStatistics

BATCH: Final = 32
"""So many messages are counted at once: some tenths of a millisecond, and none of them is kept for long."""
MAX_WAITING: Final = 50_000
"""Messages that wait while what was said before this owner is being counted; more of them are not counted live. The files have all."""
log = structlog.get_logger(__name__)

Tell = Callable[[Statistics], Awaitable[None]]


class Tally:
    """Live statistics of one session."""

    def __init__(self, tell: Tell, every_s: float) -> None:
        """``every_s`` 0: count nothing."""
        self._tell, self._every_s = tell, every_s
        self._statistics: ChatStatistics | None = None
        self._waiting: list[ChatMessage] = []
        self._task: asyncio.Task[None] | None = None
        self._changed = False
        self._failing = False

    def add(self, messages: Sequence[ChatMessage]) -> None:
        """Something was said."""
        if self._every_s and len(self._waiting) < MAX_WAITING:
            self._waiting += messages
            if len(self._waiting) >= BATCH and self._statistics is not None:
                self._count(self._statistics)

    def begin(self, statistics: ChatStatistics, said: Iterable[ChatMessage]) -> None:
        """Go on from what is in finished files (``statistics``) and what was said after them (``said``, read in a thread), and tell."""
        if self._every_s and self._task is None:
            self._task = asyncio.create_task(self._run(statistics, said), name="tally")

    async def stop(self) -> None:
        """Tell nothing more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, statistics: ChatStatistics, said: Iterable[ChatMessage]) -> None:
        try:
            await asyncio.to_thread(statistics.fold, said)
        except OSError as error:
            log.warning("chat.live_statistics_incomplete", error=str(error))
        self._statistics = statistics
        while True:
            await asyncio.sleep(self._every_s)
            self._count(statistics)
            if self._changed:
                self._changed = False
                await self._told(Statistics.model_validate(statistics.report()))

    def _count(self, statistics: ChatStatistics) -> None:
        self._changed = self._changed or bool(self._waiting)
        statistics.fold(self._waiting)
        self._waiting.clear()

    async def _told(self, statistics: Statistics) -> None:
        try:
            await self._tell(statistics)
        except Exception as error:  # the bus client has a dozen ways to say that it is reconnecting
            if not self._failing:
                log.warning("chat.statistics_not_told", error=repr(error))
            self._failing = True
        else:
            self._failing = False
