"""Sessions: the broadcast (monitor), its recording process (scheduler), its chat (danmu) and its manifest (pipeline), each in a table of its own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from contracts.danmu import ChatDisconnected, ChatEnded, ChatFileCompleted, ChatReconnected, ChatStarted, ChatSummarised
from contracts.message import Event
from contracts.monitor import SessionClosed, SessionOpened, SessionResumed, SessionSuspended
from contracts.pipeline import SessionFinished
from contracts.scheduler import ProcessCompleted, RecordingPlanned, RecordingRetried

from services.gateway.projections.model import Change, Folded, Row, Table, own_key

_BROADCAST = (SessionOpened, SessionSuspended, SessionResumed, SessionClosed)
_PROCESS = (RecordingPlanned, RecordingRetried, ProcessCompleted)
_CHAT = (ChatStarted, ChatDisconnected, ChatReconnected, ChatFileCompleted, ChatSummarised, ChatEnded)


def session(row: Row | None, change: Change) -> Row | None:
    """A broadcast after an event of the monitor."""
    event, version = change.event, {"version": change.version}
    if isinstance(event, SessionOpened):
        fields = event.model_dump(mode="json", exclude={"chat"})
        return {**fields, "state": "open", "opened_at": change.time, "closed_at": None, "reason": None, **version}
    if row is None:
        return None
    match event:
        case SessionSuspended():
            return {**row, "state": "suspended", **version}
        case SessionResumed():
            return {**row, "state": "open", **version}
        case SessionClosed():
            return {**row, "state": "closed", "closed_at": change.time, "reason": str(event.reason), **version}
    return row


def process(row: Row | None, change: Change) -> Row | None:
    """The recording process of a session after an event of the scheduler."""
    event = change.event
    match event:
        case RecordingPlanned():
            return {
                "session_id": event.session_id,
                "recording_id": event.recording_id,
                "attempts": 1,
                "planned_at": change.time,
                "completed_at": None,
            }
        case RecordingRetried() if row:
            return {**row, "recording_id": event.recording_id, "attempts": row["attempts"] + 1}
        case ProcessCompleted() if row:
            return {**row, "completed_at": change.time}
    return row


def chat(row: Row | None, change: Change) -> Row | None:
    """The chat of a session after an event of danmu."""
    event = change.event
    if isinstance(event, ChatStarted):
        fresh = {"files": 0, "lines": 0, "started_at": change.time, "ended_at": None}
        begun = {"session_id": event.session_id, "kind": event.chat_kind, "worker": event.worker}
        return {**(row or fresh), **begun, "state": "connected", "cause": ""}
    if row is None:
        return None
    match event:
        case ChatDisconnected():
            return {**row, "state": "disconnected", "cause": event.cause}
        case ChatReconnected():
            return {**row, "state": "connected", "cause": ""}
        case ChatFileCompleted():
            return {**row, "files": row["files"] + 1, "lines": row["lines"] + event.lines}
        case ChatEnded():
            ended = {"files": event.files, "lines": event.lines, "ended_at": change.time}
            return {**row, **ended, "state": "ended", "cause": str(event.reason)}
    return row


def chat_file(row: Row | None, change: Change) -> Row | None:
    """One finished chat file."""
    if not isinstance(change.event, ChatFileCompleted):
        return row
    return change.event.model_dump(mode="json", exclude={"streamer_id"})


def chat_statistics(row: Row | None, change: Change) -> Row | None:
    """What the chat of a session was like."""
    if not isinstance(change.event, ChatSummarised):
        return row
    return change.event.model_dump(mode="json", include={"session_id", "statistics"})


def manifest(row: Row | None, change: Change) -> Row | None:
    """What came out of a session."""
    if not isinstance(change.event, SessionFinished):
        return row
    return {**change.event.model_dump(mode="json", exclude={"streamer_id"}), "finished_at": change.time}


def _file_key(event: Event) -> Iterable[tuple[Any, ...]]:
    return [(event.session_id, event.recording_id, event.index)] if isinstance(event, ChatFileCompleted) else []


SESSIONS = Folded(
    "sessions",
    2,
    (*_BROADCAST, *_PROCESS, *_CHAT, SessionFinished),
    (
        Table("sessions", ("session_id",), own_key(*_BROADCAST), session),
        Table("processes", ("session_id",), own_key(*_PROCESS), process),
        Table("chats", ("session_id",), own_key(*_CHAT), chat),
        Table("chat_files", ("session_id", "recording_id", "index"), _file_key, chat_file),
        Table("chat_statistics", ("session_id",), own_key(ChatSummarised), chat_statistics),
        Table("manifests", ("session_id",), own_key(SessionFinished), manifest),
    ),
)
