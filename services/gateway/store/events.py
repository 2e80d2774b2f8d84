"""The event store: every event of every service in one table, in the order in which it was recorded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

import structlog
from chassis.database import Connection
from chassis.delivery import Delivery
from chassis.sql import beside
from contracts.envelope import Envelope, MalformedEnvelope, Metadata
from contracts.message import PREFIX, Event
from contracts.registry import UnknownMessage, load_vocabulary
from contracts.system import SERVICES

QUERIES = beside(__file__, "events.sql")
log = structlog.get_logger(__name__)
NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""An escaped NUL in JSON text; a backslash that is itself escaped does not begin one."""
SURROGATE = re.compile(rb"\\u[dD][89abAB]")
"""Half of an escaped surrogate pair, alone or not."""

Stream = tuple[str, str]
"""A stream of the system: the service that owns it and its name in that service's log."""


@dataclass(frozen=True)
class Incoming:
    """An event as it came from the bus, checked for everything the table would refuse."""

    envelope: Envelope
    delivery: Delivery

    @property
    def stream(self) -> Stream:
        """The owner and the name of its stream."""
        return self.envelope.service, self.envelope.subject.replace("/", "-", 1)

    @property
    def version(self) -> int:
        """The aggregate version, from 1."""
        return self.envelope.sequence


