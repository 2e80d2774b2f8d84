"""Placing what was timed by a stopwatch or by the source on a repaired file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media.flv.recorder import Limits, SegmentCompleted
from media.repair import Repair, RepairKind
from media.repair.alignment import Alignment
from media.repair.records import to_record

from libs.media.tests import flv_streams as flv


def gap(at_ms: int, lost_ms: int, source_ms: int = 0) -> Repair:
    return Repair(RepairKind.GAP, source_ms, at_ms, lost_ms, lost_ms=lost_ms)


def test_without_repairs_a_stopwatch_is_right():
    alignment = Alignment.of([], start_ms=5000)
    assert [alignment.from_receive(at) for at in (-40, 0, 777)] == [0, 0, 777]
    assert alignment.from_source(9) is None


def test_a_gap_holds_the_position_and_moves_what_follows():
    alignment = Alignment.of([gap(1000, 30_000), gap(3000, 500)], start_ms=0)
    assert alignment.from_receive(1000) == 1000
    assert alignment.from_receive(20_000) == 1000
    assert alignment.from_receive(31_000) == 1000
    assert alignment.from_receive(31_001) == 1001
    assert alignment.from_receive(33_400) == 3000
    assert alignment.from_receive(33_600) == 3100
    assert alignment.lost_ms == 30_500


def test_positions_are_those_of_the_file_not_of_the_recording():
    alignment = Alignment.of([gap(101_000, 400)], start_ms=100_000, duration_ms=5000)
    assert alignment.from_receive(1900) == 1500
    assert alignment.from_receive(90_000) == 5000


def test_what_was_lost_before_the_file_began_is_not_on_its_stopwatch():
    alignment = Alignment.of([gap(100_000, 400), gap(99_000, 400)], start_ms=100_000)
    assert alignment.from_receive(1900) == 1900
    assert alignment.lost_ms == 0


def test_what_moves_nothing_is_left_out_and_so_are_entries_of_other_recordings():
    entries = [
        Repair(RepairKind.FILLER, 0, 100, 900),
        Repair(RepairKind.REPLAY, 0, 100, 900),
        {"kind": "gap", "at_ms": 100, "amount": 700, "detail": "failed"},  # HLS: the file keeps this time
        {"kind": "split", "at_ms": 100, "amount": 0, "detail": ""},
        {"kind": "gap", "at_ms": "100", "lost_ms": 10},
        {"kind": ["gap"], "at_ms": 1},
        {},
    ]
    assert Alignment.of(entries, start_ms=0).from_receive(5000) == 5000


def test_events_and_objects_give_the_same_map():
    repairs = [gap(1000, 30_000, 77), Repair(RepairKind.TIMESTAMP_JUMP, 5, 9000, -800)]
    as_json = [to_record(repair) for repair in repairs]
    assert Alignment.of(as_json, start_ms=10) == Alignment.of(repairs, start_ms=10)


def test_source_times_run_from_each_anchor():
    jump = Repair(RepairKind.TIMESTAMP_JUMP, 500_000, 2000, 400_000)
    alignment = Alignment.of([jump], start_ms=0, source_ms=98_000)
    assert alignment.from_source(99_000) == 1000
    assert alignment.from_source(500_700) == 2700
    assert alignment.from_source(300_000) == 2000
    assert alignment.from_source(90_000) is None


def test_a_clock_that_went_back_or_wrapped_is_followed():
    back = Repair(RepairKind.TIMESTAMP_JUMP, 0, 4000, -50_000)
    alignment = Alignment.of([back], start_ms=0, source_ms=2**32 - 1000, duration_ms=9000)
    assert alignment.from_source(2**32 - 500) == 500
    assert alignment.from_source(1000) == 5000  # occurs twice: the later one
    assert alignment.from_source(100_000) is None


@given(
    st.lists(st.tuples(st.integers(1, 100_000), st.integers(0, 50_000)), max_size=8), st.lists(st.integers(0, 600_000))
)
def test_the_map_never_runs_backwards_and_never_ahead_of_the_stopwatch(places, times):
    alignment = Alignment.of([gap(at, lost) for at, lost in places], start_ms=0)
    positions = [alignment.from_receive(time) for time in sorted(times)]
    assert positions == sorted(positions)
    assert all(position <= time for position, time in zip(positions, sorted(times), strict=True))


def _broadcast() -> tuple[flv.Recording, dict[int, float]]:
    """A recording over a break of 30 s and a jump of the clock alone, and when each group's first frame was on air."""
    recording = flv.Recording(limits=Limits(max_duration_ms=9_000))
    on_air: dict[int, float] = {}
    wall, clock = 1000.0, 700_000
    for n in range(60):
        if n == 10:
            wall, clock = wall + 30, clock + 30_000
            recording.reconnect(30_000)
        if n == 40:
            clock += 3_600_000
        data = b"".join(map(flv.raw, flv.gop(clock, n)))
        recording.feed((flv.stream() if n in (0, 10) else b"") + data, received_at=wall)
        on_air[n] = wall
        wall, clock = wall + 0.4, clock + 400
    return recording.finish(), on_air


