"""The life of one recording: requested, claimed (again after a crash), its files and gaps, ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from contracts.aggregate import Aggregate, Rejected
from contracts.downloader import (
    CutRecording,
    CutRequested,
    GapClosed,
    GapOpened,
    ReconfigureRecording,
    RecordingEnded,
    RecordingReconfigured,
    RecordingRequested,
    RecordingStarted,
    SegmentCompleted,
    SegmentDiscarded,
    SegmentOpened,
    StartRecording,
    StopRecording,
    StopRequested,
)
from contracts.message import Event
from contracts.values import EndReason

CutCause = Literal["command", "title", "category"]
MAX_BREAKS = 500
"""Of one file; the oldest are forgotten."""


@dataclass(frozen=True, slots=True)
class OpenSegment:
    """A file that is being written, or was when its owner was lost. ``epoch`` is that owner's, ``uri`` the name it was begun under.

    ``breaks``: where on the timeline its media went on after a break, and how many ms of it were lost.
    """

    index: int
    epoch: int
    worker: str
    start_ms: int
    started_at: str
    uri: str = ""
    breaks: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Recording:
    """``position_ms`` is the end of the finished media on the recording's timeline, reached at ``position_at`` (wall clock)."""

    request: RecordingRequested | None = None
    stop: EndReason | None = None
    worker: str = ""
    epoch: int = 0
    cuts: int = 0
    cut_cause: CutCause = "command"
    open: tuple[OpenSegment, ...] = ()
    completed: frozenset[tuple[int, int]] = field(default_factory=frozenset)
    next_index: int = 0
    position_ms: int = 0
    position_at: datetime | None = None
    gap: GapOpened | None = None
    segments: int = 0
    duration_ms: int = 0
    bytes: int = 0
    ended: bool = False

    def opened(self, index: int) -> OpenSegment | None:
        """The open segment with an index."""
        return next((segment for segment in self.open if segment.index == index), None)


def evolve(state: Recording, event: Event) -> Recording:
    """The recording after an event."""
    match event:
        case RecordingRequested() | RecordingReconfigured() | CutRequested():
            return _asked(state, event)
        case RecordingStarted():
            return replace(state, worker=event.worker, epoch=event.epoch)
        case StopRequested():
            return replace(state, stop=event.reason)
        case SegmentOpened():
            opened = OpenSegment(event.index, state.epoch, state.worker, event.start_ms, event.started_at, event.uri)
            return replace(state, open=(*state.open, opened), next_index=max(state.next_index, event.index + 1))
        case SegmentCompleted() | SegmentDiscarded():
            return _settled(state, event)
        case GapOpened():
            return replace(state, gap=event)
        case GapClosed():
            return replace(state, gap=None, open=tuple(_broken(one, state, event) for one in state.open))
        case RecordingEnded():
            return replace(state, ended=True, gap=None)
    return state


def _broken(segment: OpenSegment, state: Recording, closed: GapClosed) -> OpenSegment:
    """An open file after a gap in it. One that was over when it was told is damage: media is missing, but no connection broke."""
    is_break = state.gap is not None and closed.at_ms > max(state.gap.at_ms, segment.start_ms) and closed.lost_ms > 0
    if not is_break or segment.epoch != state.epoch:
        return segment
    return replace(segment, breaks=(*segment.breaks, (closed.at_ms, closed.lost_ms))[-MAX_BREAKS:])


def _asked(state: Recording, event: RecordingRequested | RecordingReconfigured | CutRequested) -> Recording:
    """``request`` is always what is asked for now: the newest title, category and configuration are in it."""
    if isinstance(event, RecordingRequested):
        return replace(state, request=event, next_index=event.first_index)
    if state.request is None:
        return state
    if isinstance(event, RecordingReconfigured):
        return replace(state, request=state.request.model_copy(update={"effective": event.effective}))
    renamed = {name: value for name in ("title", "category") if (value := getattr(event, name)) is not None}
    request = state.request.model_copy(update=renamed)
    return replace(state, request=request, cuts=state.cuts + 1, cut_cause=event.cause)


