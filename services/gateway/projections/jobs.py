"""Pipeline runs and their jobs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from contracts.message import Event
from contracts.pipeline import (
    JobCancelled,
    JobCompleted,
    JobFailed,
    JobReleased,
    JobStarted,
    RunCompleted,
    RunFailed,
    RunPlanned,
    RunRetried,
)

from services.gateway.projections.model import Change, Folded, Row, Table, own_key

_JOB = (JobReleased, JobStarted, JobCompleted, JobFailed, JobCancelled)
_ALL = (RunPlanned, *_JOB, RunCompleted, RunFailed, RunRetried)


def run(row: Row | None, change: Change) -> Row | None:
    """A run after an event of its stream."""
    event, version = change.event, {"version": change.version}
    if isinstance(event, RunPlanned):
        fresh: Row = {"state": "running", "outputs": [], "error": "", "planned_at": change.time, "ended_at": None}
        return {**event.model_dump(mode="json"), **fresh, **version}
    if row is None:
        return None
    match event:
        case RunCompleted():
            outputs = event.model_dump(mode="json")["outputs"]
            return {**row, "state": "completed", "outputs": outputs, "ended_at": change.time, **version}
        case RunFailed():
            return {**row, "state": "failed", "error": event.error, "ended_at": change.time, **version}
        case RunRetried():
            return {**row, "state": "running", "error": "", "ended_at": None, **version}
    return {**row, **version}


def job(row: Row | None, change: Change) -> Row | None:
    """A job after an event of its run."""
    event = change.event
    if isinstance(event, JobReleased):
        return _released(event, change)
    if row is None:
        # Cancelled before it was released: nothing but its name is known.
        return _never_released(event, change) if isinstance(event, JobCancelled) else None
    match event:
        case JobStarted():
            begun = {"worker": event.worker, "attempts": row["attempts"] + 1, "started_at": change.time}
            return {**row, **begun, "state": "running"}
        case JobCompleted():
            outputs = event.model_dump(mode="json")["outputs"]
            done = {"outputs": outputs, "seconds": event.seconds, "ended_at": change.time}
            return {**row, **done, "state": "completed"}
        case JobFailed():
            return {**row, "state": "failed", "error": event.error, "ended_at": change.time}
        case JobCancelled():
            return {**row, "state": "cancelled", "ended_at": change.time}
    return row


def _released(event: JobReleased, change: Change) -> Row:
    return {
        **event.model_dump(mode="json", exclude={"step"}),
        "step_id": event.step.id,
        "processor": str(event.step.processor),
        "state": "released",
        "worker": "",
        "attempts": 0,
        "outputs": [],
        "error": "",
        "seconds": None,
        "released_at": change.time,
        "started_at": None,
        "ended_at": None,
    }


def _never_released(event: JobCancelled, change: Change) -> Row:
    return {
        **event.model_dump(mode="json"),
        "processor": "",
        "state": "cancelled",
        "worker": "",
        "attempts": 0,
        "inputs": [],
        "outputs": [],
        "error": "",
        "seconds": None,
        "released_at": change.time,
        "started_at": None,
        "ended_at": change.time,
    }


def _job_key(event: Event) -> Iterable[tuple[Any, ...]]:
    return [(event.run_id, event.job_id)] if isinstance(event, _JOB) else []


JOBS = Folded(
    "jobs",
    1,
    _ALL,
    (Table("runs", ("run_id",), own_key(*_ALL), run), Table("jobs", ("run_id", "job_id"), _job_key, job)),
)
