"""One session: which runs are due and when everything is finished. Events may come late, doubled and in any order; each trigger fires once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from contracts.aggregate import Aggregate
from contracts.danmu import ChatEnded, ChatFileCompleted
from contracts.downloader import SegmentCompleted
from contracts.message import Event
from contracts.pipeline import (
    ChatAdded,
    ChatClosed,
    FilesAdded,
    ManifestListed,
    ProcessingPlanned,
    ReclaimStarted,
    RecordingsClosed,
    RunKind,
    RunOver,
    RunPlanned,
    RunTriggered,
    SegmentAdded,
    SessionFinished,
    SessionReclaimed,
)
from contracts.scheduler import ProcessCompleted, RecordingPlanned
from contracts.values import Artifact, Step

from services.pipeline.domain.graph import merged, parts, run_id
from services.pipeline.domain.run import Run

Place = tuple[str, int]
"""A segment of a session: its recording and its index."""


@dataclass(frozen=True, slots=True)
class SessionRun:
    """A run the session waits for, or has waited for."""

    trigger: RunTriggered
    over: bool = False
    completed: bool = False
    outputs: tuple[Artifact, ...] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """What is known of one session. ``files`` is its manifest so far, by URI; ``going`` what is being removed."""

    plan: ProcessingPlanned | None = None
    segments: Mapping[Place, SegmentAdded] = field(default_factory=dict)
    chats: Mapping[Place, ChatAdded] = field(default_factory=dict)
    runs: Mapping[str, SessionRun] = field(default_factory=dict)
    files: Mapping[str, Artifact] = field(default_factory=dict)
    recordings: RecordingsClosed | None = None
    chat: ChatClosed | None = None
    finished: bool = False
    going: tuple[Artifact, ...] = ()
    reclaimed: bool = False

    def run_of(self, kind: RunKind, place: Place) -> SessionRun | None:
        """The run of a kind that was triggered for a segment."""
        wanted = (kind, *place)
        runs = self.runs.values()
        return next((r for r in runs if (r.trigger.kind, r.trigger.recording_id, r.trigger.index) == wanted), None)


def evolve(state: Session, event: Event) -> Session:
    """The session after an event."""
    match event:
        case ProcessingPlanned():
            return replace(state, plan=event)
        case SegmentAdded():
            segments = {**state.segments, (event.recording_id, event.index): event}
            return replace(state, segments=segments, files=_with_files(state, event.artifact))
        case ChatAdded():
            chats = {**state.chats, (event.recording_id, event.index): event}
            return replace(state, chats=chats, files=_with_files(state, event.log, event.xml))
        case RunTriggered():
            return replace(state, runs={**state.runs, event.run_id: SessionRun(event)})
        case RunOver():
            over = replace(state.runs[event.run_id], over=True, completed=event.completed, outputs=event.outputs)
            return replace(state, runs={**state.runs, event.run_id: over})
    return _evolve_ends(state, event)


def _evolve_ends(state: Session, event: Event) -> Session:
    match event:
        case FilesAdded():
            left = {uri: file for uri, file in state.files.items() if uri not in set(event.removed)}
            return replace(state, files=left | {file.uri: file for file in event.files})
        case RecordingsClosed():
            return replace(state, recordings=event)
        case ChatClosed():
            return replace(state, chat=event, files=_with_files(state, *event.frames))
        case SessionFinished():
            return replace(state, finished=True)
        case ReclaimStarted():
            return replace(state, going=(*state.going, *event.files))
        case SessionReclaimed():
            return replace(state, going=(), reclaimed=True)
    return state


SESSION = Aggregate("session", Session(), evolve)


def decide_planned(state: Session, planned: RecordingPlanned) -> list[Event]:
    """A session is going to be recorded: keep what its processing needs to know."""
    if state.plan is not None:
        return []
    effective = planned.effective
    own = ProcessingPlanned(
        session_id=planned.session_id,
        streamer_id=planned.streamer_id,
        streamer_name=planned.streamer_name,
        platform=planned.platform,
        title=planned.title,
        started_at=planned.started_at,
        pipelines=effective.pipelines,
        upload_to=effective.upload_to,
        chat=planned.chat is not None and effective.record_chat,
    )
    return _with_what_follows(state, own)


def decide_segment(state: Session, completed: SegmentCompleted) -> list[Event]:
    """A segment is recorded."""
    if state.finished or (completed.recording_id, completed.index) in state.segments:
        return []
    own = SegmentAdded(
        session_id=completed.session_id,
        recording_id=completed.recording_id,
        index=completed.index,
        artifact=completed.artifact,
        duration_ms=completed.duration_ms,
    )
    return _with_what_follows(state, own)


def decide_chat_file(state: Session, completed: ChatFileCompleted) -> list[Event]:
    """The chat of a segment is finished."""
    if state.finished or (completed.recording_id, completed.index) in state.chats:
        return []
    own = ChatAdded(
        session_id=completed.session_id,
        recording_id=completed.recording_id,
        index=completed.index,
        log=completed.log,
        xml=completed.xml,
        lines=completed.lines,
    )
    return _with_what_follows(state, own)


def decide_recorded(state: Session, completed: ProcessCompleted) -> list[Event]:
    """Nothing more will be recorded."""
    if state.recordings is not None:
        return []
    return _with_what_follows(state, RecordingsClosed(session_id=completed.session_id, segments=completed.segments))


def decide_chat_ended(state: Session, ended: ChatEnded) -> list[Event]:
    """No more chat will be written."""
    if state.chat is not None:
        return []
    closed = ChatClosed(session_id=ended.session_id, files=ended.files, lines=ended.lines, frames=ended.frames)
    return _with_what_follows(state, closed)


def decide_joined(state: Session, session_id: str, run_id: str) -> list[Event]:
    """A run was planned by hand: an unfinished session waits for it and lists its files."""
    if state.plan is None or state.finished or run_id in state.runs:
        return []
    return [RunTriggered(session_id=session_id, run_id=run_id, kind="manual", recording_id="", index=-1)]


def decide_resumed(state: Session, run_id: str) -> list[Event]:
    """A failed run is retried: an unfinished session waits for it again."""
    run = state.runs.get(run_id)
    return [run.trigger] if run is not None and run.over and not state.finished else []


def decide_run_over(state: Session, run: Run) -> list[Event]:
    """A run is over: keep what came out of it and look what is due now."""
    plan = run.plan
    if plan is None or plan.run_id not in state.runs or state.runs[plan.run_id].over or state.finished:
        return []
    lists = parts(run.made) or ([()] if run.removed else [])
    added: list[Event] = [
        FilesAdded(
            session_id=plan.session_id,
            run_id=plan.run_id,
            files=files,
            removed=() if number else tuple(sorted(run.removed)),
        )
        for number, files in enumerate(lists)
    ]
    completed = run.status == "completed"
    over = RunOver(session_id=plan.session_id, run_id=plan.run_id, completed=completed, outputs=run.outputs)
    return _with_what_follows(state, *added, over)


def run_for(state: Session, trigger: RunTriggered) -> RunPlanned:
    """The run a trigger asks for."""
    return RunPlanned(
        run_id=trigger.run_id,
        session_id=trigger.session_id,
        kind=trigger.kind,
        index=trigger.index,
        steps=_steps(state, trigger.kind),
        inputs=_inputs(state, trigger),
    )


def _with_what_follows(state: Session, *own: Event) -> list[Event]:
    after = SESSION.fold(own, state)
    return [*own, *_due(after)]


def _due(state: Session) -> list[Event]:
    """Runs that have become due, or the end of the session."""
    if state.plan is None or state.finished:
        return []
    events: list[Event] = [
        *(_trigger(state, "segment", place) for place in state.segments if _segment_is_due(state, place)),
        *(_trigger(state, "paired", place) for place in state.segments if _pair_is_due(state, place)),
    ]
    if events or not _quiet(state):
        return events
    whole = _trigger(state, "session", ("", -1))
    if state.plan.pipelines.session and whole.run_id not in state.runs and _inputs(state, whole):
        return [whole]
    return _end(state)


def _segment_is_due(state: Session, place: Place) -> bool:
    return bool(_steps(state, "segment")) and state.run_of("segment", place) is None


def _pair_is_due(state: Session, place: Place) -> bool:
    """Both files are there and the run of the segment alone is over: what it made is what goes on."""
    if not _steps(state, "paired") or place not in state.chats or state.run_of("paired", place) is not None:
        return False
    alone = state.run_of("segment", place)
    return alone.over if alone is not None else not _steps(state, "segment")


def _quiet(state: Session) -> bool:
    """Everything was recorded and has arrived, and every run is over."""
    if state.plan is None or state.recordings is None or len(state.segments) < state.recordings.segments:
        return False
    if state.plan.chat and (state.chat is None or len(state.chats) < state.chat.files):
        return False
    return all(run.over for run in state.runs.values())


def _trigger(state: Session, kind: RunKind, place: Place) -> RunTriggered:
    session_id = state.plan.session_id if state.plan else ""
    recording_id, index = place
    return RunTriggered(
        session_id=session_id,
        run_id=run_id(session_id, kind, recording_id, index),
        kind=kind,
        recording_id=recording_id,
        index=index,
    )


def _steps(state: Session, kind: RunKind) -> tuple[Step, ...]:
    if state.plan is None or kind == "manual":
        return ()
    steps: tuple[Step, ...] = getattr(state.plan.pipelines, kind)
    return steps


def _inputs(state: Session, trigger: RunTriggered) -> tuple[Artifact, ...]:
    return tuple(file for file in merged(*_sources(state, trigger)) if file.uri in state.files)


def _sources(state: Session, trigger: RunTriggered) -> list[tuple[Artifact, ...]]:
    place = (trigger.recording_id, trigger.index)
    match trigger.kind:
        case "segment":
            return [(state.segments[place].artifact,)]
        case "paired":
            return [_video(state, place), _chat(state, place)]
        case "session":
            places = sorted({**state.segments, **state.chats}, key=lambda at: at[1])
            return [_processed(state, at) for at in places]
    return []


def _video(state: Session, place: Place) -> tuple[Artifact, ...]:
    """What the run of a segment left, or the segment as it was recorded."""
    alone, recorded = state.run_of("segment", place), state.segments.get(place)
    if alone is not None and alone.completed:
        return alone.outputs
    return (recorded.artifact,) if recorded is not None else ()


def _processed(state: Session, place: Place) -> tuple[Artifact, ...]:
    """What the last run of a segment handed on; its files when there was none."""
    paired = state.run_of("paired", place)
    if paired is not None and paired.completed:
        return paired.outputs
    return merged(_video(state, place), _chat(state, place))


def _chat(state: Session, place: Place) -> tuple[Artifact, ...]:
    chat = state.chats.get(place)
    return (chat.log, chat.xml) if chat is not None else ()


def _end(state: Session) -> list[Event]:
    if state.plan is None:
        return []
    session_id = state.plan.session_id
    *before, last = parts(state.files.values()) or [()]
    listed: list[Event] = [
        ManifestListed(session_id=session_id, part=number, files=files) for number, files in enumerate(before)
    ]
    finished = SessionFinished(
        session_id=session_id,
        streamer_id=state.plan.streamer_id,
        segments=len(state.segments),
        duration_ms=sum(segment.duration_ms for segment in state.segments.values()),
        chat_lines=sum(chat.lines for chat in state.chats.values()),
        failed_runs=sum(not run.completed for run in state.runs.values()),
        manifest=last,
    )
    return [*listed, finished]


def _with_files(state: Session, *added: Artifact) -> dict[str, Artifact]:
    return {**state.files, **{file.uri: file for file in added}}
