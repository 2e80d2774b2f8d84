"""The repair log, its JSON shape and the options."""

from __future__ import annotations

import pytest
from media.repair import Repair, RepairKind, RepairLog, RepairOptions
from media.repair.log import MAX_EACH, MAX_MOVES
from media.repair.model import wrapped
from media.repair.records import to_record, to_records


def test_repairs_are_drained_once_and_placed_where_the_timeline_ends():
    log = RepairLog()
    log.position = 700
    log.add(RepairKind.JUNK, None, amount=5)
    log.add(RepairKind.TIMESTAMP_JUMP, 1, amount=2, output=3, detail="x", lost_ms=2)
    assert log.drain() == (
        Repair(RepairKind.TIMESTAMP_JUMP, 1, 3, 2, "x", 2),
        Repair(RepairKind.JUNK, None, 700, 5),
    )
    assert log.drain() == ()


def test_what_is_known_of_the_next_file_stays_for_it():
    log = RepairLog()
    for at in (100, 200, 300):
        log.add(RepairKind.GAP, 0, output=at)
        log.add(RepairKind.INTERLEAVE, 0, output=at)
    assert [repair.output_timestamp for repair in log.drain(before=200)] == [100, 100]
    assert [repair.output_timestamp for repair in log.drain()] == [200, 200, 300, 300]


def test_filler_of_a_day_is_a_few_sums_and_does_not_push_out_what_moves_the_timeline():
    # Given a stream of constant bitrate with filler in every group of a day, and a gap at its end
    log = RepairLog()
    groups = 24 * 3600 // 2
    for number in range(groups):
        log.position = number * 2000
        log.add(RepairKind.FILLER, None, amount=1000)
    log.add(RepairKind.GAP, 7, amount=9000, lost_ms=9000)
    # When the file is complete
    repairs = log.drain()
    fillers = [repair for repair in repairs if repair.kind is RepairKind.FILLER]
    # Then all of it is there
    assert len(fillers) <= MAX_EACH
    assert (sum(r.amount for r in fillers), sum(r.count for r in fillers)) == (groups * 1000, groups)
    assert repairs[-1] == Repair(RepairKind.GAP, 7, log.position, 9000, "", 9000)
    # And the sums are spread over the timeline
    assert len(fillers) > MAX_EACH // 4


def test_a_flood_of_one_kind_is_kept_at_first_and_then_summed_up():
    log = RepairLog()
    for number in range(MAX_EACH + 5000):
        log.add(RepairKind.TIMESTAMP_REBOUND, number, amount=-10, output=number * 100, detail="each")
    repairs = log.drain()
    assert len(repairs) <= 2 * MAX_EACH
    assert sum(repair.count for repair in repairs) == MAX_EACH + 5000
    assert sum(repair.amount for repair in repairs) == -10 * (MAX_EACH + 5000)
    assert [repair.detail for repair in repairs[:MAX_EACH]] == ["each"] * MAX_EACH


def test_a_flood_of_moves_is_thinned_and_moves_as_much_as_before():
    log = RepairLog()
    for number in range(5 * MAX_MOVES + 1):
        log.add(RepairKind.TIMESTAMP_JUMP, number, amount=7, output=number, lost_ms=3)
    repairs = log.drain()
    assert len(repairs) <= MAX_MOVES
    assert sum(repair.lost_ms for repair in repairs) == 3 * (5 * MAX_MOVES + 1)
    assert sum(repair.count for repair in repairs) == 5 * MAX_MOVES + 1
    assert repairs[-1].output_timestamp == 5 * MAX_MOVES


def test_a_repair_has_one_shape_as_json():
    record = to_record(Repair(RepairKind.GAP, 7, 2000, 500, "x" * 300, 450))
    assert record == {
        "kind": "gap", "at_ms": 2000, "source_ms": 7, "amount": 500, "lost_ms": 450, "count": 1, "detail": "x" * 200,
    }  # fmt: skip


def test_records_are_limited_by_summing_up_what_moves_nothing():
    repairs = [Repair(RepairKind.INTERLEAVE, n, n, 2) for n in range(100)]
    repairs += [Repair(RepairKind.GAP, n, 200 + n, 5, lost_ms=5) for n in range(30)]
    repairs += [Repair(RepairKind.FILLER, None, n, 4, count=3) for n in range(3)]
    records = to_records(repairs, 50)
    assert len(records) == 52
    assert [record["kind"] for record in records[20:50]] == ["gap"] * 30
    assert records[50] == to_record(Repair(RepairKind.INTERLEAVE, 20, 20, 160, count=80))
    assert records[51] == to_record(Repair(RepairKind.FILLER, None, 0, 12, count=9))


def test_even_the_moves_are_limited_without_losing_time():
    records = to_records([Repair(RepairKind.GAP, n, n, 5, lost_ms=5) for n in range(333)], 50)
    assert len(records) <= 50
    assert sum(record["lost_ms"] for record in records) == 333 * 5


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
