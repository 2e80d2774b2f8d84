"""The projector: the one active reader of the whole bus, whichever replica it lives in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from chassis.bus import Bus
from chassis.consumer import BatchConsumer
from chassis.database import UNREACHABLE, Pool
from chassis.election import Election
from chassis.ids import new_key
from chassis.leases import EXPIRY_S, HEARTBEAT_S, Lease
from contracts import system
from contracts.topology import PROJECTOR

from services.gateway import metrics
from services.gateway.projections import MODELS
from services.gateway.projections.ingest import Ingest, NewerReadModels
from services.gateway.projections.model import ReadModel
from services.gateway.projections.rebuild import outdated, rebuild
from services.gateway.store.events import QUERIES, Stream

log = structlog.get_logger(__name__)
LEASE = f"{PROJECTOR}:events"


class Healer:
    """Asks a service to publish a range again when one of its streams misses a version for longer than ``grace_s``.

    A message that is redelivered late closes a gap by itself, hence the grace. Asking again backs off from 30 s to 10 min.
    """

    def __init__(self, pool: Pool, bus: Bus, *, grace_s: float = 3.0, every_s: float = 1.0) -> None:
        self.pool, self.bus, self.grace_s, self.every_s = pool, bus, grace_s, every_s
        self._asked: dict[Stream, tuple[float, float]] = {}

    async def run(self) -> None:
        """Look for gaps until cancelled."""
        while True:
            try:
                await self.heal()
            except UNREACHABLE as error:
                log.warning("healer.failed", error=repr(error))
            except Exception:
                log.exception("healer.failed")
            await asyncio.sleep(self.every_s)

    async def heal(self) -> list[Stream]:
        """One round; returns the streams that were asked for."""
        rows = await self.pool.fetch(QUERIES["gaps"])
        metrics.PARKED.set(sum(row["waiting"] for row in rows))
        open_now = {(row["service"], row["stream"]): row for row in rows if row["age_s"] >= self.grace_s}
        self._asked = {stream: asked for stream, asked in self._asked.items() if stream in open_now}
        due = [stream for stream in open_now if time.monotonic() >= self._asked.get(stream, (0.0, 0.0))[0]]
        for stream in due:
            await self._ask(stream, open_now[stream]["missing"])
        return due

    async def _ask(self, stream: Stream, missing: int) -> None:
        service, name = stream
        request = system.of(service, system.Republish)(request_id=new_key(), stream=name, from_version=missing)
        await self.bus.send_direct(request)
        wait = min(self._asked.get(stream, (0.0, 15.0))[1] * 2, 600.0)
        self._asked[stream] = (time.monotonic() + wait, wait)
        metrics.GAPS.labels(service).inc()
        log.warning("store.gap", owner=service, stream=name, missing=missing, asked_again_s=wait)


@dataclass(frozen=True, slots=True)
class Pace:
    """How large batches are, how long a gap may last before it is healed, and how long the lease lasts. Seconds."""

    batch: int = 1_000
    heal_grace_s: float = 3.0
    heartbeat_s: float = HEARTBEAT_S
    expiry_s: float = EXPIRY_S


class Projector:
    """Stands for the projector's lease; while it leads, it ingests the bus and heals gaps."""

    def __init__(
        self,
        pool: Pool,
        bus: Bus,
        ingest: Ingest,
        *,
        owner: str,
        models: Sequence[ReadModel] = MODELS,
        pace: Pace | None = None,
    ) -> None:
        self.pool, self.bus, self.ingest, self.models, self.pace = pool, bus, ingest, models, pace or Pace()
        self.election = Election(
            pool,
            LEASE,
            owner=owner,
            elected=self._begin,
            deposed=self._end,
            heartbeat_s=self.pace.heartbeat_s,
            expiry_s=self.pace.expiry_s,
        )
        self._consumer: BatchConsumer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def active(self) -> bool:
        """Whether this replica projects."""
        return self._consumer is not None

    async def start(self) -> None:
        """Stand for the lease."""
        await self.election.start()

    async def stop(self) -> None:
        """Finish the batch in hand and let another replica go on."""
        await self.election.stop()

    async def _begin(self, lease: Lease) -> None:
        await self._check_versions()
        consumer = BatchConsumer(self.bus, "EVENTS", PROJECTOR, self.ingest, batch=self.pace.batch)
        await consumer.start()
        self._consumer = consumer
        healer = Healer(self.pool, self.bus, grace_s=self.pace.heal_grace_s)
        self._tasks = [
            asyncio.create_task(healer.run(), name="projector-healer"),
            asyncio.create_task(self._catch_up(), name="projector-catch-up"),
        ]
        log.info("projector.active", epoch=lease.epoch)

    async def _catch_up(self) -> None:
        # Beside the consumer: the store goes on growing while a read model of an older release is built anew.
        for name in await outdated(self.pool, self.models):
            try:
                await rebuild(self.pool, name, self.models)
            except Exception as error:
                log.exception("projection.rebuild_failed", name=name)
                await self.pool.execute(QUERIES["projection_failed"], name, repr(error)[:1000])

    async def _check_versions(self) -> None:
        versions = {model.name: model.version for model in self.models}
        for row in await self.pool.fetch(QUERIES["projections"]):
            if row["version"] > versions.get(row["name"], row["version"]):
                raise NewerReadModels(f"{row['name']} was built by a newer release: this replica does not project")

    async def _end(self) -> None:
        consumer, tasks = self._consumer, self._tasks
        self._consumer, self._tasks = None, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if consumer is not None:
            await consumer.stop()
            log.info("projector.passive")
