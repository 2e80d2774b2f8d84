"""Requests to make room and their answers; and the sessions whose files are gone."""

from __future__ import annotations

from contracts.pipeline import ReclaimCompleted, ReclaimPlanned, ReclaimRequested, ReclaimStarted, SessionReclaimed

from services.gateway.projections.model import Change, Folded, Row, Table, own_key

_REQUEST = (ReclaimRequested, ReclaimPlanned, ReclaimCompleted)
_SESSION = (ReclaimStarted, SessionReclaimed)


def request(row: Row | None, change: Change) -> Row | None:
    """A request after an event of its stream."""
    event, version = change.event, {"version": change.version}
    if isinstance(event, ReclaimRequested):
        return {
            "request_id": event.request_id,
            "dry_run": event.dry_run,
            "state": "requested",
            "items": [],
            "sessions": 0,
            "files": 0,
            "bytes": 0,
            "requested_at": change.time,
            "ended_at": None,
            **version,
        }
    if row is None:
        return None
    match event:
        case ReclaimPlanned():
            told = event.model_dump(mode="json", exclude={"request_id"})
            over = {"state": "completed", "ended_at": change.time} if row["dry_run"] else {"state": "running"}
            return {**row, **told, **over, **version}
        case ReclaimCompleted():
            done = {"sessions": event.sessions, "bytes": event.bytes}
            return {**row, **done, "state": "completed", "ended_at": change.time, **version}
    return row


def session(row: Row | None, change: Change) -> Row | None:
    """A session whose files go, or are gone."""
    event = change.event
    match event:
        case ReclaimStarted():
            before = row or {"session_id": event.session_id, "files": 0, "bytes": 0, "reclaimed_at": None}
            size = before["bytes"] + sum(file.size for file in event.files)
            return {**before, "reason": event.reason, "files": before["files"] + len(event.files), "bytes": size}
        case SessionReclaimed() if row:
            return {**row, "reclaimed_at": change.time}
    return row


RECLAIMS = Folded(
    "reclaims",
    1,
    (*_REQUEST, *_SESSION),
    (
        Table("reclaims", ("request_id",), own_key(*_REQUEST), request),
        Table("reclaimed", ("session_id",), own_key(*_SESSION), session),
    ),
)
