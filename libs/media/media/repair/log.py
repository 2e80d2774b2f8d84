"""Collects repairs until the file they belong to is complete: bounded, and nothing that moves the timeline is ever lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from media.repair.model import MOVES, Repair, RepairKind

MAX_MOVES: Final = 2000
MAX_EACH: Final = 200
"""Repairs of one kind that are kept one by one, and as many sums follow."""
_FIRST_INTERVAL_MS: Final = 60_000


class RepairLog:
    """The repairs since the last file.

    Repairs that move the timeline are kept one by one; above MAX_MOVES neighbours are merged, so that the sum of what they move stays
    true. Of every other kind the first MAX_EACH are kept; what follows is summed up per minute of the timeline, and per two, four, …
    minutes when there are more than MAX_EACH sums. Removed filler is summed up from the start: a stream of constant bitrate has it in
    every group. `position` is the end of the recording's timeline: the place of repairs whose operator knows no output time.
    """

    def __init__(self) -> None:
        self.position = 0
        self._moves: list[Repair] = []
        self._others: list[Repair] = []
        self._kept: Counter[RepairKind] = Counter()
        self._sums: dict[RepairKind, _Sums] = {}

    def add(
        self,
        kind: RepairKind,
        source: int | None,
        *,
        amount: int = 0,
        detail: str = "",
        output: int | None = None,
        lost_ms: int = 0,
    ) -> None:
        """Record one repair."""
        repair = Repair(kind, source, self.position if output is None else output, amount, detail, lost_ms)
        if kind in MOVES:
            self._moves.append(repair)
            if len(self._moves) > MAX_MOVES:
                self._moves = merge_pairs(self._moves)
        elif kind is RepairKind.FILLER or self._kept[kind] >= MAX_EACH:
            self._sums.setdefault(kind, _Sums()).add(repair)
        else:
            self._kept[kind] += 1
            self._others.append(repair)

    def drain(self, before: int | None = None) -> tuple[Repair, ...]:
        """Return and forget the repairs since the last call, in the order of the timeline.

        `before`: where the next file begins; what is known already of the media behind that stays for the next call.
        """
        drained = tuple(self)
        rest = [repair for repair in drained if before is not None and repair.output_timestamp >= before]
        self._moves = [repair for repair in rest if repair.kind in MOVES]
        self._others = [repair for repair in rest if repair.kind not in MOVES]
        self._kept = Counter(repair.kind for repair in self._others)
        self._sums = {}
        return tuple(repair for repair in drained if before is None or repair.output_timestamp < before)

    def __iter__(self) -> Iterator[Repair]:
        summed = [repair for sums in self._sums.values() for repair in sums]
        return iter(sorted([*self._moves, *self._others, *summed], key=lambda repair: repair.output_timestamp))


class _Sums:
    """The sums of one kind, by interval of the timeline."""

    def __init__(self) -> None:
        self._interval = _FIRST_INTERVAL_MS
        self._by_interval: dict[int, Repair] = {}

    def add(self, repair: Repair) -> None:
        place = repair.output_timestamp // self._interval
        known = self._by_interval.get(place)
        self._by_interval[place] = add_up(known, repair) if known else replace(repair, detail="")
        while len(self._by_interval) > MAX_EACH:
            self._double()

    def _double(self) -> None:
        self._interval *= 2
        finer, self._by_interval = self._by_interval, {}
        for repair in finer.values():
            place = repair.output_timestamp // self._interval
            known = self._by_interval.get(place)
            self._by_interval[place] = add_up(known, repair) if known else repair

    def __iter__(self) -> Iterator[Repair]:
        return iter(self._by_interval.values())


def add_up(first: Repair, more: Repair) -> Repair:
    """Two repairs of one kind as one, at the place of the first."""
    return replace(first, amount=first.amount + more.amount, count=first.count + more.count)


def merge_pairs(moves: list[Repair]) -> list[Repair]:
    """Half as many moves; each stands where the second of its pair stood, from where on both clocks are known again."""
    merged = [
        replace(
            second,
            amount=first.amount + second.amount,
            lost_ms=first.lost_ms + second.lost_ms,
            count=first.count + second.count,
        )
        for first, second in zip(moves[::2], moves[1::2], strict=False)
    ]
    return merged if len(moves) % 2 == 0 else [*merged, moves[-1]]
