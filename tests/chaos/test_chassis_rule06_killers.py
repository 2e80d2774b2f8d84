"""Rule 6: a message whose handling ends the process every time is buried; what was in hand with it, and what planned stops interrupt, is not."""

from __future__ import annotations

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from chassis.service import Service
from contracts import system
from contracts.config import AddStreamer

from tests.chaos.processes import environment, program
from tests.deadline import DEADLINE_S
from tests.engines.handles import Engines
from tests.integration.harness import (
    Wire,
    add_streamer,
    append_name,
    connection,
    eventually,
    handlers_of,
    running,
    settings,
    wire,
    within,
)

pytestmark = [pytest.mark.engines, pytest.mark.chaos]
CRASHES = 2
"""Fewer than the usual three: each costs the start of a process."""
UNSEEN = 2
"""Deliveries that nobody answered before a message is handled alone."""


async def impatient(on: Wire, ack_wait_s: float) -> None:
    """What was in hand at a crash comes again after ``ack_wait_s``."""
    config = (await on.js.consumer_info("COMMANDS", "config")).config
    await on.js.add_consumer("COMMANDS", config.evolve(ack_wait=ack_wait_s))


async def fetch_and_forget(on: Wire, times: int) -> None:
    """Take deliveries as a process that dies before it answers."""
    subscription = await on.js.pull_subscribe_bind(durable="config", stream="COMMANDS")
    for number in range(1, times + 1):
        [message] = await subscription.fetch(1, timeout=DEADLINE_S)
        assert message.metadata.num_delivered == number
    await subscription.unsubscribe()


async def scalar(postgres_dsn: str, query: str) -> Any:
    async with connection(postgres_dsn) as one:
        return await one.fetchval(query)


async def die_until_it_is_buried(given: dict[str, str]) -> int:
    """Start the service until it lives long enough to bury a message; returns how often it died before."""
    for deaths in itertools.count():
        async with program("killed", ready=False, **given) as service:
            if await service.lived_to_say("delivery.buried"):
                return deaths
            assert await service.ended() == -9, service.story()
    raise AssertionError("it counts for ever")


async def test_a_killer_is_buried_its_neighbours_are_handled_once_and_after_a_fix_it_is_replayed(
    nats_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    poison = tmp_path / "poison"
    poison.touch()
    given = environment(postgres_dsn, nats_url, POISON=str(poison), CONFIG_MAX_CRASHES=str(CRASHES))
    given["CONFIG_POOL_SIZE"] = "3"  # one transaction at a time, so that those that wait share the next one
    async with wire(nats_url) as on:
        await impatient(on, 1.0)
        for number in range(24):
            await on.send(add_streamer(f"s{number}", "killer" if number == 9 else f"n{number}"))
        # when the service is started again each time it ended
        deaths = await die_until_it_is_buried(given)
        # then it was killed while it handled the killer alone, and before that until it was suspected of it; on a busy machine the
        # bus delivers twice to one life, which makes it suspect earlier
        assert CRASHES < deaths <= UNSEEN + CRASHES
        # then the next one lives on, and its neighbours were handled once
        async with program("killed", **given):
            messages = await on.holds(2 * 23 + 1)
            [letter] = [json.loads(one.data) for one in messages if ".dead_letter." in one.subject]
            assert letter["error"] == f"its handling ended the process {CRASHES} times"
            assert letter["letter_type"] == "aircheck.config.add_streamer.v1"
            told = [json.loads(one.data)["name"] for one in messages if ".streamer." in one.subject]
            assert sorted(told) == sorted(f"n{n}/{part}" for n in range(24) if n != 9 for part in (1, 2))
            await on.settled("config")
            # and it can be replayed when the cause is mended
            poison.unlink()
            await on.send(system.of("config", system.ReplayDeadLetter)(letter_id=letter["letter_id"]))
            *effects, replayed = (await on.holds(2 * 23 + 4))[-3:]
            assert [json.loads(one.data)["name"] for one in effects] == ["killer/1", "killer/2"]
            assert replayed.headers["ce-type"] == "aircheck.config.dead_letter.replayed.v1"
        assert await scalar(postgres_dsn, "select count(*) from dead_letters") == 0


async def test_planned_stops_bury_nothing(nats_url: str, postgres_dsn: str, tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    given = environment(postgres_dsn, nats_url, HOLD=str(hold), CONFIG_MAX_CRASHES="1")
    async with wire(nats_url) as on:
        await impatient(on, 0.5)
        await on.send(add_streamer("s1", "slow"))
        await fetch_and_forget(on, UNSEEN)
        # when it is stopped in the middle of it, with its work cut off by its own or by the orchestrator's deadline
        for finish_s, killed in (("0.2", False), ("20", True)):
            async with program("slow", **{**given, "CONFIG_STOP_TIMEOUT_S": finish_s}) as service:
                await service.said("in_hand")
                assert await scalar(postgres_dsn, "select count(*) from suspects where handler is not null") == 1
                service.terminate()
                if killed:
                    await eventually(lambda: scalar(postgres_dsn, "select count(*) = 0 from suspects"))
                    service.kill()
                await service.ended()
        hold.unlink()
        async with program("slow", **given):
            # then it is handled in the end, once
            assert [json.loads(one.data)["name"] for one in await on.holds(2)] == ["slow/1", "slow/2"]
            await on.settled("config")
            # It is acknowledged under its mark.
            await eventually(lambda: scalar(postgres_dsn, "select count(*) = 0 from suspects"), "no mark is left")
        assert await scalar(postgres_dsn, "select count(*) from dead_letters") == 0


async def test_restarts_of_the_bus_and_the_database_bury_nothing(
    engines: Engines, nats_url: str, postgres_dsn: str
) -> None:
    begun, go = asyncio.Event(), asyncio.Event()

    async def handler(command: AddStreamer, work: Any) -> None:
        begun.set()
        await within(go)
        await append_name(command, work)

    service = Service(
        settings("config", postgres_dsn, nats_url, max_crashes=1), handlers_of("config", {AddStreamer: handler})
    )
    async with wire(nats_url) as on:
        await impatient(on, 0.5)
        await on.send(add_streamer("s1", "x"))
        await fetch_and_forget(on, UNSEEN)
        async with running(service):
            await within(begun)
            for _ in range(2):
                await asyncio.to_thread(engines.nats.kill)
                await asyncio.to_thread(engines.nats.restart)
            await asyncio.to_thread(engines.postgres.kill)
            await asyncio.to_thread(engines.postgres.restart)
            go.set()
            assert [json.loads(one.data)["name"] for one in await on.holds(1)] == ["x"]
            await on.settled("config")
            assert await service.pool.fetchval("select count(*) from dead_letters") == 0
            assert await service.pool.fetchval("select coalesce(sum(crashes), 0) from suspects") == 0
