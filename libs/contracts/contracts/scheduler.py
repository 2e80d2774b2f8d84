"""What the scheduler owns: which streamers are watched, and the process of one recording from session to its end."""

from __future__ import annotations

from contracts.message import Event
from contracts.values import Chat, Effective, EndReason, Id, Url


class WatchStarted(Event, type="scheduler.watch.started.v1", key="streamer_id"):
    """An enabled streamer got an actor that checks it."""

    streamer_id: Id
    check_interval_s: float


class WatchStopped(Event, type="scheduler.watch.stopped.v1", key="streamer_id"):
    """A streamer is no longer checked: stopped or removed."""

    streamer_id: Id


class WatchCrashed(Event, type="scheduler.watch.crashed.v1", key="streamer_id"):
    """An actor failed and was started again by its supervisor after ``delay_s``."""

    streamer_id: Id
    error: str
    delay_s: float


class RecordingPlanned(Event, type="scheduler.process.planned.v1", key="session_id"):
    """A session opened and is to be recorded: a snapshot of everything that later services need to know about it.

    Appended once per session. Danmu and pipeline start from it; the command to the downloader is sent in the same transaction.
    """

    session_id: Id
    streamer_id: Id
    streamer_name: str
    url: Url
    platform: str
    title: str
    category: str
    recording_id: Id
    effective: Effective
    chat: Chat | None = None
    started_at: str


class ProcessRetitled(Event, type="scheduler.process.retitled.v1", key="session_id"):
    """Title or category of the broadcast changed while its process goes on: later recordings of the session are named by it."""

    session_id: Id
    title: str
    category: str


class ProcessReconfigured(Event, type="scheduler.process.reconfigured.v1", key="session_id"):
    """The configuration of the streamer changed in something a recording reads: later recordings of the session begin with it."""

    session_id: Id
    effective: Effective


class RecordingOver(Event, type="scheduler.process.recording_over.v1", key="session_id"):
    """A recording of this process ended; says what it left, so that the next one goes on with the numbering."""

    session_id: Id
    recording_id: Id
    reason: EndReason
    segments: int
    next_index: int


class ProcessStopping(Event, type="scheduler.process.stopping.v1", key="session_id"):
    """The session closed: a running recording was asked to stop and no other one will be requested."""

    session_id: Id
    streamer_id: Id
    reason: EndReason


class RecordingRetried(Event, type="scheduler.process.retried.v1", key="session_id"):
    """A recording ended while its session is still open, so another one was requested."""

    session_id: Id
    recording_id: Id
    attempt: int
    delay_s: float


class ProcessCompleted(Event, type="scheduler.process.completed.v1", key="session_id"):
    """The session closed and its last recording ended: nothing more will be recorded for it."""

    session_id: Id
    streamer_id: Id
    recordings: tuple[Id, ...]
    segments: int
