"""What the uploader owns: uploads of finished files."""

from __future__ import annotations

from contracts.message import Command, Event, Signal
from contracts.values import Artifact, Id, Uri


class StartUpload(Command, type="uploader.start_upload.v1", key="upload_id"):
    """Copy a file to object storage. ``destination`` is the full target address."""

    upload_id: Id
    session_id: Id
    source: Artifact
    destination: Uri


class CancelUpload(Command, type="uploader.cancel_upload.v1", key="upload_id"):
    """Give an upload up."""

    upload_id: Id


class UploadRequested(Event, type="uploader.upload.requested.v1", key="upload_id"):
    """An upload waits for a replica. First event of its stream."""

    upload_id: Id
    session_id: Id
    source: Artifact
    destination: Uri


class UploadStarted(Event, type="uploader.upload.started.v1", key="upload_id"):
    """A replica claimed the upload; ``resumed_at`` is the byte it goes on from."""

    upload_id: Id
    session_id: Id
    worker: str
    epoch: int
    resumed_at: int


class UploadCompleted(Event, type="uploader.upload.completed.v1", key="upload_id"):
    """The file is at its destination and its checksum was verified there."""

    upload_id: Id
    session_id: Id
    artifact: Artifact
    seconds: float


class UploadFailed(Event, type="uploader.upload.failed.v1", key="upload_id"):
    """The upload was given up after its last attempt."""

    upload_id: Id
    session_id: Id
    error: str
    attempts: int


class UploadCancelled(Event, type="uploader.upload.cancelled.v1", key="upload_id"):
    """Somebody gave the upload up."""

    upload_id: Id
    session_id: Id


class UploadProgress(Signal, type="uploader.progress.v1", key="upload_id"):
    """Bytes sent so far."""

    upload_id: Id
    session_id: Id
    sent: int
    size: int
