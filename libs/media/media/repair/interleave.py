"""Sorts audio and video into one sequence whose timestamps never go back."""

from __future__ import annotations

from operator import attrgetter

from media.flv.tag import Tag
from media.repair.log import RepairLog
from media.repair.model import RepairKind

_timestamp = attrgetter("timestamp")


class Interleaver:
    """Merges the channels, each of which is in order already.

    Holds back what lies behind the end of the slower channel (at most `max_delay_ms`), because tags of that channel may still have to be
    sorted in. What comes later than that is moved up to the last written time: no step back is ever written.
    """

    def __init__(self, max_delay_ms: int, log: RepairLog) -> None:
        self._max_delay = max_delay_ms
        self._log = log
        self._held: list[Tag] = []
        self._ends: dict[int, int] = {}
        self._last = 0
        self._any = False
        self.expected: frozenset[int] = frozenset()
        """Channels that have a header: one of them that has brought nothing yet is waited for like one that is late."""

    @property
    def held(self) -> list[Tag]:
        """The tags that wait, in order."""
        return self._held

    def process(self, tags: list[Tag]) -> list[Tag]:
        """Add the tags of a group; return those whose place is certain."""
        self._note_ends(tags)
        merged = self._held + tags
        merged.sort(key=_timestamp)
        newest = merged[-1].timestamp if merged else 0
        slowest = min(self._ends.values(), default=newest)
        if not self.expected <= self._ends.keys():
            slowest = newest - self._max_delay
        safe = max(slowest, newest - self._max_delay)
        cut = len(merged)
        while cut and merged[cut - 1].timestamp > safe:  # few wait
            cut -= 1
        self._held = merged[cut:]
        return self._in_order(merged[:cut])

    def flush(self) -> list[Tag]:
        """Return what is held: the file ends here, or the input."""
        held, self._held = self._held, []
        return self._in_order(held)

    def _note_ends(self, tags: list[Tag]) -> None:
        noted = 0
        for tag in reversed(tags):
            if tag.type != noted:
                self._ends[tag.type] = tag.timestamp
                if noted:
                    return
                noted = tag.type

    def _in_order(self, tags: list[Tag]) -> list[Tag]:
        if not tags:
            return tags
        if self._any and tags[0].timestamp < self._last:
            self._move_up(tags)
        self._any = True
        self._last = tags[-1].timestamp
        return tags

    def _move_up(self, tags: list[Tag]) -> None:
        late = self._last - tags[0].timestamp
        self._log.add(RepairKind.INTERLEAVE, None, amount=late, output=self._last)
        for tag in tags:
            if tag.timestamp >= self._last:
                return
            tag.timestamp = self._last
