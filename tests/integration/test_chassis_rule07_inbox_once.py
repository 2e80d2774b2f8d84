"""Rule 7: the inbox, in the same transaction, makes every effect happen once."""

from __future__ import annotations

import asyncio

import pytest
from chassis.dispatcher import Dispatcher
from chassis.housekeeping import Housekeeping
from chassis.ids import new_id
from chassis.service import Service
from chassis.work import Resources
from contracts.config import AddStreamer

from tests.integration.harness import (
    add_streamer,
    append_name,
    database,
    delivery_of,
    eventually,
    handlers_of,
    running,
    settings,
    wire,
)

pytestmark = pytest.mark.engines


async def test_a_repeated_message_has_one_effect_and_is_acknowledged_each_time(
    nats_url: str, postgres_dsn: str
) -> None:
    service = Service(settings("config", postgres_dsn, nats_url), handlers_of("config", {AddStreamer: append_name}))
    async with wire(nats_url) as on, running(service):
        id = new_id()
        for _ in range(5):
            await on.send(add_streamer(name="once"), id=id, fresh=True)
        await on.send(add_streamer(name="marker"))
        messages = await on.holds(2)
        assert [b"once" in one.data for one in messages] == [True, False]
        await on.settled("config")
        await on.emptied("COMMANDS")


async def test_the_broker_itself_drops_a_repeat_within_its_window(nats_url: str) -> None:
    async with wire(nats_url) as on:
        id = new_id()
        for _ in range(3):
            await on.send(add_streamer(), id=id)
        assert await on.count("COMMANDS") == 1


async def test_two_deliveries_of_one_message_at_the_same_time_have_one_effect(postgres_dsn: str) -> None:
    """As when the time for the acknowledgement passed while the first replica was still at it."""
    both = asyncio.Barrier(2)
    calls: list[int] = []

    async def handler(command: AddStreamer, work) -> None:
        calls.append(1)
        await work.begin()
        if len(calls) <= 2:
            await both.wait()
        await work.send(add_streamer("effect"))

    async with database(postgres_dsn) as pool:
        replicas = [Dispatcher(handlers_of("config", {AddStreamer: handler}), pool, Resources()) for _ in range(2)]
        id = new_id()
        deliveries = [delivery_of(add_streamer(), id=id) for _ in replicas]
        await asyncio.gather(*(r.deliver("commands-config", d) for r, d in zip(replicas, deliveries, strict=True)))
        assert len(calls) == 2
        assert [one.raw.settled for one in deliveries] == [[("ack", 0.0)]] * 2
        assert await pool.fetchval("select count(*) from outbox") == 1


async def test_each_consumer_has_an_inbox_of_its_own(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        dispatcher = Dispatcher(handlers_of("config", {AddStreamer: append_name}), pool, Resources())
        id = new_id()
        for consumer in ("commands-config", "another", "another"):
            await dispatcher.deliver(consumer, delivery_of(add_streamer(), id=id))
        assert await pool.fetchval("select count(*) from events") == 2


async def test_a_failed_attempt_leaves_no_trace_in_the_inbox(postgres_dsn: str) -> None:
    async def handler(command: AddStreamer, work) -> None:
        await append_name(command, work)
        raise RuntimeError

    async with database(postgres_dsn) as pool:
        await Dispatcher(handlers_of("config", {AddStreamer: handler}), pool, Resources()).deliver(
            "c", delivery_of(add_streamer())
        )
        assert await pool.fetchval("select (select count(*) from inbox) + (select count(*) from events)") == 0


async def test_a_rejection_is_in_the_inbox_too(postgres_dsn: str) -> None:
    from contracts.aggregate import Rejected

    async def handler(command: AddStreamer, work) -> None:
        raise Rejected("no")

    async with database(postgres_dsn) as pool:
        dispatcher = Dispatcher(handlers_of("config", {AddStreamer: handler}), pool, Resources())
        id = new_id()
        for _ in range(3):
            await dispatcher.deliver("c", delivery_of(add_streamer(), id=id))
        assert await pool.fetchval("select count(*) from events where type = 'config.command.rejected.v1'") == 1


async def test_housekeeping_forgets_what_is_older_than_any_repeat(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        await pool.execute(
            "insert into inbox (consumer, message_id, handled_at)"
            " select 'c', gen_random_uuid(), now() - make_interval(hours => n) from generate_series(1, 25000) n"
        )
        assert await Housekeeping(pool, retention_s=5000 * 3600).purge() == 20_001
        assert await pool.fetchval("select count(*) from inbox") == 4999


async def test_housekeeping_runs_by_itself_and_survives_an_error(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        await pool.execute("alter table inbox rename to elsewhere")
        chores = Housekeeping(pool, retention_s=10, every_s=0.05)
        await chores.start()
        await asyncio.sleep(0)
        await pool.execute("alter table elsewhere rename to inbox")
        await pool.execute("insert into inbox values ('c', gen_random_uuid(), now() - interval '1 hour')")
        await eventually(lambda: pool.fetchval("select not exists (select from inbox)"))
        await chores.stop()
