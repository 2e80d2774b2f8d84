"""Who shares a transaction with whom."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from chassis.together import Groups, Item

from tests.deadline import DEADLINE_S


class Hands:
    """Records what is handled alone and what together; alone waits for ``open``."""

    def __init__(self, failing: object = None) -> None:
        self.failing, self.open = failing, asyncio.Event()
        self.alone: list[Any] = []
        self.groups: list[list[Any]] = []

    async def one(self, item: Item) -> bool:
        self.alone.append(item.message)
        async with asyncio.timeout(DEADLINE_S):
            await self.open.wait()
        if item.message == self.failing:
            raise LookupError(item.message)
        return True

    async def several(self, items: Sequence[Item]) -> list[bool]:
        self.groups.append([item.message for item in items])
        if any(item.message == self.failing for item in items):
            raise LookupError
        return [item.message != "old" for item in items]


def item(name: str) -> Item:
    return Item("c", name, None)  # type: ignore[arg-type]


async def start(groups: Groups, names: Sequence[str]) -> list[asyncio.Task[bool]]:
    tasks = [asyncio.create_task(groups.run(item(name))) for name in names]
    await asyncio.sleep(0)
    return tasks


async def test_while_there_is_room_each_is_alone() -> None:
    hands = Hands()
    groups = Groups(hands.one, hands.several, concurrency=3)
    tasks = await start(groups, "abc")
    assert hands.alone == ["a", "b", "c"]
    hands.open.set()
    assert await asyncio.gather(*tasks) == [True] * 3
    assert hands.groups == []


async def test_those_that_wait_are_taken_together_in_their_order_and_in_bounded_groups() -> None:
    hands = Hands()
    groups = Groups(hands.one, hands.several, concurrency=1, size=3)
    tasks = await start(groups, ["first", "a", "old", "b", "c", "d"])
    hands.open.set()
    assert await asyncio.gather(*tasks) == [True, True, False, True, True, True]
    assert hands.groups == [["a", "old", "b"], ["c", "d"]]


async def test_a_group_that_fails_is_handled_one_by_one_and_only_the_guilty_fails() -> None:
    hands = Hands(failing="b")
    groups = Groups(hands.one, hands.several, concurrency=1)
    tasks = await start(groups, ["first", "a", "b", "c"])
    hands.open.set()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in done] == [bool, bool, LookupError, bool]
    assert sorted(hands.alone) == ["a", "b", "c", "first"]


async def test_one_that_failed_alone_gives_its_place_back() -> None:
    hands = Hands(failing="a")
    groups = Groups(hands.one, hands.several, concurrency=1)
    hands.open.set()
    for _ in range(2):
        with pytest.raises(LookupError):
            await groups.run(item("a"))
    assert await groups.run(item("b"))


async def test_a_caller_that_is_cancelled_while_waiting_stops_nobody_else() -> None:
    hands = Hands()
    groups = Groups(hands.one, hands.several, concurrency=1)
    first, gone, other = await start(groups, ["first", "gone", "other"])
    gone.cancel()
    hands.open.set()
    assert await asyncio.gather(first, other) == [True, True]
    assert gone.cancelled() or (await asyncio.gather(gone, return_exceptions=True))


async def test_what_nobody_waits_for_any_more_is_not_begun() -> None:
    hands = Hands()
    groups = Groups(hands.one, hands.several, concurrency=1)
    busy, *waiting = await start(groups, ["busy", "cut off", "kept", "cut off too"])
    # when two of those that wait are cut off
    for task in (waiting[0], waiting[2]):
        task.cancel()
    hands.open.set()
    # then the third is handled, by itself
    assert await busy and await waiting[1]
    await asyncio.gather(*waiting, return_exceptions=True)
    assert (hands.alone, hands.groups) == (["busy", "kept"], [])


async def test_the_end_cuts_off_what_was_begun_for_callers_that_are_gone() -> None:
    begun, hanging = asyncio.Event(), asyncio.Event()

    async def hang(items: Sequence[Item]) -> list[bool]:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            hanging.set()
        return []

    hands = Hands()
    groups = Groups(hands.one, hang, concurrency=1)
    tasks = await start(groups, ["first", "a", "b"])
    hands.open.set()
    async with asyncio.timeout(DEADLINE_S):
        await begun.wait()
    # when its callers are cut off and the groups are ended
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await groups.end()
    # then it is over
    assert hanging.is_set()
