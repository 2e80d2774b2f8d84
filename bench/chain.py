"""From a command to the read model through a whole running system: how long one takes, and how many events a second."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import aiohttp
from chassis.batches import Outgoing, publish_atomic
from chassis.bus import Bus
from chassis.ids import new_id, new_key
from chassis.relay import BATCH
from chassis.telemetry import new_metadata
from contracts import subjects
from contracts.config import AddStreamer, ChangeStreamer
from contracts.envelope import header_texts, wrap
from contracts.message import Command

from bench.benchmark import Benchmark, Scale
from bench.engines import engines
from bench.figures import Goal, Line, Series, alternate, percentile
from bench.naive import NaiveChain, naive_chain
from bench.system import System, call, embedded_system

REQUESTS = 300
"""HTTP changes per run, one after the other."""
STREAMERS = 500
COMMANDS = 6_000
"""Commands per run under load; each appends two events."""
NAIVE = 600
"""Commands per run of the peer under load; each appends one event."""
EVENTS_EACH = 2
VISIBLE_S = 600
ABOUT = f"""A whole embedded system, started with `aircheck up`. *Latency*: {REQUESTS} times, one after the other,
`PATCH /api/streamers/ID` changes a name; the answer comes when the read model has it, and is checked to show
it: HTTP, the command over the bus, decision and append, relay, projector, answer. *Load*: {COMMANDS:,} such
commands for {STREAMERS} streamers are put on the bus at once with the gateway's credentials; each makes the
config service append two events (changed, resolved). The clock stops when the last one is visible over HTTP.
The peer is the *naive chain*: one process with nats-py and asyncpg on engines of its own makes the same trip
with one event per command, one transaction and one acknowledged publish per message, no HTTP, no inbox, no
outbox, no state, no read model but one insert. Percentiles are those of one run; figures are medians over the
runs."""


async def run(scale: Scale, step: Callable[[int, int], None]) -> list[Line]:
    """Measure latency on the idle system, then events per second under load."""
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        step(done, 4 * scale.rounds)

    async with AsyncExitStack() as stack:
        started = await stack.enter_async_context(engines())
        pool, bus = (
            await stack.enter_async_context(started.pool()),
            await stack.enter_async_context(started.bus("gateway")),
        )
        naive = await stack.enter_async_context(naive_chain(pool, bus))
        system = await stack.enter_async_context(embedded_system())
        await system.start()
        session = await stack.enter_async_context(system.http())
        latency = await _latency(session, naive, scale, advance)
        load = await _load(system, session, naive, scale, advance)
    return [*latency, load]


async def _latency(
    session: aiohttp.ClientSession, naive: NaiveChain, scale: Scale, advance: Callable[[], None]
) -> list[Line]:
    count = scale.of(REQUESTS)
    added = await call(session, "POST", "/api/streamers", {"url": "https://live.example.com/latency", "enabled": False})
    ours: list[list[float]] = []
    theirs: list[list[float]] = []

    async def through_the_system() -> float:
        ours.append([await _change(session, added["id"]) for _ in range(count)])
        return 0

    async def through_the_naive() -> float:
        theirs.append([await _trip(naive) for _ in range(count)])
        return 0

    await through_the_system()
    ours.clear()
    await alternate(scale.rounds, [through_the_system, through_the_naive], advance)
    return [
        Line(
            f"command over HTTP to read model, {name}",
            Series("system", "ms", tuple(percentile(run, share) for run in ours)),
            Series("naive chain", "ms", tuple(percentile(run, share) for run in theirs)),
            (Goal("figure", "at most", limit),),
        )
        for name, share, limit in (("p50", 0.5, 25), ("p99", 0.99, 100))
    ]


async def _change(session: aiohttp.ClientSession, streamer_id: str) -> float:
    name = secrets.token_hex(8)
    begun = time.perf_counter()
    answer = await call(session, "PATCH", f"/api/streamers/{streamer_id}", {"name": name})
    seconds = time.perf_counter() - begun
    if answer["name"] != name:
        raise RuntimeError(f"the read model shows {answer['name']}, not {name}")
    return 1_000 * seconds


async def _trip(naive: NaiveChain) -> float:
    begun = time.perf_counter()
    await naive.trip()
    return 1_000 * (time.perf_counter() - begun)


async def _load(
    system: System, session: aiohttp.ClientSession, naive: NaiveChain, scale: Scale, advance: Callable[[], None]
) -> Line:
    ids = [new_key() for _ in range(STREAMERS)]
    adds = [
        AddStreamer(streamer_id=id, url=f"https://live.example.com/{id}", name="first name", enabled=False)
        for id in ids
    ]
    async with system.bus("gateway") as bus:
        before = await _position(session)
        await _send(bus, adds)
        await _visible(session, before + EVENTS_EACH * len(adds))

        async def ours() -> float:
            return await _changes(bus, session, ids, scale.of(COMMANDS))

        async def theirs() -> float:
            begun = time.perf_counter()
            await naive.trips(scale.of(NAIVE))
            return scale.of(NAIVE) / (time.perf_counter() - begun)

        mine, others = await alternate(scale.rounds, [ours, theirs], advance)
    return Line(
        "all hops under load, to the read model",
        Series("system", "events/s", mine),
        Series("naive chain", "events/s", others),
        (Goal("figure", "at least", 1_000),),
    )


async def _changes(bus: Bus, session: aiohttp.ClientSession, ids: Sequence[str], count: int) -> float:
    name = secrets.token_hex(4)
    chosen = [ids[n % len(ids)] for n in range(count)]
    commands = [ChangeStreamer(streamer_id=id, name=f"{name}-{n}") for n, id in enumerate(chosen)]
    before = await _position(session)
    begun = time.perf_counter()
    await _send(bus, commands)
    await _visible(session, before + EVENTS_EACH * count)
    seconds = time.perf_counter() - begun
    last = await call(session, "GET", f"/api/streamers/{chosen[-1]}")
    if last["name"] != f"{name}-{count - 1}":
        raise RuntimeError(f"the read model shows {last['name']} after the last change")
    return EVENTS_EACH * count / seconds


async def _send(bus: Bus, commands: Sequence[Command]) -> None:
    for first in range(0, len(commands), BATCH):
        batch = commands[first : first + BATCH]
        envelopes = [wrap(one, id=new_id(), metadata=new_metadata(), source="gateway") for one in batch]
        rows = zip(batch, header_texts(envelopes), envelopes, strict=True)
        await publish_atomic(bus, [Outgoing(0, subjects.of(one), text, envelope.data) for one, text, envelope in rows])


async def _position(session: aiohttp.ClientSession, after: int = 0) -> int:
    """The newest event that a client sees; the gateway waits up to two seconds until its read models have reached ``after``."""
    newest = await call(session, "GET", f"/api/events?order=desc&limit=1&after_position={after}")
    return int(newest["items"][0]["position"]) if newest["items"] else 0


async def _visible(session: aiohttp.ClientSession, position: int) -> None:
    async with asyncio.timeout(VISIBLE_S):
        while await _position(session, position) < position:
            pass


BENCHMARK = Benchmark("chain", ABOUT, run)
