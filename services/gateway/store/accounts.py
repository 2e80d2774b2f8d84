"""Users, API keys and logins, with the hashes that never enter an event."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from chassis.database import Connection
from chassis.sql import beside

QUERIES = beside(__file__, "accounts.sql")
LIMIT_PER_NAME, LIMIT_PER_ADDRESS = 5, 20
"""Failed logins within 15 minutes after which the next attempt must wait 1 s, 2 s, 4 s … 300 s."""


async def insert_user(
    connection: Connection, user_id: str, username: str, role: str, password_hash: str, version: int
) -> bool:
    """Store a user; False when the name is taken."""
    return (
        await connection.fetchval(QUERIES["insert_user"], user_id, username, role, password_hash, version) is not None
    )


async def lock_admins(connection: Connection) -> int:
    """How many administrators there are; none can come or go until the transaction ends."""
    return len(await connection.fetch(QUERIES["lock_admins"]))


async def keys_of(connection: Connection, user_id: str) -> list[str]:
    """The keys of a user."""
    return [row["key_id"] for row in await connection.fetch(QUERIES["keys_of"], user_id)]


async def users(connection: Connection, after: tuple[str, str] | None, limit: int) -> list[dict[str, Any]]:
    """Users by name."""
    name, user_id = after or (None, None)
    return [dict(row) for row in await connection.fetch(QUERIES["users"], name, user_id, limit)]


async def keys(
    connection: Connection, user_id: str | None, before: tuple[datetime, str] | None, limit: int
) -> list[dict[str, Any]]:
    """API keys, newest first, of one user or of all."""
    time, key_id = before or (None, None)
    return [dict(row) for row in await connection.fetch(QUERIES["keys"], user_id, time, key_id, limit)]


async def rotate(connection: Connection, old_hash: bytes, new_hash: bytes, lifetime_s: int) -> str | None:
    """Exchange a refresh token for a new one; returns its login, or ``None`` when it is not valid.

    A token that was used before was stolen by somebody: the whole login ends, and with it every token that came from it.
    """
    family = await connection.fetchval(QUERIES["use_refresh_token"], old_hash)
    if family is None:
        reused = await connection.fetchval(QUERIES["family_of_token"], old_hash)
        if reused is not None:
            await connection.execute(QUERIES["revoke_login"], reused)
        return None
    await connection.execute(QUERIES["add_refresh_token"], new_hash, family)
    await connection.execute(QUERIES["extend_login"], family, float(lifetime_s))
    return str(family)


async def open_login(connection: Connection, family: str, user_id: str, token_hash: bytes, lifetime_s: int) -> None:
    """Store a new login and its first refresh token."""
    await connection.execute(QUERIES["open_login"], family, user_id, float(lifetime_s))
    await connection.execute(QUERIES["add_refresh_token"], token_hash, family)


async def blocked_for(connection: Connection, username: str, address: str) -> float:
    """Seconds until the next login attempt is looked at."""
    keys = [_by_name(username, address), _by_address(address)]
    return float(await connection.fetchval(QUERIES["blocked_for"], keys))


async def count_failure(connection: Connection, username: str, address: str) -> None:
    """Remember a failed login."""
    await connection.execute(QUERIES["count_failure"], _by_name(username, address), LIMIT_PER_NAME)
    await connection.execute(QUERIES["count_failure"], _by_address(address), LIMIT_PER_ADDRESS)


async def forget_failures(connection: Connection, username: str, address: str) -> None:
    """A login worked: its name may fail again from this address."""
    await connection.execute(QUERIES["forget_failures"], _by_name(username, address))


async def purge(connection: Connection) -> None:
    """Delete what is over."""
    await connection.execute(QUERIES["purge_logins"])
    await connection.execute(QUERIES["purge_failures"])


def _by_name(username: str, address: str) -> str:
    return f"name:{username}@{address}"


def _by_address(address: str) -> str:
    return f"address:{address}"
