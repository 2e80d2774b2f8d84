from media.flv.recorder import SegmentCompleted, SplitReason
from media.repair.model import Repair, RepairKind

from services.downloader.adapters.http_flv import MAX_REPAIRS, _repairs


def completed(*repairs, omitted=0):
    return SegmentCompleted(0, 100, 1, 1, 1, SplitReason.CUT, "", repairs, omitted)


def test_repairs_that_move_media_are_told_each_and_the_others_as_a_sum():
    gap = Repair(RepairKind.GAP, 7, 2000, 500, "x" * 300)
    fillers = [Repair(RepairKind.FILLER, None, 1000 + n, 10) for n in range(100)]
    told = _repairs(completed(*fillers[:50], gap, *fillers[50:]))
    assert told == (
        {"kind": "gap", "at_ms": 2000, "source_ms": 7, "amount": 500, "detail": "x" * 200},
        {"kind": "filler", "at_ms": 1000, "amount": 1000, "count": 100},
    )


def test_an_event_never_carries_more_than_the_bus_takes():
    jumps = [Repair(RepairKind.TIMESTAMP_JUMP, n, n, 1) for n in range(MAX_REPAIRS + 5)]
    told = _repairs(completed(*jumps, omitted=3))
    assert len(told) == MAX_REPAIRS + 1
    assert told[-1] == {"kind": "omitted", "at_ms": 100, "amount": 8}
