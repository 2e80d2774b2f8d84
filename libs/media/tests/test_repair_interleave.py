"""Interleaving: one sequence that never goes back."""

from __future__ import annotations

from media.flv.tag import AUDIO, VIDEO, Tag
from media.repair import RepairKind, RepairLog
from media.repair.interleave import Interleaver

from libs.media.tests import flv_streams as flv


def v(time: int) -> Tag:
    return flv.video(time, time)


def a(time: int) -> Tag:
    return flv.audio(time, time)


def shape(tags: list[Tag]) -> list[tuple[int, int]]:
    return [(tag.type, tag.timestamp) for tag in tags]


def test_channels_are_sorted_into_each_other():
    interleaver = Interleaver(1000, RepairLog())
    tags = interleaver.process([v(0), v(40), a(0), v(80), a(23), a(46), a(69), a(92)])
    assert shape(tags) == [(9, 0), (8, 0), (8, 23), (9, 40), (8, 46), (8, 69), (9, 80)]
    assert shape(interleaver.flush()) == [(8, 92)]


def test_audio_that_comes_behind_the_next_keyframe_is_put_before_it():
    # Given the interleave seen in the field: audio 16 and 107 ms behind
    log = RepairLog()
    interleaver = Interleaver(1000, log)
    out = interleaver.process([v(0), a(0), v(40), a(23), v(80)])
    out += interleaver.process([v(120), a(13 + 91), v(160), a(53 + 91), v(200)])
    out += interleaver.flush()
    assert [tag.timestamp for tag in out] == sorted(tag.timestamp for tag in out)
    assert [tag.timestamp for tag in out if tag.type == AUDIO] == [0, 23, 104, 144]
    assert list(log) == []


def test_equal_times_keep_their_order():
    interleaver = Interleaver(1000, RepairLog())
    tags = [a(0), v(0), v(40), a(40)]
    assert shape([*interleaver.process(tags), *interleaver.flush()]) == shape(tags)


def test_a_missing_channel_delays_the_other_by_the_limit_at_most():
    interleaver = Interleaver(1000, RepairLog())
    interleaver.process([v(0), a(0)])
    out = interleaver.process([v(time) for time in range(40, 5000, 40)])
    assert out[-1].timestamp == 3960
    assert len(interleaver.held) == 25


def test_one_channel_alone_is_not_held():
    interleaver = Interleaver(1000, RepairLog())
    assert len(interleaver.process([v(0), v(40), v(80)])) == 3
    assert interleaver.held == []


def test_what_comes_too_late_is_moved_up_and_told():
    log = RepairLog()
    interleaver = Interleaver(100, log)
    interleaver.process([v(0), a(0), *(v(time) for time in range(40, 1000, 40))])
    out = interleaver.process([a(23), a(46), a(960)])
    assert min(tag.timestamp for tag in out) == 840
    assert [(repair.kind, repair.amount) for repair in log] == [(RepairKind.INTERLEAVE, 817)]


def test_an_empty_interleaver_flushes_nothing():
    interleaver = Interleaver(1000, RepairLog())
    assert interleaver.flush() == []
    assert {VIDEO, AUDIO} == {9, 8}
