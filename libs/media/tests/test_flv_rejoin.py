"""A recording over several connections: seams, gaps, and the timeline that chat is placed on."""

from __future__ import annotations

import pytest
from media.flv.recorder import Rejoined
from media.flv.tag import VIDEO, Tag
from media.repair import RepairKind

from libs.media.tests import flv_streams as flv


def kinds(recording: flv.Recording) -> list[RepairKind]:
    return [repair.kind for repair in recording.repairs]


def test_a_rejoin_inside_a_gop_is_seamless():
    # Given a connection that breaks inside the fifth GOP
    source = flv.gops(100_000, range(10))
    broken = source[: 4 * 28 + 11]
    # And a server that answers with its cache: the last two GOPs from their beginning
    rejoined = source[3 * 28 :]
    # When both are recorded
    recording = flv.record(flv.stream(*broken), flv.stream(*rejoined))
    # Then every tag is there once, at its own time
    assert [bytes(tag.payload) for tag in flv.media(recording.contents[0])] == [bytes(tag.payload) for tag in source]
    assert [tag.timestamp for tag in flv.media(recording.contents[0])] == [tag.timestamp - 100_000 for tag in source]
    (seam,) = recording.of(Rejoined)
    assert (seam.seamless, seam.gap_ms, seam.overlap_tags) == (True, 0, 28 + 11)


@pytest.mark.parametrize("shift", [-100_000, 7_777_777, 2**31])
def test_a_rejoin_is_seamless_when_the_new_connection_has_another_clock(shift):
    source = flv.gops(100_000, range(10))
    rejoined = [Tag.of(tag.type, tag.timestamp + shift & 0xFFFFFFFF, tag.payload) for tag in source[3 * 28 :]]
    recording = flv.record(flv.stream(*source[: 4 * 28 + 11]), flv.stream(*rejoined))
    assert [tag.timestamp for tag in flv.media(recording.contents[0])] == [tag.timestamp - 100_000 for tag in source]
    assert recording.of(Rejoined)[0].seamless


def test_a_rejoin_at_a_gop_border_with_another_clock_is_seamless():
    source = flv.gops(100_000, range(10))
    rejoined = [Tag.of(tag.type, tag.timestamp - 90_000, tag.payload) for tag in source[3 * 28 :]]
    recording = flv.record(flv.stream(*source[: 5 * 28]), flv.stream(*rejoined))
    assert [tag.timestamp for tag in flv.media(recording.contents[0])] == [tag.timestamp - 100_000 for tag in source]
    assert recording.of(Rejoined)[0].seamless


def test_several_rejoins_with_several_clocks_are_seamless():
    source = flv.gops(100_000, range(20))
    clocks = [(0, 5, 0), (3, 9, -70_000), (7, 14, 5_000_000), (12, 20, 1_000)]
    connections = [
        flv.stream(*[Tag.of(tag.type, tag.timestamp + clock, tag.payload) for tag in source[first * 28 : last * 28]])
        for first, last, clock in clocks
    ]
    recording = flv.record(*connections)
    assert [tag.timestamp for tag in flv.media(recording.contents[0])] == [tag.timestamp - 100_000 for tag in source]
    assert [seam.seamless for seam in recording.of(Rejoined)] == [True] * 3


def test_media_lost_between_connections_is_a_gap_of_known_length():
    first, second = flv.gops(0, range(4)), flv.gops(21_600, range(10, 14))
    recording = flv.record(flv.stream(*first), flv.stream(*second))
    (seam,) = recording.of(Rejoined)
    assert not seam.seamless
    assert 19_900 < seam.gap_ms < 20_100
    assert len(recording.contents) == 1
    gap = next(repair for repair in recording.repairs if repair.kind is RepairKind.GAP)
    assert (gap.amount, gap.output_timestamp, gap.input_timestamp) == (seam.gap_ms, seam.at_ms, 21_600)


