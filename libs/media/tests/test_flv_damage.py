"""Unreadable bytes inside a connection: what they cost is told where it matters."""

from __future__ import annotations

import pytest
from media.flv.recorder import Damaged, SegmentCompleted
from media.flv.tag import Tag
from media.repair import RepairKind, RepairOptions

from libs.media.tests import flv_streams as flv

JUNK = b"\x55" * 3000
PIECES = pytest.mark.parametrize("piece_ms", [0, 100])


def damaged(source: list[Tag], begin_ms: int, end_ms: int) -> bytes:
    """A stream whose media between two times arrives as junk."""
    before = [tag for tag in source if tag.timestamp < begin_ms]
    behind = [tag for tag in source if tag.timestamp >= end_ms]
    return flv.stream(*before) + JUNK + b"".join(map(flv.raw, behind))


def recorded(data: bytes, piece_ms: int, chunk: int = 1 << 16) -> flv.Recording:
    return flv.record(data, options=RepairOptions(piece_ms=piece_ms), chunk=chunk)


@PIECES
@pytest.mark.parametrize("chunk", [100, 1 << 16])
@pytest.mark.parametrize(("begin", "end"), [(1000, 1300), (1000, 3000), (1400, 1900)])
def test_media_lost_to_junk_is_told_with_its_length_and_place(begin, end, chunk, piece_ms):
    source = flv.gops(0, range(20))
    recording = recorded(damaged(source, begin, end), piece_ms, chunk)
    (told,) = recording.of(Damaged)
    assert abs(told.lost_ms - (end - begin)) < 50
    assert told.size == len(JUNK)
    # up to the length of a jump the file keeps its time, above it the hole is closed
    kept_ms = told.lost_ms if told.lost_ms <= 500 else 0
    assert abs(told.at_ms - (begin + kept_ms)) < 50
    (file,) = recording.of(SegmentCompleted)
    assert abs(file.duration_ms - (source[-1].timestamp - told.lost_ms + kept_ms)) < 50


@PIECES
def test_junk_that_cost_a_frame_or_nothing_is_a_repair_only(piece_ms):
    source = flv.gops(0, range(10))
    for end in (1000, 1040):
        recording = recorded(damaged(source, 1000, end), piece_ms)
        assert recording.of(Damaged) == []
        assert [repair.kind for repair in recording.repairs] == [RepairKind.JUNK]


@PIECES
def test_several_holes_are_told_one_by_one(piece_ms):
    source = flv.gops(0, range(40))
    some = [tag for tag in source if tag.timestamp < 6000]
    rest = [tag for tag in source if tag.timestamp >= 7000]
    data = damaged(some, 1000, 2000) + JUNK + b"".join(map(flv.raw, rest))
    assert [round(told.lost_ms, -2) for told in recorded(data, piece_ms).of(Damaged)] == [1000, 1000]


@PIECES
def test_a_clock_that_is_beyond_belief_behind_junk_costs_no_more_than_the_time_that_passed(piece_ms):
    recording = flv.Recording(options=RepairOptions(piece_ms=piece_ms))
    recording.feed(flv.stream(*flv.gops(0, range(5))), received_at=100.0)
    recording.feed(JUNK, received_at=100.1)
    later = b"".join(map(flv.raw, flv.gops(50_000_000, range(10, 15))))
    recording.feed(later, received_at=100.2).finish()
    assert sum(told.lost_ms for told in recording.of(Damaged)) < 500


def test_junk_at_the_break_of_a_connection_is_not_compared_with_the_clock_of_the_next():
    recording = flv.Recording()
    recording.feed(flv.stream(*flv.gops(0, range(5))) + JUNK)
    recording.reconnect().feed(flv.stream(*flv.gops(90_000, range(10, 15)))).finish()
    assert recording.of(Damaged) == []
