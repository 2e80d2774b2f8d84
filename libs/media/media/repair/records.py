"""Repairs as JSON: the one shape in which events and `repair.json` tell them (documented in `media.repair.alignment`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from media.repair.log import add_up, merge_pairs
from media.repair.model import MOVES, Repair, RepairKind

_MAX_DETAIL: Final = 200

Record = dict[str, Any]


def to_record(repair: Repair) -> Record:
    """One repair, or a sum of like ones, as JSON values; details are cut at 200 characters."""
    return {
        "kind": repair.kind.value,
        "at_ms": repair.output_timestamp,
        "source_ms": repair.input_timestamp,
        "amount": repair.amount,
        "lost_ms": repair.lost_ms,
        "count": repair.count,
        "detail": repair.detail[:_MAX_DETAIL],
    }


def to_records(repairs: Iterable[Repair], limit: int) -> tuple[Record, ...]:
    """All repairs of a file in at most `limit` records and one sum for each kind that moves nothing.

    What moves the timeline comes first into the limit, one by one (neighbours are merged if there are more); of the rest, what no longer
    fits is summed up by kind. Removed filler is always one sum.
    """
    every = list(repairs)
    moves = [repair for repair in every if repair.kind in MOVES]
    while len(moves) > limit:
        moves = merge_pairs(moves)
    room = limit - len(moves)
    kept: list[Repair] = []
    sums: dict[RepairKind, Repair] = {}
    for repair in every:
        if repair.kind in MOVES:
            continue
        if repair.kind is not RepairKind.FILLER and len(kept) < room:
            kept.append(repair)
        else:
            known = sums.get(repair.kind)
            sums[repair.kind] = add_up(known, repair) if known else replace(repair, detail="")
    told = sorted([*moves, *kept], key=lambda repair: repair.output_timestamp)
    return tuple(to_record(repair) for repair in [*told, *sums.values()])
