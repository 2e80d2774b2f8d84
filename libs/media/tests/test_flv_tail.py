"""The end of a file, read so that another recorder goes on behind it."""

from __future__ import annotations

import io

import pytest
from media.flv.recover import recover
from media.flv.tail import last_group, read_tail
from media.repair.replay import mark

from libs.media.tests import flv_streams as flv

GOP_TAGS = 28


def written(groups: int, more: int = 0) -> io.BytesIO:
    tags = flv.gops(0, range(groups + 1))[: groups * GOP_TAGS + more]
    return io.BytesIO(flv.record(flv.stream(*tags)).contents[0])


@pytest.mark.parametrize("groups", [3, 150])
def test_the_tail_of_a_file_is_that_of_its_recorder(groups: int) -> None:
    source = flv.gops(0, range(groups))
    recording = flv.Recording(keep_tail=True, start_ms=9000)
    recording.feed(flv.stream(*source)).finish()
    read = read_tail(io.BytesIO(recording.contents[0]), start_ms=9000, ended_at=1.0)
    kept = recording.recorder.tail
    assert kept is not None
    size = min(len(read.tags), len(kept.tags))
    assert list(read.tags)[-size:] == list(kept.tags)[-size:]
    # the last forty seconds, or all of it
    assert read.tags[0].time <= max(9000, 9000 + groups * 400 - 38_000)
    assert read.ended_at == 1.0


def test_a_recovered_file_without_its_last_group_ends_before_a_keyframe() -> None:
    file = written(5, more=9)
    source = flv.gops(0, range(6))
    last = last_group(file)
    assert last is not None
    assert last.mark == mark(source[5 * GOP_TAGS])
    assert [(one.time, one.mark) for one in last.tags] == [
        (tag.timestamp, mark(tag)) for tag in source[5 * GOP_TAGS : 5 * GOP_TAGS + 9]
    ]
    file.truncate(last.position)
    left = recover(file)
    tags = flv.media(file.getvalue())
    assert tags == flv.gops(0, range(5))
    assert left.keyframes == 5


def test_the_only_group_is_not_given_up() -> None:
    assert last_group(written(1)) is None
