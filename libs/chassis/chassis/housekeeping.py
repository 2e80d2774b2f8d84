"""Small regular chores of every service."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog

from chassis.database import UNREACHABLE, Pool
from chassis.eventlog import QUERIES
from chassis.suspects import QUERIES as SUSPECTS

CHUNK = 10_000
log = structlog.get_logger(__name__)


class Housekeeping:
    """Forgets inbox rows and suspects older than ``retention_s``, which must exceed the bus's duplicate window and the longest outage."""

    def __init__(self, pool: Pool, retention_s: float, *, every_s: float = 3600.0) -> None:
        self.pool, self.retention_s, self.every_s = pool, retention_s, every_s
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin; the first round is due after one interval."""
        self._task = asyncio.create_task(self._run(), name="housekeeping")

    async def stop(self) -> None:
        """Stop between two chunks."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def purge(self) -> int:
        """Delete what is old, a chunk at a time so that no lock is held for long; returns how many rows of the inbox."""
        await self.pool.execute(SUSPECTS["purge"], self.retention_s)
        total = 0
        while True:
            status = await self.pool.execute(QUERIES["inbox_purge"], self.retention_s)
            deleted = int(status.rsplit(" ", 1)[-1])
            total += deleted
            if deleted < CHUNK:
                return total

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self.every_s)
            try:
                await self.purge()
            except UNREACHABLE as error:
                log.warning("housekeeping.failed", error=repr(error))
            except Exception:
                log.exception("housekeeping.failed")
