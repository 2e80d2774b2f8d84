"""One run: a graph of jobs. Whatever ends a job decides in the same append what becomes of the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from contracts.aggregate import Aggregate, Rejected
from contracts.message import Event
from contracts.pipeline import (
    FileUploaded,
    JobCancelled,
    JobCompleted,
    JobFailed,
    JobReleased,
    JobStarted,
    PlanRun,
    RunCompleted,
    RunFailed,
    RunPlanned,
    RunRetried,
)
from contracts.values import Artifact, Processor, Step

from services.pipeline.domain.graph import (
    MAX_FILES_BYTES,
    job_id,
    last_steps,
    merged,
    problem_of,
    upload_id,
    weight,
)

MAX_ERROR = 2000
UPLOADER = "uploader"
"""The worker of upload jobs: the service they are handed to."""
CANCELLED = "cancelled"

JobStatus = Literal["waiting", "released", "running", "done", "failed", "cancelled"]
RunStatus = Literal["", "running", "completed", "failed"]
OPEN: frozenset[JobStatus] = frozenset(["released", "running"])
_STATUS: dict[type[Event], JobStatus] = {JobStarted: "running", JobFailed: "failed", JobCancelled: "cancelled"}


@dataclass(frozen=True, slots=True)
class Job:
    """One step of one run. ``uploads`` are the files of an upload job that are at their destination, with the seconds each took."""

    step: Step
    job_id: str
    status: JobStatus = "waiting"
    inputs: tuple[Artifact, ...] = ()
    outputs: tuple[Artifact, ...] = ()
    removed: tuple[str, ...] = ()
    uploads: Mapping[str, tuple[Artifact, float]] = field(default_factory=dict)

    @property
    def is_open(self) -> bool:
        """Released and not over: somebody works on it or should."""
        return self.status in OPEN

    @property
    def is_upload(self) -> bool:
        """Whether the uploader does it."""
        return self.step.processor is Processor.UPLOAD

    @property
    def upload_ids(self) -> tuple[str, ...]:
        """The uploads of an upload job, in the order of its inputs."""
        return tuple(upload_id(self.job_id, number) for number in range(len(self.inputs)))


@dataclass(frozen=True, slots=True)
class Run:
    """A run and its jobs by step id. ``attempt`` counts its retries."""

    plan: RunPlanned | None = None
    jobs: Mapping[str, Job] = field(default_factory=dict)
    status: RunStatus = ""
    attempt: int = 0
    outputs: tuple[Artifact, ...] = ()
    error: str = ""

    def job(self, job_id: str) -> Job | None:
        """The job with an id, unless it belongs to an earlier attempt."""
        return next((job for job in self.jobs.values() if job.job_id == job_id), None)

    @property
    def open_jobs(self) -> dict[str, Job]:
        """Jobs that are released and not over, by job id."""
        return {job.job_id: job for job in self.jobs.values() if job.is_open}

    @property
    def over(self) -> bool:
        """Completed or failed."""
        return self.status in ("completed", "failed")

    @property
    def removed(self) -> frozenset[str]:
        """Files that jobs of this run have removed."""
        return frozenset(uri for job in self.jobs.values() for uri in job.removed)

    @property
    def made(self) -> tuple[Artifact, ...]:
        """Every file that came out of a job and is still there, without what the run began with."""
        begun = {artifact.uri for artifact in self.plan.inputs} if self.plan else set()
        files = merged(*(job.outputs for job in self.jobs.values()))
        return tuple(file for file in files if file.uri not in begun and file.uri not in self.removed)


def evolve(state: Run, event: Event) -> Run:
    """The run after an event."""
    match event:
        case RunPlanned():
            jobs = {step.id: Job(step, job_id(event.run_id, step.id, 0)) for step in event.steps}
            return Run(event, jobs, "running")
        case JobReleased():
            return _change(state, event.job_id, status="released", inputs=event.inputs)
        case JobStarted() | JobFailed() | JobCancelled():
            return _change(state, event.job_id, status=_STATUS[type(event)])
        case FileUploaded():
            return _uploaded(state, event)
        case JobCompleted():
            return _change(state, event.job_id, status="done", outputs=event.outputs, removed=event.removed)
        case RunCompleted():
            return replace(state, status="completed", outputs=event.outputs)
        case RunFailed():
            return replace(state, status="failed", error=event.error)
        case RunRetried():
            return _retried(state, event.run_id)
    return state


RUN = Aggregate("run", Run(), evolve)


def check_request(state: Run, command: PlanRun) -> bool:
    """Whether a run asked for by hand is new; raises Rejected when it cannot be planned or its id is in use for another one."""
    if state.plan is not None:
        if (state.plan.steps, state.plan.inputs) == (command.steps, command.inputs):
            return False
        raise Rejected("Run exists", detail=f"the id {command.run_id} belongs to another run")
    problem = problem_of(command.steps) or _too_much(command.inputs)
    if not command.inputs:
        problem = problem or "there is nothing to process"
    if problem:
        raise Rejected("Bad run", status=422, detail=problem)
    return True


def decide_plan(state: Run, plan: RunPlanned) -> list[Event]:
    """Plan a run and release its roots; one whose steps are no graph or whose inputs are too many fails at once."""
    if state.plan is not None:
        return []
    too_much = _too_much(plan.inputs)
    planned = plan.model_copy(update={"inputs": ()}) if too_much else plan
    problem = problem_of(plan.steps) or too_much
    if problem:
        return [planned, _failed(planned, problem)]
    return [planned, *_released(evolve(state, planned))]


def decide_start(state: Run, job_id: str, *, worker: str, epoch: int) -> list[Event]:
    """A replica begins a job, or begins it again; nothing when there is nothing to do."""
    plan, job = state.plan, state.job(job_id)
    if plan is None or job is None or not job.is_open or state.over:
        return []
    return [
        JobStarted(
            run_id=plan.run_id,
            session_id=plan.session_id,
            job_id=job_id,
            step_id=job.step.id,
            worker=worker,
            epoch=epoch,
        )
    ]


def decide_complete(
    state: Run, job_id: str, outputs: Sequence[Artifact], seconds: float, removed: Iterable[str] = ()
) -> list[Event]:
    """A job is done: release whatever waited for it alone and complete the run when it was the last one."""
    plan, job = state.plan, state.job(job_id)
    if plan is None or job is None or not job.is_open or state.over:
        return []
    too_much = _too_much(outputs)
    if too_much:
        return decide_fail(state, job_id, too_much)
    completed = JobCompleted(
        run_id=plan.run_id,
        session_id=plan.session_id,
        job_id=job_id,
        step_id=job.step.id,
        outputs=tuple(outputs),
        seconds=seconds,
        removed=tuple(removed),
    )
    after = evolve(state, completed)
    follow = _released(after) or _completion(after)
    too_much = next((_too_much(_files_of(event)) for event in follow if _too_much(_files_of(event))), "")
    return decide_fail(state, job_id, too_much) if too_much else [completed, *follow]


def decide_uploaded(state: Run, job_id: str, upload_id: str, artifact: Artifact, seconds: float) -> list[Event]:
    """One file of an upload job arrived; the last one completes the job. Repeated and unknown ones change nothing."""
    plan, job = state.plan, state.job(job_id)
    if plan is None or job is None or not job.is_open or not job.is_upload:
        return []
    if upload_id not in job.upload_ids or upload_id in job.uploads:
        return []
    uploads = {**job.uploads, upload_id: (artifact, seconds)}
    if len(uploads) == len(job.inputs):
        outputs = [uploads[id][0] for id in job.upload_ids]
        return decide_complete(state, job_id, outputs, sum(spent for _, spent in uploads.values()))
    return [
        FileUploaded(
            run_id=plan.run_id,
            session_id=plan.session_id,
            job_id=job_id,
            step_id=job.step.id,
            upload_id=upload_id,
            artifact=artifact,
            seconds=seconds,
        )
    ]


def decide_fail(state: Run, job_id: str, error: str) -> list[Event]:
    """A job failed for good: cancel every unfinished one and fail the run."""
    plan, job = state.plan, state.job(job_id)
    if plan is None or job is None or not job.is_open or state.over:
        return []
    failed = JobFailed(
        run_id=plan.run_id,
        session_id=plan.session_id,
        job_id=job_id,
        step_id=job.step.id,
        error=error[:MAX_ERROR],
    )
    return [failed, *_cancelled(evolve(state, failed)), _failed(plan, f"{job.step.id}: {error}")]


def decide_cancel(state: Run, run_id: str) -> list[Event]:
    """Somebody cancels a run that is not over."""
    if state.plan is None:
        raise _unknown(run_id)
    if state.over:
        raise Rejected("Run is over", detail=f"it has {state.status}; nothing is left to cancel")
    return [*_cancelled(state), _failed(state.plan, CANCELLED)]


def decide_retry(state: Run, run_id: str) -> list[Event]:
    """Somebody retries a failed run: what is done stays done, everything else is run again."""
    if state.plan is None:
        raise _unknown(run_id)
    if state.status != "failed":
        raise Rejected("Run has not failed", detail=f"it is {state.status}; only a failed run can be retried")
    if problem_of(state.plan.steps) or not state.plan.inputs:
        raise Rejected("Run cannot be retried", detail=state.error)
    retried = RunRetried(run_id=run_id, session_id=state.plan.session_id)
    return [retried, *_released(evolve(state, retried))]


def _change(state: Run, job_id: str, **changes: object) -> Run:
    job = state.job(job_id)
    if job is None:
        return state
    return replace(state, jobs={**state.jobs, job.step.id: replace(job, **changes)})  # type: ignore[arg-type]


def _uploaded(state: Run, event: FileUploaded) -> Run:
    job = state.job(event.job_id)
    uploads = {**(job.uploads if job else {}), event.upload_id: (event.artifact, event.seconds)}
    return _change(state, event.job_id, uploads=uploads)


def _retried(state: Run, run_id: str) -> Run:
    attempt = state.attempt + 1
    jobs = {
        id: job if job.status == "done" else Job(job.step, job_id(run_id, id, attempt))
        for id, job in state.jobs.items()
    }
    return replace(state, jobs=jobs, status="running", attempt=attempt, error="")


def _released(state: Run) -> list[Event]:
    """Releases of all jobs that wait for nothing any more; upload jobs are handed to the uploader at once."""
    plan = state.plan
    if plan is None:
        return []
    events: list[Event] = []
    for step in plan.steps:
        job = state.jobs[step.id]
        if job.status != "waiting" or any(state.jobs[id].status != "done" for id in step.after):
            continue
        inputs = merged(*(state.jobs[id].outputs for id in step.after)) if step.after else plan.inputs
        base = {"run_id": plan.run_id, "session_id": plan.session_id, "job_id": job.job_id}
        events.append(JobReleased(**base, step=step, inputs=inputs))
        if job.is_upload:
            events.append(JobStarted(**base, step_id=step.id, worker=UPLOADER, epoch=0))
    return events


def _completion(state: Run) -> list[Event]:
    plan = state.plan
    if plan is None or any(job.status != "done" for job in state.jobs.values()):
        return []
    outputs = merged(*(state.jobs[step.id].outputs for step in last_steps(plan.steps)))
    return [
        RunCompleted(
            run_id=plan.run_id,
            session_id=plan.session_id,
            kind=plan.kind,
            index=plan.index,
            outputs=tuple(file for file in outputs if file.uri not in state.removed),
        )
    ]


def _cancelled(state: Run) -> list[Event]:
    if state.plan is None:
        return []
    return [
        JobCancelled(run_id=state.plan.run_id, session_id=state.plan.session_id, job_id=job.job_id, step_id=job.step.id)
        for job in state.jobs.values()
        if job.status == "waiting" or job.is_open
    ]


def _failed(plan: RunPlanned, error: str) -> RunFailed:
    return RunFailed(
        run_id=plan.run_id, session_id=plan.session_id, kind=plan.kind, index=plan.index, error=error[:MAX_ERROR]
    )


def _too_much(files: Sequence[Artifact]) -> str:
    if weight(files) <= MAX_FILES_BYTES:
        return ""
    return f"{len(files)} files are more than one job can be given; process them in smaller runs"


def _files_of(event: Event) -> tuple[Artifact, ...]:
    match event:
        case JobReleased():
            return event.inputs
        case RunCompleted():
            return event.outputs
    return ()


def _unknown(run_id: str) -> Rejected:
    return Rejected("Unknown run", status=404, detail=f"there is no run {run_id}")
