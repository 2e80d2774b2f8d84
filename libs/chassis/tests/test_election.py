"""When a leader begins, steps down and gives back, against a table of one row."""

from __future__ import annotations

import asyncio
from typing import Any

from chassis.election import Election
from chassis.leases import QUERIES


class OneRow:
    """Answers the statements of an election as the table of leases does; ``reachable`` is the network."""

    def __init__(self) -> None:
        self.owner: str | None = None
        self.epoch = 0
        self.reachable = True
        self.beats: asyncio.Queue[int] = asyncio.Queue()
        self.claims: asyncio.Queue[str] = asyncio.Queue()

    async def fetchval(self, statement: str, name: str, kind: str, owner: str, expiry_s: float) -> int | None:
        assert statement == QUERIES["claim_named"] and (name, kind) == ("projector:events", "projector")
        self._check()
        self.claims.put_nowait(owner)
        if self.owner is not None:
            return None
        self.owner, self.epoch = owner, self.epoch + 1
        return self.epoch

    async def fetch(self, statement: str, owner: str, _: float, names: list[str], epochs: list[int]) -> list[Any]:
        assert statement == QUERIES["beat"]
        self._check()
        self.beats.put_nowait(epochs[0])
        return [{"name": names[0]}] if (self.owner, self.epoch) == (owner, epochs[0]) else []

    async def execute(self, statement: str, name: str, epoch: int, owner: str) -> str:
        assert statement == QUERIES["release"]
        if (self.owner, self.epoch) == (owner, epoch):
            self.owner = None
        return "UPDATE 1"

    def _check(self) -> None:
        if not self.reachable:
            raise ConnectionError("no network")


class Candidate:
    """An election whose calls can be waited for."""

    def __init__(self, table: OneRow, owner: str, *, begin: Any = None) -> None:
        self.began: asyncio.Queue[Any] = asyncio.Queue()
        self.ended: asyncio.Queue[bool] = asyncio.Queue()
        self._begin = begin
        self.election = Election(
            table,  # type: ignore[arg-type]
            "projector:events",
            owner=owner,
            elected=self._elected,
            deposed=self._deposed,
            heartbeat_s=0.01,
            expiry_s=0.1,
        )

    async def _elected(self, lease: Any) -> None:
        await self.began.put(lease)
        if self._begin is not None:
            await self._begin(lease)

    async def _deposed(self) -> None:
        await self.ended.put(True)


async def soon(queue: asyncio.Queue[Any]) -> Any:
    return await asyncio.wait_for(queue.get(), 10)


async def test_one_leads_and_the_other_follows_when_it_stops():
    table = OneRow()
    first, second = Candidate(table, "first"), Candidate(table, "second")
    await first.election.start()
    lease = await soon(first.began)
    await second.election.start()

    await first.election.stop()
    after = await soon(second.began)

    assert (lease.epoch, after.epoch) == (1, 2)
    assert await soon(first.ended) and second.election.lease is after and first.election.lease is None
    assert lease.handing_over.is_set() and not lease.lost.is_set()
    await second.election.stop()


async def test_a_leader_whose_row_was_claimed_steps_down_and_stands_again():
    table = OneRow()
    candidate = Candidate(table, "first")
    await candidate.election.start()
    lease = await soon(candidate.began)

    table.owner, table.epoch = "other", 7
    await soon(candidate.ended)
    assert lease.lost.is_set() and candidate.election.lease is None
    table.owner = None

    assert (await soon(candidate.began)).epoch == 8
    await candidate.election.stop()


async def test_a_leader_without_database_steps_down_before_its_lease_expires():
    table = OneRow()
    candidate = Candidate(table, "first")
    await candidate.election.start()
    lease = await soon(candidate.began)

    table.reachable = False
    await soon(candidate.ended)

    assert lease.lost.is_set()
    await candidate.election.stop()


async def test_a_long_beginning_keeps_the_lease():
    table, go = OneRow(), asyncio.Event()
    candidate = Candidate(table, "first", begin=lambda _: go.wait())
    await candidate.election.start()
    lease = await soon(candidate.began)

    beats = [await soon(table.beats) for _ in range(3)]
    go.set()

    assert beats == [1, 1, 1] and not lease.lost.is_set() and table.owner == "first"
    await candidate.election.stop()


async def test_what_is_begun_while_the_lease_is_lost_is_ended_after_it():
    table, order = OneRow(), []

    async def begin(lease: Any) -> None:
        # What it waits for comes in the moment in which the lease is lost.
        await lease.lost.wait()
        order.append("begun")

    candidate = Candidate(table, "first", begin=begin)
    deposed = candidate.election._deposed

    async def slowly() -> None:
        order.append("ending")
        for _ in range(10):
            await asyncio.sleep(0)
        order.append("ended")
        await deposed()

    candidate.election._deposed = slowly
    await candidate.election.start()
    await soon(candidate.began)

    table.owner, table.epoch = "other", 7
    await soon(candidate.ended)
    await candidate.election.stop()

    assert order in (["ending", "ended"], ["begun", "ending", "ended"])


async def test_a_beginning_that_fails_gives_the_lease_back():
    table, attempts = OneRow(), []

    async def fail_once(lease: Any) -> None:
        attempts.append(lease.epoch)
        if len(attempts) == 1:
            raise RuntimeError("not today")

    candidate = Candidate(table, "first", begin=fail_once)
    await candidate.election.start()
    await soon(candidate.began)
    await soon(candidate.ended)

    assert (await soon(candidate.began)).epoch == 2
    assert attempts[0] == 1
    await candidate.election.stop()


async def test_stopping_while_beginning_ends_the_beginning():
    table = OneRow()
    candidate = Candidate(table, "first", begin=lambda _: asyncio.Event().wait())
    await candidate.election.start()
    await soon(candidate.began)

    async with asyncio.timeout(10):
        await candidate.election.stop()

    assert table.owner is None


async def test_a_row_that_another_replica_holds_is_not_won():
    table = OneRow()
    table.owner = "other"
    candidate = Candidate(table, "first")

    await candidate.election.start()
    assert [await soon(table.claims) for _ in range(3)] == ["first"] * 3
    assert candidate.began.empty() and candidate.election.lease is None
    await candidate.election.stop()
    assert table.owner == "other"
