"""Timestamps: jumps, small steps back, wrap, negative starts, two channels in sync."""

from __future__ import annotations

import pytest
from media.flv.tag import AUDIO, VIDEO, Tag
from media.repair import RepairKind, RepairLog, RepairOptions
from media.repair.model import Group
from media.repair.timeline import Timeline
from media.repair.timestamps import TimestampRepair

from libs.media.tests import flv_streams as flv


class Harness:
    def __init__(self, **kwargs) -> None:
        self.log = RepairLog()
        self.timeline = Timeline()
        self.operator = TimestampRepair(RepairOptions(), self.log, self.timeline, **kwargs)

    def __call__(self, tags: list[Tag], **kwargs) -> list[int]:
        copies = [Tag.of(tag.type, tag.timestamp, tag.payload) for tag in tags]
        return [tag.timestamp for tag in self.operator.process(Group(copies, **kwargs)).tags]

    @property
    def repairs(self) -> list[tuple[RepairKind, int]]:
        return [(repair.kind, repair.amount) for repair in self.log]


def videos(*times: int) -> list[Tag]:
    return [flv.video(time & 0xFFFFFFFF, n) for n, time in enumerate(times)]


def at(tag_type: int, time: int) -> Tag:
    return Tag.of(tag_type, time & 0xFFFFFFFF, b"\x27\x01" if tag_type == VIDEO else b"\xaf\x01")


@pytest.mark.parametrize("start", [0, 1, 123_456, 2**24 - 40, 2**31 - 40, 2**32 - 40, -1, -80])
def test_any_start_becomes_zero_and_the_clock_may_wrap(start):
    harness = Harness()
    assert harness(videos(*(start + n * 40 for n in range(5)))) == [0, 40, 80, 120, 160]
    assert harness.repairs == []


def test_a_recording_may_begin_later_on_its_timeline():
    assert Harness(start_ms=5000)(videos(77, 117)) == [5000, 5040]


@pytest.mark.parametrize("back", [68, 76])
def test_a_small_step_back_is_no_jump_and_no_frame_goes_back(back):
    # Given a step back of the size that 50 ms as a threshold turned into many repeated frames
    harness = Harness()
    times = [0, 40, 80, 120, 160, 200]
    shifted = [200 - back + 40 * n for n in range(1, 8)]
    # When it passes
    output = harness(videos(*times, *shifted))
    # Then time stands until the source has caught up, and the offset is the old one
    assert output == sorted(output)
    assert output[-1] == shifted[-1]
    assert {kind for kind, _ in harness.repairs} == {RepairKind.TIMESTAMP_REBOUND}
    assert harness.repairs[0][1] == 40 - back


@pytest.mark.parametrize(
    ("step", "is_jump"),
    [(500, False), (501, True), (-500, False), (-501, True), (3_600_000, True), (-86_400_000, True)],
)
def test_the_threshold_is_500_ms_both_ways(step, is_jump):
    harness = Harness()
    harness(videos(10_000, 10_040, 10_080))
    output = harness(videos(10_080 + step, 10_120 + step))
    assert (RepairKind.TIMESTAMP_JUMP in dict(harness.repairs)) is is_jump
    if is_jump:
        assert output == [120, 160]
        assert harness.repairs == [(RepairKind.TIMESTAMP_JUMP, step - 40)]


def test_a_jump_moves_both_channels_by_the_same_amount():
    # Given audio 30 ms behind video
    harness = Harness()
    harness([at(VIDEO, 0), at(AUDIO, 10), at(VIDEO, 40), at(AUDIO, 33), at(VIDEO, 80), at(AUDIO, 56)])
    # When the clock of both jumps by 20 s inside a group, video first
    output = harness([at(VIDEO, 20_120), at(AUDIO, 20_079), at(VIDEO, 20_160), at(AUDIO, 20_102)])
    # Then it is one jump and they are as far apart as before
    assert [kind for kind, _ in harness.repairs] == [RepairKind.TIMESTAMP_JUMP]
    assert output[0] - output[1] == 41
    assert output[2] - output[3] == 58


def test_the_old_clock_of_the_slower_channel_still_fits_at_the_border_of_a_jump():
    harness = Harness()
    harness([at(VIDEO, 0), at(AUDIO, 0), at(VIDEO, 40), at(AUDIO, 23)])
    output = harness([at(VIDEO, 90_000), at(AUDIO, 46), at(AUDIO, 69), at(VIDEO, 90_040), at(AUDIO, 90_012)])
    assert output[:3] == [80, 46, 69]
    assert output[3:] == [120, 92]
    assert len(harness.repairs) == 1


