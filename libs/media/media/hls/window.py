"""How a freshly loaded window of segments relates to the windows before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from media.hls.identity import base_name, segment_identity
from media.hls.playlist import ByteRange, Segment

MAX_REMEMBERED = 512
"""Segments. Only used to recognise a numbering; what was planned is known by its high-water mark alone."""

SAME_DATE_SECONDS = 0.5
"""Two program dates closer than this name the same segment: extrapolated dates drift by rounding only."""


class Relation(Enum):
    """What a new window is, compared with what is remembered."""

    CONTINUES = "continues"
    STALE = "stale"
    """An older copy of the same window, from a cache that lags behind."""
    RENUMBERED = "renumbered"
    """The same segments under other media sequence numbers."""
    RESET = "reset"
    """Another numbering with other segments: the source started over."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A relation, and for RENUMBERED what to add to the playlist's numbers."""

    relation: Relation
    offset: int = 0


@dataclass(frozen=True, slots=True)
class _Remembered:
    identity: str
    date: datetime | None
    segment: Segment | None


class WindowHistory:
    """Remembers recent segments under this plan's numbering and judges new windows against them."""

    def __init__(self, volatile_query: frozenset[str], max_regression: int) -> None:
        self._volatile = volatile_query
        self._max_regression = max_regression
        self._known: dict[int, _Remembered] = {}
        self._regressed_to: int | None = None

    def clear(self) -> None:
        """Forget everything: the numbering is void."""
        self._known.clear()
        self._regressed_to = None

    def identity(self, segment: Segment) -> str:
        """The identity of a segment; empty while it is still only parts."""
        return segment_identity(segment.uri, segment.byte_range, self._volatile) if segment.uri else ""

    def seed(self, sequence: int, identity: str) -> None:
        """Remember a segment of which only the identity is known, from the cursor of another replica."""
        self._known[sequence] = _Remembered(identity, None, None)

    def remember(self, segments: Sequence[Segment], offset: int) -> None:
        """Take over the newest URLs of a window."""
        for segment in segments[-MAX_REMEMBERED:]:
            remembered = _Remembered(self.identity(segment), segment.program_date_time, segment)
            self._known[segment.sequence + offset] = remembered
        excess = len(self._known) - MAX_REMEMBERED
        if excess > 0:
            for sequence in sorted(self._known)[:excess]:
                del self._known[sequence]

    def latest(self, sequence: int) -> Segment | None:
        """The segment with this number in the plan, as the newest playlist showed it."""
        remembered = self._known.get(sequence)
        return remembered.segment if remembered else None

    def ranges(self, offset: int) -> dict[int, tuple[str, ByteRange]]:
        """Known byte ranges by the playlist's own numbers, to continue ranges that carry no offset."""
        return {
            sequence - offset: (known.segment.uri, known.segment.byte_range)
            for sequence, known in self._known.items()
            if known.segment and known.segment.byte_range
        }

    def judge(self, segments: Sequence[Segment], first: int, offset: int, expected: int, plausible: int) -> Verdict:
        """Relate a window to what is remembered.

        ``first`` is the number of its first segment, ``expected`` the number that the plan waits for, both in the
        plan's numbering; ``plausible`` is how many segments may have been missed at most since the last load.
        """
        pairs = list(self._overlap(segments, offset))
        if pairs and 2 * self._agreeing(pairs, segments) < len(pairs):
            return self._shift(segments)
        behind = expected - (first + len(segments))
        if behind > 0:
            return self._behind(segments, pairs, behind)
        self._regressed_to = None
        if first - expected > plausible:
            return self._shift(segments)
        return Verdict(Relation.CONTINUES, offset)

    def _overlap(self, segments: Sequence[Segment], offset: int) -> Iterator[tuple[_Remembered, Segment]]:
        for segment in segments:
            known = self._known.get(segment.sequence + offset)
            if known is not None and known.identity and not segment.prefetch and not _announced(known):
                yield known, segment

    def _agreeing(self, pairs: Sequence[tuple[_Remembered, Segment]], segments: Sequence[Segment]) -> int:
        """How many remembered segments the window still shows under their numbers."""
        changed = [(known, each) for known, each in pairs if known.identity != self.identity(each)]
        if not changed:
            return len(pairs)
        names = Counter(base_name(self.identity(segment)) for segment in segments)
        named_apart = len(segments) > 1 and len(names) == len(segments)
        rotated = sum(self._rotated(known, segment, named_apart) for known, segment in changed)
        return len(pairs) - len(changed) + rotated

    def _rotated(self, known: _Remembered, segment: Segment, named_apart: bool) -> bool:
        """Whether a changed URL is still the same segment: by its date, else by a file name that tells segments apart."""
        if known.date and segment.program_date_time:
            return abs((known.date - segment.program_date_time).total_seconds()) < SAME_DATE_SECONDS
        return named_apart and base_name(self.identity(segment)) == base_name(known.identity)

    def _behind(self, segments: Sequence[Segment], pairs: list[tuple[_Remembered, Segment]], behind: int) -> Verdict:
        if behind <= self._max_regression or not segments:
            return Verdict(Relation.STALE)
        if not pairs:
            return self._shift(segments)
        dates = [
            abs((known.date - segment.program_date_time).total_seconds())
            for known, segment in pairs
            if known.date and segment.program_date_time
        ]
        if dates:
            return Verdict(Relation.STALE if min(dates) < SAME_DATE_SECONDS else Relation.RESET)
        # Same names far behind and no dates: a lagging cache stands still, a restarted source moves on.
        reached = segments[-1].sequence
        moved_on = self._regressed_to is not None and reached > self._regressed_to
        self._regressed_to = reached
        return Verdict(Relation.RESET if moved_on else Relation.STALE)

    def _shift(self, segments: Sequence[Segment]) -> Verdict:
        """RENUMBERED when the known segments reappear at one constant distance, else RESET."""
        known = {each.identity: sequence for sequence, each in self._known.items() if each.identity}
        shown = Counter(self.identity(segment) for segment in segments)
        named = sum(bool(each.identity) for each in self._known.values())
        unique = len(known) == named and all(count == 1 for count in shown.values())
        offsets = {
            known[identity] - segment.sequence for segment in segments if (identity := self.identity(segment)) in known
        }
        if unique and len(offsets) == 1:
            return Verdict(Relation.RENUMBERED, offsets.pop())
        return Verdict(Relation.RESET)


def _announced(known: _Remembered) -> bool:
    """Whether the segment was only announced when it was seen: its URL may have changed since."""
    return known.segment is not None and known.segment.prefetch
