"""One upload: requested, perhaps started several times, over once."""

from __future__ import annotations

from dataclasses import dataclass, replace

from contracts.aggregate import Aggregate, Rejected
from contracts.message import Event
from contracts.uploader import (
    StartUpload,
    UploadCancelled,
    UploadCompleted,
    UploadFailed,
    UploadRequested,
    UploadStarted,
)
from contracts.values import Artifact

KIND = "upload"
"""The kind of lease an upload runs under."""


@dataclass(frozen=True, slots=True)
class Upload:
    """What is known of one upload."""

    request: UploadRequested | None = None
    over: bool = False
    cancelled: bool = False
    starts: int = 0


def evolve(state: Upload, event: Event) -> Upload:
    """The upload after an event."""
    match event:
        case UploadRequested():
            return replace(state, request=event)
        case UploadStarted():
            return replace(state, starts=state.starts + 1)
        case UploadCompleted() | UploadFailed():
            return replace(state, over=True)
        case UploadCancelled():
            return replace(state, over=True, cancelled=True)
    return state


UPLOAD = Aggregate("upload", Upload(), evolve)
AGGREGATES = (UPLOAD,)


def decide_request(state: Upload, command: StartUpload) -> list[Event]:
    """Accept an upload; a repeated request is the same upload."""
    if state.request is not None:
        if (state.request.source.uri, state.request.destination) != (command.source.uri, command.destination):
            raise Rejected("Upload exists", detail=f"the id {command.upload_id} belongs to another upload")
        return []
    return [
        UploadRequested(
            upload_id=command.upload_id,
            session_id=command.session_id,
            source=command.source,
            destination=command.destination,
        )
    ]


def decide_cancel(state: Upload, upload_id: str) -> list[Event]:
    """Give up an upload that is not over."""
    if state.request is None:
        raise Rejected("Unknown upload", status=404, detail=f"there is no upload {upload_id}")
    if state.over:
        raise Rejected("Upload is over", detail="nothing is left to cancel")
    return [UploadCancelled(upload_id=upload_id, session_id=state.request.session_id)]


def decide_started(state: Upload, *, worker: str, epoch: int, resumed_at: int) -> list[Event]:
    """A replica begins or goes on; nothing when the upload is over."""
    if state.request is None or state.over:
        return []
    request = state.request
    return [
        UploadStarted(
            upload_id=request.upload_id,
            session_id=request.session_id,
            worker=worker,
            epoch=epoch,
            resumed_at=resumed_at,
        )
    ]


def decide_completed(state: Upload, artifact: Artifact, seconds: float) -> list[Event]:
    """The file is verified at its destination; a cancellation that came too late has won all the same."""
    if state.request is None or state.over:
        return []
    return [
        UploadCompleted(
            upload_id=state.request.upload_id, session_id=state.request.session_id, artifact=artifact, seconds=seconds
        )
    ]


def decide_failed(state: Upload, error: str, attempts: int) -> list[Event]:
    """The upload is given up."""
    if state.request is None or state.over:
        return []
    return [
        UploadFailed(
            upload_id=state.request.upload_id, session_id=state.request.session_id, error=error, attempts=attempts
        )
    ]
