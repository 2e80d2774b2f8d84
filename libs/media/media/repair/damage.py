"""Measures what a stretch of unreadable bytes inside a connection cost, by the source's own clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from media.flv.tag import AUDIO, VIDEO, Tag
from media.repair.model import wrapped

_LOOK_BACK: Final = 32
"""Tags at the end of a run in which the last two of each channel are looked for: all of them would cost on the way of every tag."""


@dataclass(frozen=True, slots=True)
class Damage:
    """`first` is the first media behind `size` unreadable bytes; `lost_ms` is how much later it is than it would have to be."""

    first: Tag
    size: int
    lost_ms: int


class DamageWatch:
    """Sees every run of media before its timestamps are rewritten, and every stretch of junk."""

    def __init__(self) -> None:
        self._before: dict[int, tuple[int, int]] = {}  # last time and pace of each channel
        self._size = 0
        self._found: deque[Damage] = deque(maxlen=_LOOK_BACK)

    def begin_connection(self) -> None:
        """Another clock may come: nothing is compared with what was before."""
        self._before, self._size = {}, 0

    def junk(self, size: int) -> None:
        """Bytes that are no tag."""
        self._size += size

    def media(self, tags: list[Tag]) -> None:
        """Media that follows."""
        if self._size:
            self._measure(tags[0])
        for kind in (AUDIO, VIDEO):
            times = [tag.timestamp for tag in tags[-_LOOK_BACK:] if tag.type == kind][-2:]
            if len(times) == 2:
                self._before[kind] = (times[1], max(0, wrapped(times[1] - times[0])))
            elif times:
                last, pace = self._before.get(kind, (times[0], 0))
                self._before[kind] = (times[0], pace or max(0, wrapped(times[0] - last)))

    def take(self, tags: list[Tag]) -> Damage | None:
        """The damage in front of these tags, once; several in one group as one."""
        if not self._found:
            return None
        here = {id(tag) for tag in tags}
        among = [one for one in self._found if id(one.first) in here]
        if not among:
            return None
        self._found = deque((one for one in self._found if id(one.first) not in here), _LOOK_BACK)
        return Damage(among[0].first, sum(one.size for one in among), sum(one.lost_ms for one in among))

    def _measure(self, first: Tag) -> None:
        size, self._size = self._size, 0
        if first.type in self._before:
            last, pace = self._before[first.type]
            self._found.append(Damage(first, size, max(0, wrapped(first.timestamp - last) - pace)))
