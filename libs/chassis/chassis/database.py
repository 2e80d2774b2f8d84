"""Connections to the service's own schema. Only the chassis imports the driver; stores receive a :class:`Connection`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

import asyncpg
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

UNREACHABLE: tuple[type[BaseException], ...] = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)
"""What a restart or an outage of the server looks like. Never the fault of the message in hand."""


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


async def _prepare(connection: Any) -> None:
    await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=_encode, decoder=json.loads)


def _encode(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


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
                init=_prepare,
                server_settings={
                    "application_name": name,
                    "idle_in_transaction_session_timeout": "60000",
                    "jit": "off",
                },
            )
    return pool
