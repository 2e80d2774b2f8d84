"""The process manager of a recording, and which streamers are watched. Inputs are the events of other services."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Literal

from contracts.aggregate import Aggregate
from contracts.config import StreamerResolved
from contracts.downloader import CutRecording, RecordingEnded, StartRecording
from contracts.message import Event
from contracts.monitor import SessionClosed, SessionOpened
from contracts.scheduler import (
    ProcessCompleted,
    ProcessReconfigured,
    ProcessRetitled,
    ProcessStopping,
    RecordingOver,
    RecordingPlanned,
    RecordingRetried,
    WatchStarted,
    WatchStopped,
)
from contracts.values import Effective, EndReason, Json

RETRY_CAP_S = 60.0
NOT_OF_A_RECORDING = frozenset(
    {"check_interval_s", "offline_grace_s", "filters", "pipelines", "upload_to", "record_chat", "keep_raw_chat"}
)
"""What the configuration says to other services: a change of it does not concern a recording."""


@dataclass(frozen=True, slots=True)
class Process:
    """The recording of one session. ``running`` is the recording that has not ended yet; title, category and settings are the newest."""

    plan: RecordingPlanned | None = None
    title: str = ""
    category: str = ""
    effective: Effective = field(default_factory=Effective)
    recordings: tuple[str, ...] = ()
    running: str = ""
    segments: int = 0
    next_index: int = 0
    attempt: int = 0
    stopping: bool = False
    completed: bool = False


@dataclass(frozen=True, slots=True)
class Watch:
    """Whether a streamer is checked."""

    active: bool = False


def evolve_process(state: Process, event: Event) -> Process:
    """The process after an event."""
    match event:
        case RecordingPlanned():
            return _planned(state, event)
        case ProcessRetitled():
            return replace(state, title=event.title, category=event.category)
        case ProcessReconfigured():
            return replace(state, effective=event.effective)
        case RecordingRetried():
            recordings = (*state.recordings, event.recording_id)
            return replace(state, recordings=recordings, running=event.recording_id, attempt=event.attempt)
        case RecordingOver():
            productive = event.segments > 0
            return replace(
                state,
                running="",
                segments=state.segments + event.segments,
                next_index=max(state.next_index, event.next_index),
                attempt=0 if productive else state.attempt,
            )
        case ProcessStopping():
            return replace(state, stopping=True)
        case ProcessCompleted():
            return replace(state, completed=True)
    return state


def _planned(state: Process, plan: RecordingPlanned) -> Process:
    return replace(
        state,
        plan=plan,
        title=plan.title,
        category=plan.category,
        effective=plan.effective,
        recordings=(plan.recording_id,) if plan.effective.record_video else (),
        running=plan.recording_id if plan.effective.record_video else "",
    )


def evolve_watch(state: Watch, event: Event) -> Watch:
    """The watch after an event."""
    match event:
        case WatchStarted():
            return Watch(active=True)
        case WatchStopped():
            return Watch(active=False)
    return state


PROCESS = Aggregate("process", Process(), evolve_process)
WATCH = Aggregate("watch", Watch(), evolve_watch)
AGGREGATES = (PROCESS, WATCH)


def decide_watch(state: Watch, resolved: StreamerResolved) -> list[Event]:
    """Start or stop watching as the configuration says."""
    if resolved.enabled and not state.active:
        return [WatchStarted(streamer_id=resolved.streamer_id, check_interval_s=resolved.effective.check_interval_s)]
    if not resolved.enabled and state.active:
        return [WatchStopped(streamer_id=resolved.streamer_id)]
    return []


def decide_unwatch(state: Watch, streamer_id: str) -> list[Event]:
    """The streamer was removed."""
    return [WatchStopped(streamer_id=streamer_id)] if state.active else []


def decide_plan(state: Process, opened: SessionOpened, effective: Effective, recording_id: str) -> list[Event]:
    """Plan the recording of a session, once; not when the session is known to be over already.

    Without video the process has no recording and is complete when the session closes; ``recording_id`` then names the chat's files only.
    """
    if state.plan is not None or state.stopping:
        return []
    return [
        RecordingPlanned(
            session_id=opened.session_id,
            streamer_id=opened.streamer_id,
            streamer_name=opened.streamer_name,
            url=opened.url,
            platform=opened.platform,
            title=opened.title,
            category=opened.category,
            recording_id=recording_id,
            effective=effective,
            chat=opened.chat if effective.record_chat else None,
            started_at=opened.started_at,
        )
    ]


def decide_retitle(state: Process, title: str, category: str) -> list[Event]:
    """The channel shows something else now; no news for a process that is over or knows it already."""
    if state.plan is None or state.stopping or (title, category) == (state.title, state.category):
        return []
    return [ProcessRetitled(session_id=state.plan.session_id, title=title, category=category)]


def split_of(before: Process, after: Process) -> CutRecording | None:
    """The cut of the running recording that a change of title or category asks for, as the settings say; the title goes first."""
    wanted = after.effective.split_on
    changed: tuple[Literal["title", "category"], ...] = ("title", "category")
    cause = next((one for one in changed if one in wanted and getattr(before, one) != getattr(after, one)), None)
    if cause is None or not after.running:
        return None
    return CutRecording(recording_id=after.running, cause=cause, title=after.title, category=after.category)


def decide_reconfigure(state: Process, effective: Effective) -> list[Event]:
    """Take over a configuration that differs in something a recording reads."""
    if state.plan is None or state.stopping or of_a_recording(effective) == of_a_recording(state.effective):
        return []
    return [ProcessReconfigured(session_id=state.plan.session_id, effective=effective)]


def of_a_recording(effective: Effective) -> Json:
    """The part of a configuration that a recording reads."""
    return effective.model_dump(mode="json", exclude=set(NOT_OF_A_RECORDING))


def decide_close(state: Process, closed: SessionClosed) -> list[Event]:
    """The session is over: stop what runs; if nothing runs, the process is complete."""
    if state.stopping:
        return []
    stopping = ProcessStopping(session_id=closed.session_id, streamer_id=closed.streamer_id, reason=closed.reason)
    return [stopping, *_completion(evolve_process(state, stopping), closed.session_id)]


def decide_ended(state: Process, ended: RecordingEnded, recording_id: str) -> list[Event]:
    """A recording ended: complete the process, or request another one (``recording_id``) while the session is open.

    A recording that somebody stopped by hand is not requested again in the same session, nor is one that is not wanted any more.
    """
    if state.plan is None or ended.recording_id != state.running:
        return []
    over = RecordingOver(
        session_id=ended.session_id,
        recording_id=ended.recording_id,
        reason=ended.reason,
        segments=ended.segments,
        next_index=ended.next_index,
    )
    after = evolve_process(state, over)
    if after.stopping or ended.reason is EndReason.STOPPED or not after.effective.record_video:
        return [over, *_completion(after, ended.session_id)]
    attempt = after.attempt + 1
    return [
        over,
        RecordingRetried(
            session_id=ended.session_id,
            recording_id=recording_id,
            attempt=attempt,
            delay_s=min(2.0 ** (attempt - 1), RETRY_CAP_S),
        ),
    ]


def start_of(state: Process, *, not_before: str | None = None) -> StartRecording:
    """The command that starts the running recording of a process."""
    plan = state.plan
    if plan is None:
        raise ValueError("a process without a plan has nothing to start")
    return StartRecording(
        recording_id=state.running,
        session_id=plan.session_id,
        streamer_id=plan.streamer_id,
        streamer_name=plan.streamer_name,
        url=plan.url,
        platform=plan.platform,
        title=state.title,
        category=state.category,
        effective=state.effective,
        first_index=state.next_index,
        not_before=not_before,
    )


def check_delay_s(effective: Effective, *, session_open: bool, jitter: float) -> float:
    """Seconds to the next check. While a session is open it is checked at least three times within its grace time."""
    interval = effective.check_interval_s
    if session_open:
        interval = min(interval, max(effective.offline_grace_s / 3, 1.0))
    return interval * random.uniform(1 - jitter, 1 + jitter)


def partition_of(streamer_id: str, partitions: int) -> int:
    """The partition a streamer belongs to: the same in every process."""
    return int.from_bytes(streamer_id.encode()[-8:], "big") % partitions


def _completion(state: Process, session_id: str) -> list[Event]:
    if state.plan is None or not state.stopping or state.running or state.completed:
        return []
    return [
        ProcessCompleted(
            session_id=session_id,
            streamer_id=state.plan.streamer_id,
            recordings=state.recordings,
            segments=state.segments,
        )
    ]
