"""Where to send, what is still to be sent, and the names people know things by.

Addresses are stored sealed: a target's data key opens them, the system key opens the data key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chassis.database import Connection
from chassis.secrets import SystemKey
from chassis.sql import beside
from contracts.message import Event
from contracts.monitor import SessionOpened

QUERIES = beside(__file__)


@dataclass(frozen=True, slots=True)
class Destination:
    """A target with its secrets open."""

    kind: str
    address: str = field(repr=False)
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pending:
    """A notification that is not delivered. ``error`` is set on one that was given up; ``rounds`` counts how often it was begun."""

    target_id: str
    event_type: str
    event: dict[str, Any]
    title: str
    body: str
    severity: str
    attempts: int = 0
    rounds: int = 1
    error: str | None = None


async def save_target(
    connection: Connection,
    key: SystemKey,
    target_id: str,
    destination: Destination,
    events: Sequence[str],
    *,
    enabled: bool,
) -> None:
    """Set a target and seal its secrets with a data key that is new each time."""
    wrapped = key.wrap_new_data_key()
    box = key.with_data_key(wrapped)
    address, secret = box.seal(destination.address), box.seal(destination.secret)
    await connection.execute(
        QUERIES["save_target"], target_id, destination.kind, address, secret, list(events), enabled
    )
    await connection.execute(QUERIES["save_data_key"], target_id, wrapped)


async def change_target(connection: Connection, target_id: str, events: Sequence[str], *, enabled: bool) -> None:
    """Change what a target hears of; its secrets stay."""
    await connection.execute(QUERIES["change_target"], target_id, list(events), enabled)


async def remove_target(connection: Connection, target_id: str) -> None:
    """Delete a target and its data key."""
    await connection.execute(QUERIES["remove_target"], target_id)


async def target_exists(connection: Connection, target_id: str) -> bool:
    """Whether a target is set."""
    return bool(await connection.fetchval(QUERIES["target_exists"], target_id))


async def listeners(connection: Connection) -> list[tuple[str, list[str]]]:
    """Every enabled target with its patterns."""
    return [(row["target_id"], row["events"]) for row in await connection.fetch(QUERIES["listeners"])]


async def destination(connection: Connection, key: SystemKey, target_id: str) -> Destination | None:
    """A target with its secrets open, or ``None`` when it was removed; raises chassis.secrets.SecretUnreadable."""
    row = await connection.fetchrow(QUERIES["place"], target_id)
    if row is None:
        return None
    box = key.with_data_key(row["wrapped"])
    return Destination(row["kind"], box.open(row["address"]), box.open(row["secret"]))


async def add_notification(connection: Connection, notification_id: str, pending: Pending) -> None:
    """Keep what is to be delivered."""
    await connection.execute(
        QUERIES["add_notification"],
        notification_id,
        pending.target_id,
        pending.event_type,
        pending.event,
        pending.title,
        pending.body,
        pending.severity,
    )


async def notification(connection: Connection, notification_id: str) -> Pending | None:
    """What is to be delivered, or ``None`` when it is over."""
    row = await connection.fetchrow(QUERIES["notification"], notification_id)
    return None if row is None else Pending(**dict(row.items()))


async def attempted(connection: Connection, notification_id: str) -> None:
    """Count an attempt that may be repeated."""
    await connection.execute(QUERIES["attempted"], notification_id)


async def failed(connection: Connection, notification_id: str, error: str, keep_s: float) -> None:
    """Give a notification up but keep it for another try; what failed more than ``keep_s`` ago goes."""
    await connection.execute(QUERIES["failed"], notification_id, error)
    await connection.execute(QUERIES["purge_failed"], keep_s)


async def try_again(connection: Connection, notification_id: str) -> bool:
    """Begin another round; False when the notification is not kept any more."""
    return await connection.fetchval(QUERIES["try_again"], notification_id) is not None


async def remove_notification(connection: Connection, notification_id: str) -> None:
    """Forget a notification that is over."""
    await connection.execute(QUERIES["remove_notification"], notification_id)


async def remember_streamer(connection: Connection, streamer_id: str, name: str) -> None:
    """Keep the name of a streamer."""
    await connection.execute(QUERIES["remember_streamer"], streamer_id, name)


async def forget_streamer(connection: Connection, streamer_id: str) -> None:
    """Drop the name of a streamer."""
    await connection.execute(QUERIES["forget_streamer"], streamer_id)


async def remember_session(connection: Connection, event: SessionOpened) -> None:
    """Keep who broadcasts what for thirty days."""
    await connection.execute(
        QUERIES["remember_session"], event.session_id, event.streamer_id, event.streamer_name, event.title
    )
    await connection.execute(QUERIES["purge_sessions"])


async def about(connection: Connection, event: Event) -> tuple[str, str]:
    """The streamer's name and the broadcast's title that an event belongs to, empty where they are unknown."""
    session_id, streamer_id = getattr(event, "session_id", ""), getattr(event, "streamer_id", "")
    row = await connection.fetchrow(QUERIES["about"], session_id, streamer_id)
    return row["streamer"], row["title"]
