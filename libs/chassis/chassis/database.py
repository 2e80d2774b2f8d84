"""Connections to the service's own schema. Only the chassis imports the driver; stores receive a :class:`Connection`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Protocol

import asyncpg
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

_DOWN: tuple[type[BaseException], ...] = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""What only the server says or its loss causes: stopping, starting, out of connections, out of disk, a standby."""

UNREACHABLE: tuple[type[BaseException], ...] = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    *_DOWN,
)
"""What a restart or an outage of the server can look like. Other things look like it too: see :func:`is_outage`.

An internal error of the driver was seen on a connection whose server died between two queries.
"""

CONTENDED: tuple[type[BaseException], ...] = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""Two transactions were in each other's way and the server undid this one: try again at once."""


class Row(Protocol):
    """One row of a result, by column name or number."""

    def __getitem__(self, key: str | int) -> Any: ...

    def items(self) -> Any: ...

    def get(self, key: str, default: Any = None) -> Any: ...


class Connection(Protocol):
    """What stores and read models need of a database connection. Parameters are ``$1…``; JSON columns take and give Python values."""

    async def execute(self, query: str, *args: Any) -> str: ...

    async def executemany(self, command: str, args: Sequence[Sequence[Any]]) -> None: ...

    async def fetch(self, query: str, *args: Any) -> list[Any]: ...

    async def fetchrow(self, query: str, *args: Any) -> Any: ...

    async def fetchval(self, query: str, *args: Any) -> Any: ...


Pool = asyncpg.Pool

_KEEPALIVE = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
"""A replica whose machine vanished must not hold the relay's lock for the two hours of the usual defaults."""


async def is_outage(pool: Pool, error: BaseException, *, timeout_s: float = 2.0) -> bool:
    """Whether an error is due to the database being away.

    A timeout of somebody else's server and a value that does not fit its column share their classes with a lost connection, so in doubt the
    database is asked.
    """
    if isinstance(error, _DOWN):
        return True
    return isinstance(error, UNREACHABLE) and not await answers(pool, timeout_s)


async def answers(pool: Pool, timeout_s: float) -> bool:
    """Whether the database answers a query within ``timeout_s``."""
    try:
        async with asyncio.timeout(timeout_s):
            await pool.fetchval("select 1")
    except UNREACHABLE:
        return False
    return True


async def _prepare(connection: Any) -> None:
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=_encode, decoder=json.loads)


def _encode(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


async def _as_it_is(_: Any) -> None:
    # The driver itself undoes an open transaction. Its default would also ask the server to reset the session each time, one query in nine of
    # a small command, though nothing here changes a session but who says so with end_session.
    return


async def end_session(connection: Any, *, timeout_s: float = 5.0) -> None:
    """Before a pooled connection is given back whose session was changed (session locks, settings): undo that, or close the connection.

    A lock that stayed with a connection in the pool would be held until the connection is closed.
    """
    try:
        if connection.is_closed():
            return
    except asyncpg.InterfaceError:
        # The pool has taken it back by itself, as it does with a connection that is lost.
        return
    try:
        await connection.reset(timeout=timeout_s)
    except BaseException:
        connection.terminate()
        raise


async def open_pool(dsn: str, *, name: str, min_size: int = 1, max_size: int = 6, wait_s: float = 30.0) -> Pool:
    """Open a pool and wait up to ``wait_s`` seconds for the server to answer; raises the last error after that.

    JSON texts may be passed ready-made: a ``str`` is taken as JSON text, anything else is encoded.
    """
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(UNREACHABLE),
        stop=stop_after_delay(wait_s),
        wait=wait_exponential_jitter(multiplier=0.1, max=2),
        reraise=True,
    ):
        with attempt:
            pool = await asyncpg.create_pool(
                dsn,
                min_size=min_size,
                max_size=max_size,
                command_timeout=60,
                # A backend costs the server about 4 MB: give back what a burst has opened.
                max_inactive_connection_lifetime=20.0,
                init=_prepare,
                reset=_as_it_is,
                server_settings={
                    "application_name": name,
                    "idle_in_transaction_session_timeout": "60000",
                    "jit": "off",
                    **_KEEPALIVE,
                },
            )
    return pool
