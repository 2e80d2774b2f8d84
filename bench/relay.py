"""The relay against the same work without our code, and against itself without atomic batches."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from itertools import islice

from chassis.bus import Bus
from chassis.database import Pool
from chassis.eventlog import QUERIES
from chassis.relay import BATCH, Relay

from bench.benchmark import Benchmark, Scale
from bench.engines import Engines, engines
from bench.figures import Goal, Line, Series, alternate, settled_heap
from bench.workload import broadcasts

ROWS = 40_000
FILL = (
    "insert into outbox (message_id, subject, headers, payload)"
    " select * from unnest($1::uuid[], $2::text[], $3::jsonb[], $4::bytea[])"
)
ABOUT = """An outbox of 40,000 rows, events of whole broadcasts, is drained into the stream EVENTS. *Bare* is the same
SELECT and DELETE with nats-py alone between them: the same messages with the same headers in atomic batches of
the same size, and nothing else: no lock, no check of what the server answers beyond an error, no metrics. *One
at a time* is the relay as it works on servers without atomic batches, over an eighth of the rows."""


async def run(scale: Scale, step: Callable[[int, int], None]) -> list[Line]:
    """Drain the outbox in three ways."""
    rows, done = scale.of(ROWS), 0

    def advance() -> None:
        nonlocal done
        done += 1
        step(done, 3 * scale.rounds)

    async with engines() as started, started.pool() as pool, started.bus("monitor") as bus:

        async def relayed() -> float:
            return await _drain(started, pool, bus, rows, lambda: _relay(pool, bus, atomic=True))

        async def bare() -> float:
            return await _drain(started, pool, bus, rows, lambda: _bare(pool, bus))

        async def singly() -> float:
            return await _drain(started, pool, bus, rows // 8, lambda: _relay(pool, bus, atomic=False))

        await relayed()
        ours, without, one_by_one = await alternate(scale.rounds, [relayed, bare, singly], advance)
    relay = Series("relay", "events/s", ours)
    return [
        Line("relay, bare atomic batches beside it", relay, Series("bare", "events/s", without), (Goal("ratio", "at least", 0.6),)),
        Line("relay, one at a time beside it", relay, Series("one at a time", "events/s", one_by_one), (Goal("ratio", "at least", 6),)),
    ]  # fmt: skip


async def _drain(started: Engines, pool: Pool, bus: Bus, rows: int, work: Callable[[], object]) -> float:
    await started.empty_stream("EVENTS")
    await _fill(pool, rows)
    with settled_heap():
        begun = time.perf_counter()
        await work()  # type: ignore[misc]
        seconds = time.perf_counter() - begun
    left = await pool.fetchval("select count(*) from outbox")
    stored = (await bus.jetstream.stream_info("EVENTS")).state.messages
    if left or stored != rows:
        raise RuntimeError(f"{rows} rows became {stored} messages and {left} rows")
    return rows / seconds


async def _fill(pool: Pool, rows: int) -> None:
    source = islice(broadcasts(rows), rows)
    while some := list(islice(source, 5_000)):
        await pool.execute(
            FILL,
            [one.envelope.id for one in some],
            [one.subject for one in some],
            [json.dumps(one.envelope.to_headers(), separators=(",", ":")) for one in some],
            [one.envelope.data for one in some],
        )
    await pool.execute("vacuum analyze outbox")
    await pool.execute("checkpoint")


async def _relay(pool: Pool, bus: Bus, *, atomic: bool) -> None:
    relay = Relay(pool, bus, "bench", atomic=atomic)
    await relay.start()
    # Stopping sends everything that is committed: the whole outbox.
    await relay.stop(timeout_s=600)


async def _bare(pool: Pool, bus: Bus) -> None:
    client = bus.client
    async with pool.acquire() as connection:
        while rows := await connection.fetch(QUERIES["outbox_batch"], BATCH, 0):
            batch = uuid.uuid4().hex
            for number, row in enumerate(rows, 1):
                headers = json.loads(row["headers"])
                headers["Nats-Batch-Id"], headers["Nats-Batch-Sequence"] = batch, str(number)
                if number == len(rows):
                    headers["Nats-Batch-Commit"] = "1"
                if number in (1, len(rows)):
                    reply = await client.request(row["subject"], row["payload"], headers=headers, timeout=5)
                    if b'"error"' in reply.data:
                        raise RuntimeError(reply.data.decode())
                else:
                    await client.publish(row["subject"], row["payload"], headers=headers)
            await connection.execute(QUERIES["outbox_delete"], [row["id"] for row in rows])


BENCHMARK = Benchmark("relay", ABOUT, run)
