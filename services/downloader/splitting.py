"""Where files end by the clock or because somebody asked, and the reason that is told for it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from contracts.values import Effective

from services.downloader.adapters.engine import Bounds, Emit, EngineEvent, SegmentCompleted

CUT = "cut"
"""What engines call the end of a file that they were asked for."""
REASONS = {"command": CUT, "title": "title_change", "category": "category_change"}
CLOCK, SETTINGS = "clock", "settings_change"
DAY_S = 86_400
TICK_S = 1.0
"""How often the clock is looked at: it may be set meanwhile."""

OffsetS = Callable[[float], float]
"""Unix time to the seconds that local time is ahead of UTC at that instant."""


def bounds_of(effective: Effective) -> Bounds:
    """The limits of a file; one that is cut by the clock has no other duration."""
    seconds = 0 if effective.align_to_clock else effective.segment_seconds
    return Bounds(seconds * 1000 or None, effective.segment_bytes or None)


def clock_step_s(effective: Effective) -> int:
    """The period of the cuts by the clock, in seconds; 0 for none."""
    return effective.segment_seconds if effective.align_to_clock else 0


def local_offset_s(at: float) -> float:
    """Local time of this process against UTC, as file names show it."""
    return float(time.localtime(at).tm_gmtoff)


def next_boundary(now: float, step_s: int, offset_s: OffsetS = local_offset_s) -> float:
    """The next instant (Unix time) after ``now`` at which local time of day is a multiple of ``step_s``; midnight always is.

    When the clocks change, what counts is the time they show: an hour that is shown twice has its boundaries twice, and the first instant
    of a new offset is one if its time is a multiple.
    """
    at = _after(now + offset_s(now), step_s) - offset_s(now)
    while offset_s(at) != offset_s(now):
        now = _change(now, at, offset_s)
        local = now + offset_s(now)
        if local % DAY_S % step_s == 0:
            return now
        at = _after(local, step_s) - offset_s(now)
    return at


def _after(local: float, step_s: int) -> float:
    midnight = math.floor(local / DAY_S) * DAY_S
    return midnight + min((math.floor((local - midnight) / step_s) + 1) * step_s, DAY_S)


def _change(before: float, after: float, offset_s: OffsetS) -> float:
    """The first whole second with another offset than ``before``; offsets change at whole seconds."""
    low, high = math.floor(before), math.ceil(after)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if offset_s(middle) == offset_s(before) else (low, middle)
    return float(high)


class Splits:
    """Stands between engine and filing, and gives the cuts that were asked for their reason."""

    def __init__(self, emit: Emit) -> None:
        self._emit, self._reason = emit, CUT

    def asked(self, reason: str) -> None:
        """The next cut is made for this reason."""
        self._reason = reason

    def tell(self, event: EngineEvent) -> None:
        """Pass on what the engine tells."""
        if isinstance(event, SegmentCompleted) and event.reason == CUT:
            event, self._reason = replace(event, reason=self._reason), CUT
        self._emit(event)


class ClockCuts:
    """Calls ``cut`` at each boundary of the clock. ``step_s`` is asked again and again; 0 while none are wanted."""

    def __init__(
        self,
        step_s: Callable[[], int],
        cut: Callable[[], None],
        *,
        now: Callable[[], float] = time.time,
        offset_s: OffsetS = local_offset_s,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._step_s, self._cut = step_s, cut
        self._now, self._offset_s, self._sleep = now, offset_s, sleep

    async def run(self) -> None:
        """Cut for ever."""
        while True:
            step_s = self._step_s()
            if step_s == 0:
                await self._sleep(TICK_S)
            elif await self._wait(next_boundary(self._now(), step_s, self._offset_s), step_s):
                self._cut()

    async def _wait(self, due: float, step_s: int) -> bool:
        """Whether ``due`` came before another period was asked for."""
        while (left := due - self._now()) > 0:
            await self._sleep(min(left, TICK_S))
            if self._step_s() != step_s:
                return False
        return True
