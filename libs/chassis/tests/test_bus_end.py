"""Closing a connection ends its attempts to reconnect, also one that does not hear of it at first."""

from __future__ import annotations

import asyncio

from chassis import bus

from tests.deadline import DEADLINE_S


class Deaf:
    """A client whose attempt to reconnect drops its cancellation twice."""

    def __init__(self) -> None:
        self.closed = False
        self._reconnection_task = asyncio.create_task(self._reconnect())

    async def close(self) -> None:
        self.closed = True
        self._reconnection_task.cancel()

    async def _reconnect(self) -> None:
        for _ in range(2):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue
        await asyncio.Event().wait()


async def test_an_attempt_that_drops_its_cancellation_is_ended_all_the_same() -> None:
    client = Deaf()
    await asyncio.sleep(0)
    async with asyncio.timeout(DEADLINE_S):
        await bus.end(client)
    assert client.closed and client._reconnection_task.cancelled()
