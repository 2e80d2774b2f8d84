"""Messages that wait together share a transaction, and each still has exactly its own effect."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from chassis.dispatcher import Dispatcher
from chassis.ids import new_id
from chassis.work import Resources
from contracts.aggregate import Rejected
from contracts.config import AddStreamer

from tests.integration.harness import STREAMER, add_streamer, append_name, database, delivery_of, handlers_of, within

pytestmark = pytest.mark.engines

COUNT = 50


class Gate:
    """Handlers of the first messages wait until all others have arrived, so that those are taken up together."""

    def __init__(self) -> None:
        self.busy, self.open = asyncio.Event(), asyncio.Event()
        self.transactions: list[str] = []

    async def handle(self, command: AddStreamer, work: Any) -> None:
        self.transactions.append(await work.connection.fetchval("select pg_current_xact_id()::text"))
        if command.name == "first":
            self.busy.set()
            await within(self.open)
            return
        await self.effect(command, work)

    async def effect(self, command: AddStreamer, work: Any) -> None:
        await append_name(command, work)


async def deliver_together(gate: Gate, dispatcher: Dispatcher, deliveries: list[Any]) -> None:
    """Keep every transaction busy until all ``deliveries`` wait, then let go."""
    busy = [
        asyncio.create_task(dispatcher.deliver("c", delivery_of(add_streamer(f"busy-{n}", "first")))) for n in range(4)
    ]
    await within(gate.busy)
    rest = [asyncio.create_task(dispatcher.deliver("c", one)) for one in deliveries]
    await asyncio.sleep(0)
    gate.open.set()
    await asyncio.gather(*busy, *rest)


def deliveries_of(names: list[str]) -> list[Any]:
    return [delivery_of(add_streamer(f"s{n}", name)) for n, name in enumerate(names)]


async def test_many_messages_take_few_transactions_and_each_has_its_effect(postgres_dsn: str) -> None:
    gate = Gate()
    async with database(postgres_dsn) as pool:
        dispatcher = Dispatcher(handlers_of("config", {AddStreamer: gate.handle}), pool, Resources())
        deliveries = deliveries_of(["x"] * COUNT)
        await deliver_together(gate, dispatcher, deliveries)
        assert await pool.fetchval("select count(distinct stream) from events") == COUNT
        assert await pool.fetchval("select count(*) from inbox") == COUNT + 4
        assert await pool.fetchval("select count(*) from outbox") == COUNT
        assert {tuple(one.raw.settled) for one in deliveries} == {(("ack", 0.0),)}
        assert len(set(gate.transactions)) <= 4 + 3


async def test_one_that_fails_takes_nothing_from_the_others(postgres_dsn: str) -> None:
    class Failing(Gate):
        async def effect(self, command: AddStreamer, work: Any) -> None:
            await append_name(command, work)
            if command.name == "bad":
                raise RuntimeError("only this one")

    gate = Failing()
    async with database(postgres_dsn) as pool:
        dispatcher = Dispatcher(handlers_of("config", {AddStreamer: gate.handle}), pool, Resources())
        deliveries = deliveries_of(["good"] * 10 + ["bad"] + ["good"] * 10)
        await deliver_together(gate, dispatcher, deliveries)
        assert await pool.fetchval("select count(*) from events") == 20
        assert await pool.fetchval("select count(*) from inbox") == 20 + 4
        assert [one.raw.settled[0][0] for one in deliveries] == ["ack"] * 10 + ["nak"] + ["ack"] * 10


async def test_a_refused_command_is_answered_and_the_others_go_on(postgres_dsn: str) -> None:
    class Refusing(Gate):
        async def effect(self, command: AddStreamer, work: Any) -> None:
            await append_name(command, work)
            if command.name == "bad":
                raise Rejected("no")

    gate = Refusing()
    async with database(postgres_dsn) as pool:
        dispatcher = Dispatcher(handlers_of("config", {AddStreamer: gate.handle}), pool, Resources())
        await deliver_together(gate, dispatcher, deliveries_of(["good", "bad", "good"]))
        assert await pool.fetchval("select count(*) from events where type = 'config.command.rejected.v1'") == 1
        assert await pool.fetchval("select count(*) from events where type = 'config.streamer.changed.v1'") == 2


async def test_a_repeat_within_a_group_has_no_second_effect(postgres_dsn: str) -> None:
    gate = Gate()
    async with database(postgres_dsn) as pool:
        dispatcher = Dispatcher(handlers_of("config", {AddStreamer: gate.handle}), pool, Resources())
        id = new_id()
        await dispatcher.deliver("c", delivery_of(add_streamer("s0", "known"), id=id))
        repeats = [delivery_of(add_streamer("s0", "known"), id=id), *deliveries_of(["x"] * 5)[1:]]
        await deliver_together(gate, dispatcher, repeats)
        assert await pool.fetchval("select count(*) from events where stream = 'streamer-s0'") == 1
        assert await pool.fetchval("select count(*) from events") == 5
        assert {one.raw.settled[0][0] for one in repeats} == {"ack"}


async def test_two_replicas_with_the_same_group_have_each_effect_once(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        gates = [Gate(), Gate()]
        replicas = [Dispatcher(handlers_of("config", {AddStreamer: gate.handle}), pool, Resources()) for gate in gates]
        ids = [new_id() for _ in range(20)]
        groups = [[delivery_of(add_streamer(f"s{n}"), id=id) for n, id in enumerate(ids)] for _ in replicas]
        await asyncio.gather(
            *(deliver_together(gate, one, group) for gate, one, group in zip(gates, replicas, groups, strict=True))
        )
        assert await pool.fetchval("select count(*) from events") == len(ids)
        assert {one.raw.settled[-1][0] for group in groups for one in group} == {"ack"}


async def test_a_state_is_remembered_only_after_its_transaction(postgres_dsn: str) -> None:
    """A handler that fails after its append must not leave a state behind that nobody can read in the log."""
    sizes: list[int] = []

    async def handler(command: AddStreamer, work: Any) -> None:
        at = await work.load(STREAMER, command.streamer_id)
        sizes.append(len(at.state))
        await append_name(command, work)
        if command.name == "bad":
            raise RuntimeError

    async with database(postgres_dsn) as pool:
        dispatcher = Dispatcher(handlers_of("config", {AddStreamer: handler}), pool, Resources())
        for name in ("one", "bad", "two", "three"):
            await dispatcher.deliver("c", delivery_of(add_streamer("s", name)))
        assert sizes == [0, 1, 1, 2]


async def test_what_another_replica_appended_is_seen_behind_a_remembered_state(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        seen: list[list[str]] = []

        async def handler(command: AddStreamer, work: Any) -> None:
            at = await work.load(STREAMER, "s")
            seen.append([event.name for event in at.state])
            await append_name(command, work)

        replicas = [Dispatcher(handlers_of("config", {AddStreamer: handler}), pool, Resources()) for _ in range(2)]
        for name, replica in zip("abcd", replicas * 2, strict=True):
            await replica.deliver("c", delivery_of(add_streamer("s", name)))
        assert seen == [[], ["a"], ["a", "b"], ["a", "b", "c"]]
