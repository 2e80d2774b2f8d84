"""Open jobs: the run they belong to, how often they were begun, and what they have published so far."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from chassis.database import Connection
from chassis.errors import LeaseLost
from chassis.eventlog import Fence
from chassis.sql import beside
from contracts.values import Artifact

QUERIES = beside(__file__)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One turn of a job: its number from 1, why the turn before failed, and what was published before."""

    number: int
    error: str
    receipts: dict[str, Artifact]


async def add(connection: Connection, job_id: str, run_id: str) -> None:
    """A job was released."""
    await connection.execute(QUERIES["add_job"], job_id, run_id)


async def remove(connection: Connection, job_ids: Sequence[str]) -> None:
    """Jobs are over."""
    await connection.execute(QUERIES["remove_jobs"], list(job_ids))


async def run_of(connection: Connection, job_id: str) -> str | None:
    """The run of an open job, or ``None`` when there is no such job."""
    run_id: str | None = await connection.fetchval(QUERIES["run_of"], job_id)
    return run_id


async def is_open(connection: Connection, job_id: str) -> bool:
    """Whether somebody should still work on a job."""
    return bool(await connection.fetchval(QUERIES["is_open"], job_id))


async def begin_attempt(connection: Connection, job_id: str) -> Attempt | None:
    """Count a turn of a job before it begins, so that one that brings the process down is counted too; ``None`` when it is over."""
    row = await connection.fetchrow(QUERIES["begin_attempt"], job_id)
    if row is None:
        return None
    receipts = {slot: Artifact.model_validate(value) for slot, value in json.loads(row["receipts"]).items()}
    return Attempt(row["attempts"], row["error"], receipts)


async def undo_attempt(connection: Connection, job_id: str) -> None:
    """A turn ended for a reason that is not the job's."""
    await connection.execute(QUERIES["undo_attempt"], job_id)


async def note_error(connection: Connection, job_id: str, error: str) -> None:
    """Keep why a turn failed."""
    await connection.execute(QUERIES["note_error"], job_id, error)


async def save_receipt(connection: Connection, job_id: str, slot: str, artifact: Artifact, fence: Fence) -> None:
    """Write down what is about to be published; raises LeaseLost when the job belongs to another replica or to nobody any more."""
    saved = await connection.fetchval(
        QUERIES["save_receipt"], job_id, slot, artifact.model_dump_json(), fence.name, fence.epoch
    )
    if saved is None:
        raise LeaseLost(fence.name)
