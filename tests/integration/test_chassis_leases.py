"""Leases: one owner at a time, an epoch that only grows, and no append by an owner that is one no more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from chassis import leases
from chassis.database import Pool
from chassis.errors import Conflict, LeaseLost
from chassis.eventlog import Fence, append, load
from chassis.leases import Again, Done, Lease, LeaseRunner, Outcome, offer
from chassis.telemetry import new_metadata

from tests.integration.harness import STREAMER, connection, database, eventually, streamer_changed, within

pytestmark = pytest.mark.engines


async def put(connection: Any, fence: Fence, name: str = "x") -> None:
    at = await load(connection, STREAMER, "s1")
    await append(connection, "config", at, [streamer_changed(name=name)], metadata=new_metadata(), fence=fence)


async def claim(connection: Any, owner: str, *, expiry_s: float = 3600, kind: str = "work") -> Any:
    return await connection.fetchrow(leases.QUERIES["claim"], kind, owner, expiry_s, 1, [], leases.ANY, True)


async def claim_named(connection: Any, owner: str, *, expiry_s: float = 3600) -> int | None:
    return await connection.fetchval(leases.QUERIES["claim_named"], "clock:main", "clock", owner, expiry_s)


async def blocked(pool: Pool) -> None:
    await eventually(lambda: pool.fetchval("select exists (select from pg_locks where not granted)"), "somebody waits")


class Runs:
    """A run function that holds its work until told to end, and notes what it got."""

    def __init__(self, outcome: Outcome | None = None) -> None:
        self.begun: list[Lease] = []
        self.started, self.finish = asyncio.Event(), asyncio.Event()
        self.outcome = outcome or Done()
        self.ended: list[str] = []

    async def __call__(self, lease: Lease) -> Outcome:
        self.begun.append(lease)
        self.started.set()
        try:
            ending = [asyncio.create_task(self.finish.wait()), asyncio.create_task(lease.handing_over.wait())]
            await asyncio.wait(ending, return_when=asyncio.FIRST_COMPLETED)
            for task in ending:
                task.cancel()
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        if lease.handing_over.is_set():
            self.ended.append("handed over")
            return Again()
        self.ended.append("finished")
        return self.outcome


def runner_of(pool: Pool, run: Any, owner: str = "r1", **options: Any) -> LeaseRunner:
    """Its leases do not expire, however busy the machine is."""
    return LeaseRunner(pool, "work", run, owner=owner, **{"heartbeat_s": 0.1, "expiry_s": 3600.0, **options})


async def test_of_many_who_race_for_one_lease_one_wins(postgres_dsn: str) -> None:
    async with database(postgres_dsn, max_size=10) as pool:
        for number in range(10):
            await offer(pool, "work", f"work:{number}")
            claims = await asyncio.gather(*(claim(pool, f"r{n}") for n in range(8)))
            assert len([row for row in claims if row is not None]) == 1
        named = await asyncio.gather(*(claim_named(pool, f"r{n}") for n in range(8)))
        assert len([epoch for epoch in named if epoch is not None]) == 1


async def test_an_expired_lease_has_a_new_owner_and_a_higher_epoch(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        await offer(pool, "work", "work:1")
        first = await claim(pool, "r1", expiry_s=-1)
        second = await claim(pool, "r2")
        assert second["epoch"] > first["epoch"]
        assert await claim(pool, "r3") is None
        named = await claim_named(pool, "r1", expiry_s=-1)
        assert (await claim_named(pool, "r2")) > named
        assert await claim_named(pool, "r3") is None


async def test_the_epoch_goes_on_growing_when_finished_work_is_offered_again(postgres_dsn: str) -> None:
    """Otherwise a replica that slept through both would hold a token that is good again."""
    async with database(postgres_dsn) as pool, pool.acquire() as one:
        await offer(one, "work", "work:1")
        old = await claim(one, "sleeper")
        assert (
            await one.execute(leases.QUERIES["finish"], "work:1", old["epoch"], "sleeper", old["offers"]) == "DELETE 1"
        )
        await offer(one, "work", "work:1")
        await claim(one, "r2")
        with pytest.raises(LeaseLost):
            await put(one, Fence("work:1", old["epoch"]))


async def test_an_append_under_a_stale_epoch_is_refused_and_draws_nothing(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool, pool.acquire() as one:
        await offer(one, "work", "work:1")
        first = await claim(one, "r1", expiry_s=-1)
        await put(one, Fence("work:1", first["epoch"]), "expired, but nobody else has it yet")
        second = await claim(one, "r2")
        for fence in (Fence("work:1", first["epoch"]), Fence("work:1", second["epoch"] + 1), Fence("nothing", 1)):
            with pytest.raises(LeaseLost):
                await put(one, fence)
        await put(one, Fence("work:1", second["epoch"]))
        await one.execute(leases.QUERIES["release"], "work:1", second["epoch"], "r2")
        with pytest.raises(LeaseLost):
            await put(one, Fence("work:1", second["epoch"]))
        assert [row["position"] for row in await one.fetch("select position from events order by 1")] == [1, 2]


@pytest.mark.parametrize("how", ["claim", "claim_named"])
async def test_an_append_waits_for_a_claim_that_is_under_way_and_is_refused(postgres_dsn: str, how: str) -> None:
    name = "work:1" if how == "claim" else "clock:main"
    take = claim if how == "claim" else claim_named
    async with database(postgres_dsn) as pool, connection(postgres_dsn) as zombie, connection(postgres_dsn) as taker:
        await offer(pool, "work", "work:1")
        taken = await take(pool, "zombie", expiry_s=-1)
        epoch = taken["epoch"] if how == "claim" else taken
        claiming = taker.transaction()
        await claiming.start()
        assert await take(taker, "taker") is not None
        # when
        appending = asyncio.create_task(put(zombie, Fence(name, epoch)))
        await blocked(pool)
        assert not appending.done()
        await claiming.commit()
        # then
        with pytest.raises(LeaseLost):
            await appending
        assert await pool.fetchval("select count(*) from events") == 0


async def test_an_append_goes_on_when_the_claim_it_waited_for_is_undone(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool, connection(postgres_dsn) as owner, connection(postgres_dsn) as taker:
        await offer(pool, "work", "work:1")
        taken = await claim(pool, "owner", expiry_s=-1)
        claiming = taker.transaction()
        await claiming.start()
        await claim(taker, "taker")
        appending = asyncio.create_task(put(owner, Fence("work:1", taken["epoch"])))
        await blocked(pool)
        await claiming.rollback()
        await appending
        assert await pool.fetchval("select count(*) from events") == 1


async def test_a_claim_does_not_take_work_under_which_an_append_is_being_committed(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool, connection(postgres_dsn) as owner:
        await offer(pool, "work", "work:1")
        taken = await claim(pool, "owner", expiry_s=-1)
        named = await claim_named(pool, "owner", expiry_s=-1)
        for name, epoch in (("work:1", taken["epoch"]), ("clock:main", named)):
            appending = owner.transaction()
            await appending.start()
            await put(owner, Fence(name, epoch))
            if name == "work:1":
                assert await claim(pool, "taker") is None
            else:
                waiting = asyncio.create_task(claim_named(pool, "taker"))
                await blocked(pool)
                assert not waiting.done()
            await appending.commit()
        assert (await claim(pool, "taker"))["epoch"] > taken["epoch"]
        assert (await waiting) > named


async def test_a_long_transaction_under_a_lease_stops_neither_its_heartbeat_nor_offers(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool, connection(postgres_dsn) as owner, connection(postgres_dsn) as other:
        await offer(pool, "work", "work:1")
        taken = await claim(pool, "owner")
        async with owner.transaction():
            await put(owner, Fence("work:1", taken["epoch"]))
            await other.execute("set lock_timeout = '5s'")
            beaten = await other.fetch(leases.QUERIES["beat"], "owner", 10.0, ["work:1"], [taken["epoch"]])
            assert [row["name"] for row in beaten] == ["work:1"]
            await offer(other, "work", "work:1")


async def test_offered_work_is_run_and_forgotten(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        runs = Runs()
        runner = runner_of(pool, runs)
        await runner.start()
        await offer(pool, "work", "work:a1")
        runner.wake()
        await within(runs.started)
        assert [lease.id for lease in runs.begun] == ["a1"]
        assert runner.find("a1") is runs.begun[0]
        runs.finish.set()
        await eventually(lambda: pool.fetchval("select not exists (select from leases)"))
        # The database knows of it before the runner has its answer.
        await eventually(lambda: _true(not runner.held), "the runner holds nothing")
        await runner.stop()


async def test_work_offered_for_later_is_run_later(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        await offer(pool, "work", "work:1", delay_s=3600)
        assert await claim(pool, "r1") is None
        # an earlier offer of the same work moves it forward, a later one does not move it back
        await offer(pool, "work", "work:1", delay_s=0)
        await offer(pool, "work", "work:1", delay_s=3600)
        assert await claim(pool, "r1") is not None


async def test_work_offered_while_it_is_in_hand_is_done_once_more(postgres_dsn: str) -> None:
    """A run that has looked already and is about to end would otherwise take the offer with it."""
    async with database(postgres_dsn) as pool:
        runs = Runs()
        runner = runner_of(pool, runs)
        await offer(pool, "work", "work:1")
        await runner.start()
        await within(runs.started)
        await offer(pool, "work", "work:1")
        runs.finish.set()

        async def twice() -> bool:
            return len(runs.ended) == 2

        await eventually(twice)
        await eventually(lambda: pool.fetchval("select not exists (select from leases)"))
        assert runs.begun[1].epoch > runs.begun[0].epoch
        await runner.stop()


async def test_an_offer_in_the_making_outlives_the_end_of_the_run(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool, connection(postgres_dsn) as handler:
        await offer(pool, "work", "work:1")
        taken = await claim(pool, "owner")
        offering = handler.transaction()
        await offering.start()
        await offer(handler, "work", "work:1")
        finishing = asyncio.create_task(
            pool.execute(leases.QUERIES["finish"], "work:1", taken["epoch"], "owner", taken["offers"])
        )
        await blocked(pool)
        await offering.commit()
        assert await finishing == "DELETE 0"


async def test_failing_work_is_postponed(postgres_dsn: str) -> None:
    async def run(lease: Lease) -> Outcome:
        raise RuntimeError("broken")

    async with database(postgres_dsn) as pool:
        runner = runner_of(pool, run)
        await offer(pool, "work", "work:1")
        await runner.start()
        await eventually(
            lambda: pool.fetchval("select owner is null and not_before > now() + interval '1 second' from leases")
        )
        await runner.stop()


async def die(pool: Pool, name: str = "work:1") -> None:
    """The owner of a lease ended without a word, and the lease has expired."""
    await pool.execute("update leases set owner = 'dead', expires_at = now() - interval '1 s' where name = $1", name)


async def test_work_whose_owner_died_rests_longer_each_time(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        await offer(pool, "work", "work:1")
        for deaths in range(1, 12):
            await die(pool)
            async with pool.acquire() as one, one.transaction():  # in which now() stands still
                [row] = await one.fetch(leases.QUERIES["rest"], "work", [])
                pause = await one.fetchval("select extract(epoch from not_before - now())::float8 from leases")
                assert await one.fetch(leases.QUERIES["rest"], "work", []) == [], "a death is counted once"
            assert row["deaths"] == deaths
            usual = min(2.0**deaths, 300.0)
            assert 0.5 * usual - 0.001 <= pause <= 1.5 * usual + 0.001


async def test_who_takes_over_from_the_dead_is_told_and_a_living_owner_sets_the_count_back(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        runs = Runs(Again(3600))
        runner = runner_of(pool, runs)
        runner.rests = True
        await offer(pool, "work", "work:1")
        await die(pool)
        await runner.start()
        await within(runs.started)
        assert runs.begun[0].deaths == 1, "it has rested before, or it would be 0"
        assert await pool.fetchval("select deaths from leases") == 1
        runs.finish.set()
        await eventually(lambda: pool.fetchval("select deaths = 0 and owner is null from leases"))
        await runner.stop()


async def test_progress_forgives_those_who_died_before(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        runs = Runs()
        runner = runner_of(pool, runs)
        runner.rests = True
        await offer(pool, "work", "work:1")
        await pool.execute("update leases set deaths = 4")
        await runner.start()
        await within(runs.started)
        [lease] = runs.begun
        assert lease.deaths == 4
        await leases.progressed(pool, lease)
        assert (lease.deaths, await pool.fetchval("select deaths from leases")) == (0, 0)
        runs.finish.set()
        await runner.stop()


async def test_work_that_does_not_rest_is_taken_over_at_once(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        runs = Runs()
        runner = runner_of(pool, runs)
        await offer(pool, "work", "work:1")
        await die(pool)
        await runner.start()
        await within(runs.started)
        assert runs.begun[0].deaths == 0
        runs.finish.set()
        await runner.stop()


async def test_a_runner_that_lost_its_lease_is_told_and_stopped_and_writes_nothing(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        runs = Runs()
        runner = runner_of(pool, runs)
        await offer(pool, "work", "work:1")
        await runner.start()
        await within(runs.started)
        # when another replica has it
        await pool.execute(
            "update leases set owner = 'other', epoch = nextval('lease_epochs'), expires_at = now() + interval '1 hour'"
        )
        await within(runs.begun[0].lost)

        async def over() -> bool:
            return runs.ended == ["cancelled"]

        await eventually(over)
        # then the row is the other one's, untouched
        assert await pool.fetchval("select owner from leases") == "other"
        await runner.stop()


async def test_a_replica_does_not_claim_again_what_it_has_in_hand(postgres_dsn: str) -> None:
    """After an outage of the database its own lease has expired: it must renew it, not run the work twice."""
    async with database(postgres_dsn) as pool:
        runs = Runs()
        runner = runner_of(pool, runs, heartbeat_s=0.05)
        await offer(pool, "work", "work:1")
        await runner.start()
        await within(runs.started)
        for _ in range(20):
            await pool.execute("update leases set expires_at = now() - interval '1 minute'")
            runner.wake()
            await eventually(lambda: pool.fetchval("select expires_at > now() from leases"), "the heartbeat renews it")
            await pool.execute("update leases set expires_at = now() - interval '1 minute'")
            assert not await runner.claim("1"), "nor when it is asked for it"
        assert len(runs.begun) == 1
        assert runner.held == (runs.begun[0],)
        runs.finish.set()
        await eventually(lambda: pool.fetchval("select not exists (select from leases)"))
        await runner.stop()


async def test_two_runners_share_the_work_and_never_the_same_piece(postgres_dsn: str) -> None:
    async with database(postgres_dsn, max_size=8) as pool:
        for number in range(10):
            await offer(pool, "work", f"work:{number}")
        runs = [Runs(), Runs()]
        runners = [runner_of(pool, run, owner=f"r{n}", concurrency=5) for n, run in enumerate(runs)]
        for runner in runners:
            await runner.start()

        async def all_begun() -> bool:
            return sum(len(run.begun) for run in runs) == 10

        await eventually(all_begun)
        assert {lease.id for run in runs for lease in run.begun} == {str(number) for number in range(10)}
        assert [len(run.begun) for run in runs] == [5, 5]
        for run in runs:
            run.finish.set()
        await eventually(lambda: pool.fetchval("select not exists (select from leases)"))
        for runner in runners:
            await runner.stop()


async def test_a_full_runner_does_not_poll_the_database_for_what_it_cannot_take(postgres_dsn: str) -> None:
    asked: list[str] = []

    class Counting:
        def __init__(self, pool: Pool) -> None:
            self._pool = pool

        async def fetchval(self, query: str, *args: Any) -> Any:
            asked.append(query)
            return await self._pool.fetchval(query, *args)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._pool, name)

    async with database(postgres_dsn) as pool:
        await offer(pool, "work", "work:1")
        await offer(pool, "work", "work:2")
        runs = Runs()
        runner = runner_of(Counting(pool), runs, concurrency=1, heartbeat_s=0.2)
        await runner.start()
        await within(runs.started)
        for _ in range(3):
            before = await pool.fetchval("select max(expires_at) from leases")
            await eventually(lambda before=before: pool.fetchval("select max(expires_at) > $1 from leases", before))
        assert asked == [], "three heartbeats have passed"
        await runner.stop()


async def test_stopping_hands_over_and_another_replica_goes_on_at_once(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        runs, heir = Runs(), Runs()
        first = runner_of(pool, runs, owner="r1", expiry_s=3600)
        await offer(pool, "work", "work:1")
        await first.start()
        await within(runs.started)
        second = runner_of(pool, heir, owner="r2", expiry_s=3600)
        await second.start()
        await first.stop()
        assert runs.ended == ["handed over"]
        await within(heir.started)
        heir.finish.set()
        await second.stop()


async def test_work_released_early_runs_elsewhere_while_its_first_run_ends(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        both, over = asyncio.Event(), asyncio.Event()

        async def leaving(lease: Lease) -> Outcome:
            await lease.handing_over.wait()
            await lease.release()
            await over.wait()
            assert not lease.lost.is_set()
            return Again(60)

        async def arriving(lease: Lease) -> Outcome:
            both.set()
            await lease.handing_over.wait()
            return Again()

        first = LeaseRunner(pool, "work", leaving, owner="a", heartbeat_s=0.05)
        second = LeaseRunner(pool, "work", arriving, owner="b", heartbeat_s=0.05)
        await offer(pool, "work", "work:1")
        await first.start()
        await eventually(lambda: _true(first.held), "the first has it")
        await second.start()
        # when the first is stopped, it goes on until the second has the work
        stopping = asyncio.create_task(first.stop())
        await within(both, "the second has it")
        assert first.held and second.held
        epochs = (first.held[0].epoch, second.held[0].epoch)
        await asyncio.sleep(0.2)  # four heartbeats of the first, which must not take the work back
        over.set()
        await stopping
        # then its end does not touch what is the second's
        assert epochs[0] < epochs[1]
        row = await pool.fetchrow("select owner, epoch, not_before from leases")
        assert (row["owner"], row["epoch"]) == ("b", epochs[1])
        assert not second.held[0].lost.is_set()
        await second.stop()


async def _true(value: object) -> bool:
    return bool(value)


async def test_a_run_that_does_not_hand_over_in_time_is_cancelled_and_its_lease_is_free(postgres_dsn: str) -> None:
    started = asyncio.Event()

    async def stubborn(lease: Lease) -> Outcome:
        started.set()
        await asyncio.Event().wait()
        return Done()

    async with database(postgres_dsn) as pool:
        runner = runner_of(pool, stubborn, finish_s=0.1)
        await offer(pool, "work", "work:1")
        await runner.start()
        await within(started)
        await runner.stop()
        assert await pool.fetchval("select owner is null from leases")


async def test_a_runner_survives_errors_of_its_queries(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        runs = Runs()
        runner = runner_of(pool, runs)
        await pool.execute("alter table leases rename to elsewhere")
        await runner.start()
        await asyncio.sleep(0)
        await pool.execute("alter table elsewhere rename to leases")
        await offer(pool, "work", "work:1")
        await within(runs.started)
        held = runs.begun[0]
        # the heartbeat, too
        await pool.execute("alter table leases rename to elsewhere")
        await pool.execute("alter table elsewhere rename to leases")
        before = await pool.fetchval("select expires_at from leases")
        await eventually(lambda: pool.fetchval("select expires_at > $1 from leases", before))
        assert not held.lost.is_set()
        await runner.stop()


async def test_a_conflict_is_told_apart_from_a_lost_lease(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool, pool.acquire() as one:
        await offer(one, "work", "work:1")
        taken = await claim(one, "r1")
        stale = await load(one, STREAMER, "s1")
        await put(one, Fence("work:1", taken["epoch"]))
        with pytest.raises(Conflict):
            await append(
                one,
                "config",
                stale,
                [streamer_changed()],
                metadata=new_metadata(),
                fence=Fence("work:1", taken["epoch"]),
            )
