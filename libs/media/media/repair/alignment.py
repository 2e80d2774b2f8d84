"""Where something of the input lies in a repaired file, from the repairs that were recorded with it.

Every completed file comes with its repairs. Those that move the timeline (`gap`, `timestamp_jump`, `realigned`) share one shape; as JSON,
in `segment_completed.repairs` and in `repair.json` (see `media.repair.records`):

    {"kind": "gap", "at_ms": 63_120, "source_ms": 93_120, "amount": 30_000, "lost_ms": 30_000, "count": 1, "detail": ""}

- `at_ms`: where it happened, on the recording's timeline; the position in the file is `at_ms - start_ms` of its segment.
- `source_ms`: the source's own timestamp there, unsigned 32 bit. From here on both run at the same pace: a source time `s` lies at
  `at_ms + (s - source_ms)`, until the next such entry.
- `amount`: of `timestamp_jump` and `realigned`, by how many ms the source's clock was ahead of where the media was put, negative when it
  went back. It is what was *corrected*, and may have nothing to do with real time (a clock that restarts moves by hours in a moment).
  Of `gap`, the ms of media that were lost between two connections, 0 when unknown.
- `lost_ms`: ms of *real* time for which the file has no media: what chat has to be moved by. It is the step of the clock where that went
  on over a break, what was measured by arrival where the clock restarted, and 0 where only a clock changed.

All other kinds move nothing: they may be summed up (`count` > 1) and have `lost_ms` 0. An entry without `lost_ms` (the gaps of HLS
recordings, whose files keep the time of what they miss) moves nothing either.

Audio and video each change the clock with their own frames. A channel that stays within `jump_ms` of where it was keeps its clock when the
other one jumps, for as long as it does so, and one whose first frame of the new clock is a little earlier than that of the other is put a
little before the entry. Each frame lies exactly where one of the entries (or the file's own start) says. `Alignment.from_source` goes by the
entry that counts; while the clock only went ahead it finds a frame of another entry between where that changed and the frame's own place.

A stopwatch position is measured from the segment's `started_at`, the moment at which its first media was on air.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from media.repair.model import MOVES, Repair, wrapped

_KINDS: Final = [kind.value for kind in MOVES]


@dataclass(frozen=True, slots=True)
class Move:
    """One place where the clocks part: `at_ms` in the file, `source_ms` the source's timestamp there, `lost_ms` real time without media."""

    at_ms: int
    source_ms: int | None
    lost_ms: int


@dataclass(frozen=True, slots=True)
class Alignment:
    """Maps positions of the input onto one repaired file; pure, built once per file with :meth:`of`."""

    moves: tuple[Move, ...] = ()
    duration_ms: int | None = None

    @classmethod
    def of(
        cls,
        repairs: Iterable[Repair | Mapping[str, object]],
        *,
        start_ms: int,
        source_ms: int | None = None,
        duration_ms: int | None = None,
    ) -> Alignment:
        """Build the map of a file from its repairs, as objects or as the JSON of an event; entries that are no moves are left out.

        `start_ms`: the segment's place on the recording's timeline. `source_ms`: the source's timestamp of its first media, where known;
        without it source times before the first move have no place. `duration_ms`: the file's length; positions never lie behind it.
        """
        moves = sorted((move for repair in repairs if (move := _move(repair, start_ms))), key=lambda move: move.at_ms)
        first = [] if source_ms is None else [Move(0, source_ms, 0)]
        return cls((*first, *moves), duration_ms)

    @property
    def lost_ms(self) -> int:
        """Real time inside the file's span that it has no media for: the file covers `duration_ms + lost_ms` of stopwatch time."""
        return sum(move.lost_ms for move in self.moves if move.at_ms > 0)

    def from_receive(self, elapsed_ms: int) -> int:
        """The file position of what a stopwatch, started with the file, measured; inside a gap it is where the media goes on."""
        position = elapsed_ms
        for move in self.moves:
            if move.at_ms <= 0:
                continue  # what was lost before the file began is not on its stopwatch
            if position <= move.at_ms:
                break
            position = max(move.at_ms, position - move.lost_ms)
        return self._inside(position)

    def from_source(self, source_ms: int) -> int | None:
        """The file position of a timestamp of the source (the clock may wrap at 2^32); None when no recorded place tells.

        Where the clock went back a timestamp occurs twice: the later one counts. A timestamp in a gap lies where the media goes on, also that
        of a channel which stays on the old clock there.
        """
        known = [(move.at_ms, move.source_ms) for move in self.moves if move.source_ms is not None]
        end = None if self.duration_ms is None else self.duration_ms + 1
        for at_ms, source in reversed(known):
            position = at_ms + wrapped(source_ms - source)
            if position >= at_ms and (end is None or position < end):
                return self._inside(position)
            end = at_ms
        return self._in_a_gap(source_ms, known)

    def _inside(self, position: int) -> int:
        return max(0, position if self.duration_ms is None else min(position, self.duration_ms))

    def _in_a_gap(self, source_ms: int, known: list[tuple[int, int]]) -> int | None:
        """The end of the gap whose two sides, on the source's clock, enclose the timestamp."""
        for (before_at, before), (after_at, after) in pairwise(known):
            last = before + after_at - before_at
            if 0 <= wrapped(source_ms - last) < wrapped(after - last):
                return self._inside(after_at)
        return None


def _move(repair: Repair | Mapping[str, object], start_ms: int) -> Move | None:
    if isinstance(repair, Repair):
        if repair.kind not in MOVES:
            return None
        return Move(repair.output_timestamp - start_ms, repair.input_timestamp, repair.lost_ms)
    at_ms, source, lost = (repair.get(name) for name in ("at_ms", "source_ms", "lost_ms"))
    if repair.get("kind") not in _KINDS or not isinstance(at_ms, int):
        return None
    return Move(
        at_ms - start_ms,
        source if isinstance(source, int) else None,
        max(0, lost) if isinstance(lost, int) else 0,
    )
