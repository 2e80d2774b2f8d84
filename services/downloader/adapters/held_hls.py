"""HLS items that a standby receives before anybody knows where it joins the recording."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from contracts.values import Json
from media.hls import Discontinuity, Init, Media, MissingMedia, PlanCursor, SegmentTask, StreamItem
from media.segments import GapReason

from services.downloader.adapters.spill import Ref, Spill


@dataclass(frozen=True, slots=True)
class _Held:
    at: float
    item: Init | Discontinuity | MissingMedia | SegmentTask
    media: Ref | None = None


class HeldHls:
    """Holds the newest items, at most ``max_bytes`` of media; ``at`` is when one came (wall clock, seconds)."""

    def __init__(self, spill: Spill, *, max_bytes: int) -> None:
        self._spill, self._max_bytes = spill, max_bytes
        self._items: deque[_Held] = deque()
        self._init: Init | None = None
        """The section that holds for the oldest item."""
        self.received = 0

    @property
    def first_sequence(self) -> int | None:
        """The number of the oldest segment that is held."""
        return next((one.item.sequence for one in self._items if isinstance(one.item, SegmentTask)), None)

    @property
    def holds(self) -> Json | None:
        """The number of the oldest segment, and from when to when (wall clock, seconds) the media came; ``None`` while there is none."""
        first = self.first_sequence
        if first is None:
            return None
        since, until = self._items[0].at, self._items[-1].at
        return {"protocol": "hls", "sequence": first, "since": round(since), "until": round(until)}

    @property
    def seconds(self) -> float:
        """How long the media plays that is held."""
        return sum(one.item.duration for one in self._items if isinstance(one.item, SegmentTask))

    def put(self, item: StreamItem, at: float) -> None:
        """Hold one item; raises OSError."""
        if isinstance(item, Media):
            self._items.append(_Held(at, item.task, self._spill.put(item.data)))
            self.received += len(item.data)
        else:
            self._items.append(_Held(at, item))
        while len(self._items) > 1 and self._spill.size > self._max_bytes:
            self._drop_oldest()

    def forget_before(self, at: float) -> None:
        """Let go of what came before ``at``."""
        while len(self._items) > 1 and self._items[1].at < at:
            self._drop_oldest()

    def join_behind(self, cursor: PlanCursor | None, at: float) -> bool:
        """Drop what another owner wrote: up to its cursor, or what came before ``at`` where numbers do not tell. False in that case."""
        if cursor is None:
            self.forget_before(at)
            return not self._items
        place = next((n for n, one in enumerate(self._items) if _is_at(one, cursor)), None)
        if place is not None:
            for _ in range(place + 1):
                self._drop_oldest()
            return True
        first = self.first_sequence
        if first is None or first > cursor.sequence:
            return self._fill_hole(cursor, first)
        self.forget_before(at)
        return False

    def _fill_hole(self, cursor: PlanCursor, first: int | None) -> bool:
        missing = first - cursor.sequence - 1 if first is not None else 0
        if missing:
            duration = next(one.item.duration for one in self._items if isinstance(one.item, SegmentTask))
            hole = MissingMedia(
                cursor.sequence + 1, cursor.sequence + missing, round(1000 * missing * duration), GapReason.SLID_OUT
            )
            self._items.appendleft(_Held(self._items[0].at, hole))
        return True

    def items(self) -> Iterator[StreamItem]:
        """Everything that is held, oldest first, each item only once; what arrives meanwhile comes last."""
        if self._init is not None:
            yield self._init
        while self._items:
            held = self._items.popleft()
            if held.media is None:
                assert not isinstance(held.item, SegmentTask)
                yield held.item
            else:
                assert isinstance(held.item, SegmentTask)
                yield Media(held.item, self._spill.take(held.media))

    def close(self) -> None:
        """Let go of everything."""
        while self._items:
            self._drop_oldest()
        self._spill.close()

    def _drop_oldest(self) -> None:
        held = self._items.popleft()
        if held.media is not None:
            self._spill.drop(held.media)
        if isinstance(held.item, Init):
            self._init = held.item


def _is_at(held: _Held, cursor: PlanCursor) -> bool:
    return isinstance(held.item, SegmentTask) and held.item.cursor == cursor
