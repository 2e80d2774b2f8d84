"""What an upload needs to go on after a crash: the state its store gave back, and how often it was interrupted."""

from __future__ import annotations

import json
from typing import Any

from chassis.database import Connection
from chassis.sql import beside

QUERIES = beside(__file__)


async def add(connection: Connection, upload_id: str) -> None:
    """Begin to keep the state of an upload."""
    await connection.execute(QUERIES["add"], upload_id)


async def progress(connection: Connection, upload_id: str) -> tuple[dict[str, Any] | None, int]:
    """The last state (or ``None``) and the number of interruptions."""
    row = await connection.fetchrow(QUERIES["progress"], upload_id)
    if row is None:
        return None, 0
    return (json.loads(row["state"]) if row["state"] else None), row["interruptions"]


async def save(connection: Connection, upload_id: str, epoch: int, state: dict[str, Any]) -> bool:
    """Keep a newer state; False when another replica has taken the upload over."""
    return await connection.fetchval(QUERIES["save"], upload_id, epoch, json.dumps(state)) is not None


async def interrupted(connection: Connection, upload_id: str, *, forget: bool) -> None:
    """Count an interruption; ``forget`` drops the state, so that the upload begins again."""
    await connection.execute(QUERIES["interrupted"], upload_id, forget)


async def remove(connection: Connection, upload_id: str) -> None:
    """Forget an upload that is over."""
    await connection.execute(QUERIES["remove"], upload_id)
