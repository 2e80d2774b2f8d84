"""Appending through the chassis against the same statement with everything prepared beforehand."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from chassis.database import Pool
from chassis.eventlog import QUERIES, Loaded
from chassis.ids import new_id, new_key
from chassis.telemetry import new_metadata
from chassis.work import Resources, Work
from contracts import subjects
from contracts.envelope import wrap
from contracts.message import Event

from bench.benchmark import Benchmark, Scale
from bench.engines import engines
from bench.figures import Goal, Line, Series, alternate, settled_heap
from bench.workload import BEGIN, segments

SHAPES = ((1, 1), (3, 1), (50, 1), (1, 8), (3, 8), (50, 8))
"""Events per append, connections."""
EVENTS = {1: 3_000, 3: 6_000, 50: 30_000}
"""How many events a run appends, by events per append."""
PER_STREAM = 20
"""Appends to one stream before the next one."""
ABOUT = """Finished files of recordings are appended in transactions of one append each, in streams of 20 appends.
*Prepared* runs the very same statement in a transaction on a connection of the same pool, with every array
ready: no envelope, no JSON, no ids are made while the clock runs. What is left of the ratio is what our code
costs. PostgreSQL syncs every commit."""

Append = tuple[str, int, Sequence[Event]]


async def run(scale: Scale, step: Callable[[int, int], None]) -> list[Line]:
    """Measure every shape."""
    lines: list[Line] = []
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        step(done, 2 * scale.rounds * len(SHAPES))

    async with engines() as started:
        for per_append, connections in SHAPES:
            total = scale.of(EVENTS[per_append]) * (2 if connections > 1 else 1)
            async with started.pool(size=connections) as pool:
                lines.append(await _shape(pool, per_append, connections, total, scale.rounds, advance))
    return lines


async def _shape(
    pool: Pool, per_append: int, connections: int, total: int, rounds: int, advance: Callable[[], None]
) -> Line:
    appends = max(total // per_append // connections, 5)
    events = appends * per_append * connections

    async def ours() -> float:
        plans = [_plan(appends, per_append) for _ in range(connections)]
        return events / await _timed([_through_the_chassis(pool, plan) for plan in plans])

    async def prepared() -> float:
        plans = [[_arguments(one) for one in _plan(appends, per_append)] for _ in range(connections)]
        return events / await _timed([_prepared(pool, plan) for plan in plans])

    await ours()
    mine, theirs = await alternate(rounds, [ours, prepared], advance)
    what = f"append, {per_append} {'event' if per_append == 1 else 'events'} each, {connections} " + (
        "connection" if connections == 1 else "connections"
    )
    peer = Series("prepared", "events/s", theirs)
    return Line(what, Series("chassis", "events/s", mine), peer, (Goal("ratio", "at least", 0.7),))


async def _timed(workers: list[Any]) -> float:
    with settled_heap():
        begun = time.perf_counter()
        await asyncio.gather(*workers)
        return time.perf_counter() - begun


def _plan(appends: int, per_append: int) -> list[Append]:
    plan: list[Append] = []
    for number in range(appends):
        turn = number % PER_STREAM
        if turn == 0:
            recording_id = new_key()
        version = turn * per_append
        plan.append((f"recording-{recording_id}", version, segments(recording_id, version, per_append)))
    return plan


async def _through_the_chassis(pool: Pool, plan: Sequence[Append]) -> None:
    resources, metadata = Resources(), new_metadata()
    for stream, version, events in plan:
        work = Work("downloader", metadata, resources, pool)
        await work.append(Loaded(stream, None, version), events)
        await work.commit()


async def _prepared(pool: Pool, plan: Sequence[Sequence[Any]]) -> None:
    for arguments in plan:
        async with pool.acquire() as connection, connection.transaction():
            outcome = await connection.fetchrow(QUERIES["append"], *arguments)
            if not outcome["appended"]:
                raise RuntimeError("not appended")


def _arguments(append: Append) -> tuple[Any, ...]:
    stream, version, events = append
    metadata = new_metadata()
    envelopes = [
        wrap(event, id=new_id(), metadata=metadata, source="downloader", sequence=version + n, time=BEGIN)
        for n, event in enumerate(events, 1)
    ]
    return (
        stream,
        version,
        len(events),
        None,
        0,
        BEGIN,
        [envelope.id for envelope in envelopes],
        [event.message_type for event in events],
        [envelope.data.decode() for envelope in envelopes],
        metadata.to_json(),
        [subjects.of(event) for event in events],
        [json.dumps(envelope.to_headers(), separators=(",", ":")) for envelope in envelopes],
        [envelope.data for envelope in envelopes],
    )


BENCHMARK = Benchmark("append", ABOUT, run)
