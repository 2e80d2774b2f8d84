"""Rewrites source timestamps into one timeline that never jumps and never runs backwards in a channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from media.flv.tag import AUDIO, VIDEO, Tag
from media.repair.log import RepairLog
from media.repair.model import Group, RepairKind, RepairOptions, wrapped
from media.repair.timeline import Timeline

# Steps that stand in for the unknown one at a jump, and the range in which a seen step is believed (30 fps; 1024 samples at 44.1/48 kHz).
_VIDEO_STEP: Final = 33
_AUDIO_STEP: Final = 22
_VIDEO_STEPS: Final = range(15, 51)
_AUDIO_STEPS: Final = range(20, 25)
_STEPS: Final = {VIDEO: (_VIDEO_STEPS, _VIDEO_STEP), AUDIO: (_AUDIO_STEPS, _AUDIO_STEP)}
# A stream arrives up to a cache's length late or early: what the clock says and what a stopwatch says about a break differ by this.
_BREAK_SLACK_MS: Final = 10_000
_STALL_SLACK_MS: Final = 2_000
_STALL_MS: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Jump:
    """The source clock left its pace: `amount` = ms that it is ahead of where the media was put."""

    source: int
    output: int
    amount: int
    after_break: bool


@dataclass(slots=True)
class _Channel:
    offset: int  # output = source + offset, modulo 2^32
    seen_shift: int  # how much of the common shift is in `offset`
    last: int | None = None
    step: int = 0  # of a frame
    pace: int = 0  # between the last two tags, however far apart


class TimestampRepair:
    """Gives each tag its time on the recording's timeline, in place.

    A tag fits when it lies within `jump_ms` of its channel's last tag or of the timeline's end: cross-channel delays and pauses of one
    channel are kept, so are small steps back (their time is held, so the output does not go back). What does not fit is a jump: the tag
    is put one frame behind the end, and the same shift is tried first on the other channel, so that both stay in sync. The 32-bit clock
    may wrap and may begin anywhere: only differences count.
    """

    def __init__(self, options: RepairOptions, log: RepairLog, timeline: Timeline, *, start_ms: int = 0) -> None:
        self._jump = options.jump_ms
        self._log = log
        self._timeline = timeline
        self._channels: dict[int, _Channel] = {}
        self._end = start_ms  # the latest output time so far
        self._floor = start_ms  # nothing lies before the first media
        self._started = False
        self._shift = 0
        self._connection = 0
        self._after_break = False
        self._jumps: list[_Jump] = []
        self._arrived_at: float | None = None
        self.gap_ms: int | None = 0  # the media time lost at the last reconnect; None = not to be told
        self.jumped = False  # whether the clock left its pace in the last group
        self.lost_ms = 0  # the real time that was lost at those jumps
        self.offline_ms: int | None = None  # the wall-clock length of the break, if somebody measured it

    def go_on(self, source_shift: int, ends: Mapping[int, int]) -> None:
        """Continue the timeline of another recorder: how far the source's clock is ahead of it, and where its channels end on it."""
        steps = {AUDIO: _AUDIO_STEP, VIDEO: _VIDEO_STEP}
        self._channels = {
            kind: _Channel(-source_shift, 0, last=ends.get(kind), step=step) for kind, step in steps.items()
        }
        self._end = self._floor = max(ends.values(), default=self._end)
        self._started = True

    def process(self, group: Group) -> Group:
        """Rewrite the timestamps of a group."""
        tags = group.tags
        if not self._started:
            self._begin(tags)
        if group.reconnected:
            self._connection += 1
            self._after_break = True
            self.gap_ms = 0
            self._timeline.begin_connection()
        if group.source_shift:
            self._realign(group.source_shift)
        self.jumped, self.lost_ms = False, 0
        first_source, before = tags[0].timestamp, self._end
        lasts = {kind: channel.last for kind, channel in self._channels.items()} if group.reconnected else {}
        self._rewrite(tags)
        self._after_break = False
        if group.reconnected and group.source_shift is None and not self._jumps:
            self.gap_ms = self._hole(tags, lasts)
        self._learn_steps(tags)
        self._log.position = self._end
        self._timeline.add_source(self._connection, first_source, tags[0].timestamp)
        if group.source_shift:
            self._log.add(RepairKind.REALIGNED, first_source, amount=group.source_shift, output=tags[0].timestamp)
        excess = self._excess(group, self._end - before)
        if self._jumps:
            self._report_jumps(excess)
        if group.completed_at is not None:
            self._timeline.add_arrival(group.completed_at, self._end)
        if group.received_at is not None:
            self._timeline.add_wall(group.received_at, tags[0].timestamp)
        return group

    def _excess(self, group: Group, media_ms: int) -> int | None:
        """Real time since the last group that brought no media, in ms; None when nobody measures arrival."""
        last, self._arrived_at = self._arrived_at, group.completed_at
        if last is None or group.completed_at is None:
            return None if group.completed_at is None else 0
        return round(1000 * (group.completed_at - last)) - media_ms

    def _begin(self, tags: list[Tag]) -> None:
        """The earliest of the first tags becomes the start, so that nothing lies before it."""
        first = tags[0].timestamp
        steps = (wrapped(tag.timestamp - first) for tag in tags)
        earliest = min(step for step in steps if abs(step) <= self._jump)
        offset = self._end - first - earliest
        self._channels = {
            AUDIO: _Channel(offset, 0, step=_AUDIO_STEP),
            VIDEO: _Channel(offset, 0, step=_VIDEO_STEP),
        }
        self._started = True

    def _realign(self, source_shift: int) -> None:
        for channel in self._channels.values():
            channel.offset -= source_shift

    def _rewrite(self, tags: list[Tag]) -> None:
        """The common case inline: a step forward within the threshold; everything else is `_place`."""
        audio, video, jump, end = self._channels[AUDIO], self._channels[VIDEO], self._jump, self._end
        for tag in tags:
            channel = audio if tag.type == AUDIO else video
            output = tag.timestamp + channel.offset
            if channel.last is None or not 0 <= output - channel.last <= jump:
                self._end = end
                output = self._place(tag, channel)
            channel.last = tag.timestamp = output
            if output > end:  # noqa: PLR1730 - a call for every tag
                end = output
        self._end = end

    def _place(self, tag: Tag, channel: _Channel) -> int:
        source = tag.timestamp
        own = self._end + wrapped(source + channel.offset - self._end)
        if self._fits(own, channel):
            channel.offset = own - source
            return self._hold(own, source, channel)
        shared = own + self._shift - channel.seen_shift
        if channel.seen_shift != self._shift and self._fits(shared, channel):
            channel.offset = shared - source
            channel.seen_shift = self._shift
            return self._hold(shared, source, channel)
        target = self._target()
        self._shift += target - shared
        channel.seen_shift = self._shift
        channel.offset = target - source
        self._jumps.append(_Jump(source, target, own - target, self._after_break))
        self._after_break = False
        return target

    def _fits(self, output: int, channel: _Channel) -> bool:
        if channel.last is not None and abs(output - channel.last) <= self._jump:
            return True
        return abs(output - self._end) <= self._jump

    def _hold(self, output: int, source: int, channel: _Channel) -> int:
        if channel.last is None:
            return max(output, self._floor)
        if output >= channel.last:
            return output
        self._log.add(
            RepairKind.TIMESTAMP_REBOUND, source & 0xFFFFFFFF, amount=output - channel.last, output=channel.last
        )
        return channel.last

    def _target(self) -> int:
        ends = [known.last + known.step for known in self._channels.values() if known.last is not None]
        return max(ends, default=self._end)

    def _report_jumps(self, excess: int | None) -> None:
        jumps, self._jumps = self._jumps, []
        self.jumped = True
        for jump in jumps:
            lost = self._gap(jump.amount, excess) if jump.after_break else _lost(jump.amount, excess)
            if jump.after_break:
                clock = "" if jump.amount == lost else "the source clock restarted"
                kind, amount, detail = RepairKind.GAP, lost, clock
            else:
                kind, amount, detail = RepairKind.TIMESTAMP_JUMP, jump.amount, ""
            self.lost_ms += lost
            self._log.add(kind, jump.source, amount=amount, detail=detail, output=jump.output, lost_ms=lost)
            self._timeline.add_source(self._connection, jump.source, jump.output)
            excess = excess and max(0, excess - lost)

    def _gap(self, amount: int, excess: int | None) -> int:
        """The length of the gap between two connections: what the clock says, unless a stopwatch says that it restarted."""
        measured = self.offline_ms
        if amount > 0 and (measured is None or amount <= measured + _BREAK_SLACK_MS):
            self.gap_ms = amount
        else:
            self.gap_ms = measured
        return max(0, excess or 0) if self.gap_ms is None else self.gap_ms

    def _hole(self, tags: list[Tag], lasts: Mapping[int, int | None]) -> int:
        """What is missing between two connections whose clock went on, where it is too short for a jump: the file keeps its time."""
        kind = AUDIO if lasts[VIDEO] is None else VIDEO
        last, first = lasts[kind], next((tag.timestamp for tag in tags if tag.type == kind), None)
        if last is None or first is None:
            return 0
        pace = self._channels[kind].pace or self._channels[kind].step
        missing = first - last - pace
        # Less than half a frame is the jitter of timestamps.
        return missing if 2 * missing >= pace else 0

    def _learn_steps(self, tags: list[Tag]) -> None:
        ends: dict[int, int] = {}
        missing = len(_STEPS)
        for tag in reversed(tags[-64:]):
            kind, time = tag.type, tag.timestamp
            end = ends.get(kind)
            if end is None:
                ends[kind] = time
            elif end >= 0:
                ends[kind] = -1
                self._learn_step(kind, end - time)
                missing -= 1
                if not missing:
                    return

    def _learn_step(self, kind: int, step: int) -> None:
        usual, fallback = _STEPS[kind]
        channel = self._channels[kind]
        channel.pace = max(0, step)
        channel.step = step if step in usual else fallback


def _lost(amount: int, excess: int | None) -> int:
    """Real time lost at a jump inside a connection: a clock that goes ahead lost time only if the media stayed away as long."""
    if excess is None:
        return max(0, amount)
    if 0 < amount <= excess + _STALL_SLACK_MS:
        return amount
    return excess if excess > _STALL_MS else 0
