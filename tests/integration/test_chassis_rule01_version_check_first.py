"""Rule 1: the version check comes before any sequence number is drawn; a conflict reloads and retries."""

from __future__ import annotations

import asyncio

import pytest
from chassis.dispatcher import Dispatcher
from chassis.errors import Conflict
from chassis.eventlog import append, load
from chassis.retries import Policy
from chassis.telemetry import new_metadata
from chassis.work import Resources
from contracts.config import AddStreamer

from tests.integration.harness import (
    STREAMER,
    add_streamer,
    append_name,
    connection,
    database,
    delivery_of,
    eventually,
    handlers_of,
    streamer_changed,
)

pytestmark = pytest.mark.engines


async def put(connection, at, *names: str):
    return await append(
        connection, "config", at, [streamer_changed("s1", name) for name in names], metadata=new_metadata()
    )


async def test_a_conflict_draws_no_position(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool, pool.acquire() as one:
        # given a stream at version 1, loaded before by somebody else
        stale = await load(one, STREAMER, "s1")
        await put(one, await load(one, STREAMER, "s1"), "first")
        # when the other one appends many times to what it saw
        for _ in range(20):
            with pytest.raises(Conflict):
                await put(one, stale, "late")
        await put(one, await load(one, STREAMER, "s1"), "second")
        # then the numbers go on without a gap, in the log and in the outbox
        assert [row["position"] for row in await one.fetch("select position from events order by 1")] == [1, 2]
        assert [row["id"] for row in await one.fetch("select id from outbox order by 1")] == [1, 2]
        assert await one.fetchval("select version from streams where stream = 'streamer-s1'") == 2


@pytest.mark.parametrize("existing", [0, 3], ids=["a new stream", "an old stream"])
async def test_the_second_of_two_concurrent_appends_waits_and_then_conflicts(postgres_dsn: str, existing: int) -> None:
    async with database(postgres_dsn) as pool, connection(postgres_dsn) as first, connection(postgres_dsn) as second:
        for number in range(existing):
            await put(first, await load(first, STREAMER, "s1"), f"before {number}")
        # given two transactions that loaded the same version, and the first has appended but not committed
        holding = first.transaction()
        await holding.start()
        mine, yours = await load(first, STREAMER, "s1"), await load(second, STREAMER, "s1")
        await put(first, mine, "winner")
        # when
        waiting = asyncio.create_task(put(second, yours, "loser"))
        await eventually(
            lambda: pool.fetchval("select exists (select from pg_locks where not granted)"), "the second waits"
        )
        assert not waiting.done()
        await holding.commit()
        # then
        with pytest.raises(Conflict):
            await waiting
        rows = await pool.fetch("select position, version, data ->> 'name' as name from events order by position")
        assert [row["version"] for row in rows] == list(range(1, existing + 2))
        assert [row["position"] for row in rows] == list(range(1, existing + 2))
        assert rows[-1]["name"] == "winner"


async def test_after_a_rolled_back_append_the_second_one_goes_on(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool, connection(postgres_dsn) as first, connection(postgres_dsn) as second:
        holding = first.transaction()
        await holding.start()
        await put(first, await load(first, STREAMER, "s1"), "undone")
        waiting = asyncio.create_task(put(second, await load(second, STREAMER, "s1"), "kept"))
        await eventually(lambda: pool.fetchval("select exists (select from pg_locks where not granted)"))
        await holding.rollback()
        await waiting
        assert [row["name"] for row in await pool.fetch("select data ->> 'name' as name from events")] == ["kept"]


async def test_the_loser_decides_again_on_what_the_winner_left(postgres_dsn: str) -> None:
    """Two replicas handle commands for one aggregate at the same time; both effects are there, in one order."""
    seen: list[int] = []
    both = asyncio.Barrier(2)

    async def handler(command: AddStreamer, work) -> None:
        at = await work.load(STREAMER, command.streamer_id)
        seen.append(at.version)
        if len(seen) <= 2:
            await both.wait()
        await work.append(at, [streamer_changed(command.streamer_id, command.name)])

    async with database(postgres_dsn) as pool:
        replicas = [Dispatcher(handlers_of("config", {AddStreamer: handler}), pool, Resources()) for _ in range(2)]
        deliveries = [delivery_of(add_streamer(name=f"n{number}"), sequence=number) for number in (1, 2)]
        # when
        await asyncio.gather(*(r.deliver("commands-config", d) for r, d in zip(replicas, deliveries, strict=True)))
        # then both saw version 0, one had to look again
        assert seen == [0, 0, 1]
        assert [d.raw.settled for d in deliveries] == [[("ack", 0.0)]] * 2
        assert [row["version"] for row in await pool.fetch("select version from events order by position")] == [1, 2]


async def test_many_writers_of_one_aggregate_leave_no_gap_and_no_inversion(postgres_dsn: str) -> None:
    async with database(postgres_dsn, max_size=12) as pool:
        handlers = handlers_of("config", {AddStreamer: append_name})
        patient = Policy(conflict_attempts=1000)
        replicas = [Dispatcher(handlers, pool, Resources(), policy=patient) for _ in range(6)]
        deliveries = [delivery_of(add_streamer(name=f"n{number}"), sequence=number) for number in range(60)]
        await asyncio.gather(
            *(replicas[number % 6].deliver("commands-config", one) for number, one in enumerate(deliveries))
        )
        rows = await pool.fetch("select position, version from events order by position")
        assert [row["version"] for row in rows] == list(range(1, 61))
        assert [row["position"] for row in rows] == list(range(1, 61))
        sequences = await pool.fetch("select (headers ->> 'ce-sequence')::int as n from outbox order by id")
        assert [row["n"] for row in sequences] == list(range(1, 61))


async def test_a_conflict_that_does_not_end_goes_back_to_the_bus(postgres_dsn: str) -> None:
    attempts: list[int] = []

    async def handler(command: AddStreamer, work) -> None:
        attempts.append(1)
        raise Conflict("always")

    async with database(postgres_dsn) as pool:
        dispatcher = Dispatcher(
            handlers_of("config", {AddStreamer: handler}), pool, Resources(), policy=Policy(conflict_attempts=3)
        )
        one = delivery_of(add_streamer())
        await dispatcher.deliver("commands-config", one)
        assert len(attempts) == 3
        [(how, delay)] = one.raw.settled
        assert how == "nak"
        assert delay >= 1.0
