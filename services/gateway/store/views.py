"""Questions to the read models. Every answer is JSON-ready; pages go by key, never by offset."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from chassis.database import Connection
from chassis.sql import beside

from services.gateway.store.events import StoredEvent, stored

QUERIES = beside(__file__, "views.sql")
Item = dict[str, Any]
ByTime = tuple[datetime, str] | None
ByName = tuple[str, str] | None
_LAST = 2**62


async def streamers(
    connection: Connection, *, id: str | None = None, enabled: bool | None = None, after: ByName = None, limit: int = 1
) -> list[Item]:
    """Streamers by name, with the state of channel, session and recording."""
    return await _items(connection, "streamers", id, enabled, *(after or (None, None)), limit)


async def layers(
    connection: Connection, *, id: str | None = None, kind: str | None = None, after: ByName = None, limit: int = 1
) -> list[Item]:
    """Shared layers by name; asked by id, also a removed one."""
    return await _items(connection, "layers", id, kind, *(after or (None, None)), limit)


async def credentials(
    connection: Connection, *, id: str | None = None, after: ByName = None, limit: int = 1
) -> list[Item]:
    """Credentials by name, without their secrets."""
    return await _items(connection, "credentials", id, *(after or (None, None)), limit)


async def sessions(
    connection: Connection,
    *,
    id: str | None = None,
    streamer_id: str | None = None,
    state: str | None = None,
    before: ByTime = None,
    limit: int = 1,
) -> list[Item]:
    """Sessions, newest first."""
    return await _items(connection, "sessions", id, streamer_id, state, *(before or (None, None)), limit)


async def manifest(connection: Connection, session_id: str) -> Item | None:
    """What came out of a session, once it is finished."""
    return await _one(connection, "manifest", session_id)


async def reclaim(connection: Connection, request_id: str) -> Item | None:
    """A request to make room and its answer."""
    return await _one(connection, "reclaim", request_id)


async def chat(connection: Connection, session_id: str) -> Item | None:
    """The chat of a session with its files."""
    found = await _one(connection, "chat", session_id)
    return {**found, "items": await _items(connection, "chat_files", session_id)} if found else None


async def chat_files(connection: Connection, session_id: str) -> list[Item]:
    """The finished chat files of a session in the order of their media."""
    return await _items(connection, "chat_files", session_id)


async def chat_statistics(connection: Connection, session_id: str) -> Item | None:
    """What the chat of a session was like, once it has ended."""
    return await _one(connection, "chat_statistics", session_id)


async def segments(
    connection: Connection,
    *,
    session_id: str | None = None,
    recording_id: str | None = None,
    after: tuple[datetime, str, int] | None = None,
    limit: int,
) -> list[Item]:
    """Segments in the order in which they were opened."""
    return await _items(connection, "segments", session_id, recording_id, *(after or (None, None, None)), limit)


async def artifacts(
    connection: Connection, session_id: str, *, recording_id: str | None = None, indexes: list[int] | None = None
) -> list[Item]:
    """The finished files of a session."""
    return await _items(connection, "artifacts", session_id, recording_id, indexes)


async def waiting(connection: Connection) -> int:
    """How many recordings wait for a slot."""
    return int(await connection.fetchval(QUERIES["waiting"]))


async def recordings(
    connection: Connection,
    *,
    id: str | None = None,
    session_id: str | None = None,
    streamer_id: str | None = None,
    active: bool | None = None,
    before: ByTime = None,
    limit: int = 1,
) -> list[Item]:
    """Recordings, newest first."""
    return await _items(connection, "recordings", id, session_id, streamer_id, active, *(before or (None, None)), limit)


async def runs(
    connection: Connection,
    *,
    id: str | None = None,
    session_id: str | None = None,
    state: str | None = None,
    before: ByTime = None,
    limit: int = 1,
) -> list[Item]:
    """Pipeline runs, newest first."""
    return await _items(connection, "runs", id, session_id, state, *(before or (None, None)), limit)


async def jobs(
    connection: Connection,
    *,
    run_id: str | None = None,
    job_id: str | None = None,
    session_id: str | None = None,
    state: str | None = None,
    before: ByTime = None,
    limit: int = 1,
) -> list[Item]:
    """Jobs, newest first."""
    return await _items(connection, "jobs", run_id, job_id, session_id, state, *(before or (None, None)), limit)


async def uploads(
    connection: Connection,
    *,
    id: str | None = None,
    session_id: str | None = None,
    state: str | None = None,
    before: ByTime = None,
    limit: int = 1,
) -> list[Item]:
    """Uploads, newest first."""
    return await _items(connection, "uploads", id, session_id, state, *(before or (None, None)), limit)


async def targets(connection: Connection, *, id: str | None = None, after: ByName = None, limit: int = 1) -> list[Item]:
    """Places notifications go to, by name."""
    return await _items(connection, "targets", id, *(after or (None, None)), limit)


async def notifications(
    connection: Connection,
    *,
    id: str | None = None,
    target_id: str | None = None,
    state: str | None = None,
    before: ByTime = None,
    limit: int = 1,
) -> list[Item]:
    """Notifications, newest first."""
    return await _items(connection, "notifications", id, target_id, state, *(before or (None, None)), limit)


async def dead_letters(
    connection: Connection,
    *,
    id: str | None = None,
    service: str | None = None,
    state: str | None = None,
    before: ByTime = None,
    limit: int = 1,
) -> list[Item]:
    """Dead letters of all services, newest first."""
    return await _items(connection, "dead_letters", id, service, state, *(before or (None, None)), limit)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events are meant; ``None`` means all. ``type`` is a type or its beginning up to a dot."""

    type: str | None = None
    service: str | None = None
    stream: str | None = None
    streamer_id: str | None = None
    session_id: str | None = None
    correlation_id: UUID | None = None
    causation_id: UUID | None = None

    def admits(self, event: StoredEvent) -> bool:
        """The same question, asked of an event in hand."""
        if self.type is not None and event.type != self.type and not event.type.startswith(f"{self.type}."):
            return False
        named = {
            "service": event.service,
            "stream": event.name,
            "correlation_id": event.metadata.correlation_id,
            "causation_id": event.metadata.causation_id,
        }
        if any(getattr(self, name) not in (None, value) for name, value in named.items()):
            return False
        return all(
            getattr(self, name) is None or event.fields.get(name) == getattr(self, name)
            for name in ("streamer_id", "session_id")
        )

    @property
    def values(self) -> list[Any]:
        """The parameters of the query, in its order."""
        return [getattr(self, field.name) for field in fields(self)]


async def history(
    connection: Connection,
    which: EventFilter,
    *,
    after: int = 0,
    before: int = _LAST,
    descending: bool = False,
    limit: int,
) -> list[StoredEvent]:
    """Events of the store by position."""
    order = "desc" if descending else "asc"
    statement = f"{QUERIES['events']} order by position {order} limit $10"
    return stored(await connection.fetch(statement, after, before, *which.values, limit))


async def _items(connection: Connection, name: str, *arguments: Any) -> list[Item]:
    return [row["item"] for row in await connection.fetch(QUERIES[name], *arguments)]


async def _one(connection: Connection, name: str, *arguments: Any) -> Item | None:
    found = await _items(connection, name, *arguments)
    return found[0] if found else None