def _settled(state: Recording, event: SegmentCompleted | SegmentDiscarded) -> Recording:
    opened = state.opened(event.index)
    after = replace(state, open=tuple(segment for segment in state.open if segment.index != event.index))
    if isinstance(event, SegmentDiscarded):
        return after
    end_ms = event.start_ms + event.duration_ms
    if end_ms >= after.position_ms:
        # Time that passed without media is in no file's duration, but it passed.
        passed_ms = event.duration_ms + sum(int(repair.get("lost_ms", 0)) for repair in event.repairs)
        ended_at = datetime.fromisoformat(event.started_at) + timedelta(milliseconds=passed_ms)
        after = replace(after, position_ms=end_ms, position_at=ended_at)
    return replace(
        after,
        completed=after.completed | {(event.index, opened.epoch if opened else 0)},
        segments=after.segments + 1,
        duration_ms=after.duration_ms + event.duration_ms,
        bytes=after.bytes + event.artifact.size,
    )


RECORDING = Aggregate("recording", Recording(), evolve)
AGGREGATES = (RECORDING,)


def decide_start(state: Recording, command: StartRecording) -> list[Event]:
    """Request a recording once; one that was stopped before it could begin ends at once."""
    if state.request is not None:
        return []
    requested = RecordingRequested(**command.model_dump())
    events: list[Event] = [requested]
    if state.stop is not None:
        events.append(ending(evolve(state, requested), state.stop, "stopped before it began"))
    return events


def decide_stop(state: Recording, command: StopRecording) -> list[Event]:
    """Ask the owner to stop. A recording nobody has claimed yet ends at once; an unknown one will never begin."""
    if state.stop is not None or state.ended:
        return []
    events: list[Event] = [StopRequested(recording_id=command.recording_id, reason=command.reason)]
    if state.request is not None and state.epoch == 0:
        events.append(ending(state, command.reason, "stopped before it began"))
    return events


def decide_cut(state: Recording, command: CutRecording) -> list[Event]:
    """Ask for a new file at the next keyframe; only a running recording has one. One that waits still learns its new title."""
    over = state.request is None or state.ended or state.stop is not None
    if command.cause != "command":
        return [] if over else [CutRequested(**command.model_dump())]
    if state.request is None:
        raise Rejected("Unknown recording", status=404, detail=f"there is no recording {command.recording_id}")
    if over or state.epoch == 0:
        raise Rejected("Recording does not run", detail="only a running recording can be cut")
    return [CutRequested(**command.model_dump())]


def decide_reconfigure(state: Recording, command: ReconfigureRecording) -> list[Event]:
    """Give a recording that has not ended another configuration; one that changes nothing, or comes too late, is no news."""
    if state.request is None or state.ended or state.request.effective == command.effective:
        return []
    return [RecordingReconfigured(recording_id=command.recording_id, effective=command.effective)]


def decide_facts(state: Recording, facts: Sequence[Event]) -> list[Event]:
    """What the owner of a recording reports, without what the log has already: an append may be repeated after an outage."""
    news: list[Event] = []
    for fact in facts:
        if _is_news(state, fact):
            news.append(fact)
            state = evolve(state, fact)
    return news


def _is_news(state: Recording, fact: Event) -> bool:
    if state.request is None or state.ended:
        return False
    match fact:
        case RecordingStarted():
            return fact.epoch > state.epoch
        case SegmentOpened():
            return fact.index >= state.next_index
        case SegmentCompleted() | SegmentDiscarded():
            return state.opened(fact.index) is not None
        case GapOpened():
            return state.gap is None
        case GapClosed():
            return state.gap is not None
    return True


def resume_point(state: Recording) -> tuple[int, datetime | None]:
    """The latest known place on the timeline and when it was reached: the end of finished media, or the start of an open file."""
    points = [(state.position_ms, state.position_at)] if state.position_at else []
    points += [(segment.start_ms, datetime.fromisoformat(segment.started_at)) for segment in state.open]
    return max(points, default=(0, None))


def ending(state: Recording, reason: EndReason, detail: str) -> RecordingEnded:
    """The last event of a requested recording, with its totals; raises ValueError when it was never requested."""
    if state.request is None:
        raise ValueError("a recording that was never requested cannot end")
    return RecordingEnded(
        recording_id=state.request.recording_id,
        session_id=state.request.session_id,
        streamer_id=state.request.streamer_id,
        reason=reason,
        detail=detail[:500],
        segments=state.segments,
        next_index=state.next_index,
        duration_ms=state.duration_ms,
        bytes=state.bytes,
    )


def start_delay_s(not_before: str | None, now: datetime) -> float:
    """Seconds until a recording may begin: never negative, at most an hour; 0 for a time that cannot be read."""
    if not not_before:
        return 0.0
    try:
        due = datetime.fromisoformat(not_before)
    except ValueError:
        return 0.0
    if due.tzinfo is None:
        return 0.0
    return min(max((due - now).total_seconds(), 0.0), 3600.0)
