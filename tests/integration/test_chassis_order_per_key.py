"""Order per key: through FastStream, many at a time, with a failing message in the middle, on the real bus."""

from __future__ import annotations

import asyncio
import json
import random
import time

import pytest
from chassis.dispatcher import Dispatcher
from chassis.lanes import AFTER_S
from chassis.retries import Policy
from chassis.service import Service
from chassis.work import Resources
from contracts.config import AddStreamer

from tests.integration.harness import (
    add_streamer,
    append_name,
    database,
    delivery_of,
    handlers_of,
    names,
    running,
    settings,
    wire,
)

pytestmark = pytest.mark.engines


def service_of(postgres_dsn: str, nats_url: str, handler, **overrides) -> Service:
    return Service(
        settings("config", postgres_dsn, nats_url, **overrides), handlers_of("config", {AddStreamer: handler})
    )


async def test_two_hundred_commands_of_one_key_are_handled_in_their_order(nats_url: str, postgres_dsn: str) -> None:
    async def uneven(command: AddStreamer, work) -> None:
        await asyncio.sleep(random.uniform(0, 0.003))
        await append_name(command, work)

    async with wire(nats_url) as on, running(service_of(postgres_dsn, nats_url, uneven)):
        for number in range(200):
            await on.send(add_streamer("s1", f"n{number}"))
        await on.holds(200)
        assert names(await on.events()) == [f"n{number}" for number in range(200)]


async def test_keys_are_handled_side_by_side_each_in_its_order(nats_url: str, postgres_dsn: str) -> None:
    now, most = set(), 0

    async def uneven(command: AddStreamer, work) -> None:
        nonlocal most
        assert command.streamer_id not in now, "one message of a key at a time"
        now.add(command.streamer_id)
        most = max(most, len(now))
        await asyncio.sleep(random.uniform(0, 0.005))
        now.discard(command.streamer_id)
        await append_name(command, work)

    async with wire(nats_url) as on:
        for number in range(150):
            await on.send(add_streamer(f"s{number % 5}", f"{number}"))
        async with running(service_of(postgres_dsn, nats_url, uneven)):
            await on.holds(150)
            events = await on.events()
            for key in range(5):
                mine = [
                    int(json.loads(e.data)["name"]) for e in events if json.loads(e.data)["streamer_id"] == f"s{key}"
                ]
                assert mine == list(range(key, 150, 5))
        assert most > 1


async def test_a_failing_message_in_the_middle_holds_back_its_key_and_no_other(
    nats_url: str, postgres_dsn: str
) -> None:
    failed: list[str] = []
    other = asyncio.Event()

    async def handler(command: AddStreamer, work) -> None:
        # The first failing one succeeds only after the other key was handled: that one has not waited for it.
        if command.name in ("b", "d") and (failed.count(command.name) < 2 or not other.is_set()):
            failed.append(command.name)
            raise RuntimeError("not yet")
        await append_name(command, work)
        if command.name == "other key":
            other.set()

    async with wire(nats_url) as on:
        for name in "abcdef":
            await on.send(add_streamer("s1", name))
        await on.send(add_streamer("s2", "other key"))
        async with running(service_of(postgres_dsn, nats_url, handler, retry_base_s=0.1)):
            await on.holds(7)
            seen = names(await on.events())
        assert [name for name in seen if name != "other key"] == list("abcdef")


async def test_a_buried_message_lets_its_successors_go_on_in_order(nats_url: str, postgres_dsn: str) -> None:
    async def handler(command: AddStreamer, work) -> None:
        if command.name == "c":
            raise RuntimeError("never")
        await append_name(command, work)

    async with wire(nats_url) as on:
        for name in "abcde":
            await on.send(add_streamer("s1", name))
        async with running(service_of(postgres_dsn, nats_url, handler, max_deliveries=2)):
            messages = await on.holds(5)
        bodies = [json.loads(one.data) for one in messages]
        assert [body.get("name") or body["error"] for body in bodies] == ["a", "b", "never", "d", "e"]


async def test_a_failure_of_one_consumer_does_not_hold_back_the_other(postgres_dsn: str) -> None:
    """The places in two streams cannot be compared."""

    async def handler(command: AddStreamer, work) -> None:
        if command.name == "bad":
            raise RuntimeError
        await append_name(command, work)

    async with database(postgres_dsn) as pool:
        dispatcher = Dispatcher(
            handlers_of("config", {AddStreamer: handler}), pool, Resources(), policy=Policy(base_s=5)
        )
        bad, held = delivery_of(add_streamer(name="bad"), sequence=5), delivery_of(add_streamer(name="x"), sequence=6)
        elsewhere = delivery_of(add_streamer(name="y"), sequence=6)
        before = time.monotonic()
        await dispatcher.deliver("commands-config", bad)
        await dispatcher.deliver("commands-config", held)
        passed = time.monotonic() - before
        await dispatcher.deliver("events-config", elsewhere)
        assert [one.raw.settled[0][0] for one in (bad, held, elsewhere)] == ["nak", "nak", "ack"]
        # it comes again soon after the message it waits for
        after_s = held.raw.settled[0][1] - bad.raw.settled[0][1]
        assert AFTER_S - passed <= after_s <= AFTER_S


async def test_redelivered_messages_keep_their_order_in_whatever_order_they_come_back(postgres_dsn: str) -> None:
    fail = True

    async def handler(command: AddStreamer, work) -> None:
        if fail and command.name == "1":
            raise RuntimeError
        await append_name(command, work)

    async with database(postgres_dsn) as pool:
        dispatcher = Dispatcher(
            handlers_of("config", {AddStreamer: handler}), pool, Resources(), policy=Policy(base_s=0.01)
        )
        waiting = {number: delivery_of(add_streamer(name=str(number)), sequence=number) for number in range(1, 6)}
        for one in waiting.values():
            await dispatcher.deliver("commands-config", one)
        fail = False
        while waiting:
            for number in random.sample(sorted(waiting), len(waiting)):
                await dispatcher.deliver("commands-config", waiting[number])
                if waiting[number].raw.settled[-1][0] == "ack":
                    del waiting[number]
        rows = await pool.fetch("select data ->> 'name' as name from events order by position")
        assert [row["name"] for row in rows] == ["1", "2", "3", "4", "5"]
