"""Waiting for an event with a limit, without losing a cancellation."""

from __future__ import annotations

import asyncio

from chassis.waiting import wait_for_event

from tests.deadline import DEADLINE_S


async def test_it_says_whether_the_event_was_set() -> None:
    event = asyncio.Event()
    assert await wait_for_event(event, 0.01) is False
    event.set()
    assert await wait_for_event(event, DEADLINE_S) is True
    assert await wait_for_event(event, 0) is True


async def test_a_cancellation_that_arrives_together_with_the_event_is_not_lost() -> None:
    event = asyncio.Event()

    async def loop() -> None:
        while True:
            await wait_for_event(event, 60)
            event.clear()

    task = asyncio.create_task(loop())
    await asyncio.sleep(0)
    event.set()
    task.cancel()
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
