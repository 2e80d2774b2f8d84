"""Rules 4 and 5 while the relay works ahead: what is sent before its turn counts only after everything before it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

import asyncpg
import pytest
from chassis import relay as relaying
from chassis.batches import DUPLICATE, BatchRejected, publish_atomic, stage
from chassis.bus import Bus
from chassis.database import Pool
from chassis.eventlog import append, load
from chassis.relay import Outgoing, PublishFailed, Relay
from chassis.telemetry import new_metadata
from contracts.envelope import Envelope

from tests.integration.harness import (
    STREAMER,
    Wire,
    client,
    connection,
    database,
    eventually,
    names,
    streamer_changed,
    wire,
    within,
)

pytestmark = pytest.mark.engines

ALL = [f"{number}" for number in range(12)]


async def put(pool: Pool, texts: Sequence[str] = ALL) -> list[Envelope]:
    async with pool.acquire() as one:
        at = await load(one, STREAMER, "s1")
        return await append(
            one, "config", at, [streamer_changed("s1", text) for text in texts], metadata=new_metadata()
        )


def relay_of(pool: Pool, on: Wire) -> Relay:
    """Twelve rows are four batches."""
    return Relay(pool, Bus(on.client, "config"), "config", poll_s=0.1, batch=3)


async def drained(pool: Pool) -> None:
    await eventually(lambda: pool.fetchval("select not exists (select from outbox)"), "an empty outbox")


class Watched:
    """The relay's ways to the bus: what it staged, and a moment before a batch is committed at which a test may act."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.staged: list[str] = []
        self.taken: list[str] = []
        self.too_early: list[str] = []
        self.staged_now = asyncio.Event()
        self._stage, self._publish = relaying.stage, relaying.publish_atomic
        monkeypatch.setattr(relaying, "stage", self.stage)
        monkeypatch.setattr(relaying, "publish_atomic", self.publish)

    async def stage(self, bus: Bus, batch: Sequence[Outgoing]) -> str:
        if not self.taken:
            self.too_early += [_name(one) for one in batch]
        id = await self._stage(bus, batch)
        await bus.client.flush()
        self.staged += [_name(one) for one in batch]
        self.staged_now.set()
        return id

    async def publish(self, bus: Bus, batch: Sequence[Outgoing], *, staged: str = "") -> None:
        await self.before(_name(batch[0]))
        await self._publish(bus, batch, staged=staged)
        self.taken += [_name(one) for one in batch]

    async def until_staged(self, name: str) -> None:
        while name not in self.staged:
            self.staged_now.clear()
            await within(self.staged_now)

    async def before(self, name: str) -> None:
        """Whatever a test does before the batch that begins with ``name`` is committed."""


def _name(one: Outgoing) -> str:
    return next(name for name in ALL if b'"name":"%s"' % name.encode() in one.payload)


