"""A NATS server and a PostgreSQL cluster of the benchmarks' own, from the wheels, in a folder that disappears with them."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
from chassis import bus, migrate, provision
from chassis.bus import Bus
from chassis.database import Pool, open_pool

from deploy.embedded.nats_server import NatsServer
from deploy.embedded.postgres_server import PostgresServer


class Engines:
    """Both engines with the settings of an embedded system: PostgreSQL syncs every commit, JetStream acknowledges before it syncs."""

    def __init__(self, folder: Path) -> None:
        self.nats = NatsServer(folder / "nats")
        self.postgres = PostgresServer(folder / "postgres")

    async def start(self) -> None:
        """Start both and create the streams."""
        await asyncio.to_thread(self.nats.start)
        await asyncio.to_thread(self.postgres.start)
        async with self.bus("config") as one:
            await provision.provision(one.jetstream)

    async def stop(self) -> None:
        """Stop both."""
        await asyncio.to_thread(self.nats.stop)
        await asyncio.to_thread(self.postgres.stop)

    @asynccontextmanager
    async def pool(self, *migrations: Path, size: int = 10) -> AsyncIterator[Pool]:
        """A fresh database with the chassis' tables and further ones, dropped in the end."""
        name = f"bench_{secrets.token_hex(4)}"
        await self._administer(f"create database {name} template template0")
        admin = urlsplit(self.postgres.admin_dsn)
        pool = await open_pool(admin._replace(path=f"/{name}").geturl(), name="bench", max_size=size)
        try:
            await migrate.migrate(pool, migrate.CHASSIS, *migrations)
            yield pool
        finally:
            await pool.close()
            await self._administer(f"drop database {name} with (force)")

    @asynccontextmanager
    async def bus(self, service: str) -> AsyncIterator[Bus]:
        """A connection as one service has it."""
        connected = await bus.connect(self.nats.url, service)
        try:
            yield connected
        finally:
            await connected.close()

    async def empty_stream(self, name: str) -> None:
        """Remove every message and every consumer's place."""
        async with self.bus("config") as one:
            await one.jetstream.delete_stream(name)
            await provision.provision(one.jetstream)

    async def _administer(self, statement: str) -> None:
        connection = await asyncpg.connect(self.postgres.admin_dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@asynccontextmanager
async def engines() -> AsyncIterator[Engines]:
    """Start both engines in a temporary folder; stop them by their own handles and remove the folder in the end."""
    folder = Path(tempfile.mkdtemp(prefix="aircheck-bench-"))
    started = Engines(folder)
    try:
        await started.start()
        yield started
    finally:
        await started.stop()
        await asyncio.to_thread(shutil.rmtree, folder)
