"""Uploads of finished files."""

from __future__ import annotations

from contracts.uploader import UploadCancelled, UploadCompleted, UploadFailed, UploadRequested, UploadStarted

from services.gateway.projections.model import Change, Folded, Row, Table, own_key

_ALL = (UploadRequested, UploadStarted, UploadCompleted, UploadFailed, UploadCancelled)


def upload(row: Row | None, change: Change) -> Row | None:
    """An upload after an event of its stream."""
    event, version = change.event, {"version": change.version}
    if isinstance(event, UploadRequested):
        return {
            **event.model_dump(mode="json"),
            "state": "requested",
            "worker": "",
            "artifact": None,
            "seconds": None,
            "error": "",
            "attempts": 0,
            "requested_at": change.time,
            "ended_at": None,
            **version,
        }
    if row is None:
        return None
    match event:
        case UploadStarted():
            begun = {"worker": event.worker, "attempts": row["attempts"] + 1}
            return {**row, **begun, "state": "running", **version}
        case UploadCompleted():
            done = {"artifact": event.artifact.model_dump(mode="json"), "seconds": event.seconds}
            return {**row, **done, "state": "completed", "ended_at": change.time, **version}
        case UploadFailed():
            failure = {"error": event.error, "attempts": event.attempts}
            return {**row, **failure, "state": "failed", "ended_at": change.time, **version}
        case UploadCancelled():
            return {**row, "state": "cancelled", "ended_at": change.time, **version}
    return row


UPLOADS = Folded("uploads", 1, _ALL, (Table("uploads", ("upload_id",), own_key(*_ALL), upload),))
