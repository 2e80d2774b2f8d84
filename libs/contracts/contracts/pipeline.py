"""What the pipeline owns: runs of post-processing jobs, and the end of a session's work."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.message import Command, Event, Signal, Value
from contracts.values import Artifact, Id, Pipelines, Step, Uri

ReclaimUploaded = Literal["no", "media", "all"]
"""What must have been uploaded before a session goes: nothing, its videos (or what was made of them), every file of it."""
RunKind = Literal["segment", "paired", "session", "manual"]


class PlanRun(Command, type="pipeline.plan_run.v1", key="run_id"):
    """Process files by hand: the same as what a finished segment starts."""

    run_id: Id
    session_id: Id
    steps: tuple[Step, ...]
    inputs: tuple[Artifact, ...]


class RetryRun(Command, type="pipeline.retry_run.v1", key="run_id"):
    """Run the failed and cancelled jobs of a failed run again."""

    run_id: Id


class CancelRun(Command, type="pipeline.cancel_run.v1", key="run_id"):
    """Cancel every unfinished job of a run."""

    run_id: Id


class Reclaim(Command, type="pipeline.reclaim.v1", key="request_id"):
    """Look which sessions the policy lets go, and remove their files unless ``dry_run``. ``None`` leaves a rule to the settings; 0 is off."""

    request_id: Id
    dry_run: bool = True
    keep_days: Annotated[float, Field(ge=0, le=36_500)] | None = None
    max_total_gb: Annotated[float, Field(ge=0)] | None = None
    min_free_mb: Annotated[int, Field(ge=0)] | None = None
    only_uploaded: ReclaimUploaded | None = None


class ReclaimRequested(Event, type="pipeline.reclaim.requested.v1", key="request_id"):
    """Somebody asked what would be removed, or for its removal. First event of its stream; carries the request."""

    request_id: Id
    dry_run: bool
    keep_days: float | None = None
    max_total_gb: float | None = None
    min_free_mb: int | None = None
    only_uploaded: ReclaimUploaded | None = None


class ReclaimItem(Value):
    """A session that goes, or that a rule would let go if ``blocked`` did not say why it stays. ``bytes`` are those that lie there now."""

    session_id: Id
    streamer_name: str
    title: str
    finished_at: str
    files: int
    bytes: int
    reason: str
    blocked: str = ""


class ReclaimPlanned(Event, type="pipeline.reclaim.planned.v1", key="request_id"):
    """The answer to a request: the sessions that go, oldest first, and those that stay although a rule concerns them (500 in all at most).

    ``sessions``, ``files`` and ``bytes`` count everything that goes. Last event of the stream of a dry run.
    """

    request_id: Id
    items: tuple[ReclaimItem, ...]
    sessions: int
    files: int
    bytes: int


class ReclaimCompleted(Event, type="pipeline.reclaim.completed.v1", key="request_id"):
    """What a request planned is removed. Last event of its stream."""

    request_id: Id
    sessions: int
    bytes: int


class ReclaimStarted(Event, type="pipeline.session.reclaim_started.v1", key="session_id"):
    """The files of a session are going to be removed, all of them together: said before the first one goes, so that history knows them.

    Lists that are too long for one event come in several of them, in the same transaction.
    """

    session_id: Id
    streamer_id: Id
    reason: str
    files: tuple[Artifact, ...]


class SessionReclaimed(Event, type="pipeline.session.reclaimed.v1", key="session_id"):
    """The files of a session are removed to make room; those that were uploaded are where they were uploaded to."""

    session_id: Id
    streamer_id: Id
    files: int
    bytes: int


class RunPlanned(Event, type="pipeline.run.planned.v1", key="run_id"):
    """A graph of jobs was planned. First event of its stream; ``index`` is the segment or -1."""

    run_id: Id
    session_id: Id
    kind: RunKind
    index: int
    steps: tuple[Step, ...]
    inputs: tuple[Artifact, ...]


class JobReleased(Event, type="pipeline.run.job_released.v1", key="run_id"):
    """Everything a job waits for is done; any replica may claim it."""

    run_id: Id
    session_id: Id
    job_id: Id
    step: Step
    inputs: tuple[Artifact, ...]


class JobStarted(Event, type="pipeline.run.job_started.v1", key="run_id"):
    """A replica claimed a job under a lease, or handed it to the uploader."""

    run_id: Id
    session_id: Id
    job_id: Id
    step_id: str
    worker: str
    epoch: int


class FileUploaded(Event, type="pipeline.run.file_uploaded.v1", key="run_id"):
    """One of several files of an upload job is at its destination; the last one completes the job instead."""

    run_id: Id
    session_id: Id
    job_id: Id
    step_id: str
    upload_id: Id
    artifact: Artifact
    seconds: float


class JobCompleted(Event, type="pipeline.run.job_completed.v1", key="run_id"):
    """A job is done; its outputs go to the jobs that wait for it, which are released in the same transaction.

    ``removed`` names inputs that are gone now, because the job moved or replaced them.
    """

    run_id: Id
    session_id: Id
    job_id: Id
    step_id: str
    outputs: tuple[Artifact, ...]
    seconds: float
    removed: tuple[Uri, ...] = ()


class JobFailed(Event, type="pipeline.run.job_failed.v1", key="run_id"):
    """A job failed for good; the rest of its run is cancelled."""

    run_id: Id
    session_id: Id
    job_id: Id
    step_id: str
    error: str


class JobCancelled(Event, type="pipeline.run.job_cancelled.v1", key="run_id"):
    """A job will not run because another one failed or somebody cancelled the run."""

    run_id: Id
    session_id: Id
    job_id: Id
    step_id: str


class RunCompleted(Event, type="pipeline.run.completed.v1", key="run_id"):
    """Every job of a run is done; ``outputs`` are those of its last steps."""

    run_id: Id
    session_id: Id
    kind: RunKind
    index: int
    outputs: tuple[Artifact, ...]


class RunFailed(Event, type="pipeline.run.failed.v1", key="run_id"):
    """A run is over without success."""

    run_id: Id
    session_id: Id
    kind: RunKind
    index: int
    error: str


class RunRetried(Event, type="pipeline.run.retried.v1", key="run_id"):
    """Somebody asked a failed run to go on from where it failed."""

    run_id: Id
    session_id: Id


class ProcessingPlanned(Event, type="pipeline.session.planned.v1", key="session_id"):
    """The files of a session are going to be processed: the settings that hold for it, whatever is changed later.

    ``chat`` says whether chat files are to be waited for.
    """

    session_id: Id
    streamer_id: Id
    streamer_name: str
    platform: str
    title: str
    started_at: str
    pipelines: Pipelines
    upload_to: str
    chat: bool


class SegmentAdded(Event, type="pipeline.session.segment_added.v1", key="session_id"):
    """A recorded segment of the session is known to the pipeline."""

    session_id: Id
    recording_id: Id
    index: int
    artifact: Artifact
    duration_ms: int


class ChatAdded(Event, type="pipeline.session.chat_added.v1", key="session_id"):
    """The chat files of one segment of the session are known to the pipeline."""

    session_id: Id
    recording_id: Id
    index: int
    log: Artifact
    xml: Artifact
    lines: int


class RunTriggered(Event, type="pipeline.session.run_triggered.v1", key="session_id"):
    """A run of the session is due and was planned, or goes on after a retry: the session is not finished before it is over."""

    session_id: Id
    run_id: Id
    kind: RunKind
    recording_id: str
    index: int


class FilesAdded(Event, type="pipeline.session.files_added.v1", key="session_id"):
    """A run of the session made files, and perhaps removed some: what the manifest is made of."""

    session_id: Id
    run_id: Id
    files: tuple[Artifact, ...]
    removed: tuple[Uri, ...] = ()


class RunOver(Event, type="pipeline.session.run_over.v1", key="session_id"):
    """A run of the session is over; ``outputs`` of a completed one are what later runs of the session begin with."""

    session_id: Id
    run_id: Id
    completed: bool
    outputs: tuple[Artifact, ...]


class RecordingsClosed(Event, type="pipeline.session.recordings_closed.v1", key="session_id"):
    """Nothing more will be recorded for the session; ``segments`` is how many there are."""

    session_id: Id
    segments: int


class ChatClosed(Event, type="pipeline.session.chat_closed.v1", key="session_id"):
    """No more chat will be written for the session; ``files`` counts the segments that have some, ``frames`` are files of raw frames."""

    session_id: Id
    files: int
    lines: int
    frames: tuple[Artifact, ...] = ()


class ManifestListed(Event, type="pipeline.session.manifest_listed.v1", key="session_id"):
    """The first part of a manifest that is too long for one event; the rest is in ``SessionFinished``, which follows in the same transaction."""

    session_id: Id
    part: int
    files: tuple[Artifact, ...]


class SessionFinished(Event, type="pipeline.session.finished.v1", key="session_id"):
    """Everything of a session is recorded, processed and uploaded. ``manifest`` lists every file that came out of it.

    When there are more files than fit into one event, those before them are in the ``ManifestListed`` events that precede this one.
    """

    session_id: Id
    streamer_id: Id
    segments: int
    duration_ms: int
    chat_lines: int
    failed_runs: int
    manifest: tuple[Artifact, ...]


class JobProgress(Signal, type="pipeline.progress.v1", key="job_id"):
    """How far a running job is: ``fraction`` from 0 to 1, or -1 when unknown."""

    job_id: Id
    run_id: Id
    session_id: Id
    step_id: str
    fraction: float
