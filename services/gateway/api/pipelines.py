"""Pipeline runs and their jobs."""

from __future__ import annotations

from typing import Annotated, Any

from contracts.aggregate import Rejected
from contracts.message import Command
from contracts.pipeline import CancelRun, JobProgress, PlanRun, RetryRun
from contracts.values import Artifact, Id, Step, Strict
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field

from services.gateway.api.context import Gateway, Parts, fresh_key
from services.gateway.api.outcome import ACCEPTED, change, resource
from services.gateway.api.paging import MAX_LIMIT, Page, Paged
from services.gateway.api.problems import existing, not_found
from services.gateway.api.resources import Job, Run, RunWithJobs
from services.gateway.api.security import allow, changing, guard_steps, reading
from services.gateway.domain import Principal
from services.gateway.store import views

router = APIRouter(prefix="/api", tags=["pipelines"])
Operator = Annotated[Principal, Depends(allow("operator", "pipelines", "write"))]
State = Annotated[str | None, Query(pattern=r"^[a-z]{1,20}$")]
Key = Annotated[Id | None, Query()]


class NewRun(Strict):
    """Process finished files of a session again. Files are named by their segments, never by address."""

    session_id: Id
    recording_id: Id | None = None
    segments: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], Field(max_length=1000)] | None = None
    """Indexes; all finished segments when left out."""
    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=64)]


@router.get("/pipelines", dependencies=[reading("pipelines")])
async def runs(parts: Parts, paging: Paged, session_id: Key = None, state: State = None) -> Page[Run]:
    """Runs, newest first."""
    found = await views.runs(
        parts.pool, session_id=session_id, state=state, before=paging.by_time(), limit=paging.fetch
    )
    return Page[Run].model_validate(paging.page(found, "planned_at", "id"))


@router.post("/pipelines", status_code=201, response_model=RunWithJobs, responses=ACCEPTED)
async def plan_run(request: Request, body: NewRun, parts: Parts, principal: Operator) -> Response:
    """Plan a run by hand."""
    guard_steps(principal, body.steps)
    indexes = list(body.segments) if body.segments is not None else None
    files = await views.artifacts(parts.pool, body.session_id, recording_id=body.recording_id, indexes=indexes)
    if not files:
        raise Rejected("No files", status=422, detail="the session has no such finished segment")
    run_id = fresh_key(request)
    inputs = tuple(Artifact.model_validate(file["artifact"]) for file in files)
    command = PlanRun(run_id=run_id, session_id=body.session_id, steps=body.steps, inputs=inputs)
    return await _change(request, command, run_id, parts, created=True)


@router.get("/pipelines/{run_id}", response_model=RunWithJobs, dependencies=[reading("pipelines")])
async def run(run_id: Id, parts: Parts) -> Response:
    """One run with its jobs."""
    return resource(await _existing(parts, run_id), RunWithJobs)


@router.post(
    "/pipelines/{run_id}/retry", response_model=RunWithJobs, responses=ACCEPTED, dependencies=[changing("pipelines")]
)
async def retry_run(request: Request, run_id: Id, parts: Parts) -> Response:
    """Run what failed or was cancelled again."""
    await _existing(parts, run_id)
    return await _change(request, RetryRun(run_id=run_id), run_id, parts)


@router.post(
    "/pipelines/{run_id}/cancel", response_model=RunWithJobs, responses=ACCEPTED, dependencies=[changing("pipelines")]
)
async def cancel_run(request: Request, run_id: Id, parts: Parts) -> Response:
    """Cancel every unfinished job of a run."""
    await _existing(parts, run_id)
    return await _change(request, CancelRun(run_id=run_id), run_id, parts)


@router.get("/jobs", dependencies=[reading("pipelines")])
async def jobs(
    parts: Parts, paging: Paged, run_id: Key = None, session_id: Key = None, state: State = None
) -> Page[Job]:
    """Jobs of all runs, newest first; running ones with their last progress."""
    found = await views.jobs(
        parts.pool, run_id=run_id, session_id=session_id, state=state, before=paging.by_time(), limit=paging.fetch
    )
    shown = [_live(parts, item) for item in found]
    return Page[Job].model_validate(paging.page(shown, "released_at", "job_id"))


@router.get("/jobs/{run_id}/{job_id}", dependencies=[reading("pipelines")])
async def job(run_id: Id, job_id: Id, parts: Parts) -> Job:
    """One job."""
    found = await views.jobs(parts.pool, run_id=run_id, job_id=job_id)
    if not found:
        raise not_found("job", job_id)
    return Job.model_validate(_live(parts, found[0]))


async def _change(
    request: Request, command: Command, run_id: str, parts: Gateway, *, created: bool = False
) -> Response:
    location = f"/api/pipelines/{run_id}"
    return await change(request, command, RunWithJobs, lambda: _load(parts, run_id), location=location, created=created)


async def _load(parts: Gateway, run_id: str) -> dict[str, Any] | None:
    found = await views.runs(parts.pool, id=run_id)
    if not found:
        return None
    jobs_of = await views.jobs(parts.pool, run_id=run_id, limit=MAX_LIMIT)
    return {**found[0], "jobs": [_live(parts, item) for item in jobs_of]}


async def _existing(parts: Gateway, run_id: str) -> dict[str, Any]:
    return existing(await _load(parts, run_id), "pipeline run", run_id)


def _live(parts: Gateway, item: dict[str, Any]) -> dict[str, Any]:
    running = item["state"] == "running"
    return {**item, "progress": parts.signals.last(JobProgress, item["job_id"]) if running else None}
