"""Migrations: once, in order, by one replica at a time, and never changed afterwards."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest
from chassis import migrate
from chassis.database import open_pool
from chassis.service import Service

from tests.integration.harness import handlers_of, healthy, settings, wire

pytestmark = pytest.mark.engines


def folder(tmp_path: Path, **files: str) -> Path:
    made = tmp_path / "config" / "migrations"
    made.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (made / f"{name.lstrip('_')}.sql").write_text(text)
    return made


CHASSIS = sorted(f"chassis/{one.stem}" for one in migrate.CHASSIS.glob("*.sql"))


async def test_files_are_applied_once_and_in_order(postgres_dsn: str, tmp_path: Path) -> None:
    pool = await open_pool(postgres_dsn, name="test")
    files = folder(
        tmp_path, _0002_b="insert into a values (2)", _0001_a="create table a (n int); insert into a values (1)"
    )
    assert await migrate.pending(pool, files) == ["config/0001_a", "config/0002_b"]
    assert await migrate.migrate(pool, migrate.CHASSIS, files) == [
        *CHASSIS,
        "config/0001_a",
        "config/0002_b",
    ]
    assert await migrate.migrate(pool, migrate.CHASSIS, files) == []
    assert await migrate.pending(pool, migrate.CHASSIS, files) == []
    folder(tmp_path, _0003_c="insert into a values (3)")
    assert await migrate.pending(pool, files) == ["config/0003_c"]
    assert await migrate.migrate(pool, files) == ["config/0003_c"]
    assert [row["n"] for row in await pool.fetch("select n from a")] == [1, 2, 3]
    await pool.close()


async def test_a_file_that_changed_after_it_was_applied_is_refused(postgres_dsn: str, tmp_path: Path) -> None:
    pool = await open_pool(postgres_dsn, name="test")
    files = folder(tmp_path, _0001_a="create table a (n int)")
    await migrate.migrate(pool, files)
    folder(tmp_path, _0001_a="create table a (n bigint)", _0002_b="create table b (n int)")
    with pytest.raises(migrate.MigrationChanged, match="config/0001_a"):
        await migrate.migrate(pool, files)
    assert await pool.fetchval("select to_regclass('b')") is None
    await pool.close()


async def test_a_file_that_fails_leaves_nothing_behind(postgres_dsn: str, tmp_path: Path) -> None:
    pool = await open_pool(postgres_dsn, name="test")
    files = folder(tmp_path, _0001_a="create table a (n int)", _0002_b="create table b (n int); select 1/0")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate.migrate(pool, files)
    assert await pool.fetchval("select to_regclass('a')") is None
    assert await migrate.pending(pool, files) == ["config/0001_a", "config/0002_b"]
    await pool.close()


async def test_replicas_that_start_together_apply_each_file_once(postgres_dsn: str, tmp_path: Path) -> None:
    files = folder(tmp_path, _0001_a="create table a (n int); insert into a values (1); select pg_sleep(0.05)")
    pools = [await open_pool(postgres_dsn, name=f"r{n}") for n in range(4)]
    applied = await asyncio.gather(*(migrate.migrate(pool, migrate.CHASSIS, files) for pool in pools))
    assert sorted(len(names) for names in applied) == [0, 0, 0, len(CHASSIS) + 1]
    assert await pools[0].fetchval("select count(*) from a") == 1
    for pool in pools:
        await pool.close()


async def test_a_service_with_a_changed_migration_does_not_start(
    nats_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    files = folder(tmp_path, _0001_a="create table a (n int)")
    async with wire(nats_url):
        first = Service(settings("config", postgres_dsn, nats_url), handlers_of("config"), migrations=files)
        await first.start()
        await first.stop()
        folder(tmp_path, _0001_a="create table a (n text)")
        second = Service(settings("config", postgres_dsn, nats_url), handlers_of("config"), migrations=files)
        with pytest.raises(migrate.MigrationChanged):
            await second.start()
        await second.stop()


async def test_readiness_is_refused_while_a_migration_is_missing(
    nats_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    files = folder(tmp_path, _0001_a="create table a (n int)")
    async with wire(nats_url):
        service = Service(settings("config", postgres_dsn, nats_url), handlers_of("config"), migrations=files)
        await service.start()
        await healthy(service)
        folder(tmp_path, _0002_b="create table b (n int)")
        failures = await service.health.failures()
        assert "config/0002_b" in failures["migrations"]
        await service.stop()
