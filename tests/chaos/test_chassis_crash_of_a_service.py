"""A service is killed with SIGKILL: nothing that was committed is lost, nothing is published twice, another replica goes on."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.chaos.processes import environment, program
from tests.integration.harness import add_streamer, connection, eventually, wire

pytestmark = [pytest.mark.engines, pytest.mark.chaos]


def by_aggregate(messages: list[Any]) -> dict[str, list[tuple[int, str]]]:
    found = defaultdict(list)
    for one in messages:
        body = json.loads(one.data)
        found[body["streamer_id"]].append((int(one.headers["ce-sequence"]), body["name"]))
    return dict(found)


async def rows(postgres_dsn: str, table: str) -> int:
    async with connection(postgres_dsn) as one:
        return await one.fetchval(f"select count(*) from {table}")


async def test_killed_between_commit_and_publish_a_restart_publishes_everything_once_in_order(
    nats_url: str, postgres_dsn: str
) -> None:
    async with wire(nats_url) as on:
        # given a service that has committed and cannot publish
        async with program("held-relay", **environment(postgres_dsn, nats_url)) as doomed:
            for number in range(20):
                await on.send(add_streamer(f"s{number % 4}", f"c{number}"))

            async def committed() -> bool:
                return await rows(postgres_dsn, "outbox") == 40

            await eventually(committed)
            await on.settled("config")
            await doomed.said("relay_holds")
            assert await on.count() == 0
            # when
            doomed.kill()
            assert await doomed.ended() == -9
        assert await rows(postgres_dsn, "events") == 40
        async with program("plain", **environment(postgres_dsn, nats_url)):
            messages = await on.holds(40)

            async def drained() -> bool:
                return await rows(postgres_dsn, "outbox") == 0

            await eventually(drained)
        # then
        assert len({one.headers["ce-id"] for one in messages}) == 40
        for key, events in by_aggregate(messages).items():
            numbers = [number for number in range(20) if f"s{number % 4}" == key]
            expected = [f"c{number}/{part}" for number in numbers for part in (1, 2)]
            assert events == list(enumerate(expected, 1))
        assert await on.count() == 40
        assert await rows(postgres_dsn, "events") == 40, "no command was handled a second time"


async def test_killed_while_it_publishes_nothing_is_lost_and_nothing_is_there_twice(
    nats_url: str, postgres_dsn: str
) -> None:
    async with wire(nats_url) as on:
        # Messages in hand at the crash come again after this time.
        await on.let_wait("COMMANDS", "config", 2)
        for number in range(300):
            await on.send(add_streamer(f"s{number % 6}", f"c{number}"))
        reached = 0
        for at_least in (30, 120, 250):
            async with program("plain", **environment(postgres_dsn, nats_url)) as doomed:

                async def some(at_least: int = at_least) -> bool:
                    return await on.count() >= at_least

                await eventually(some)
                doomed.kill()
                await doomed.ended()
                reached = await on.count()
        async with program("plain", **environment(postgres_dsn, nats_url)):
            messages = await on.holds(600)
        assert reached <= 600
        for key, events in by_aggregate(messages).items():
            assert [version for version, _ in events] == list(range(1, 101)), key
        numbers = [json.loads(one.data)["name"] for one in messages]
        assert len(set(numbers)) == 600


async def test_the_relay_of_another_replica_takes_over(nats_url: str, postgres_dsn: str) -> None:
    first, second = environment(postgres_dsn, nats_url, "w1"), environment(postgres_dsn, nats_url, "w2")
    async with wire(nats_url) as on, program("held-relay", **first) as doomed:
        await on.send(add_streamer("s1", "a"))
        await doomed.said("relay_holds")
        async with program("plain", **second):
            for number in range(10):
                await on.send(add_streamer(f"s{number}", f"c{number}"))

            async def committed() -> bool:
                return await rows(postgres_dsn, "outbox") == 22

            await eventually(committed)
            assert await on.count() == 0, "one relay at a time, and the one that has the lock is stuck"
            # when
            doomed.kill()
            # then
            messages = await on.holds(22)
            assert len({one.headers["ce-id"] for one in messages}) == 22


async def test_a_lease_moves_to_another_replica_within_fifteen_seconds(nats_url: str, postgres_dsn: str) -> None:
    async with wire(nats_url) as on:
        async with (
            program("leases", **environment(postgres_dsn, nats_url, "w1")) as one,
            program("leases", **environment(postgres_dsn, nats_url, "w2")) as other,
        ):
            await on.send(add_streamer("s1"))
            [begun] = await on.holds(1)
            owner, epoch = json.loads(begun.data)["name"].split(":")
            doomed, heir = (one, other) if owner == "w1" else (other, one)
            # when
            doomed.kill()
            killed_at = datetime.now(UTC)
            # then; by what the heir says, not by when that is heard here
            _, taken = await on.holds(2)
            assert datetime.fromisoformat(taken.headers["ce-time"]) - killed_at <= timedelta(seconds=15)
            new_owner, new_epoch = json.loads(taken.data)["name"].split(":")
            assert new_owner != owner
            assert int(new_epoch) > int(epoch)
            # and a clean stop gives it back without waiting for any expiry
            heir.terminate()
            assert await heir.ended() == 0
        async with connection(postgres_dsn) as database:
            assert await database.fetchval("select owner is null from leases where name = 'work:s1'")
