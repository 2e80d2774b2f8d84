"""Provisioning: every service gets its own room in the database, and no key to another."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from deploy.embedded.postgres_config import PostgresTuning
from deploy.embedded.postgres_server import PostgresServer
from deploy.embedded.provision import provision_database, scram_verifier, verifies
from tests.deadline import DEADLINE_S

pytestmark = pytest.mark.engines
SERVICES = {"monitor": "first secret", "downloader": "second/secret"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[PostgresServer]:
    folder = Path(tempfile.mkdtemp(prefix="aircheck provision "))
    server = PostgresServer(folder / "postgres", tuning=PostgresTuning(fsync=False))
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.fixture
async def provisioned(cluster: PostgresServer) -> PostgresServer:
    await provision_database(cluster.admin_dsn, SERVICES)
    return cluster


async def run(cluster: PostgresServer, role: str, statement: str, *, database: str = "aircheck") -> object:
    connection = await asyncpg.connect(cluster.dsn(database, role, SERVICES[role]), timeout=DEADLINE_S)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_a_service_works_in_its_own_schema_without_naming_it(provisioned: PostgresServer) -> None:
    await run(provisioned, "monitor", "create table if not exists channels (id int)")
    owner = await run(
        provisioned, "monitor", "select schemaname || '.' || tableowner from pg_tables where tablename = 'channels'"
    )
    assert owner == "monitor.monitor"
    assert await run(provisioned, "monitor", "select count(*) from channels") == 0


@pytest.mark.parametrize(
    "statement",
    [
        "select * from monitor.secrets",
        "create table monitor.intruder (id int)",
        "create table public.intruder (id int)",
        "create schema intruder",
        "create temporary table intruder (id int)",
        "create role intruder",
        "create database intruder",
        "select rolpassword from pg_authid",
        "set role monitor",
        "copy (select 1) to program 'true'",
    ],
)
async def test_a_service_is_refused_everything_else(provisioned: PostgresServer, statement: str) -> None:
    await run(provisioned, "monitor", "create table if not exists secrets (id int)")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await run(provisioned, "downloader", statement)


@pytest.mark.parametrize("database", ["postgres", "template1"])
async def test_a_service_enters_no_other_database(provisioned: PostgresServer, database: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await run(provisioned, "monitor", "select 1", database=database)


async def test_the_data_and_the_passwords_survive_a_second_run(provisioned: PostgresServer) -> None:
    # given
    await run(provisioned, "monitor", "create table if not exists kept (id int)")
    before = await stored_passwords(provisioned)
    # when
    await provision_database(provisioned.admin_dsn, SERVICES)
    # then
    assert await run(provisioned, "monitor", "select count(*) from kept") == 0
    assert await stored_passwords(provisioned) == before


async def test_a_new_password_replaces_the_old_one(provisioned: PostgresServer) -> None:
    await provision_database(provisioned.admin_dsn, SERVICES | {"monitor": "changed"})
    with pytest.raises(asyncpg.InvalidPasswordError):
        await run(provisioned, "monitor", "select 1")
    await provision_database(provisioned.admin_dsn, SERVICES)
    assert await run(provisioned, "monitor", "select 1") == 1


async def test_rights_that_were_opened_by_hand_are_closed_again(provisioned: PostgresServer) -> None:
    admin = await asyncpg.connect(provisioned.dsn("aircheck", *superuser(provisioned)))
    await admin.execute("grant create on schema public to public")
    await admin.execute("alter role downloader superuser")
    await admin.close()
    await provision_database(provisioned.admin_dsn, SERVICES)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await run(provisioned, "downloader", "create table public.intruder (id int)")


async def test_a_service_added_later_gets_its_room(provisioned: PostgresServer) -> None:
    await provision_database(provisioned.admin_dsn, {"danmu": "third"})
    connection = await asyncpg.connect(provisioned.dsn("aircheck", "danmu", "third"))
    assert await connection.fetchval("select current_schema()") == "danmu"
    await connection.close()
    assert await run(provisioned, "monitor", "select current_schema()") == "monitor"


async def test_two_provisioners_at_once_do_not_disturb_each_other(cluster: PostgresServer) -> None:
    await asyncio.gather(*(provision_database(cluster.admin_dsn, SERVICES) for _ in range(4)))
    assert await run(cluster, "monitor", "select 1") == 1


async def test_connections_are_limited_and_open_transactions_end(cluster: PostgresServer) -> None:
    # a role that had no connection before: the server takes its time to forget one that was closed
    await provision_database(cluster.admin_dsn, {"limited": "secret"}, connection_limit=1)
    dsn = cluster.dsn("aircheck", "limited", "secret")
    first = await asyncpg.connect(dsn)
    try:
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await asyncpg.connect(dsn)
        assert await first.fetchval("show idle_in_transaction_session_timeout") == "1min"
    finally:
        await first.close()


@pytest.mark.parametrize("name", ["", "Monitor", "9lives", 'a"b', "a-b", "pg_monitor", "x" * 64])
async def test_names_that_need_quoting_are_refused(cluster: PostgresServer, name: str) -> None:
    with pytest.raises(ValueError, match="is no name"):
        await provision_database(cluster.admin_dsn, {name: "secret"})
    with pytest.raises(ValueError, match="is no name"):
        await provision_database(cluster.admin_dsn, {}, database=name)


async def test_an_empty_password_is_refused(cluster: PostgresServer) -> None:
    with pytest.raises(ValueError, match="the password of monitor is empty"):
        await provision_database(cluster.admin_dsn, {"monitor": ""})


def test_the_verifier_is_that_of_the_published_example() -> None:
    # RFC 7677, section 3: user "user", password "pencil", this salt, 4096 iterations, this server signature.
    import base64
    import hashlib
    import hmac

    verifier = scram_verifier("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))
    messages = (
        "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    server_key = base64.b64decode(verifier.rpartition(":")[2])
    signature = hmac.new(server_key, messages.encode(), hashlib.sha256).digest()
    assert base64.b64encode(signature).decode() == "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_a_verifier_knows_its_password_only() -> None:
    assert verifies("right", scram_verifier("right"))
    assert not verifies("wrong", scram_verifier("right"))
    assert not verifies("right", "md5c0ffee")


def superuser(cluster: PostgresServer) -> tuple[str, str]:
    return "postgres", (cluster.folder / "superuser.password").read_text().strip()


async def stored_passwords(cluster: PostgresServer) -> list[str]:
    admin = await asyncpg.connect(cluster.admin_dsn)
    rows = await admin.fetch("select rolpassword from pg_authid where rolname = any($1) order by 1", list(SERVICES))
    await admin.close()
    return [row["rolpassword"] for row in rows]
