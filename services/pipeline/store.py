"""Open jobs: the run they belong to, how often they were begun, and what they have published so far."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from chassis.database import Connection
from chassis.errors import LeaseLost
from chassis.eventlog import Fence
from chassis.sql import beside
from contracts.message import Event
from contracts.pipeline import ProcessingPlanned
from contracts.uploader import UploadCancelled, UploadCompleted, UploadFailed, UploadRequested
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


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished session whose files may still be there."""

    session_id: str
    streamer_id: str
    streamer_name: str
    title: str
    finished_at: datetime
    files: tuple[Artifact, ...]


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload of a session's file, whoever asked for it."""

    session_id: str
    source: str
    destination: str
    done: bool


async def add_finished(
    connection: Connection, plan: ProcessingPlanned, session_id: str, files: Sequence[Artifact]
) -> None:
    """A session is finished."""
    listed = json.dumps([file.model_dump(mode="json") for file in files])
    await connection.execute(
        QUERIES["add_finished"], session_id, plan.streamer_id, plan.streamer_name, plan.title, listed
    )


async def finished_sessions(connection: Connection) -> list[Finished]:
    """Finished sessions, oldest first, without those that go already."""
    return [
        Finished(
            row["session_id"],
            row["streamer_id"],
            row["streamer_name"],
            row["title"],
            row["finished_at"],
            tuple(Artifact.model_validate(file) for file in json.loads(row["files"])),
        )
        for row in await connection.fetch(QUERIES["finished_sessions"])
    ]


async def going_sessions(connection: Connection) -> list[str]:
    """Sessions whose removal was begun."""
    return [row["session_id"] for row in await connection.fetch(QUERIES["going_sessions"])]


async def session_goes(connection: Connection, session_id: str) -> None:
    """The removal of a session begins."""
    await connection.execute(QUERIES["session_goes"], session_id)


async def session_gone(connection: Connection, session_id: str) -> None:
    """The files of a session are gone."""
    await connection.execute(QUERIES["session_gone"], session_id)
    await connection.execute(QUERIES["forget_uploads"], session_id)


async def follow_upload(connection: Connection, event: Event) -> None:
    """Remember what was uploaded, and what is on its way."""
    match event:
        case UploadRequested():
            await connection.execute(
                QUERIES["upload_requested"], event.upload_id, event.session_id, event.source.uri, event.destination
            )
        case UploadCompleted():
            await connection.execute(QUERIES["upload_done"], event.upload_id, event.artifact.uri)
        case UploadFailed() | UploadCancelled():
            await connection.execute(QUERIES["upload_given_up"], event.upload_id)


async def uploads(connection: Connection) -> list[Upload]:
    """All uploads of sessions that are still here."""
    rows = await connection.fetch(QUERIES["uploads"])
    return [Upload(row["session_id"], row["source"], row["destination"], row["done"]) for row in rows]


async def open_runs(connection: Connection) -> list[str]:
    """Runs with jobs that are not over."""
    return [row["run_id"] for row in await connection.fetch(QUERIES["open_runs"])]
