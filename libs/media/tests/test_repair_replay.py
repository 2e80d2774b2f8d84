"""Replays: GOP caches after a reconnect, loops of a stuck server; and what must not be taken for one."""

from __future__ import annotations

from media.flv.tag import Tag
from media.repair import RepairKind, RepairLog, RepairOptions
from media.repair.model import Group
from media.repair.replay import ReplayFilter

from libs.media.tests import flv_streams as flv


class Harness:
    def __init__(self, **options) -> None:
        self.log = RepairLog()
        self.filter = ReplayFilter(RepairOptions(**options), self.log)

    def __call__(self, tags: list[Tag], *, reconnected: bool = False) -> Group | None:
        return self.filter.process(Group(list(tags), reconnected=reconnected))

    @property
    def kinds(self) -> list[RepairKind]:
        return [repair.kind for repair in self.log]


def test_new_content_passes_untouched():
    harness = Harness()
    for n in range(30):
        tags = flv.gop(n * 400, n)
        assert harness(tags).tags == tags
    assert harness.kinds == []


def test_whole_groups_that_come_again_after_a_reconnect_are_dropped():
    harness = Harness()
    for n in range(5):
        harness(flv.gop(n * 400, n))
    assert harness(flv.gop(1200, 3), reconnected=True) is None
    assert harness(flv.gop(1600, 4)) is None
    kept = harness(flv.gop(2000, 5))
    assert kept.reconnected
    assert kept.tags == flv.gop(2000, 5)
    assert harness.kinds == [RepairKind.REPLAY, RepairKind.REPLAY]
    assert harness.filter.overlap_tags == 2 * 28


def test_a_loop_of_a_stuck_server_is_dropped_and_counted():
    harness = Harness()
    for n in range(5):
        harness(flv.gop(n * 400, n))
    for _ in range(3):
        for n in range(5):
            assert harness(flv.gop(n * 400, n)) is None
    assert harness.filter.consecutive == 15
    assert harness(flv.gop(2000, 5)) is not None
    assert harness.filter.consecutive == 0


def test_a_replay_under_another_clock_tells_how_far_the_clocks_are_apart():
    harness = Harness()
    for n in range(5):
        harness(flv.gop(n * 400, n))
    assert harness(flv.gop(90_000 + 1600, 4), reconnected=True) is None
    assert harness(flv.gop(90_000 + 2000, 5)).source_shift == 90_000


def test_a_group_continued_after_a_break_loses_only_what_was_written():
    harness = Harness()
    harness(flv.gop(0, 0))
    whole = flv.gop(400, 1)
    harness(whole[:9])
    kept = harness(whole, reconnected=True)
    assert kept.tags == whole[9:]
    assert harness.kinds == [RepairKind.OVERLAP]
    # And the group counts as written whole: coming again, it is a replay
    assert harness(whole, reconnected=True) is None


def test_a_shorter_copy_of_the_last_group_is_dropped_whole():
    harness = Harness()
    harness(flv.gop(0, 0))
    assert harness(flv.gop(0, 0)[:5], reconnected=True) is None


def test_a_still_picture_is_no_replay_even_after_a_jump():
    # Given groups whose bytes are all alike, with good timestamps
    harness = Harness()
    for n in range(20):
        assert harness(flv.gop(n * 400, 7)) is not None
    # When the clock jumps
    for n in range(20):
        assert harness(flv.gop(60_000 + n * 400, 7)) is not None
    # Then nothing was dropped
    assert harness.kinds == []


def test_a_short_clip_in_a_loop_with_a_good_clock_is_kept():
    harness = Harness()
    assert all(harness(flv.gop(n * 400, n % 5)) is not None for n in range(40))


def test_by_content_alone_every_repeated_group_is_dropped():
    harness = Harness(replay="content")
    kept = [n for n in range(40) if harness(flv.gop(n * 400, n % 5)) is not None]
    assert kept == [0, 1, 2, 3, 4]


def test_a_group_older_than_the_window_is_new():
    harness = Harness(replay_window=3)
    for n in range(5):
        harness(flv.gop(n * 400, n))
    assert harness(flv.gop(400, 1), reconnected=True) is not None


def test_a_window_of_zero_switches_the_operator_off():
    harness = Harness(replay_window=0)
    harness(flv.gop(0, 0))
    assert harness(flv.gop(0, 0), reconnected=True) is not None


def test_audio_alone_is_rejoined_by_its_last_three_tags():
    harness = Harness()
    source = [flv.audio(n * 23, n) for n in range(200)]
    harness(source[:120])
    shifted = [Tag.of(tag.type, tag.timestamp + 5_000_000, tag.payload) for tag in source[60:]]
    kept = harness(shifted, reconnected=True)
    assert kept.tags == shifted[60:]
    assert kept.source_shift == 5_000_000


def test_silence_is_not_taken_for_overlap():
    harness = Harness()
    harness([flv.audio(n * 23, 0) for n in range(100)])
    silence = [flv.audio(900_000 + n * 23, 0) for n in range(100)]
    assert harness(silence, reconnected=True).tags == silence


def test_a_group_that_differs_in_one_tag_from_what_was_written_keeps_that_tag():
    harness = Harness()
    for n in range(4):
        harness(flv.gop(n * 400, n))
    changed = [*flv.gop(100_000, 3)[:-1], flv.audio(100_390, 999_999)]
    assert harness(changed, reconnected=True).tags == changed[-1:]


def test_times_are_compared_within_one_clock_only():
    # Given three groups, a jump, and two more
    harness = Harness()
    for n in range(3):
        harness(flv.gop(n * 400, n))
    for n in range(3, 5):
        harness(flv.gop(900_000 + n * 400, n))
    # When a connection with a clock of its own replays a group from behind the jump
    assert harness(flv.gop(5_000_000 + 1200, 3), reconnected=True) is None
    # Then what follows is placed by it
    assert harness(flv.gop(5_000_000 + 2000, 5)).source_shift == 4_100_000
    # But a replay from before the jump tells nothing about the clock of today
    assert harness(flv.gop(70_000, 1), reconnected=True) is None
    assert harness(flv.gop(70_400, 6)).source_shift is None


def test_a_group_may_break_more_than_once():
    harness = Harness()
    whole = flv.gop(0, 1)
    harness(whole[:9])
    again = [Tag.of(tag.type, tag.timestamp + 70_000, tag.payload) for tag in whole]
    assert harness(again[:15], reconnected=True).tags == again[9:15]
    last = [Tag.of(tag.type, tag.timestamp + 5_000_000, tag.payload) for tag in whole]
    assert harness(last, reconnected=True).tags == last[15:]
