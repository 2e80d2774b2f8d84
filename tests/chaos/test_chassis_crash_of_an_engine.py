"""NATS or PostgreSQL is killed with SIGKILL under load: every event is on the bus once, in order, and the service recovers by itself."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict

import pytest
from chassis.database import UNREACHABLE
from chassis.service import Service
from contracts.config import AddStreamer

from tests.deadline import DEADLINE_S
from tests.engines.handles import Engines
from tests.integration.harness import (
    STREAMER,
    Wire,
    add_streamer,
    append_name,
    eventually,
    handlers_of,
    healthy,
    running,
    settings,
    streamer_changed,
    wire,
)

pytestmark = [pytest.mark.engines, pytest.mark.chaos]
STREAMS = 4


async def check(on: Wire, total: int) -> None:
    """Every number once; per aggregate in the order of its versions and of its numbers."""
    messages = await on.holds(total)
    assert len({one.headers["ce-id"] for one in messages}) == total
    seen = defaultdict(list)
    for one in messages:
        body = json.loads(one.data)
        seen[body["streamer_id"]].append((int(one.headers["ce-sequence"]), int(body["name"])))
    assert sum(len(events) for events in seen.values()) == total
    for events in seen.values():
        assert [version for version, _ in events] == list(range(1, len(events) + 1))
        assert [number for _, number in events] == sorted({number for _, number in events})


async def test_nats_killed_in_the_middle_of_batches(engines: Engines, nats_url: str, postgres_dsn: str) -> None:
    service = Service(settings("config", postgres_dsn, nats_url), handlers_of("config"))
    async with wire(nats_url) as on, running(service):
        written = 0

        async def write(until: asyncio.Event) -> None:
            nonlocal written
            while not until.is_set():
                async with service.unit() as work:
                    at = await work.load(STREAMER, f"s{written % STREAMS}")
                    await work.append(
                        at, [streamer_changed(f"s{written % STREAMS}", str(written + n * STREAMS)) for n in range(3)]
                    )
                written += 1 if written % STREAMS < STREAMS - 1 else 1 + 2 * STREAMS
                await asyncio.sleep(0)

        over = asyncio.Event()
        writing = asyncio.create_task(write(over))
        for _ in range(3):
            before = await on.count()

            async def flowing(before: int = before) -> bool:
                return await on.count() > before + 30

            await eventually(flowing, "the relay publishes")
            await asyncio.to_thread(engines.nats.kill)
            pending = await service.pool.fetchval("select max(id) from outbox") or 0

            async def more_waits(pending: int = pending) -> bool:
                return (await service.pool.fetchval("select max(id) from outbox") or 0) > pending + 20

            await eventually(more_waits, "commits go on without the bus")
            await asyncio.to_thread(engines.nats.restart)
        over.set()
        await writing
        total = await service.pool.fetchval("select count(*) from events")
        await eventually(
            lambda: service.pool.fetchval("select not exists (select from outbox)"), "the outbox is drained"
        )
        await check(on, total)
        await healthy(service)


async def test_postgres_killed_under_load(engines: Engines, nats_url: str, postgres_dsn: str) -> None:
    service = Service(settings("config", postgres_dsn, nats_url), handlers_of("config", {AddStreamer: append_name}))
    async with wire(nats_url) as on, running(service):
        total = 0
        for _ in range(2):
            for _ in range(100):
                await on.send(add_streamer(f"s{total % STREAMS}", str(total)))
                total += 1
            await eventually(lambda total=total: _count_above(on, total - 90))
            await asyncio.to_thread(engines.postgres.kill)

            async def not_ready() -> bool:
                return "database" in await service.health.failures()

            await eventually(not_ready)
            for _ in range(20):
                await on.send(add_streamer(f"s{total % STREAMS}", str(total)))
                total += 1
            await asyncio.to_thread(engines.postgres.restart)
        # then everything is done, once, in order, and nothing was taken for the fault of a message
        await check(on, total)
        assert await on.count("DLQ") == 0
        await healthy(service)
        assert await service.pool.fetchval("select count(*) from dead_letters") == 0
        await on.settled("config")


async def _count_above(on: Wire, number: int) -> bool:
    return await on.count() >= number


async def test_a_message_is_not_buried_however_long_the_database_is_away(
    engines: Engines, nats_url: str, postgres_dsn: str
) -> None:
    service = Service(
        settings("config", postgres_dsn, nats_url, max_deliveries=1, retry_base_s=0.01),
        handlers_of("config", {AddStreamer: append_name}),
    )
    async with wire(nats_url) as on, running(service):
        await asyncio.to_thread(engines.postgres.kill)
        await on.send(add_streamer("s1", "0"))
        await on.raw("cmd.config.add_streamer.v1", b"poison, and nowhere to put it")

        async def often() -> bool:
            return (await on.js.consumer_info("COMMANDS", "config")).delivered.consumer_seq > 12

        await eventually(often)
        assert await on.count("COMMANDS") == 2
        await asyncio.to_thread(engines.postgres.restart)
        messages = await on.holds(2)
        assert sorted(one.headers["ce-type"] for one in messages) == [
            "aircheck.config.dead_letter.buried.v1",
            "aircheck.config.streamer.changed.v1",
        ]


async def test_leases_outlive_an_outage_without_a_second_run(
    engines: Engines, nats_url: str, postgres_dsn: str
) -> None:
    from chassis.leases import Again, Lease, LeaseRunner, Outcome, offer

    runs: list[Lease] = []
    begun = asyncio.Event()

    async def run(lease: Lease) -> Outcome:
        runs.append(lease)
        begun.set()
        await lease.handing_over.wait()
        return Again()

    service = Service(settings("config", postgres_dsn, nats_url), handlers_of("config"))
    async with wire(nats_url), running(service):
        runner = LeaseRunner(service.pool, "work", run, owner="w1", heartbeat_s=0.1, expiry_s=0.5)
        await runner.start()
        await offer(service.pool, "work", "work:1")
        async with asyncio.timeout(DEADLINE_S):
            await begun.wait()
        await asyncio.to_thread(engines.postgres.kill)
        await asyncio.sleep(0)
        await asyncio.to_thread(engines.postgres.restart)

        async def renewed() -> bool:
            try:
                return bool(
                    await service.pool.fetchval("select expires_at > now() and epoch = $1 from leases", runs[0].epoch)
                )
            except UNREACHABLE:
                return False

        await eventually(renewed)
        assert len(runs) == 1
        assert not runs[0].lost.is_set()
        await runner.stop()
