"""What holds for every input: the promises of the repair chain, tried on streams with every known fault."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media.flv.recorder import Limits, SegmentCompleted
from media.flv.recover import recover
from media.flv.tag import AUDIO, VIDEO, Tag
from media.repair import RepairKind, RepairOptions
from media.repair.alignment import Alignment, Move
from media.repair.model import MOVES, wrapped

from libs.media.tests import flv_streams as flv

JUMP = RepairOptions().jump_ms


@dataclass
class Clock:
    """The faulty clock and the content counter of a stream under construction."""

    now: int = 0
    content: int = 0


def _gop(draw, clock: Clock) -> list[Tag]:
    frames = draw(st.integers(1, 14))
    clock.content += 1
    tags = flv.gop(clock.now, clock.content, frames=frames, step=draw(st.sampled_from([20, 33, 40, 100])))
    clock.now += frames * 40
    only = draw(st.sampled_from(["both", "both", "both", "video", "audio"]))
    if only != "both":
        tags = [tag for tag in tags if (tag.type == AUDIO) == (only == "audio")]
    return tags


def _late_audio(draw, tags: list[Tag]) -> list[Tag]:
    delay = draw(st.integers(1, 12))
    order = sorted(range(len(tags)), key=lambda at: at + (delay if tags[at].type == AUDIO else 0))
    return [tags[at] for at in order]


def _step_back(draw, tags: list[Tag]) -> list[Tag]:
    at, step = draw(st.integers(0, len(tags) - 1)), draw(st.sampled_from([16, 68, 76, 107, 400]))
    return [
        Tag.of(tag.type, tag.timestamp - step if n >= at else tag.timestamp, tag.payload) for n, tag in enumerate(tags)
    ]


def _jump_inside(draw, tags: list[Tag]) -> list[Tag]:
    at, step = draw(st.integers(0, len(tags) - 1)), draw(st.sampled_from([-100_000, -501, 501, 3_000, 10_000_000]))
    return [
        Tag.of(tag.type, tag.timestamp + step if n >= at else tag.timestamp, tag.payload) for n, tag in enumerate(tags)
    ]


@st.composite
def connections(draw) -> list[list[Tag | bytes]]:
    """One to three connections, each a list of tags and junk; content is unique unless it is a replay."""
    clock = Clock(now=draw(st.sampled_from([0, 1, 1000, 5_000_000, 2**24 - 300, 2**32 - 700])))
    result: list[list[Tag | bytes]] = []
    history: list[list[Tag]] = []
    for _ in range(draw(st.integers(1, 3))):
        items: list[Tag | bytes] = []
        if draw(st.booleans()) or not result:
            items += [flv.avc_header(), flv.aac_header()]
        for _ in range(draw(st.integers(1, 7))):
            fault = draw(
                st.sampled_from(
                    [
                        "none",
                        "none",
                        "late",
                        "back",
                        "jump",
                        "inside",
                        "replay",
                        "header",
                        "new header",
                        "end",
                        "script",
                        "junk",
                    ]
                )
            )
            tags = _gop(draw, clock)
            if not tags:
                continue
            if fault == "late":
                tags = _late_audio(draw, tags)
            elif fault == "back":
                tags = _step_back(draw, tags)
            elif fault == "inside":
                tags = _jump_inside(draw, tags)
            elif fault == "jump":
                clock.now += draw(st.sampled_from([-50_000, -700, 501, 900, 20_000]))
            elif fault == "replay" and history:
                items += draw(st.sampled_from(history))
            elif fault == "header":
                items += [flv.avc_header(clock.now), flv.aac_header(clock.now)]
            elif fault == "new header":
                items.append(flv.avc_header(0, flv.avc_record(draw(st.sampled_from([flv.SPS, flv.OTHER_SPS])))))
            elif fault == "end":
                items.append(flv.avc_end(draw(st.sampled_from([0, clock.now]))))
            elif fault == "script":
                items.append(Tag.of(18, 0, draw(st.sampled_from([b"\x02\x00\x05hello\x05", b"\x02", b""]))))
            elif fault == "junk":
                items.append(draw(st.binary(min_size=1, max_size=30)))
            items += tags
            history.append(tags)
        result.append(items)
    return result


def as_bytes(items: list[Tag | bytes], shift: int = 0) -> bytes:
    parts = [
        item if isinstance(item, bytes) else flv.raw_tag(item.type, item.timestamp + shift, bytes(item.payload))
        for item in items
    ]
    return flv.FILE_HEADER + b"".join(parts)


@pytest.fixture(params=[0, 100], ids=["whole groups", "pieces of groups"], scope="module", autouse=True)
def piece_ms(request: pytest.FixtureRequest) -> Iterator[int]:
    """Everything holds for a chain that waits for whole groups and for one that hands them on while they come."""
    pieces.append(request.param)
    yield request.param
    pieces.pop()


pieces: list[int] = [0]


def repaired(source: list[list[Tag | bytes]], shift: int = 0, **kwargs) -> flv.Recording:
    options = replace(kwargs.pop("options", RepairOptions()), piece_ms=pieces[-1])
    return flv.record(*(as_bytes(items, shift) for items in source), options=options, **kwargs)


def without_junk(source: list[list[Tag | bytes]]) -> list[list[Tag]]:
    return [[item for item in items if isinstance(item, Tag)] for items in source]


@settings(max_examples=200)
@given(connections())
def test_each_file_starts_at_zero_and_never_steps_back_or_jumps(source):
    for content in repaired(source).contents:
        times = [tag.timestamp for tag in flv.media(content)]
        steps = [after - before for before, after in pairwise(times)]
        assert times[0] == 0
        assert all(0 <= step <= JUMP for step in steps)


@settings(max_examples=200)
@given(connections())
def test_each_file_has_one_script_tag_and_at_most_one_header_per_channel_in_front(source):
    for content in repaired(source).contents:
        tags = [item for item in flv.parse(content) if isinstance(item, Tag)]
        headers = [tag for tag in tags if tag.is_sequence_header]
        assert [tag.type for tag in tags].count(18) == 1
        assert tags[0].type == 18
        assert tags[1 : 1 + len(headers)] == headers
        assert len({tag.type for tag in headers}) == len(headers)
        assert all(tag.timestamp == 0 for tag in headers)
        assert not any(tag.is_end_of_sequence for tag in tags[:-1])


@settings(max_examples=200)
@given(connections())
def test_repairing_a_repaired_file_changes_nothing(source):
    for content in repaired(source).contents:
        again = flv.record(content)
        assert again.contents == [content]
        assert {repair.kind for repair in again.repairs} <= set()


@settings(max_examples=150)
@given(connections(), st.sampled_from([1, 12_345, 2**24, 2**31, 2**32 - 1]))
def test_shifting_the_source_clock_changes_nothing(source, shift):
    plain = without_junk(source)
    assert repaired(plain, shift).contents == repaired(plain).contents


@settings(max_examples=150)
@given(connections(), st.integers(1, 400))
def test_the_size_of_the_chunks_changes_nothing(source, chunk):
    whole, pieces = repaired(source), repaired(source, chunk=chunk)
    assert pieces.contents == whole.contents
    assert pieces.repairs == whole.repairs


@settings(max_examples=200)
@given(connections())
def test_no_media_is_invented_and_only_replays_and_fragments_are_dropped(source):
    plain = without_junk(source)
    recording = repaired(plain)
    written = Counter(bytes(tag.payload) for content in recording.contents for tag in flv.media(content))
    given_media = Counter(bytes(tag.payload) for items in plain for tag in items if tag.is_media)
    assert not written - given_media
    fragments = _fragments(recording)
    missing = [payload for payload in given_media if payload not in written]
    assert len(missing) <= fragments
    dropped = (given_media - written).total()
    told = fragments + sum(repair.amount for repair in recording.repairs if repair.kind is RepairKind.OVERLAP)
    told += sum(int(repair.detail.split()[0]) for repair in recording.repairs if repair.kind is RepairKind.REPLAY)
    if recording.contents:
        assert dropped <= told


def _fragments(recording: flv.Recording) -> int:
    left = [*recording.repairs, *recording.recorder._log]
    return sum(repair.amount for repair in left if repair.kind is RepairKind.FRAGMENT)


@settings(max_examples=100)
@given(connections())
def test_each_channel_keeps_its_order(source):
    plain = without_junk(source)
    for channel in (AUDIO, VIDEO):
        rest = iter(bytes(tag.payload) for items in plain for tag in items if tag.type == channel and tag.is_media)
        for content in repaired(plain).contents:
            for tag in flv.media(content):
                assert tag.type != channel or bytes(tag.payload) in rest


@settings(max_examples=150)
@given(connections(), st.sampled_from([Limits(max_duration_ms=700), Limits(max_bytes=6500), Limits(1500, 9000)]))
def test_limits_keep_every_promise(source, limits):
    plain = without_junk(source)
    recording = repaired(plain, limits=limits)
    for content, event in zip(recording.contents, recording.of(SegmentCompleted), strict=True):
        times = [tag.timestamp for tag in flv.media(content)]
        assert times[0] == 0
        assert all(0 <= after - before <= JUMP for before, after in pairwise(times))
        assert (event.bytes, event.duration_ms) == (len(content), times[-1])
        assert event.keyframes == sum(tag.is_keyframe for tag in flv.media(content))
    # Files follow each other on the timeline, without overlap
    ends = [(event.start_ms, event.start_ms + event.duration_ms) for event in recording.of(SegmentCompleted)]
    assert all(end <= start for (_, end), (start, _) in pairwise(ends))
    # And what is written is what is written without limits, but for shards between two changes of parameters
    unlimited = [bytes(tag.payload) for content in repaired(plain).contents for tag in flv.media(content)]
    written = [bytes(tag.payload) for content in recording.contents for tag in flv.media(content)]
    if pieces[-1]:
        # A limit decides what may be handed on in pieces; audio that comes very late is then sorted in elsewhere.
        unlimited, written = sorted(unlimited), sorted(written)
    assert written == unlimited


@settings(max_examples=100)
@given(connections())
def test_by_content_alone_time_is_repaired_all_the_same(source):
    for content in repaired(source, options=RepairOptions(replay="content")).contents:
        times = [tag.timestamp for tag in flv.media(content)]
        assert times[0] == 0
        assert all(0 <= after - before <= JUMP for before, after in pairwise(times))


@settings(max_examples=150)
@given(connections(), st.data())
def test_a_recording_killed_anywhere_leaves_files_that_recover_to_what_was_written(source, data):
    # Given a recording that stops dead somewhere, small writes included
    whole = as_bytes([item for items in source for item in items])
    options = RepairOptions(piece_ms=pieces[-1])
    recording = flv.Recording(buffer_size=data.draw(st.sampled_from([1, 300, 4096])), options=options)
    recording.feed(whole[: data.draw(st.integers(0, len(whole)))])
    for file in recording.files.values():
        # When its file is recovered
        left = io.BytesIO(file.content or file.getvalue())
        if not left.getvalue():
            continue
        recovered = recover(left)
        # Then it is a file like any other: repairing it finds nothing to do, if there is enough of it
        again = flv.record(left.getvalue())
        assert again.repairs == []
        assert recovered.bytes == len(left.getvalue())
        if len(flv.media(left.getvalue())) >= 10:
            assert flv.media(again.contents[0]) == flv.media(left.getvalue())


@pytest.mark.parametrize("shift", [0, 2**32 - 200])
def test_a_clean_stream_is_only_shifted(shift):
    # Given a clean stream that begins anywhere
    source = flv.gops(0, range(5))
    # When it is recorded
    recording = repaired([[flv.avc_header(), flv.aac_header(), *source]], shift)
    # Then its media is the same, from 0 on, and nothing was repaired
    assert flv.media(recording.contents[0]) == source
    assert recording.repairs == []


@settings(max_examples=150)
@given(connections(), st.sampled_from([None, Limits(max_duration_ms=700), Limits(max_bytes=6500)]))
def test_what_moves_the_timeline_is_told_with_the_file_it_lies_in(source, limits):
    recording = repaired(without_junk(source), limits=limits)
    completed = recording.of(SegmentCompleted)
    for event in completed:
        for repair in event.repairs:
            if repair.kind in MOVES:
                assert repair.output_timestamp <= event.start_ms + event.duration_ms
                # What lies before the file happened in media that was too little for a file of its own
                assert repair.output_timestamp >= event.start_ms or _fragments(recording)
    # And limits change nothing of what is told, but for media that became no file
    told = [repair for repair in recording.repairs if repair.kind in MOVES]
    if completed and not recording.recorder.repairs_without_file and not pieces[-1]:
        unlimited = repaired(without_junk(source))
        assert told == [repair for repair in unlimited.repairs if repair.kind in MOVES]


@settings(max_examples=150)
@given(connections())
def test_each_frame_lies_where_a_clock_of_the_map_says_and_is_found_there_while_that_clock_counts(source):
    # Given a source of one connection, of which no frame had to be moved against its own channel
    tags = without_junk(source[:1])[0]
    recording = repaired([tags])
    kinds = {repair.kind for repair in recording.repairs}
    if len(recording.contents) != 1 or kinds & {RepairKind.TIMESTAMP_REBOUND, RepairKind.INTERLEAVE}:
        return
    (event,) = recording.of(SegmentCompleted)
    alignment = Alignment.of(
        event.repairs, start_ms=event.start_ms, source_ms=event.source_ms, duration_ms=event.duration_ms
    )
    written = {bytes(tag.payload): tag.timestamp for tag in flv.media(recording.contents[0])}
    for tag in (tag for tag in tags if tag.is_media and bytes(tag.payload) in written):
        place, found = written[bytes(tag.payload)], alignment.from_source(tag.timestamp & 0xFFFFFFFF)
        # Then each frame lies exactly where one of the clocks says
        told = [n for n, clock in enumerate(alignment.moves) if _shows(clock, place, tag.timestamp)]
        assert told
        counts = _counting(alignment.moves, place)
        if counts in told and not _went_back(alignment.moves):
            assert found == place
        elif counts in told:
            # a source time that occurs twice is found at its later place
            assert found is not None
            assert found >= place
            assert _shows(alignment.moves[_counting(alignment.moves, found)], found, tag.timestamp)
        elif not _went_back(alignment.moves):
            # one channel changed its clock later than the other, or with earlier frames: found between there and its place
            assert found is not None
            left = [alignment.moves[n + 1].at_ms for n in told if n < counts]
            reached = [alignment.moves[n].at_ms for n in told if n > counts]
            assert left[-1] <= found <= place if left else place <= found <= reached[0]


def _shows(clock: Move, place: int, source: int) -> bool:
    return clock.source_ms is not None and place - clock.at_ms == wrapped(source - clock.source_ms)


def _counting(clocks: tuple[Move, ...], place: int) -> int:
    """Which clock counts at a place: the last that began there or before."""
    return max(n for n, clock in enumerate(clocks) if clock.at_ms <= place)


def _went_back(clocks: tuple[Move, ...]) -> bool:
    return any(
        wrapped(after.source_ms - before.source_ms) < after.at_ms - before.at_ms for before, after in pairwise(clocks)
    )
