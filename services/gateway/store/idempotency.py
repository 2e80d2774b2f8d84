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


async def begin(
    connection: Connection, system_key: SystemKey, owner: str, key: str, fingerprint: bytes
) -> Answer | None:
    """Claim a key, or return the answer it has; raises :class:`InFlight` or :class:`OtherRequest`.

    A claim without an answer is taken over after two minutes: its replica is gone.
    """
    if await connection.fetchval(QUERIES["begin"], owner, key, fingerprint):
        return None
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


async def forget(connection: Connection, owner: str, key: str) -> None:
    """Let the key be used again: the request failed without an effect."""
    await connection.execute(QUERIES["forget"], owner, key)


async def purge(connection: Connection) -> None:
    """Delete answers older than a day."""
    await connection.execute(QUERIES["purge"])
