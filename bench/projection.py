"""The gateway's projector in batches against one transaction per event, and the rebuild of a read model."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

from chassis.batches import Outgoing, publish_atomic
from chassis.bus import Bus
from chassis.database import Pool
from chassis.delivery import Delivery
from chassis.relay import BATCH
from contracts.envelope import header_texts

from bench.benchmark import Benchmark, Scale
from bench.engines import Engines, engines
from bench.figures import Goal, Line, Series, alternate, settled_heap
from bench.workload import broadcasts
from services.gateway import store
from services.gateway.projections import MODELS
from services.gateway.projections.ingest import Ingest
from services.gateway.projections.projector import Pace, Projector
from services.gateway.projections.rebuild import PAGE, ensure, rebuild
from services.gateway.store import events

MIGRATIONS = Path(store.__file__).parents[1] / "migrations"
PROJECTED, ONE_BY_ONE = 20_000, 2_000
"""Events on the bus when the projector starts."""
STORED = 200_000
"""Events in the store when the rebuild starts."""
REBUILT = "recordings"
"""The read model that most events concern."""
ABOUT = f"""The projector, as the gateway runs it, starts with {PROJECTED:,} events of whole broadcasts waiting in the
stream EVENTS: it pulls, appends to the event store, moves all {len(MODELS)} read models and acknowledges. *One
transaction each* is the same projector with batches of one, over a tenth of the events. The rebuild makes the
read model `{REBUILT}` anew from a store of {STORED:,} events and swaps it in; *reading* fetches the same
pages in the same order and folds nothing."""


async def run(scale: Scale, step: Callable[[int, int], None]) -> list[Line]:
    """Project and rebuild."""
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        step(done, 4 * scale.rounds)

    async with engines() as started:
        projected = await _projected(started, scale, advance)
        rebuilt = await _rebuilt(started, scale, advance)
    return [projected, *rebuilt]


async def _projected(started: Engines, scale: Scale, advance: Callable[[], None]) -> Line:
    async with started.bus("gateway") as bus:

        async def batches() -> float:
            return await _project(started, bus, scale.of(PROJECTED), Pace().batch)

        async def one_each() -> float:
            return await _project(started, bus, scale.of(ONE_BY_ONE), 1)

        ours, singly = await alternate(scale.rounds, [batches, one_each], advance)
    return Line(
        f"project, batches of {Pace().batch}",
        Series("projector", "events/s", ours),
        Series("one transaction each", "events/s", singly),
        (Goal("figure", "at least", 4_000),),
    )


async def _project(started: Engines, bus: Bus, count: int, batch: int) -> float:
    await started.empty_stream("EVENTS")
    await _publish(bus, count)
    async with started.pool(MIGRATIONS) as pool:
        await ensure(pool)
        arrived = asyncio.Event()

        async def stored(position: int, _pending: int) -> None:
            if position >= count:
                arrived.set()

        ingest = Ingest(pool, MODELS, stored=stored, buried=_must_not_happen, service="gateway")
        projector = Projector(pool, bus, ingest, owner="bench", pace=Pace(batch=batch))
        with settled_heap():
            begun = time.perf_counter()
            await projector.start()
            async with asyncio.timeout(120):
                await arrived.wait()
            seconds = time.perf_counter() - begun
        await projector.stop()
        await _check(pool, count)
    return count / seconds


async def _rebuilt(started: Engines, scale: Scale, advance: Callable[[], None]) -> list[Line]:
    count = scale.of(STORED)
    async with started.pool(MIGRATIONS) as pool:
        await _fill_store(pool, count)
        await ensure(pool)

        async def build() -> float:
            begun = time.perf_counter()
            built = await rebuild(pool, REBUILT)
            seconds = time.perf_counter() - begun
            if built.position != count or not await pool.fetchval("select count(*) from rm_segments"):
                raise RuntimeError(f"built up to {built.position} of {count}")
            return seconds

        async def read() -> float:
            return await _read(pool, count)

        ours, reading = await alternate(scale.rounds, [build, read], advance)
    rates = tuple(count / seconds for seconds in ours)
    raw = tuple(count / seconds for seconds in reading)
    return [
        Line(f"rebuild {REBUILT} over {count:,} events", Series("rebuild", "s", ours), Series("reading", "s", reading)),
        Line(f"rebuild {REBUILT}, as a rate", Series("rebuild", "events/s", rates), Series("reading", "events/s", raw)),
    ]


async def _read(pool: Pool, count: int) -> float:
    model = next(one for one in MODELS if one.name == REBUILT)
    services = sorted({cls.service for cls in model.handles})
    begun = time.perf_counter()
    async with pool.acquire() as connection:
        for position in range(0, count, PAGE):
            await events.in_order_of_application(connection, services, position, min(position + PAGE, count))
    return time.perf_counter() - begun


async def _publish(bus: Bus, count: int) -> None:
    source = islice(broadcasts(count), count)
    while some := list(islice(source, BATCH)):
        headers = header_texts(one.envelope for one in some)
        await publish_atomic(
            bus,
            [Outgoing(0, one.subject, text, one.envelope.data) for one, text in zip(some, headers, strict=True)],
        )


async def _fill_store(pool: Pool, count: int) -> None:
    source, head = islice(broadcasts(count), count), 0
    while some := list(islice(source, 2_000)):
        batch = [
            events.accept(Delivery(None, one.subject, one.envelope.to_headers(), one.envelope.data, head + n, 1))
            for n, one in enumerate(some, 1)
        ]
        async with pool.acquire() as connection, connection.transaction():
            await events.append(connection, head, batch)
        head += len(batch)
    await pool.execute("vacuum analyze store_events")


async def _check(pool: Pool, count: int) -> None:
    head = await pool.fetchval("select position from store_head")
    failed: Sequence[str] = [
        row["name"] for row in await pool.fetch("select name from projections where state <> 'current'")
    ]
    finished = await pool.fetchval("select count(*) from rm_segments where state = 'completed'")
    if head != count or failed or not finished:
        raise RuntimeError(f"{head} of {count} stored, {finished} segments, failed: {failed}")


def _must_not_happen() -> None:
    raise RuntimeError("an event was buried")


BENCHMARK = Benchmark("projection", ABOUT, run)
