"""Groups: GOPs, and bounded stretches where there are none."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media.flv.tag import Tag
from media.repair import RepairOptions
from media.repair.grouping import Grouper
from media.repair.model import Group

from libs.media.tests import flv_streams as flv


def grouped(tags: list[Tag], options: RepairOptions | None = None, chunk: int = 1000) -> list[list[Tag]]:
    grouper = Grouper(options or RepairOptions())
    groups = [g for at in range(0, len(tags), chunk) for g in grouper.process(tags[at : at + chunk], None)]
    return [group.tags for group in [*groups, *grouper.flush()]]


def test_a_group_begins_at_each_keyframe():
    first, second, third = (flv.gop(n * 400, n) for n in range(3))
    assert grouped([*first, *second, *third]) == [first, second, third]


def test_what_comes_before_the_first_keyframe_is_a_group_of_its_own():
    lead = flv.gop(0, 0)[1:]
    assert grouped([*lead, *flv.gop(400, 1)]) == [lead, flv.gop(400, 1)]


def test_audio_alone_is_grouped_by_time():
    tags = [flv.audio(n * 100, n) for n in range(120)]
    assert [len(group) for group in grouped(tags)] == [51, 51, 18]


def test_a_group_is_bounded_in_tags_and_bytes():
    tags = flv.gop(0, 1, frames=60)
    by_tags = grouped(tags, RepairOptions(max_group_tags=7))
    by_bytes = grouped(tags, RepairOptions(max_group_bytes=100))
    for groups in (by_tags, by_bytes):
        assert [tag for group in groups for tag in group] == tags
    assert max(map(len, by_tags)) == 7
    assert 100 <= max(sum(tag.size for tag in group) for group in by_bytes) <= 100 + 25


@given(
    st.integers(1, 60),
    st.sampled_from([RepairOptions(), RepairOptions(max_group_tags=9), RepairOptions(max_group_bytes=333)]),
)
def test_groups_do_not_depend_on_chunks(chunk, options):
    tags = [*[flv.audio(n * 90, n) for n in range(80)], *flv.gops(7200, range(4))]
    assert grouped(tags, options, chunk) == grouped(tags, options)


def test_the_first_group_of_a_connection_says_so_and_keeps_its_arrival_time():
    grouper = Grouper(RepairOptions())
    assert list(grouper.process(flv.gop(0, 1), 10.0)) == []
    grouper.begin_connection()
    (first,) = grouper.flush()
    (second,) = grouper.process([*flv.gop(400, 2), *flv.gop(800, 3)], 20.0)
    (third,) = grouper.flush()
    assert [(g.reconnected, g.received_at) for g in (first, second, third)] == [
        (False, 10.0),
        (True, 20.0),
        (False, 20.0),
    ]
    assert grouper.is_empty


def test_a_group_that_may_flow_comes_in_pieces_of_media_time_whatever_the_chunks():
    def pieces(chunk: int) -> list[tuple[int, bool, bool]]:
        grouper = Grouper(RepairOptions(piece_ms=100), lambda *_: True)
        tags = flv.gops(0, [1, 2])
        groups = [g for at in range(0, len(tags), chunk) for g in grouper.process(tags[at : at + chunk], None)]
        return [(group.tags[0].timestamp, group.begins, group.ends) for group in [*groups, *grouper.flush()]]

    assert pieces(1) == pieces(7) == pieces(1000)
    assert [begins for _, begins, _ in pieces(1)].count(True) == 2
    assert [ends for _, _, ends in pieces(1)].count(True) == 2
    assert all(after[1] or after[0] - before[0] >= 100 for before, after in pairwise(pieces(1)))


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_pieces_are_shorter_in_the_first_group_of_each_connection(chunk):
    grouper = Grouper(RepairOptions(piece_ms=500, first_piece_ms=100), lambda *_: True)
    source = flv.gops(0, [1, 2, 3], length=2000, frames=50)
    groups: list[Group] = []
    for _ in range(2):
        for at in range(0, len(source), chunk):
            groups += grouper.process(source[at : at + chunk], None)
        groups += grouper.flush()
        grouper.begin_connection()
    longest = [
        max(each.tags[-1].timestamp - each.tags[0].timestamp for each in one_group) for one_group in by_group(groups)
    ]
    assert [length < 100 for length in longest] == [True, False, False] * 2
    assert max(longest) < 500


def by_group(pieces: list[Group]) -> Iterator[list[Group]]:
    group: list[Group] = []
    for piece in pieces:
        group.append(piece)
        if piece.ends:
            yield group
            group = []


def test_a_piece_tells_how_much_of_its_group_is_here_already():
    grouper = Grouper(RepairOptions(piece_ms=100), lambda *_: True)
    tags = flv.gop(0, 1)
    pieces = [*grouper.process(tags, None), *grouper.flush()]
    behind = [sum(len(later.tags) for later in pieces[n + 1 :]) for n in range(len(pieces))]
    assert [piece.following for piece in pieces] == behind


def test_what_has_no_keyframe_in_front_waits_until_it_is_whole():
    grouper = Grouper(RepairOptions(piece_ms=100, max_group_ms=1000), lambda *_: True)
    sound = [flv.audio(at, at) for at in range(0, 900, 23)]
    assert list(grouper.process(sound, None)) == []
    assert [group.is_piece for group in grouper.flush()] == [False]


def test_a_piece_was_complete_when_its_last_tag_came_and_not_when_the_next_piece_began():
    grouper = Grouper(RepairOptions(piece_ms=100), lambda *_: True)
    tags = flv.gop(0, 1)
    arrived = {id(tag): tag.timestamp / 1000 for tag in tags}
    pieces = [piece for tag in tags for piece in grouper.process([tag], arrived[id(tag)])]
    assert len(pieces) >= 2
    assert [piece.completed_at for piece in pieces] == [arrived[id(piece.tags[-1])] for piece in pieces]