@dataclass(frozen=True)
class StoredEvent:
    """One row of the store. ``data`` is the JSON text of the event as PostgreSQL renders it."""

    position: int
    event_id: UUID
    service: str
    name: str
    version: int
    type: str
    subject: str
    data: str
    metadata: Metadata
    time: datetime

    @property
    def stream(self) -> Stream:
        """The owner and the name of its stream."""
        return self.service, self.name

    @cached_property
    def event(self) -> Event | None:
        """The event in the newest version of its type; ``None`` when this gateway cannot read it, which keeps it in the store all the same."""
        try:
            message = load_vocabulary().decode(self.type, self.data)
        except (UnknownMessage, ValueError) as error:
            log.warning("store.unreadable", position=self.position, type=self.type, error=repr(error)[:300])
            return None
        return message if isinstance(message, Event) else None

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The data as a plain object."""
        return json.loads(self.data)  # type: ignore[no-any-return]

    @cached_property
    def cloud_event(self) -> dict[str, Any]:
        """CloudEvents structured mode, with the place in the store and in its stream as extensions."""
        envelope = Envelope(
            self.event_id,
            f"{PREFIX}.{self.type}",
            f"/services/{self.service}",
            self.subject,
            self.time,
            self.version,
            self.metadata,
            self.data.encode(),
        )
        return {**envelope.to_structured(), "position": self.position, "stream": self.name, "version": self.version}


def as_stored(incoming: Incoming, position: int) -> StoredEvent:
    """An event that was just appended, without reading it back."""
    envelope = incoming.envelope
    service, name = incoming.stream
    return StoredEvent(
        position,
        envelope.id,
        service,
        name,
        incoming.version,
        envelope.message_type,
        envelope.subject,
        envelope.data.decode(),
        envelope.metadata,
        envelope.time,
    )


def accept(delivery: Delivery) -> Incoming:
    """Check a delivery; raises :class:`MalformedEnvelope` for what could never be stored, so that one such message holds up nothing."""
    envelope = Envelope.from_headers(delivery.headers, delivery.data)
    if envelope.sequence < 1 or "/" not in envelope.subject:
        raise MalformedEnvelope(f"{envelope.type} names no aggregate and version: it is not an event")
    owner = delivery.subject.split(".")[1]
    if owner != envelope.service:
        raise MalformedEnvelope(f"{owner} published an event of {envelope.service}")
    if owner not in SERVICES:
        raise MalformedEnvelope(f"there is no service {owner}")
    _check_json(envelope.data)
    return Incoming(envelope, delivery)


def _check_json(body: bytes) -> None:
    # What PostgreSQL's jsonb refuses though json.loads takes it: NUL, lone surrogates, numbers without end, bytes that are not UTF-8.
    try:
        text = body.decode()
        value = json.loads(text, parse_constant=_no_number)
        if SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise MalformedEnvelope(f"the body cannot be stored: {error}") from None
    if not isinstance(value, dict) or NUL.search(body):
        raise MalformedEnvelope("the body is not an object that can be stored")


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is not a number")


async def append(connection: Connection, head: int, incoming: Sequence[Incoming]) -> dict[UUID, int]:
    """Store what is not stored yet after position ``head``; returns the positions by event id of what was. Call with the head locked."""
    envelopes = [one.envelope for one in incoming]
    rows = await connection.fetch(
        QUERIES["append"],
        head,
        [envelope.id for envelope in envelopes],
        [envelope.service for envelope in envelopes],
        [one.stream[1] for one in incoming],
        [envelope.sequence for envelope in envelopes],
        [envelope.message_type for envelope in envelopes],
        [envelope.subject for envelope in envelopes],
        [envelope.data.decode() for envelope in envelopes],
        [envelope.metadata.to_json() for envelope in envelopes],
        [envelope.metadata.correlation_id for envelope in envelopes],
        [envelope.metadata.causation_id for envelope in envelopes],
        [envelope.time for envelope in envelopes],
    )
    return {row["event_id"]: row["position"] for row in rows}


async def lock_head(connection: Connection) -> int:
    """Become the single writer until the transaction ends; returns the last position."""
    return int(await connection.fetchval(QUERIES["lock_head"]))


async def head(connection: Connection) -> int:
    """The last position."""
    return int(await connection.fetchval(QUERIES["head"]))


async def after(connection: Connection, position: int, limit: int) -> list[StoredEvent]:
    """Events after a position, in order."""
    return stored(await connection.fetch(QUERIES["after"], position, limit))


async def at(connection: Connection, positions: Sequence[int]) -> list[StoredEvent]:
    """The events at some positions, in order."""
    return stored(await connection.fetch(QUERIES["at"], list(positions)))


async def caused_by(connection: Connection, command_id: UUID) -> StoredEvent | None:
    """The first event that names a command as its cause; its burial only when nothing else does: it may have been replayed since."""
    found = stored(await connection.fetch(QUERIES["caused_by"], command_id))
    return found[0] if found else None


async def in_order_of_application(
    connection: Connection, services: Sequence[str], first: int, last: int
) -> list[StoredEvent]:
    """What the read models applied while the store moved from ``first`` (exclusive) to ``last``, in the order in which they applied it."""
    return stored(await connection.fetch(QUERIES["in_order_of_application"], first, last, list(services)))


async def known(connection: Connection, ids: Sequence[UUID]) -> set[UUID]:
    """Which of these event ids are stored."""
    return {row["event_id"] for row in await connection.fetch(QUERIES["known_ids"], list(ids))}


async def applied(connection: Connection, streams: Iterable[Stream]) -> dict[Stream, int]:
    """The last applied version of each stream that has one."""
    services, names = _columns(streams)
    rows = await connection.fetch(QUERIES["applied"], services, names)
    return {(row["service"], row["stream"]): row["applied"] for row in rows}


async def parked(connection: Connection, streams: Iterable[Stream]) -> dict[Stream, dict[int, int]]:
    """Per stream, the positions of the versions that wait for a missing one."""
    services, names = _columns(streams)
    waiting: dict[Stream, dict[int, int]] = {}
    for row in await connection.fetch(QUERIES["parked"], services, names):
        waiting.setdefault((row["service"], row["stream"]), {})[row["version"]] = row["position"]
    return waiting


async def set_applied(connection: Connection, versions: dict[Stream, int]) -> None:
    """Record the last applied version of streams."""
    services, names = _columns(versions)
    await connection.execute(QUERIES["set_applied"], services, names, list(versions.values()))


async def park(connection: Connection, rows: Sequence[tuple[Stream, int, int, int | None]]) -> None:
    """Record events that came before a missing version: stream, version, position, and the position that released it if any did."""
    services, names = _columns(row[0] for row in rows)
    await connection.execute(
        QUERIES["park"], services, names, [row[1] for row in rows], [row[2] for row in rows], [row[3] for row in rows]
    )


def stored(rows: Iterable[Any]) -> list[StoredEvent]:
    """Rows of the table as events."""
    return [
        StoredEvent(
            row["position"],
            row["event_id"],
            row["service"],
            row["stream"],
            row["version"],
            row["type"],
            row["subject"],
            row["data"],
            Metadata.from_dict(json.loads(row["meta"])),
            row["time"],
        )
        for row in rows
    ]


def _columns(streams: Iterable[Stream]) -> tuple[list[str], list[str]]:
    pairs = list(streams)
    return [service for service, _ in pairs], [name for _, name in pairs]
