"""The append-only log of one service, and its outbox, written by one statement.

The order inside the statement is what keeps the log sound: first the lease (a stale owner is refused), then the version of the stream (a
conflict is seen before any position is drawn), then the rows of the log and the outbox together.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from asyncpg.pgproto.pgproto import UUID as DriverUUID
from contracts import subjects
from contracts.aggregate import Aggregate
from contracts.envelope import Envelope, Metadata, header_texts, wrap, wrap_series
from contracts.message import PREFIX, Event, Message
from contracts.registry import load_vocabulary

from chassis.database import Connection
from chassis.errors import Conflict, LeaseLost, MessageTooLarge
from chassis.ids import new_bytes, new_id
from chassis.sql import beside
from chassis.telemetry import child_of

QUERIES = beside(__file__, "eventlog.sql")
MAX_BODY = 512 * 1024
"""Bytes; half of the bus's default ``max_payload``, so that headers always fit."""

REPUBLISH_PAGE = 1000

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Loaded(Generic[S]):
    """A state with the stream and the version it stands for (0 = nothing appended yet)."""

    stream: str
    state: S
    version: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """One event as the log holds it."""

    position: int
    stream: str
    version: int
    event: Event
    event_id: UUID
    metadata: Metadata
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Fence:
    """The lease an append is made under: its name and the epoch its holder believes in."""

    name: str
    epoch: int


async def load(connection: Connection, aggregate: Aggregate[S], id: str, known: Loaded[S] | None = None) -> Loaded[S]:
    """Fold one stream into its state, from its beginning or from a state that is ``known``."""
    before = known or Loaded(aggregate.stream(id), aggregate.initial, 0)
    rows = await connection.fetch(QUERIES["load_stream"], before.stream, before.version)
    if not rows:
        return before
    registry = load_vocabulary()
    events = (registry.decode(row["type"], row["data"]) for row in rows)
    state = aggregate.fold((event for event in events if isinstance(event, Event)), before.state)
    return Loaded(before.stream, state, before.version + len(rows))


async def read(connection: Connection, *, stream: str = "", after: int = 0, limit: int = 1000) -> list[Recorded]:
    """Recorded events after a position, of one stream or of the whole log."""
    rows = await connection.fetch(QUERIES["read_log"], stream, after, limit)
    registry = load_vocabulary()
    return [
        Recorded(
            row["position"],
            row["stream"],
            row["version"],
            registry.decode(row["type"], row["data"]),  # type: ignore[arg-type]
            row["event_id"],
            Metadata.from_dict(json.loads(row["meta"])),
            row["recorded_at"],
        )
        for row in rows
    ]


async def story_of(connection: Connection, stream: str) -> Metadata | None:
    """Metadata for what long work appends to a stream: the story its first event belongs to. ``None`` for an unknown stream."""
    row = await connection.fetchrow(QUERIES["first_of_stream"], stream)
    if row is None:
        return None
    first = Metadata.from_dict(json.loads(row["meta"]))
    return Metadata(first.correlation_id, row["event_id"], child_of(first.traceparent), first.tracestate, first.actor)


async def append(
    connection: Connection,
    service: str,
    at: Loaded[S],
    events: Sequence[Event],
    *,
    metadata: Metadata,
    fence: Fence | None = None,
) -> list[Envelope]:
    """Append events to one stream and put them into the outbox.

    Raises :class:`Conflict` when the stream is not at ``at.version``, :class:`LeaseLost` when the fence is stale, MessageTooLarge.
    """
    if not events:
        return []
    _check_stream(at.stream, events)
    now = datetime.now(UTC)
    envelopes = wrap_series(events, new_id=_event_id, metadata=metadata, source=service, after=at.version, time=now)
    _check_size(envelopes)
    meta = metadata.to_json()
    outcome = await connection.fetchrow(
        QUERIES["append"],
        at.stream,
        at.version,
        len(events),
        fence.name if fence else None,
        fence.epoch if fence else 0,
        now,
        [envelope.id for envelope in envelopes],
        [event.message_type for event in events],
        [envelope.data.decode() for envelope in envelopes],
        meta,
        _subjects_of(events),
        header_texts(envelopes),
        [envelope.data for envelope in envelopes],
    )
    if not outcome["allowed"]:
        raise LeaseLost(fence.name if fence else at.stream)
    if not outcome["appended"]:
        raise Conflict(f"{at.stream} is not at version {at.version}")
    return envelopes


async def enqueue(
    connection: Connection, service: str, message: Message, *, metadata: Metadata, id: UUID | None = None
) -> Envelope:
    """Put one command into the outbox, in the transaction that decided it."""
    envelope = wrap(message, id=id or new_id(), metadata=metadata, source=service)
    _check_size([envelope])
    await connection.execute(
        QUERIES["enqueue"], envelope.id, subjects.of(message), header_texts([envelope])[0], envelope.data
    )
    return envelope


async def republish(
    connection: Connection, service: str, *, first: int, last: int, stream: str, from_version: int
) -> int:
    """Put a range of the log into the outbox again, with the same ids and marked as replayed. Returns how many events."""
    count, following = 0, first
    while True:
        rows = await connection.fetch(QUERIES["range_of_log"], following, last, stream, from_version, REPUBLISH_PAGE)
        envelopes = [_recorded(service, row) for row in rows]
        await connection.execute(
            QUERIES["enqueue_many"],
            [envelope.id for envelope in envelopes],
            [subjects.of_recorded(row["type"], row["stream"]) for row in rows],
            header_texts(envelopes),
            [envelope.data for envelope in envelopes],
        )
        count += len(rows)
        if len(rows) < REPUBLISH_PAGE:
            return count
        following = rows[-1]["position"] + 1


def _recorded(service: str, row: Any) -> Envelope:
    # From what is stored and not through its class, so that types which nothing reads any more go out too.
    aggregate = row["type"].split(".")[1]
    return Envelope(
        id=row["event_id"],
        type=f"{PREFIX}.{row['type']}",
        source=f"/services/{service}",
        subject=f"{aggregate}/{row['stream'].removeprefix(f'{aggregate}-')}",
        time=row["recorded_at"],
        sequence=row["version"],
        metadata=Metadata.from_dict(json.loads(row["meta"])),
        data=row["data"].encode(),
        replayed=True,
    )


def _subjects_of(events: Sequence[Event]) -> list[str]:
    # The key is part of the stream: events of one class in one stream have one subject.
    known: dict[type[Event], str] = {}
    return [known.get(type(event)) or known.setdefault(type(event), subjects.of(event)) for event in events]


def _event_id() -> UUID:
    # In the driver's own class of ids, a child of Python's: made, printed and sent in a third of the time.
    return DriverUUID(new_bytes())


def _check_stream(stream: str, events: Sequence[Event]) -> None:
    for event in events:
        if event.stream != stream:
            raise ValueError(f"{type(event).__name__} belongs to {event.stream}, not to {stream}")


def _check_size(envelopes: Sequence[Envelope]) -> None:
    for envelope in envelopes:
        if len(envelope.data) > MAX_BODY:
            raise MessageTooLarge(f"{envelope.type} has {len(envelope.data)} bytes, the bus takes {MAX_BODY}")
