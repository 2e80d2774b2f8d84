"""Inline views of the scheduler: whom to check, how often, and whether a session is open."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.database import Connection
from chassis.sql import beside
from contracts.config import StreamerResolved
from contracts.values import Effective

QUERIES = beside(__file__)


@dataclass(frozen=True, slots=True)
class Watched:
    """One streamer to check. ``check_requested`` counts prompt checks asked for."""

    streamer_id: str
    url: str
    name: str
    effective: Effective
    session_open: bool
    check_requested: int


async def save_watch(connection: Connection, resolved: StreamerResolved) -> None:
    """Keep the newest configuration of a streamer."""
    await connection.execute(
        QUERIES["save_watch"],
        resolved.streamer_id,
        resolved.url,
        resolved.name,
        resolved.effective.model_dump_json(),
        resolved.enabled,
    )


async def remove_watch(connection: Connection, streamer_id: str) -> None:
    """Forget a streamer."""
    await connection.execute(QUERIES["remove_watch"], streamer_id)


async def effective(connection: Connection, streamer_id: str) -> Effective | None:
    """The configuration of an enabled streamer, or ``None``."""
    text = await connection.fetchval(QUERIES["effective"], streamer_id)
    return Effective.model_validate_json(text) if text else None


async def session_of(connection: Connection, streamer_id: str) -> str:
    """The open session of a streamer; empty when there is none."""
    return await connection.fetchval(QUERIES["session_of"], streamer_id) or ""


async def set_session(connection: Connection, streamer_id: str, session_id: str) -> None:
    """Remember the open session of a streamer."""
    await connection.execute(QUERIES["set_session"], streamer_id, session_id)


async def clear_session(connection: Connection, streamer_id: str, session_id: str) -> None:
    """The session of a streamer is closed."""
    await connection.execute(QUERIES["clear_session"], streamer_id, session_id)


async def request_check(connection: Connection, streamer_id: str) -> None:
    """Ask the streamer's actor for a prompt check."""
    await connection.execute(QUERIES["request_check"], streamer_id)


async def watched(connection: Connection) -> list[Watched]:
    """All enabled streamers."""
    return [
        Watched(
            row["streamer_id"],
            row["url"],
            row["name"],
            Effective.model_validate_json(row["effective"]),
            row["session_id"] is not None,
            row["check_requested"],
        )
        for row in await connection.fetch(QUERIES["watched"])
    ]
