"""What the pipeline owns: runs of post-processing jobs, and the end of a session's work."""

from __future__ import annotations

from typing import Literal

from contracts.message import Command, Event, Signal
from contracts.values import Artifact, Id, Step

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


class JobCompleted(Event, type="pipeline.run.job_completed.v1", key="run_id"):
    """A job is done; its outputs go to the jobs that wait for it, which are released in the same transaction."""

    run_id: Id
    session_id: Id
    job_id: Id
    step_id: str
    outputs: tuple[Artifact, ...]
    seconds: float


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


class SessionFinished(Event, type="pipeline.session.finished.v1", key="session_id"):
    """Everything of a session is recorded, processed and uploaded. ``manifest`` lists every file that came out of it."""

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
