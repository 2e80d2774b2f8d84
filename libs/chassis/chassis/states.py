"""States that were folded before: a stream that is written often is read from where it was left, not from its beginning.

What is kept is a shortcut, never the truth: a load still asks the log for everything behind the version it knows, so that what another replica
appended is seen, and an append is still refused when the stream has moved on.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from chassis.eventlog import Loaded

STREAMS = 2_000
"""How many streams are remembered; those that were used longest ago go first. A state takes a few kilobytes."""


class States:
    """The newest committed state of streams, by stream name. States are immutable values."""

    def __init__(self, limit: int = STREAMS) -> None:
        self._limit = limit
        self._known: OrderedDict[str, Loaded[Any]] = OrderedDict()

    def get(self, stream: str) -> Loaded[Any] | None:
        """What is known of a stream."""
        known = self._known.get(stream)
        if known is not None:
            self._known.move_to_end(stream)
        return known

    def keep(self, committed: Iterable[Loaded[Any]]) -> None:
        """Remember states that a committed transaction saw or made."""
        for loaded in committed:
            known = self._known.get(loaded.stream)
            if known is None or known.version <= loaded.version:
                self._known[loaded.stream] = loaded
                self._known.move_to_end(loaded.stream)
        while len(self._known) > self._limit:
            self._known.popitem(last=False)

    def forget(self, streams: Iterable[str]) -> None:
        """Read these from the beginning next time: what was made of them has failed."""
        for stream in streams:
            self._known.pop(stream, None)
