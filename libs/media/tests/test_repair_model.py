"""The repair log and the options."""

from __future__ import annotations

import pytest
from media.repair import RepairKind, RepairLog, RepairOptions
from media.repair.model import MAX_LOGGED, wrapped


def test_repairs_are_drained_once_and_placed_where_the_timeline_ends():
    log = RepairLog()
    log.position = 700
    log.add(RepairKind.JUNK, None, amount=5)
    log.add(RepairKind.TIMESTAMP_JUMP, 1, amount=2, output=3, detail="x")
    repairs, omitted = log.drain()
    assert [(r.input_timestamp, r.output_timestamp, r.amount, r.detail) for r in repairs] == [
        (None, 700, 5, ""),
        (1, 3, 2, "x"),
    ]
    assert omitted == 0
    assert log.drain() == ((), 0)


def test_a_flood_of_repairs_is_counted_but_not_kept():
    log = RepairLog()
    for _ in range(MAX_LOGGED + 7):
        log.add(RepairKind.JUNK, None)
    repairs, omitted = log.drain()
    assert (len(repairs), omitted) == (MAX_LOGGED, 7)


@pytest.mark.parametrize(
    "wrong", [{"jump_ms": 50}, {"min_fragment_tags": 0}, {"replay_window": -1}, {"max_group_bytes": 0}]
)
def test_options_that_cannot_work_are_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        RepairOptions(**wrong)


@pytest.mark.parametrize(
    ("difference", "step"), [(0, 0), (40, 40), (-40, -40), (2**32 - 40, -40), (40 - 2**32, 40), (2**31, -(2**31))]
)
def test_differences_of_a_32_bit_clock_are_signed(difference, step):
    assert wrapped(difference) == step
