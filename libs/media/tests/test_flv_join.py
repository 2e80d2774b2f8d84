"""A recording that another recorder continues: every tag once, at its own time, whoever wrote it."""

from __future__ import annotations

import io
from itertools import chain, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media.flv.recorder import FlvRecorder, Rejoined
from media.flv.recover import recover
from media.flv.tag import VIDEO, Tag
from media.flv.tail import last_group, read_tail
from media.repair.join import KEPT_TAGS, Tail
from media.repair.replay import mark

from libs.media.tests import flv_streams as flv

GOP_TAGS = 28
WALL = 1_700_000_000.0


class Side:
    """One of the two recorders and what it wrote."""

    def __init__(self, start_ms: int = 0, behind: Tail | None = None) -> None:
        self.files: list[io.BytesIO] = []
        self.events: list[Any] = []
        self.recorder = FlvRecorder(self._open, start_ms=start_ms, behind=behind, keep_tail=True)

    def _open(self, _: int) -> io.BytesIO:
        kept = self

        class File(io.BytesIO):
            def close(self) -> None:
                kept.files.append(io.BytesIO(self.getvalue()))
                super().close()

        return File()

    def feed(self, data: bytes, at: float = WALL) -> Side:
        self.events += self.recorder.feed(data, at)
        return self

    def finish(self) -> Side:
        self.events += self.recorder.finish()
        return self

    def media(self) -> list[Tag]:
        """Tags of all files with times on the recording's timeline."""
        starts = [one.start_ms for one in self.events if hasattr(one, "keyframes")]
        return [
            Tag.of(tag.type, tag.timestamp + start, bytes(tag.payload))
            for start, file in zip(starts, self.files, strict=True)
            for tag in flv.media(file.getvalue())
        ]


def told(*sides: Side) -> list[tuple[int, int, bytes]]:
    return [(tag.type, tag.timestamp, bytes(tag.payload)) for side in sides for tag in side.media()]


def expected(tags: list[Tag], base: int) -> list[tuple[int, int, bytes]]:
    return [(tag.type, tag.timestamp - base, bytes(tag.payload)) for tag in tags]


def shifted(tags: list[Tag], by: int) -> list[Tag]:
    return [Tag.of(tag.type, tag.timestamp + by & 0xFFFFFFFF, tag.payload) for tag in tags]


@pytest.mark.parametrize("clock", [0, -100_000, 7_777_777])
def test_a_hand_over_writes_every_tag_once_and_begins_at_a_keyframe(clock: int) -> None:
    # given a stream that the successor receives from the fourth group on, with a clock of its own
    source = flv.gops(100_000, range(12))
    later = shifted(source[3 * GOP_TAGS :], clock)
    old = Side()
    old.feed(flv.stream(*source[: 2 * GOP_TAGS]))
    # when the old one is asked to leave before it has seen what the successor begins with
    assert not old.recorder.leave(mark(later[0]))
    old.feed(b"".join(flv.raw(tag) for tag in source[2 * GOP_TAGS :]))
    # then it stops behind that group, whatever comes
    assert old.recorder.left
    old.finish()
    assert len(old.media()) == 4 * GOP_TAGS
    # and the successor goes on there
    new = Side(behind=old.recorder.tail)
    new.feed(flv.stream(*later)).finish()
    assert told(old, new) == expected(source, 100_000)
    assert new.media()[0].timestamp == 4 * 400
    assert flv.media(new.files[0].getvalue())[0].payload[0] == 0x17
    (seam,) = [one for one in new.events if isinstance(one, Rejoined)]
    assert (seam.seamless, seam.gap_ms) == (True, 0)


def test_who_leaves_has_written_whole_groups_only() -> None:
    source = flv.gops(0, range(6))
    old = Side().feed(flv.stream(*source[: 4 * GOP_TAGS + 9]))
    assert old.recorder.leave(mark(source[2 * GOP_TAGS]))
    assert told(old.finish()) == expected(source[: 4 * GOP_TAGS], 0)


def test_a_torn_end_is_continued_in_the_middle_of_its_group() -> None:
    source = flv.gops(50_000, range(8))
    old = Side().feed(flv.stream(*source[: 4 * GOP_TAGS + 11])).finish()
    new = Side(behind=old.recorder.tail).feed(flv.stream(*source[3 * GOP_TAGS :])).finish()
    assert sorted(told(old, new)) == sorted(expected(source, 50_000))


@pytest.mark.parametrize("clock", [0, -100_000, 7_777_777])
@pytest.mark.parametrize("before", [0, 2])
def test_a_torn_group_that_was_left_out_is_written_anew(clock: int, before: int) -> None:
    # given a file that ends in the middle of a group, of which the successor has nothing but this group and what follows, or more
    source = flv.gops(50_000, range(8))
    old = Side().feed(flv.stream(*source[: 4 * GOP_TAGS + 11])).finish()
    file = io.BytesIO(old.files[0].getvalue())
    last = last_group(file)
    assert last is not None
    # when it is left out
    file.truncate(last.position)
    recover(file)
    old.files[0] = file
    tail = read_tail(file, start_ms=0, ended_at=WALL)
    tail.ahead = last.tags
    held = Tail.from_json(tail.to_json())
    new = Side(behind=held).feed(flv.stream(*shifted(source[(4 - before) * GOP_TAGS :], clock))).finish()
    # then both files together are the stream, and each begins with a keyframe
    assert told(old, new) == expected(source, 50_000)
    assert all(flv.media(one.getvalue())[0].is_keyframe for one in (*old.files, *new.files))
    (seam,) = [one for one in new.events if isinstance(one, Rejoined)]
    assert (seam.seamless, seam.gap_ms) == (True, 0)


