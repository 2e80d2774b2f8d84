"""What this replica takes on: follows the slots that people set, tells how it stands."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from chassis.database import UNREACHABLE
from chassis.leases import HIGH, LeaseRunner
from chassis.waiting import wait_for_event
from contracts.downloader import ReplicaStatus

from services.downloader import metrics
from services.downloader.breaker import Breakers
from services.downloader.guard import Guard
from services.downloader.limits import ALL, Slots, effective_slots

EVERY_S = 5.0
log = structlog.get_logger(__name__)

Load = Callable[[list[str]], Awaitable[dict[str, Slots]]]


def name_of(worker: str) -> str:
    """The name of a replica as events and signals carry it."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", worker)[:128] or "replica"


class Replica:
    """Every few seconds, and at once when this process commits something."""

    def __init__(
        self,
        worker: str,
        runner: LeaseRunner,
        settings: Slots,
        load: Load,
        guard: Guard,
        breakers: Breakers,
        signal: Callable[[ReplicaStatus], Awaitable[None]],
    ) -> None:
        self.worker = name_of(worker)
        self._runner, self._settings, self._load, self._signal = runner, settings, load, signal
        self._guard, self._breakers = guard, breakers
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Look now: slots may have been set."""
        self._wake.set()

    async def start(self) -> None:
        """Take over what was set before this process began, then follow it."""
        await self.look()
        self._task = asyncio.create_task(self._run(), name="replica")

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            await wait_for_event(self._wake, EVERY_S)
            self._wake.clear()
            try:
                await self.look()
                await self._tell()
            except Exception:
                # Without this loop the replica would follow no slots any more, and say nothing of itself.
                log.exception("replica.failed")

    async def look(self) -> None:
        """Read what is set; while the database is away, what was known holds."""
        try:
            known = await self._load([ALL, self.worker])
        except UNREACHABLE as error:
            log.warning("slots.unreadable", error=repr(error)[:200])
            return
        slots, extra = effective_slots(known.get(self.worker, Slots()), known.get(ALL, Slots()), self._settings)
        if (slots, extra) != (self._runner.concurrency, self._runner.extra_high):
            log.info("slots.changed", slots=slots, extra_high=extra)
            self._runner.resize(slots, extra)
        metrics.SLOTS.labels("normal").set(slots)
        metrics.SLOTS.labels("extra_high").set(extra)

    def status(self) -> ReplicaStatus:
        """How this replica stands."""
        runner = self._runner
        return ReplicaStatus(
            worker=self.worker,
            slots=runner.concurrency,
            extra_high=runner.extra_high,
            running=len(runner.held),
            running_high=sum(lease.priority >= HIGH for lease in runner.held),
            paused=self._guard.refusal,
            free_bytes=self._guard.free,
            breakers=self._breakers.told(),
        )

    async def _tell(self) -> None:
        metrics.BREAKERS.clear()
        for breaker in self._breakers.told():
            metrics.BREAKERS.labels(breaker.engine).inc()
        with suppress(Exception):  # a signal may be lost; the next one follows
            await self._signal(self.status())