def test_a_pause_of_one_channel_keeps_both_in_sync():
    harness = Harness()
    harness([at(VIDEO, 0), at(AUDIO, 0)])
    pause = [at(VIDEO, time) for time in range(40, 10_000, 40)]
    output = harness([*pause, at(AUDIO, 9_970), at(VIDEO, 10_000), at(AUDIO, 9_993)])
    assert output[-3:] == [9_970, 10_000, 9_993]
    assert harness.repairs == []


def test_channels_with_clocks_of_their_own_are_aligned_by_arrival():
    harness = Harness()
    output = harness([at(VIDEO, 0), at(VIDEO, 40), at(AUDIO, 7_000_000), at(VIDEO, 80), at(AUDIO, 7_000_023)])
    assert output == [0, 40, 73, 80, 96]


def test_channels_delayed_against_each_other_by_more_than_the_threshold_are_no_jumps():
    # Given a muxer that writes a second of video, then a second of audio
    harness = Harness()
    seconds = [
        [*(at(VIDEO, s * 1000 + t) for t in range(0, 1000, 40)), *(at(AUDIO, s * 1000 + t) for t in range(0, 1000, 20))]
        for s in range(5)
    ]
    # Then but for the start, where nothing is known yet, all tags keep their times
    harness(seconds[0][:1] + seconds[0][25:26] + seconds[0][1:25] + seconds[0][26:])
    for second in seconds[1:]:
        assert harness(second) == [tag.timestamp for tag in second]
    assert harness.repairs == []


def test_a_known_difference_of_clocks_makes_a_reconnect_invisible():
    harness = Harness()
    harness(videos(1000, 1040, 1080))
    assert harness(videos(91_120, 91_160), reconnected=True, source_shift=90_000) == [120, 160]
    assert harness.repairs == [(RepairKind.REALIGNED, 90_000)]
    assert harness.operator.gap_ms == 0


def test_a_gap_is_closed_and_its_length_told():
    harness = Harness()
    harness(videos(0, 40, 80))
    assert harness(videos(30_120, 30_160), reconnected=True) == [120, 160]
    assert harness.repairs == [(RepairKind.GAP, 30_000)]
    assert harness.operator.gap_ms == 30_000


def test_after_a_restart_of_the_clock_the_gap_is_what_was_measured():
    harness = Harness()
    harness(videos(50_000, 50_040))
    harness.operator.offline_ms = 7_000
    assert harness(videos(0, 40), reconnected=True) == [80, 120]
    assert harness.repairs == [(RepairKind.GAP, 7_000)]


def test_a_clock_that_restarted_ahead_of_the_old_one_is_no_gap_of_hours():
    # Given a break that was measured to be short
    harness = Harness()
    harness(videos(1000, 1040))
    harness.operator.offline_ms = 3_000
    # When the new connection's clock is hours ahead
    harness(videos(9_000_000, 9_000_040), reconnected=True)
    # Then what is missing is what the break took
    assert harness.repairs == [(RepairKind.GAP, 3_000)]
    assert harness.operator.gap_ms == 3_000


@pytest.mark.parametrize(
    ("step", "arrives_after", "lost"),
    [
        (10_000, 10.1, 10_000),  # the encoder stood still as long as its clock went on
        (10_000, 0.1, 0),  # only the clock moved
        (86_400_000, 6.1, 6_000),  # the clock moved and the stream stood still as well
        (-3_000, 0.1, 0),
        (-3_000, 6.1, 6_000),
    ],
)
def test_what_a_jump_lost_is_told_by_when_media_arrived(step, arrives_after, lost):
    harness = Harness()
    harness(videos(500_000, 500_040, 500_080), received_at=50.0, completed_at=50.1)
    times = videos(500_120 + step, 500_160 + step, 500_200 + step)
    harness(times, received_at=50.1 + arrives_after - 0.05, completed_at=50.1 + arrives_after + 0.02)
    (jump,) = harness.log
    assert jump.amount == step
    assert abs(jump.lost_ms - lost) <= 100


def test_without_arrival_times_the_clock_is_believed():
    harness = Harness()
    harness(videos(0, 40))
    harness(videos(10_080, 10_120))
    assert [repair.lost_ms for repair in harness.log] == [10_000]


def test_strange_frame_steps_are_replaced_at_a_jump_by_usual_ones():
    harness = Harness()
    harness(videos(0, 400))
    assert harness(videos(90_000)) == [433]


def test_repairs_tell_both_timelines():
    harness = Harness()
    harness(videos(2**32 - 40, 0))
    harness(videos(70_000, 70_040))
    (jump,) = harness.log
    assert (jump.input_timestamp, jump.output_timestamp) == (70_000, 80)
    assert harness.timeline.at_source(0, 70_040) == 120
