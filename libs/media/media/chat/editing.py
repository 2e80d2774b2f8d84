"""Moves and joins chat that is already placed in a video."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import merge as merge_sorted

from media.chat.timing import Timed

Place = Callable[[int], int | None]
"""A new offset for an old one, in milliseconds; ``None``: that moment is not in the video."""


def shifted(by_ms: int) -> Place:
    """Everything later by so much (earlier, when negative); what would lie before the start is left out."""
    return lambda offset: offset + by_ms if offset + by_ms >= 0 else None


class Realigned:
    """Messages at new places; ``dropped`` counts those that have none."""

    def __init__(self, messages: Iterable[Timed], place: Place) -> None:
        self._messages, self._place = messages, place
        self.dropped = 0

    def __iter__(self) -> Iterator[Timed]:
        for offset, message in self._messages:
            placed = self._place(offset)
            if placed is None:
                self.dropped += 1
            else:
                yield Timed(placed, message)


def merged(inputs: Sequence[Iterable[Timed]]) -> Iterator[Timed]:
    """All messages in order of place. Each input is held in memory to be sorted: recorders write lines a little out of order."""
    return merge_sorted(*(sorted(one, key=_offset) for one in inputs), key=_offset)


def _offset(timed: Timed) -> int:
    return timed.offset_ms
