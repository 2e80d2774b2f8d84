"""First come, first served per key; nothing overtakes a message that is still to come again."""

from __future__ import annotations

import asyncio

import pytest
from chassis import lanes
from chassis.lanes import AFTER_S, GRACE_S, Lanes

from tests.deadline import DEADLINE_S


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lanes, "time", clock)
    return clock


async def test_turns_of_a_key_are_given_in_the_order_they_were_asked_for() -> None:
    lane, order = Lanes(), []

    async def ask(number: int) -> None:
        async with lane.turn("k"):
            order.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(ask(number) for number in range(20)))
    assert order == list(range(20))
    assert not lane._locks
    assert not lane._waiting


async def test_keys_do_not_wait_for_each_other_and_a_cancelled_one_leaves_no_trace() -> None:
    lane = Lanes()
    async with lane.turn("a"):
        waiting = asyncio.create_task(lane.turn("a").__aenter__())
        async with asyncio.timeout(DEADLINE_S), lane.turn("b"):
            pass
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    assert not lane._locks


def test_later_messages_wait_until_just_after_the_parked_one(clock: Clock) -> None:
    lane = Lanes()
    lane.park("c", "k", 5, delay_s=8)
    assert lane.hold_back_s("c", "k", 4) is None
    assert lane.hold_back_s("c", "k", 5) is None
    assert lane.hold_back_s("c", "k", 6) == 8 + AFTER_S
    clock.now += 8.2
    assert lane.hold_back_s("c", "k", 6) == AFTER_S, "due, but not here yet"


def test_other_keys_and_other_consumers_do_not_wait(clock: Clock) -> None:
    lane = Lanes()
    lane.park("c", "k", 5, 8)
    assert lane.hold_back_s("c", "other", 6) is None
    assert lane.hold_back_s("other", "k", 6) is None


def test_each_parked_message_has_to_be_dealt_with(clock: Clock) -> None:
    lane = Lanes()
    lane.park("c", "k", 5, 8)
    lane.park("c", "k", 4, 2)
    lane.clear("c", "k", 4)
    assert lane.hold_back_s("c", "k", 6) is not None
    lane.clear("c", "k", 6)
    assert lane.hold_back_s("c", "k", 6) is not None
    lane.clear("c", "k", 5)
    assert lane.hold_back_s("c", "k", 6) is None
    assert lane.parked == 0


def test_a_message_that_another_replica_took_is_waited_for_only_so_long(clock: Clock) -> None:
    lane = Lanes()
    lane.park("c", "k", 5, 8)
    clock.now += 8 + GRACE_S
    assert lane.hold_back_s("c", "k", 6) is None
    lane.park("c", "elsewhere", 1, 1)
    assert lane.parked == 1, "what is overdue is forgotten with the next failure of anybody"
