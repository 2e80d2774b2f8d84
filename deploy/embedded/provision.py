"""The database of a deployment: one schema and one login role per service, each closed to every other."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

import asyncpg

DATABASE = "aircheck"
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,62}")
_SCRAM_ITERATIONS = 4096
_MAINTENANCE_DATABASES = ("postgres", "template1")
_CONNECT_TIMEOUT_SECONDS = 10
# One provisioner at a time: roles belong to the whole cluster, and two ALTER ROLE at once fail with "tuple concurrently
# updated".
_ADVISORY_LOCK = 0x61697263


async def provision_database(
    admin_dsn: str, services: Mapping[str, str], *, database: str = DATABASE, connection_limit: int = 20
) -> None:
    """Create or repair the database, and per service (name to password) a role and the schema of the same name.

    May be run again at any time: it adds what is missing and sets passwords, limits and rights as given. `admin_dsn` is
    a superuser's. A role owns only its own schema, finds it first without naming it, may open `connection_limit`
    connections (-1: no limit), and PUBLIC may do nothing in the database nor enter the server's own ones. Roles that
    are no longer named are left alone.

    Raises:
        ValueError: a name is not `[a-z][a-z0-9_]*` of at most 63 characters, or a password is empty.
    """
    _check(services, database)
    admin = await asyncpg.connect(admin_dsn, timeout=_CONNECT_TIMEOUT_SECONDS)
    try:
        await admin.execute("select pg_advisory_lock($1)", _ADVISORY_LOCK)
        for role, password in services.items():
            await _ensure_role(admin, role, password, connection_limit)
        await _ensure_database(admin, database, services)
        await _fill(_with_database(admin_dsn, database), services)
    finally:
        await admin.close()


def _check(services: Mapping[str, str], database: str) -> None:
    for name in (database, *services):
        if not _IDENTIFIER.fullmatch(name) or name.startswith("pg_"):
            raise ValueError(f"{name!r} is no name for a role, a schema or a database")
    for role, password in services.items():
        if not password:
            raise ValueError(f"the password of {role} is empty")


async def _ensure_role(
    admin: asyncpg.Connection[asyncpg.Record], role: str, password: str, connection_limit: int
) -> None:
    stored = await admin.fetchrow("select rolpassword from pg_authid where rolname = $1", role)
    if stored is None:
        await admin.execute(f'create role "{role}"')
    await admin.execute(
        f'alter role "{role}" login nosuperuser nocreatedb nocreaterole noinherit noreplication nobypassrls '
        f"connection limit {int(connection_limit)}"
    )
    if stored is None or not verifies(password, stored["rolpassword"] or ""):
        # The verifier, not the password: statements end up in logs and statistics.
        await admin.execute(f"alter role \"{role}\" password '{scram_verifier(password)}'")


async def _ensure_database(
    admin: asyncpg.Connection[asyncpg.Record], database: str, services: Mapping[str, str]
) -> None:
    if not await admin.fetchval("select exists (select from pg_database where datname = $1)", database):
        await admin.execute(f"create database \"{database}\" template template0 encoding 'UTF8'")
    for closed in (database, *_MAINTENANCE_DATABASES):
        await admin.execute(f'revoke all on database "{closed}" from public')
    for role in services:
        await admin.execute(f'grant connect on database "{database}" to "{role}"')
        await admin.execute(f'alter role "{role}" in database "{database}" set search_path = "{role}"')
        # A transaction left open holds back the watermark of every service of the cluster.
        await admin.execute(
            f'alter role "{role}" in database "{database}" set idle_in_transaction_session_timeout = \'60s\''
        )


async def _fill(dsn: str, services: Mapping[str, str]) -> None:
    inside = await asyncpg.connect(dsn, timeout=_CONNECT_TIMEOUT_SECONDS)
    try:
        async with inside.transaction():
            await inside.execute("revoke all on schema public from public")
            for role in services:
                await inside.execute(f'create schema if not exists "{role}" authorization "{role}"')
                await inside.execute(f'alter schema "{role}" owner to "{role}"')
                await inside.execute(f'revoke all on schema "{role}" from public')
    finally:
        await inside.close()


def scram_verifier(password: str, salt: bytes | None = None, iterations: int = _SCRAM_ITERATIONS) -> str:
    """Return what PostgreSQL stores of a password: `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey` (RFC 5803).

    `password` is used as it is, which equals SASLprep for ASCII.
    """
    salt = salt if salt is not None else secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored_key = hashlib.sha256(_hmac(salted, b"Client Key")).digest()
    server_key = _hmac(salted, b"Server Key")
    return f"SCRAM-SHA-256${iterations}:{_base64(salt)}${_base64(stored_key)}:{_base64(server_key)}"


def verifies(password: str, verifier: str) -> bool:
    """Tell whether `verifier`, as PostgreSQL stores it, was made from `password`."""
    match = re.fullmatch(r"SCRAM-SHA-256\$(\d{1,7}):([A-Za-z0-9+/=]+)\$.+", verifier)
    if match is None:
        return False
    return hmac.compare_digest(scram_verifier(password, base64.b64decode(match[2]), int(match[1])), verifier)


def _with_database(dsn: str, database: str) -> str:
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{database}"))


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, "sha256").digest()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
