"""Fresh databases for tests, made and dropped over an administrator's connection."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Coroutine
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from tests.deadline import DEADLINE_S

# The only role of the test clusters that is not a superuser: it owns the databases that tests get.
_OWNER = "aircheck_test"


def prepare_owner(admin_dsn: str) -> str:
    """Create the role that owns the databases of tests; return its password."""
    password = secrets.token_urlsafe(16)
    _run(_execute(admin_dsn, f"create role {_OWNER} login password '{password}'"))
    return password


def create_database(admin_dsn: str, owner_password: str) -> str:
    """Create an empty database owned by an ordinary role; return that role's DSN."""
    name = f"test_{secrets.token_hex(6)}"
    # 9 ms as a copy of files where nothing is synced, against 20 to 70 ms through the log.
    _run(_execute(admin_dsn, f"create database {name} owner {_OWNER} template template0 strategy file_copy"))
    address = urlsplit(admin_dsn)
    return f"postgresql://{_OWNER}:{owner_password}@{address.hostname}:{address.port}/{name}"


def drop_database(admin_dsn: str, dsn: str) -> None:
    """Drop a database of `create_database`, ending the connections that a test left open."""
    _run(_execute(admin_dsn, f"drop database if exists {urlsplit(dsn).path[1:]} with (force)"))


def accepts_connections(dsn: str) -> bool:
    """Tell whether the server behind `dsn` answers a query now."""
    try:
        _run(_execute(dsn, "select 1"))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn, timeout=DEADLINE_S)
    try:
        await connection.execute(statement, timeout=DEADLINE_S)
    finally:
        await connection.close(timeout=DEADLINE_S)


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on a loop of its own in a thread of its own: the test's loop is none of our business."""
    failure: list[BaseException] = []

    def body() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
