"""Where a file ends."""

from __future__ import annotations

from media.flv.tag import VIDEO
from media.repair.limit import FileState, Limiter, Limits, SplitReason

from libs.media.tests import flv_streams as flv

VIDEO_FILE = FileState(start_ms=0, size=0, has_video=True)


def test_without_limits_a_file_goes_on():
    assert Limiter(Limits()).find(flv.gops(0, range(50)), [], VIDEO_FILE) is None


def test_the_group_that_would_pass_the_limit_begins_the_next_file():
    tags = flv.gops(0, range(5))
    at, reason = Limiter(Limits(max_duration_ms=800)).find(tags[1:], [], VIDEO_FILE)
    assert tags[1 + at].is_keyframe
    assert (tags[1 + at].timestamp, reason) == (800, SplitReason.DURATION_LIMIT)


def test_tags_that_are_held_back_count_as_the_end_of_the_last_group():
    tags = flv.gops(0, range(2))
    limiter = Limiter(Limits(max_duration_ms=800))
    assert limiter.find(tags[1:], [], VIDEO_FILE) is None
    assert limiter.find(tags[1:], [flv.audio(801, 1)], VIDEO_FILE) is not None


def test_a_size_limit_counts_the_bytes_around_payloads():
    tags = flv.gop(400, 1)
    size = sum(tag.size + 15 for tag in tags)
    full = FileState(start_ms=0, size=1000, has_video=True)
    assert Limiter(Limits(max_bytes=1000 + size)).find(tags, [], full) is None
    assert Limiter(Limits(max_bytes=999 + size)).find(tags, [], full) == (0, SplitReason.SIZE_LIMIT)


def test_a_requested_cut_waits_for_a_keyframe_but_audio_alone_does_not_wait():
    limiter = Limiter(Limits())
    limiter.cut_requested = True
    tags = flv.gop(0, 1)[1:]
    assert limiter.find(tags, [], VIDEO_FILE) is None
    assert limiter.find([*tags, *flv.gop(400, 2)], [], VIDEO_FILE) == (len(tags), SplitReason.CUT)
    assert limiter.find([flv.audio(0, 1)], [], FileState(0, 0, has_video=False)) == (0, SplitReason.CUT)


def test_twice_the_limit_ends_a_file_anywhere():
    tags = [flv.video(n * 100, n) for n in range(50)]
    assert Limiter(Limits(max_duration_ms=1000)).find(tags, [], VIDEO_FILE) == (21, SplitReason.DURATION_LIMIT)
    limiter = Limiter(Limits(max_bytes=100))
    at, reason = limiter.find(tags, [], VIDEO_FILE)
    assert reason is SplitReason.SIZE_LIMIT
    assert sum(tag.size + 15 for tag in tags[: at + 1]) > 200 >= sum(tag.size + 15 for tag in tags[:at])
    assert tags[at].type == VIDEO
