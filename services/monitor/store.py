"""The inline view of the monitor: which session of a streamer is open. At most one, kept so by the primary key."""

from __future__ import annotations

from collections.abc import Sequence

from chassis.database import Connection
from chassis.errors import Conflict
from chassis.sql import beside
from contracts.message import Event
from contracts.monitor import SessionClosed, SessionOpened

QUERIES = beside(__file__)


async def open_session(connection: Connection, streamer_id: str) -> str | None:
    """The id of the open session of a streamer, or ``None``."""
    found = await connection.fetchval(QUERIES["open_session"], streamer_id)
    return str(found) if found else None


async def follow(connection: Connection, events: Sequence[Event]) -> None:
    """Take over what was just appended; raises Conflict when another check opened a session at the same time."""
    for event in events:
        if isinstance(event, SessionOpened):
            if await connection.fetchval(QUERIES["remember_session"], event.streamer_id, event.session_id) is None:
                raise Conflict(f"another check opened a session of {event.streamer_id}")
        elif isinstance(event, SessionClosed):
            await connection.execute(QUERIES["forget_session"], event.streamer_id, event.session_id)