async def test_what_is_staged_goes_out_in_order_and_once(
    nats_url: str, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given an outbox of several batches
    watched = Watched(monkeypatch)
    async with wire(nats_url) as on, database(postgres_dsn) as pool:
        await put(pool)
        # when it is drained
        relay = relay_of(pool, on)
        await relay.start()
        await drained(pool)
        await relay.stop()
        # then in order, and ahead only behind a batch that the stream has taken
        assert names(await on.events()) == ALL
        assert watched.taken == ALL
        assert watched.staged[-6:] == ALL[6:]
        assert watched.too_early == []


async def test_nothing_staged_is_stored_when_the_batch_before_it_fails(
    nats_url: str, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(Watched):
        fails, failed = True, 0

        async def before(self, name: str) -> None:
            if name == "6" and self.fails:
                # Its successor is on the server but for the commit.
                await self.until_staged("11")
                self.failed += 1
                self.fails = False
                raise PublishFailed("for the test")

    # given a relay whose third batch fails when the fourth is staged
    watched = Failing(monkeypatch)
    async with wire(nats_url) as on, database(postgres_dsn) as pool:
        await put(pool)
        relay = relay_of(pool, on)
        genuine, stopped, go_on = relay._drain, asyncio.Event(), asyncio.Event()

        async def drain_once(one: object) -> None:
            if stopped.is_set():
                await go_on.wait()
            try:
                await genuine(one)
            finally:
                stopped.set()

        monkeypatch.setattr(relay, "_drain", drain_once)
        await relay.start()
        await within(stopped)
        # then the first two are stored and gone from the outbox, and nothing else is
        assert watched.failed == 1
        assert names(await on.events()) == ALL[:6]
        assert await pool.fetchval("select count(*) from outbox") == 6
        # when it tries again, then the rest follows in order
        go_on.set()
        await drained(pool)
        await relay.stop()
        assert names(await on.events()) == ALL


async def test_a_duplicate_in_the_middle_delays_what_is_staged_behind_it(
    nats_url: str, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Waiting(Watched):
        async def before(self, name: str) -> None:
            if name == "6":
                await self.until_staged("11")

    # given an outbox whose third batch the stream knows in part, as after a crash between acknowledgement and delete
    Waiting(monkeypatch)
    async with wire(nats_url) as on, database(postgres_dsn) as pool:
        known = (await put(pool))[6]
        await on.raw("evt.config.streamer.s1.changed.v1", known.data, known.to_headers())
        # when it is drained
        relay = relay_of(pool, on)
        await relay.start()
        await drained(pool)
        await relay.stop()
        # then each is there once, and the rest is in order although the last batch was staged early
        assert names(await on.events()) == ["6", *ALL[:6], *ALL[7:]]


async def test_a_message_that_is_also_in_the_batch_before_is_recognised_although_it_was_staged_earlier(
    nats_url: str,
) -> None:
    """The server compares ids at the commit, not when a message comes in: a row that is twice in the outbox is stored once."""
    subject = "evt.config.streamer.s1.changed.v1"
    first, second = [
        [Outgoing(n, subject, json.dumps({"Nats-Msg-Id": id}), id.encode()) for n, id in enumerate(ids)]
        for ids in (["a", "b", "c"], ["c", "d", "e"])
    ]
    async with wire(nats_url) as on:
        bus = Bus(on.client, "config")
        # given two batches with one id in common, both on the server but for their commits
        one, other = await stage(bus, first), await stage(bus, second)
        # when both are committed
        await publish_atomic(bus, first, staged=one)
        with pytest.raises(BatchRejected) as refusal:
            await publish_atomic(bus, second, staged=other)
        # then the second is refused as a whole
        assert refusal.value.code == DUPLICATE
        assert [message.data for message in await on.messages()] == [b"a", b"b", b"c"]


async def test_nothing_is_staged_for_a_stream_without_batches(
    nats_url: str, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a stream that would store each message of a batch by itself, or none
    watched = Watched(monkeypatch)
    async with client(nats_url) as plain, database(postgres_dsn) as pool:
        await plain.jetstream().add_stream(name="EVENTS", subjects=["evt.>"])
        on = Wire(plain)
        await put(pool)
        # when
        relay = relay_of(pool, on)
        await relay.start()
        await drained(pool)
        await relay.stop()
        # then
        assert names(await on.events()) == ALL
        assert watched.staged == []


async def test_who_lost_the_lock_commits_no_further_batch(
    nats_url: str, postgres_dsn: str, postgres_admin_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Losing(Watched):
        async def before(self, name: str) -> None:
            began.append(name)
            if name == "6":
                await self.until_staged("11")
                async with connection(postgres_admin_dsn) as admin:
                    await admin.execute(
                        "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted"
                    )
                await eventually(closed)

    began: list[str] = []
    held: list[object] = []

    async def closed() -> bool:
        try:
            return held[0].is_closed()  # type: ignore[attr-defined, no-any-return]
        except asyncpg.InterfaceError:
            return True  # the pool has taken it back

    # given a relay that loses its connection, and with it the lock, while its third batch is on the way
    Losing(monkeypatch)
    async with wire(nats_url) as on, database(postgres_dsn) as pool:
        await put(pool)
        relay = relay_of(pool, on)
        genuine, ended = relay._drain, asyncio.Event()

        async def drain_once(one: object) -> None:
            held.append(one)
            if ended.is_set():
                await asyncio.Event().wait()
            try:
                await genuine(one)
            finally:
                ended.set()

        monkeypatch.setattr(relay, "_drain", drain_once)
        await relay.start()
        await within(ended)
        # then the fourth, which was staged, is not committed
        assert began == ["0", "3", "6"]
        assert names(await on.events()) == ALL[:9]
        await relay.stop(timeout_s=0.1)
