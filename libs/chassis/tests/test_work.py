"""A unit of work gives its connection and its place back, whatever goes wrong."""

from __future__ import annotations

import asyncio

import pytest
from chassis.telemetry import new_metadata
from chassis.work import Resources, Work


class Connection:
    def __init__(self, failing: str = "") -> None:
        self.failing, self.calls = failing, []

    def transaction(self) -> Connection:
        return self

    async def _do(self, what: str) -> None:
        self.calls.append(what)
        if what == self.failing:
            raise ConnectionError(what)

    async def start(self) -> None:
        await self._do("start")

    async def commit(self) -> None:
        await self._do("commit")

    async def rollback(self) -> None:
        await self._do("rollback")


class Pool:
    def __init__(self, connection: Connection, failing: bool = False) -> None:
        self.connection, self.failing, self.out = connection, failing, 0

    async def acquire(self) -> Connection:
        if self.failing:
            raise ConnectionError("acquire")
        self.out += 1
        return self.connection

    async def release(self, connection: Connection) -> None:
        self.out -= 1


def work_of(pool: Pool, gate: asyncio.Semaphore) -> Work:
    return Work("config", new_metadata(), Resources(), pool, gate=gate)


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_connection_and_place_come_back_at_the_end(end: str) -> None:
    pool, gate = Pool(Connection()), asyncio.Semaphore(1)
    work = work_of(pool, gate)
    assert await work.begin() is await work.begin()
    assert (pool.out, gate.locked()) == (1, True)
    await getattr(work, end)()
    await getattr(work, end)()
    assert (pool.out, gate.locked(), pool.connection.calls) == (0, False, ["start", end])
    with pytest.raises(RuntimeError, match="begin"):
        _ = work.connection


@pytest.mark.parametrize("failing", ["start", "commit", "rollback", "acquire"])
async def test_connection_and_place_come_back_after_an_error(failing: str) -> None:
    pool, gate = Pool(Connection(failing), failing == "acquire"), asyncio.Semaphore(1)
    work = work_of(pool, gate)
    with pytest.raises(ConnectionError, match=failing):
        await work.begin()
        await (work.rollback() if failing == "rollback" else work.commit())
    await work.rollback()
    assert (pool.out, gate.locked()) == (0, False)


async def test_a_cancelled_wait_for_a_place_takes_none() -> None:
    pool, gate = Pool(Connection()), asyncio.Semaphore(1)
    first, second = work_of(pool, gate), work_of(pool, gate)
    await first.begin()
    waiting = asyncio.create_task(second.begin())
    await asyncio.sleep(0)
    assert pool.out == 1
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await first.commit()
    assert (pool.out, gate.locked()) == (0, False)