def test_chat_lies_at_the_frame_that_was_on_air_when_it_was_said():
    # Given a broadcast recorded into files
    recording, on_air = _broadcast()
    completed = recording.of(SegmentCompleted)
    assert len(completed) == 3
    for event, content in zip(completed, recording.contents, strict=True):
        alignment = Alignment.of(
            [to_record(repair) for repair in event.repairs],
            start_ms=event.start_ms,
            source_ms=event.source_ms,
            duration_ms=event.duration_ms,
        )
        keyframes = [(int.from_bytes(t.payload[10:14]) // 1000, t.timestamp) for t in flv.media(content) if t.kind == 1]
        started = on_air[keyframes[0][0]]
        # When a line is said at each keyframe, it lies at that keyframe
        for group, at in keyframes:
            assert abs(alignment.from_receive(round(1000 * (on_air[group] - started))) - at) <= 100


@pytest.mark.parametrize("limit", [None, 1_500])
def test_source_times_of_a_file_repair_lie_at_their_frames(limit):
    # Given a raw file whose clock jumps twice
    tags = [*flv.gops(50_000, range(5)), *flv.gops(200_000, range(5, 9)), *flv.gops(120_000, range(9, 15))]
    source = {bytes(tag.payload): tag.timestamp for tag in tags}
    # When it is repaired
    recording = flv.record(flv.stream(*tags), limits=Limits(max_duration_ms=limit))
    # Then each frame is found by its source time
    for event, content in zip(recording.of(SegmentCompleted), recording.contents, strict=True):
        alignment = Alignment.of(
            event.repairs, start_ms=event.start_ms, source_ms=event.source_ms, duration_ms=event.duration_ms
        )
        for tag in flv.media(content):
            assert alignment.from_source(source[bytes(tag.payload)]) == tag.timestamp


def test_a_channel_that_stays_on_its_clock_lies_there_and_is_found_where_the_other_one_jumped():
    # Given pictures whose clock jumps by just more than is taken for a pause, and sound whose clock does not
    pictures = [flv.video(0, 1, key=True), flv.video(541, 2, key=True)]
    sounds = [flv.audio(at, 100 + at) for at in range(80, 570, 23)]
    source = {bytes(tag.payload): tag.timestamp for tag in [*pictures, *sounds]}
    # When they are recorded
    recording = flv.record(flv.stream(pictures[0], flv.audio(0, 3), pictures[1], *sounds))
    (event,), (content,) = recording.of(SegmentCompleted), recording.contents
    (jump,) = event.repairs
    alignment = Alignment.of(
        event.repairs, start_ms=event.start_ms, source_ms=event.source_ms, duration_ms=event.duration_ms
    )
    # Then the second picture follows the first, and is found there
    assert (jump.kind, jump.output_timestamp) == (RepairKind.TIMESTAMP_JUMP, 33)
    assert alignment.from_source(541) == 33
    # And the sound keeps its time, and what of it the clock of the pictures left out is found where they go on
    kept = [tag for tag in flv.media(content) if bytes(tag.payload) in source and tag.type == 8]
    assert [tag.timestamp for tag in kept] == [tag.timestamp for tag in sounds]
    assert {alignment.from_source(tag.timestamp) for tag in sounds if tag.timestamp < 541} == {33}


def test_sound_from_before_the_first_keyframe_is_found_at_the_start_of_the_file():
    # Given a stream whose first sound comes behind the first keyframe and was heard before it
    tags = [flv.video(5000, 1, key=True), flv.audio(4984, 2), *flv.gop(5040, 3)[1:]]
    source = {bytes(tag.payload): tag.timestamp for tag in tags}
    # When it is recorded
    recording = flv.record(flv.stream(*tags))
    (event,), (content,) = recording.of(SegmentCompleted), recording.contents
    # Then the file's source time is that of the sound, and each frame is found by its own
    assert event.source_ms == 4984
    alignment = Alignment.of(
        event.repairs, start_ms=event.start_ms, source_ms=event.source_ms, duration_ms=event.duration_ms
    )
    for tag in flv.media(content):
        assert alignment.from_source(source[bytes(tag.payload)]) == tag.timestamp
