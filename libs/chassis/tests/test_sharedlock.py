"""Many at a time or one alone, and nobody overtakes anybody."""

from __future__ import annotations

import asyncio

from chassis.sharedlock import SharedLock

from tests.deadline import DEADLINE_S


class Visitors:
    """Tasks that go inside, write down their name and stay until they are sent away."""

    def __init__(self) -> None:
        self.lock, self.came = SharedLock(), []
        self.exits: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def shared(self, name: str) -> None:
        async with self.lock.shared():
            await self._stay(name)

    async def alone(self, name: str) -> None:
        async with self.lock.exclusive(DEADLINE_S) as alone:
            assert alone
            await self._stay(name)

    async def _stay(self, name: str) -> None:
        self.came.append(name)
        await self.exits[name].wait()

    async def come(self, names: str) -> None:
        """Capitals want to be alone."""
        for name in names:
            self.exits[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self.alone(name) if name.isupper() else self.shared(name))
        await asyncio.sleep(0)

    async def go(self, names: str) -> None:
        for name in names:
            self.exits[name].set()
            async with asyncio.timeout(DEADLINE_S):
                await self.tasks[name]
        await asyncio.sleep(0)


async def test_many_are_inside_together_and_one_alone_waits_for_all_of_them() -> None:
    visitors = Visitors()
    await visitors.come("abC")
    assert visitors.came == ["a", "b"]
    await visitors.go("a")
    assert visitors.came == ["a", "b"]
    await visitors.go("b")
    assert visitors.came == ["a", "b", "C"]
    await visitors.go("C")


async def test_who_comes_later_waits_behind_the_one_that_wants_to_be_alone() -> None:
    visitors = Visitors()
    await visitors.come("aBcdEf")
    assert visitors.came == ["a"]
    await visitors.go("a")
    assert visitors.came == ["a", "B"]
    await visitors.go("B")
    assert visitors.came == ["a", "B", "c", "d"]
    await visitors.go("cd")
    await visitors.go("E")
    assert visitors.came == ["a", "B", "c", "d", "E", "f"]
    await visitors.go("f")


async def test_who_gives_up_does_not_keep_the_others_waiting() -> None:
    visitors = Visitors()
    await visitors.come("aBc")
    visitors.tasks["B"].cancel()
    await asyncio.gather(visitors.tasks["B"], return_exceptions=True)
    await asyncio.sleep(0)
    assert visitors.came == ["a", "c"]
    await visitors.go("ac")
    await visitors.come("D")
    assert visitors.came == ["a", "c", "D"]
    await visitors.go("D")


async def test_one_that_is_cancelled_as_it_is_let_in_leaves_again() -> None:
    visitors = Visitors()
    async with visitors.lock.shared():
        await visitors.come("B")
    # B has been let in and has not run yet.
    visitors.tasks["B"].cancel()
    await asyncio.gather(visitors.tasks["B"], return_exceptions=True)
    assert visitors.came == []
    await visitors.come("C")
    assert visitors.came == ["C"]
    await visitors.go("C")


async def test_the_wait_to_be_alone_is_bounded_and_leaves_no_trace() -> None:
    visitors = Visitors()
    await visitors.come("a")
    async with visitors.lock.exclusive(0.001) as alone:
        assert not alone
    await visitors.come("b")
    assert visitors.came == ["a", "b"]
    await visitors.go("ab")
