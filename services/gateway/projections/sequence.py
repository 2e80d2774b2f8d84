"""The order in which read models apply events: the order of the store, except that a stream waits for a version it misses. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from services.gateway.store.events import Stream


@dataclass
class Sequencer:
    """Decides for one batch what is applied now and what waits.

    ``applied`` holds the last applied version of the batch's streams, ``waiting`` the positions of versions parked earlier. The decisions depend
    on the order of the store alone, not on where batches begin, so that a rebuild can repeat them.
    """

    applied: dict[Stream, int]
    waiting: dict[Stream, dict[int, int]]
    order: list[int] = field(default_factory=list)
    parked: dict[int, tuple[Stream, int, int | None]] = field(default_factory=dict)
    """By position: stream, version, and the position that released it."""
    moved: dict[Stream, int] = field(default_factory=dict)

    def take(self, events: Iterable[tuple[Stream, int, int]]) -> None:
        """Sequence events given as (stream, version, position) in the order of the store."""
        for stream, version, position in events:
            expected = self.applied.get(stream, 0) + 1
            if version == expected:
                self._apply(stream, version, position)
                self._release(stream, position)
            elif version > expected:
                self.waiting.setdefault(stream, {})[version] = position
                self.parked[position] = (stream, version, None)

    def _release(self, stream: Stream, by: int) -> None:
        waiting = self.waiting.get(stream, {})
        while (version := self.applied[stream] + 1) in waiting:
            position = waiting.pop(version)
            self.parked[position] = (stream, version, by)
            self._apply(stream, version, position)

    def _apply(self, stream: Stream, version: int, position: int) -> None:
        self.order.append(position)
        self.applied[stream] = self.moved[stream] = version