@pytest.mark.parametrize("lost", range(6))
def test_a_few_lost_frames_are_told_although_the_clock_of_the_file_goes_on_over_them(lost):
    # given a connection that breaks behind a whole group, and another one that begins some frames later in the stream
    source = flv.gops(0, range(8))
    rejoined = [tag for tag in source[4 * 28 :] if tag.timestamp >= source[4 * 28].timestamp]
    video = [tag for tag in rejoined if tag.type == VIDEO]
    begin, pace = video[lost].timestamp, video[1].timestamp - video[0].timestamp
    after = [Tag.of(tag.type, tag.timestamp, tag.payload) for tag in rejoined if tag.timestamp >= begin]
    recording = flv.record(flv.stream(*source[: 4 * 28]), flv.stream(*after))
    # then the seam says how much is missing, none being nothing
    (seam,) = recording.of(Rejoined)
    assert seam.gap_ms == pytest.approx(lost * pace, abs=pace // 4)
    assert seam.seamless == (lost == 0)
    # and the file keeps the times of the source
    (content,) = recording.contents
    assert [tag.timestamp for tag in flv.media(content)] == [tag.timestamp for tag in (*source[: 4 * 28], *after)]


@pytest.mark.parametrize(("offline", "expected"), [(4_500, 4_500), (None, None)])
def test_a_gap_after_which_the_clock_restarted_has_the_length_somebody_measured(offline, expected):
    recording = flv.Recording()
    recording.feed(flv.stream(*flv.gops(50_000, range(4))))
    recording.reconnect(offline).feed(flv.stream(*flv.gops(0, range(10, 14)))).finish()
    (seam,) = recording.of(Rejoined)
    assert (seam.seamless, seam.gap_ms) == (False, expected)


def test_a_connection_that_brings_a_handful_of_tags_leaves_no_trace():
    first, rest = flv.gops(0, range(4)), flv.gops(1600, range(4, 8))
    recording = flv.record(flv.stream(*first), flv.stream(*flv.gops(90_000, [77])[:5]), flv.stream(*rest))
    payloads = [bytes(tag.payload) for tag in flv.media(recording.contents[0])]
    assert payloads == [bytes(tag.payload) for tag in [*first, *rest]]
    assert kinds(recording) == [RepairKind.FRAGMENT, RepairKind.HEADER_REPEATED, RepairKind.HEADER_REPEATED]


def test_a_torn_tag_at_the_end_of_a_connection_is_dropped():
    first, rest = flv.gops(0, range(4)), flv.gops(1600, range(4, 8))
    recording = flv.record(flv.stream(*first)[:-9], flv.stream(*rest))
    assert len(flv.media(recording.contents[0])) == len(first) + len(rest) - 1


def test_chat_is_placed_on_the_repaired_timeline():
    # Given media that arrives at wall second 1000, breaks, and comes back 30 s later with a restarted clock
    recording = flv.Recording()
    for n in range(10):
        recording.feed(
            flv.stream(*flv.gops(n * 400, [n])) if n == 0 else b"".join(map(flv.raw, flv.gops(n * 400, [n]))),
            received_at=1000 + n * 0.4,
        )
    recording.reconnect(26_000)
    for n in range(10, 20):
        data = b"".join(map(flv.raw, flv.gops((n - 10) * 400, [n])))
        recording.feed(flv.FILE_HEADER + data if n == 10 else data, received_at=1030 + (n - 10) * 0.4)
    recording.finish()
    timeline = recording.recorder.timeline
    seam = recording.of(Rejoined)[0].at_ms
    # Then a message lies at the media that arrived when it did, before and behind the break
    assert abs(timeline.at_wall(1002) - 2000) <= 400
    assert abs(timeline.at_wall(1030.5) - (seam + 500)) <= 400
    # And during the break it does not run ahead of the media
    assert timeline.at_wall(1020) <= seam + 400
    assert timeline.at_source(0, 2400) == 2400
    assert timeline.at_source(1, 800) == seam + 800
    assert flv.media(recording.contents[0])[0].type == VIDEO
