"""Which waiting work is claimed first, how much of it at a time, and what happens when that changes while work runs."""

from __future__ import annotations

from typing import Any

import pytest
from chassis.leases import HIGH, offer, prioritise

from tests.integration.harness import database, eventually
from tests.integration.test_chassis_leases import Runs, claim, runner_of

pytestmark = pytest.mark.engines


def names(runs: Runs) -> list[str]:
    return [lease.id for lease in runs.begun]


async def begun(runs: Runs, *expected: str) -> None:
    """Exactly these have begun."""

    async def enough() -> bool:
        return len(runs.begun) >= len(expected)

    await eventually(enough, f"{expected} begin")
    assert sorted(names(runs)) == sorted(expected)


async def test_work_is_claimed_by_priority_and_then_by_age(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        for name, priority in (("low", -1), ("old", 0), ("young", 0), ("high", 1), ("raised", -1)):
            await offer(pool, "work", f"work:{name}", priority=priority)
        await prioritise(pool, "work:raised", 2)
        claimed = [(await claim(pool, "r1"))["name"] for _ in range(5)]
    assert claimed == ["work:raised", "work:high", "work:old", "work:young", "work:low"]


async def test_the_time_that_work_waited_counts_from_when_it_was_due(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        for name in ("1", "2"):
            await offer(pool, "work", f"work:{name}")
        await pool.execute("update leases set created_at = now() - interval '90 s'")
        await pool.execute(
            "update leases set not_before = case name when 'work:2' then now() - interval '30 s' else now() - interval '90 s' end"
        )
        waited = {row["name"]: row["waited_s"] for row in (await claim(pool, "r1"), await claim(pool, "r1"))}
        passed = await pool.fetchval("select extract(epoch from now() - max(created_at)) - 90 from leases")
    assert 90 <= waited["work:1"] <= 90 + passed
    assert 30 <= waited["work:2"] <= 30 + passed


async def test_extra_slots_are_for_high_priority_alone(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        runs = Runs()
        runner = runner_of(pool, runs)
        runner.resize(1, 1)
        # given more usual work than slots
        await offer(pool, "work", "work:1")
        await offer(pool, "work", "work:2")
        await runner.start()
        await begun(runs, "1")
        assert (runner.room(0), runner.room(HIGH)) == (0, 1)
        # when work of high priority is offered, then it begins at once, in the extra slot; more of it waits like the rest
        await offer(pool, "work", "work:high", priority=HIGH)
        await offer(pool, "work", "work:higher", priority=HIGH)
        runner.wake()
        await begun(runs, "1", "high")
        assert (runner.room(0), runner.room(HIGH)) == (0, 0)
        # when a slot is free, then high priority has it first
        runs.finish.set()
        await eventually(lambda: pool.fetchval("select not exists (select from leases)"))
        assert names(runs) == ["1", "high", "higher", "2"]
        await runner.stop()


async def test_high_priority_takes_the_extra_slots_first(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        runs = Runs()
        runner = runner_of(pool, runs)
        runner.resize(1, 1)
        await offer(pool, "work", "work:high", priority=HIGH)
        await offer(pool, "work", "work:usual")
        await runner.start()
        await begun(runs, "high", "usual")
        await runner.stop()


async def test_the_number_of_slots_changes_while_work_runs(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        runs = Runs()
        runner: Any = runner_of(pool, runs, concurrency=1, heartbeat_s=3600)
        for name in "1234":
            await offer(pool, "work", f"work:{name}")
        await runner.start()
        await begun(runs, "1")
        # when there are more, then more begins without anybody waking the runner
        runner.resize(3, 0)
        await begun(runs, "1", "2", "3")
        # when there are fewer, then what runs goes on and nothing else begins
        runner.resize(1, 1)
        await looked_with_room_for_none(runner)
        assert sorted(names(runs)) == ["1", "2", "3"] and runs.ended == []
        await runner.stop()


async def looked_with_room_for_none(runner: Any) -> None:
    assert runner.room(0) == -2
    assert runner.room(HIGH) == -1
    assert await runner._claim_what_is_open() == runner.heartbeat_s


async def test_a_paused_runner_claims_nothing_and_goes_on_with_what_it_has(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        runs, others = Runs(), Runs()
        runner = runner_of(pool, runs)
        await offer(pool, "work", "work:1")
        await runner.start()
        await begun(runs, "1")
        runner.pause()
        assert runner.paused
        # then another replica has what is offered
        await offer(pool, "work", "work:2")
        other = runner_of(pool, others, owner="r2")
        await other.start()
        await begun(others, "2")
        assert names(runs) == ["1"] and runs.ended == []
        # and when it goes on, it claims again
        other.pause()
        await offer(pool, "work", "work:3")
        runner.resume()
        await begun(runs, "1", "3")
        await runner.stop()
        await other.stop()
