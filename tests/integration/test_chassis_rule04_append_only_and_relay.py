"""Rule 4: the log is append-only by trigger; the outbox is drained by one active relay, in order, stopping at the first failure."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest
from chassis import relay as relaying
from chassis.bus import Bus
from chassis.database import Pool
from chassis.eventlog import append, enqueue, load
from chassis.relay import Outgoing, Relay
from chassis.telemetry import new_metadata

from tests.integration.harness import (
    STREAMER,
    Wire,
    add_streamer,
    connection,
    database,
    eventually,
    names,
    streamer_changed,
    wire,
    within,
)

pytestmark = pytest.mark.engines


async def put(pool: Pool, *texts: str, streamer: str = "s1") -> None:
    async with pool.acquire() as one:
        at = await load(one, STREAMER, streamer)
        events = [streamer_changed(streamer, text) for text in texts]
        await append(one, "config", at, events, metadata=new_metadata())


async def drained(pool: Pool) -> None:
    await eventually(lambda: pool.fetchval("select not exists (select from outbox)"), "an empty outbox")


def relay_of(pool: Pool, on: Wire, **options: object) -> Relay:
    return Relay(pool, Bus(on.client, "config"), "config", poll_s=0.1, **options)


@pytest.mark.parametrize(
    "change",
    ["update events set version = 7", "delete from events", "truncate events", "truncate events, streams cascade"],
)
async def test_the_log_refuses_every_change(postgres_dsn: str, change: str) -> None:
    async with database(postgres_dsn) as pool:
        await put(pool, "kept")
        with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
            await pool.execute(change)
        assert await pool.fetchval("select count(*) from events") == 1


async def test_rows_go_out_in_order_and_leave_the_outbox_after_the_acknowledgement(
    nats_url: str, postgres_dsn: str
) -> None:
    async with wire(nats_url) as on, database(postgres_dsn) as pool:
        for number in range(30):
            await put(pool, f"a{number}", streamer=f"s{number % 3}")
        relay = relay_of(pool, on, batch=7)
        await relay.start()
        await drained(pool)
        assert names(await on.events()) == [f"a{number}" for number in range(30)]
        await relay.stop()


async def test_a_row_stays_until_it_is_acknowledged(
    nats_url: str, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, acknowledge = asyncio.Event(), asyncio.Event()
    genuine = relaying.publish_atomic

    async def slow(bus: Bus, batch: Sequence[Outgoing], **options: float) -> None:
        await genuine(bus, batch, **options)
        asked.set()
        await acknowledge.wait()

    monkeypatch.setattr(relaying, "publish_atomic", slow)
    async with wire(nats_url) as on, database(postgres_dsn) as pool:
        await put(pool, "a", "b")
        relay = relay_of(pool, on)
        await relay.start()
        await within(asked)
        assert await pool.fetchval("select count(*) from outbox") == 2
        acknowledge.set()
        await drained(pool)
        await relay.stop()


async def test_a_failure_stops_the_relay_there_and_nothing_overtakes_the_failed_row(
    nats_url: str, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    repaired, tried = asyncio.Event(), asyncio.Event()
    genuine = relaying.publish_one_by_one

    async def failing(bus: Bus, batch: Sequence[Outgoing]) -> int:
        upto = next((n for n, one in enumerate(batch) if b'"bad"' in one.payload), len(batch))
        if repaired.is_set():
            upto = len(batch)
        elif upto < len(batch):
            tried.set()
        return await genuine(bus, batch[:upto])

    monkeypatch.setattr(relaying, "publish_one_by_one", failing)
    async with wire(nats_url) as on, database(postgres_dsn) as pool:
        await put(pool, "a", "b", "bad", "c", "d")
        relay = relay_of(pool, on, atomic=False)
        await relay.start()
        await within(tried)
        # when it has tried and failed, also with what is committed later for another aggregate
        await put(pool, "e", streamer="s2")
        relay.wake()
        tried.clear()
        await within(tried)
        assert names(await on.events()) == ["a", "b"]
        assert await pool.fetchval("select count(*) from outbox") == 4
        # then after the repair everything follows in order
        repaired.set()
        relay.wake()
        await drained(pool)
        assert names(await on.events()) == ["a", "b", "bad", "c", "d", "e"]
        await relay.stop()


async def test_a_relay_survives_an_error_that_nobody_expected(nats_url: str, postgres_dsn: str) -> None:
    """A subject no stream captures can only be a defect; the relay waits there, and goes on when it is gone."""
    async with wire(nats_url) as on, database(postgres_dsn) as pool:
        await pool.execute(
            "insert into outbox (message_id, subject, headers, payload) values (gen_random_uuid(), 'nowhere.x', '{}', '')"
        )
        await put(pool, "a")
        relay = relay_of(pool, on)
        await relay.start()

        async def failed() -> bool:
            return relay.failures > 1

        await eventually(failed)
        assert await on.count() == 0
        await pool.execute("delete from outbox where subject = 'nowhere.x'")
        await drained(pool)
        assert names(await on.events()) == ["a"]
        await relay.stop()


async def test_one_relay_at_a_time_publishes_for_a_service(
    nats_url: str, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, most, published = 0, 0, 0
    genuine = relaying.publish_atomic

    async def counted(bus: Bus, batch: Sequence[Outgoing], **options: float) -> None:
        nonlocal now, most, published
        now += 1
        most = max(most, now)
        await genuine(bus, batch, **options)
        published += len(batch)
        now -= 1

    monkeypatch.setattr(relaying, "publish_atomic", counted)
    async with wire(nats_url) as on, database(postgres_dsn) as pool, database(postgres_dsn) as other:
        relays = [relay_of(pool, on, batch=10), relay_of(other, on, batch=10)]
        for relay in relays:
            await relay.start()
        for number in range(40):
            await put(pool, *(f"{number}.{n}" for n in range(5)))
            for relay in relays:
                relay.wake()
        await drained(pool)
        assert names(await on.events()) == [f"{number}.{n}" for number in range(40) for n in range(5)]
        assert most == 1
        assert published == 200, "nothing was published twice"
        for relay in relays:
            await relay.stop()


async def test_the_other_relay_takes_over_when_the_connection_of_the_first_one_dies(
    nats_url: str, postgres_dsn: str, postgres_admin_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    holding = asyncio.Event()
    genuine = relaying.publish_atomic

    async def stuck(bus: Bus, batch: Sequence[Outgoing], **options: float) -> None:
        if bus.service == "stuck":
            holding.set()
            await asyncio.Event().wait()
        await genuine(bus, batch, **options)

    monkeypatch.setattr(relaying, "publish_atomic", stuck)
    async with wire(nats_url) as on, database(postgres_dsn) as pool, database(postgres_dsn) as other:
        first = Relay(other, Bus(on.client, "stuck"), "config", poll_s=0.1)
        second = relay_of(pool, on)
        await put(pool, "a", "b")
        await first.start()
        await within(holding)
        await second.start()

        async def waits() -> bool:
            async with connection(postgres_admin_dsn) as admin:
                return bool(
                    await admin.fetchval("select count(*) from pg_locks where locktype = 'advisory' and not granted")
                )

        await eventually(waits, "the second relay waits")
        assert await on.count() == 0
        # when
        async with connection(postgres_admin_dsn) as admin:
            await admin.execute(
                "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted and pid <> pg_backend_pid()"
            )
        # then
        await drained(pool)
        assert names(await on.events()) == ["a", "b"]
        await first.stop(timeout_s=0.1)
        await second.stop()


async def test_what_is_committed_at_the_end_goes_out_before_the_relay_stops(nats_url: str, postgres_dsn: str) -> None:
    async with wire(nats_url) as on, database(postgres_dsn) as pool:
        relay = Relay(pool, Bus(on.client, "config"), "config", poll_s=60)
        await relay.start()
        await eventually(lambda: pool.fetchval("select true"))
        await put(pool, "last words")
        await relay.stop()
        assert names(await on.events()) == ["last words"]
        assert not await pool.fetchval("select exists (select from outbox)")


async def test_another_replica_finds_what_a_dead_one_left_without_being_woken(nats_url: str, postgres_dsn: str) -> None:
    async with wire(nats_url) as on, database(postgres_dsn) as pool:
        relay = relay_of(pool, on)
        await relay.start()
        async with pool.acquire() as one:
            await enqueue(one, "config", add_streamer(), metadata=new_metadata())
        await on.holds(1, "COMMANDS")
        await relay.stop()