def test_filler_that_only_the_files_lack_does_not_hide_the_end() -> None:
    # given frames padded with filler, which no file has
    filler = flv.nal(12, b"\xff" * 40)
    source = [
        flv.video(tag.timestamp, n, key=tag.payload[0] == 0x17, extra=filler) if tag.type == VIDEO else tag
        for n, tag in enumerate(flv.gops(0, range(8)))
    ]
    old = Side().feed(flv.stream(*source))
    assert old.recorder.leave(mark(source[3 * GOP_TAGS]))
    old.finish()
    new = Side(behind=old.recorder.tail).feed(flv.stream(*source[3 * GOP_TAGS :])).finish()
    plain = [tag.payload if tag.type != VIDEO else tag.payload[: -len(filler)] for tag in source]
    assert [one[2] for one in told(old, new)] == [bytes(payload) for payload in plain]


def test_a_loop_is_joined_where_the_clock_on_the_wall_says() -> None:
    # given pictures that repeat every four groups
    looped = flv.gops(0, [0, 1, 2, 3] * 4)
    old = Side()
    for n in range(12):
        old.feed(
            (b"" if n else flv.stream()) + b"".join(flv.raw(tag) for tag in looped[n * GOP_TAGS : (n + 1) * GOP_TAGS]),
            WALL + n * 0.4,
        )
    old.finish()
    # when the successor received group 6 when it was sent
    new = Side(behind=old.recorder.tail)
    for n in range(6, 16):
        new.feed(
            (flv.stream() if n == 6 else b"")
            + b"".join(flv.raw(tag) for tag in looped[n * GOP_TAGS : (n + 1) * GOP_TAGS]),
            WALL + n * 0.4,
        )
    new.finish()
    # then no round is missing and none is there twice
    assert told(old, new) == expected(looped, 0)


def test_sound_alone_is_joined_by_its_last_tags() -> None:
    source = [flv.audio(1000 + n * 23, n) for n in range(900)]
    old = Side().feed(flv.stream(*source[:500])).finish()
    new = Side(behind=old.recorder.tail).feed(flv.stream(*shifted(source[400:], 777))).finish()
    assert told(old, new) == expected(source, 1000)


def test_media_that_does_not_overlap_follows_behind_a_gap() -> None:
    old = Side().feed(flv.stream(*flv.gops(0, range(4)))).finish()
    new = Side(start_ms=9_000, behind=old.recorder.tail)
    new.feed(flv.stream(*flv.gops(60_000, range(50, 54))), WALL + 30).finish()
    (seam,) = [one for one in new.events if isinstance(one, Rejoined)]
    assert (seam.seamless, seam.gap_ms) == (False, None)
    assert [tag.timestamp for tag in new.media()] == [9_000 + tag.timestamp for tag in flv.gops(0, range(4))]


def test_a_tail_survives_its_json_and_stays_bounded() -> None:
    source = flv.gops(0, range(200))
    old = Side().feed(flv.stream(*source)).finish()
    tail = old.recorder.tail
    assert tail is not None
    assert len(tail.tags) == KEPT_TAGS
    again = Tail.from_json(tail.to_json())
    assert again is not None
    assert (list(again.tags), again.ended_at) == (list(tail.tags), tail.ended_at)
    assert Tail.from_json({"tags": [["x"]]}) is None
    assert Tail.from_json(None) is None


@settings(deadline=None, max_examples=60)
@given(
    begins=st.integers(0, 7),
    clock=st.integers(-(2**31), 2**31),
    cuts=st.lists(st.integers(1, 400), min_size=0, max_size=12),
)
def test_however_it_arrives_nothing_is_lost_and_nothing_is_there_twice(
    begins: int, clock: int, cuts: list[int]
) -> None:
    source = flv.gops(100_000, range(14))
    later = shifted(source[begins * GOP_TAGS :], clock)
    old = Side().feed(flv.stream(*source[: 5 * GOP_TAGS + 3]))
    old.recorder.leave(mark(later[0]))
    old.feed(b"".join(flv.raw(tag) for tag in source[5 * GOP_TAGS + 3 :])).finish()
    data = flv.stream(*later)
    places = sorted({0, len(data), *(each * len(data) // 400 for each in cuts)})
    new = Side(behind=old.recorder.tail)
    for start, end in pairwise(places):
        new.feed(data[start:end])
    new.finish()
    assert told(old, new) == expected(source, 100_000)
    assert len(list(chain(old.files, new.files))) == 2
