"""What was answered to a request with an ``Idempotency-Key``, for 24 hours. Bodies are sealed: one of them may be a new API key."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.database import Connection
from chassis.secrets import SystemKey
from chassis.sql import beside

QUERIES = beside(__file__, "idempotency.sql")


class InFlight(Exception):
    """The first request with this key has not been answered yet."""


class OtherRequest(Exception):
    """The key was used for another request."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A stored response."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to carry a request out. ``seed`` is the same for every attempt at it: ids made from it repeat no effect."""

    seed: str


async def begin(
    connection: Connection, system_key: SystemKey, owner: str, key: str, fingerprint: bytes
) -> Answer | Claim:
    """Claim a key, or return the answer it has; raises :class:`InFlight` or :class:`OtherRequest`.

    A claim without an answer is taken over after two minutes: its replica is gone.
    """
    started_at = await connection.fetchval(QUERIES["begin"], owner, key, fingerprint)
    if started_at is not None:
        return Claim(f"{owner}|{key}|{started_at.isoformat()}")
    row = await connection.fetchrow(QUERIES["find"], owner, key)
    if row is None:
        raise InFlight
    if bytes(row["fingerprint"]) != fingerprint:
        raise OtherRequest
    if row["status"] is None:
        raise InFlight
    return Answer(row["status"], row["headers"], system_key.open(row["sealed_body"]).encode("latin-1"))


async def finish(connection: Connection, system_key: SystemKey, owner: str, key: str, answer: Answer) -> None:
    """Keep the answer."""
    sealed = system_key.seal(answer.body.decode("latin-1"))
    await connection.execute(QUERIES["finish"], owner, key, answer.status, answer.headers, sealed)


async def release(connection: Connection, owner: str, key: str) -> None:
    """Let the same request be tried again at once, with the same seed: how far this attempt came is not known."""
    await connection.execute(QUERIES["release"], owner, key)


async def forget(connection: Connection, owner: str, key: str) -> None:
    """Let the key be used for anything: the request was turned away before it could have an effect."""
    await connection.execute(QUERIES["forget"], owner, key)


async def purge(connection: Connection) -> None:
    """Delete answers older than a day."""
    await connection.execute(QUERIES["purge"])
