"""The fixtures themselves: fresh engines for every test, and handles that kill and restart them."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import asyncpg
import nats
import nats.errors
import nats.js.errors
import pytest

from deploy.embedded.nats_config import NatsUser
from deploy.embedded.ports import LOOPBACK, free_port
from tests.deadline import DEADLINE_S as DEADLINE
from tests.engines import choice
from tests.engines.handles import Engines, NatsEngine

pytestmark = pytest.mark.engines


async def query(dsn: str, *statements: str) -> object:
    connection = await asyncpg.connect(dsn, timeout=DEADLINE)
    try:
        for statement in statements[:-1]:
            await connection.execute(statement)
        return await connection.fetchval(statements[-1])
    finally:
        await connection.close()


@pytest.mark.parametrize("turn", ["first", "second"])
async def test_each_test_gets_an_empty_database_of_an_ordinary_owner(turn: str, postgres_dsn: str) -> None:
    assert await query(postgres_dsn, "select count(*) from pg_tables where schemaname = 'public'") == 0
    assert await query(postgres_dsn, "create table left_over (id int)", "select 1") == 1
    assert await query(postgres_dsn, "select rolsuper from pg_roles where rolname = current_user") is False


@pytest.mark.parametrize("turn", ["first", "second"])
async def test_each_test_gets_an_empty_jetstream(turn: str, nats_url: str) -> None:
    client = await nats.connect(nats_url, allow_reconnect=False, connect_timeout=DEADLINE)
    assert await client.jetstream(timeout=DEADLINE).streams_info() == []
    await client.jetstream(timeout=DEADLINE).add_stream(name="LEFT_OVER", subjects=["left.>"])
    await client.close()


async def test_further_databases_are_apart(make_database: Callable[[], str], postgres_dsn: str) -> None:
    other = make_database()
    await query(other, "create table only_here (id int)", "select 1")
    assert await query(postgres_dsn, "select to_regclass('only_here')") is None


async def test_an_open_connection_does_not_keep_a_database_from_being_dropped(
    make_database: Callable[[], str], postgres_admin_dsn: str
) -> None:
    from tests.engines.databases import drop_database

    dsn = make_database()
    connection = await asyncpg.connect(dsn)
    closed = asyncio.Event()
    connection.add_termination_listener(lambda _: closed.set())
    drop_database(postgres_admin_dsn, dsn)
    async with asyncio.timeout(DEADLINE):
        await closed.wait()
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await asyncpg.connect(dsn)


async def test_the_administrator_may_do_what_the_owner_may_not(postgres_admin_dsn: str, postgres_dsn: str) -> None:
    assert await query(postgres_admin_dsn, "select rolsuper from pg_roles where rolname = current_user") is True
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await query(postgres_dsn, "create role intruder")


@pytest.mark.chaos
async def test_what_was_acknowledged_survives_kill_and_restart_on_the_same_port(
    engines: Engines, nats_url: str, postgres_dsn: str
) -> None:
    # given
    await query(postgres_dsn, "create table kept (value int)", "insert into kept values (42) returning value")
    client = await nats.connect(nats_url, allow_reconnect=False, connect_timeout=DEADLINE)
    await client.jetstream(timeout=DEADLINE).add_stream(name="KEPT", subjects=["kept.>"])
    await client.jetstream(timeout=DEADLINE).publish("kept.one", b"acknowledged")
    await client.close()
    # when
    await asyncio.to_thread(engines.nats.kill)
    await asyncio.to_thread(engines.postgres.kill)
    # then
    assert not engines.nats.running
    assert not engines.postgres.running
    with pytest.raises((OSError, asyncpg.PostgresError)):
        await asyncpg.connect(postgres_dsn, timeout=5)
    # when
    await asyncio.to_thread(engines.nats.restart)
    await asyncio.to_thread(engines.postgres.restart)
    # then
    assert engines.nats.url == nats_url
    assert await query(postgres_dsn, "select value from kept") == 42
    client = await nats.connect(nats_url, allow_reconnect=False, connect_timeout=DEADLINE)
    assert (await client.jetstream(timeout=DEADLINE).get_last_msg("KEPT", "kept.one")).data == b"acknowledged"
    await client.close()


@pytest.mark.chaos
async def test_a_test_may_leave_the_engines_dead(engines: Engines, postgres_dsn: str) -> None:
    engines.nats.kill()
    engines.postgres.kill()
    assert not engines.postgres.running


async def test_the_test_after_it_finds_them_alive(engines: Engines, postgres_dsn: str) -> None:
    assert engines.nats.running
    assert await query(postgres_dsn, "select 1") == 1


async def test_a_server_may_have_users(start_nats: Callable[..., NatsEngine]) -> None:
    user = NatsUser("reader", "secret", publish=[], subscribe=[">"])
    server = start_nats(users=[user])
    client = await nats.connect(server.url_for(user), allow_reconnect=False, connect_timeout=DEADLINE)
    assert client.is_connected
    await client.close()
    stranger = nats.aio.client.Client()
    with pytest.raises(nats.errors.Error, match="Authorization Violation"):
        await stranger.connect(server.url, allow_reconnect=False, connect_timeout=DEADLINE)
    await stranger.close()


def test_a_port_that_somebody_took_before_the_server_is_given_up_for_another(
    start_nats: Callable[..., NatsEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server((LOOPBACK, 0)) as somebody:
        taken = somebody.getsockname()[1]
        picked = itertools.chain([taken], iter(free_port, None))
        engine = "tests.engines.containers" if choice.use_containers() else "deploy.embedded.nats_server"
        monkeypatch.setattr(f"{engine}.free_port", lambda: next(picked))
        server = start_nats()
    assert server.running
    assert urlsplit(server.url).port != taken
