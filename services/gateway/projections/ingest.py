"""One batch from the bus into the store and the read models, in one transaction."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

import structlog
from chassis import deadletters
from chassis.database import UNREACHABLE, Connection, Pool
from chassis.delivery import Delivery
from chassis.errors import Poison
from contracts.envelope import MalformedEnvelope
from contracts.topology import PROJECTOR

from services.gateway import metrics
from services.gateway.projections.model import ReadModel
from services.gateway.projections.sequence import Sequencer
from services.gateway.store import events
from services.gateway.store.events import QUERIES, Incoming, StoredEvent

log = structlog.get_logger(__name__)
OnStored = Callable[[int, int], Awaitable[None]]


class NewerReadModels(RuntimeError):
    """The tables were built by a newer release than this one: another replica must project."""


class Ingest:
    """Appends batches to the store and moves every read model with them.

    ``stored(position, pending)`` is called after each commit that appended something; ``pending`` is 0 unless what was published together is torn
    apart there. ``buried()`` is called when something was put into the dead letters.
    """

    def __init__(
        self, pool: Pool, models: Sequence[ReadModel], *, stored: OnStored, buried: Callable[[], None], service: str
    ) -> None:
        self.pool, self.models, self.service = pool, {model.name: model for model in models}, service
        self._stored, self._buried = stored, buried

    async def __call__(self, deliveries: Sequence[Delivery]) -> None:
        """Handle one batch; raises when the database cannot be reached, so that the batch comes again."""
        started = time.perf_counter()
        batch = await self._accepted(deliveries)
        if not batch:
            return
        async with self.pool.acquire() as connection, connection.transaction():
            before = await events.lock_head(connection)
            positions = await events.append(connection, before, batch)
            new = [events.as_stored(one, positions[one.envelope.id]) for one in batch if one.envelope.id in positions]
            await self._project(connection, new)
        await self._bury_conflicts([one for one in batch if one.envelope.id not in positions])
        if new:
            _measure(new, time.perf_counter() - started)
            await self._stored(new[-1].position, _to_come(deliveries[-1]))

    async def _accepted(self, deliveries: Sequence[Delivery]) -> list[Incoming]:
        accepted: dict[object, Incoming] = {}
        for delivery in deliveries:
            try:
                incoming = events.accept(delivery)
            except MalformedEnvelope as error:
                await self._bury(delivery, error)
                continue
            # A repeat inside one batch: a republished range that overtook the first copy.
            accepted.setdefault(incoming.envelope.id, incoming)
        first: dict[object, Incoming] = {}
        for incoming in accepted.values():
            if first.setdefault((incoming.stream, incoming.version), incoming) is not incoming:
                await self._bury(incoming.delivery, _conflict(incoming))
        return list(first.values())

    async def _project(self, connection: Connection, new: Sequence[StoredEvent]) -> None:
        if not new:
            return
        ready = await _sequence(connection, new)
        moved = []
        for row in await connection.fetch(QUERIES["projections"]):
            model = self.models.get(row["name"])
            if model is None or row["state"] != "current":
                continue
            if row["version"] > model.version:
                raise NewerReadModels(f"{model.name} has version {row['version']}, this replica has {model.version}")
            # Tables of an older release wait for their rebuild; new code must not write into them.
            if row["version"] == model.version and await self._apply(connection, model, ready):
                moved.append(model.name)
        await connection.execute(QUERIES["projections_moved"], new[-1].position, moved)

    async def _apply(self, connection: Connection, model: ReadModel, ready: Sequence[StoredEvent]) -> bool:
        if not any(isinstance(event.event, model.handles) for event in ready):
            return True
        # A savepoint: a defect in one read model must stop neither the store nor the other read models.
        try:
            async with connection.transaction():  # type: ignore[attr-defined]
                await model.apply(ready, connection)
        except UNREACHABLE:
            raise
        except Exception as error:
            log.exception("projection.failed", name=model.name, position=ready[-1].position if ready else 0)
            metrics.FAILED.labels(model.name).set(1)
            await connection.execute(QUERIES["projection_failed"], model.name, repr(error)[:1000])
            return False
        return True

    async def _bury_conflicts(self, missing: Sequence[Incoming]) -> None:
        if not missing:
            return
        known = await events.known(self.pool, [one.envelope.id for one in missing])
        for one in missing:
            if one.envelope.id not in known:
                await self._bury(one.delivery, _conflict(one))

    async def _bury(self, delivery: Delivery, error: Exception) -> None:
        letter = await deadletters.bury(self.pool, self.service, f"events-{PROJECTOR}", delivery, error)
        log.error("store.buried", letter=letter, subject=delivery.subject, error=repr(error)[:500])
        self._buried()


async def _sequence(connection: Connection, new: Sequence[StoredEvent]) -> list[StoredEvent]:
    streams = list(dict.fromkeys(event.stream for event in new))
    sequencer = Sequencer(await events.applied(connection, streams), await events.parked(connection, streams))
    sequencer.take((event.stream, event.version, event.position) for event in new)
    if sequencer.parked:
        await events.park(connection, [(s, v, position, by) for position, (s, v, by) in sequencer.parked.items()])
    if sequencer.moved:
        await events.set_applied(connection, sequencer.moved)
    here = {event.position: event for event in new}
    earlier = [position for position in sequencer.order if position not in here]
    if earlier:
        here |= {event.position: event for event in await events.at(connection, earlier)}
    return [here[position] for position in sequencer.order]


def _to_come(last: Delivery) -> int:
    """How many events the bus had behind the last one of a batch, 0 where nothing behind it was published together with it."""
    return 0 if last.ends_batch else max(1, last.raw.metadata.num_pending)


def _conflict(incoming: Incoming) -> Poison:
    service, stream = incoming.stream
    return Poison(f"{service} has two events for version {incoming.version} of {stream}; the first one stands")


def _measure(new: Sequence[StoredEvent], seconds: float) -> None:
    metrics.STORED.inc(len(new))
    metrics.STORE_BATCH.observe(len(new))
    metrics.STORE_POSITION.set(new[-1].position)
    metrics.INGEST_SECONDS.observe(seconds)
    metrics.PROJECTION_LAG.observe(max(0.0, (datetime.now(UTC) - new[-1].time).total_seconds()))
