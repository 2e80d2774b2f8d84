"""What is in hand for long is told to the bus, what was settled is not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from chassis import in_hand
from chassis.delivery import Delivery
from chassis.in_hand import InHand
from nats.errors import ConnectionClosedError

from tests.deadline import DEADLINE_S


class Raw:
    """A message of the NATS client that knows how often it was said to be in progress."""

    def __init__(self) -> None:
        self.beats = 0
        self.beaten = asyncio.Event()
        self.broken = False

    async def in_progress(self) -> None:
        self.beats += 1
        self.beaten.set()
        if self.broken:
            self.broken = False
            raise ConnectionClosedError

    async def nak(self, delay: float) -> None:
        pass

    async def twice(self) -> None:
        """Wait for two more."""
        for _ in range(2):
            self.beaten.clear()
            async with asyncio.timeout(DEADLINE_S):
                await self.beaten.wait()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_hand, "EVERY_S", 0.01)


@asynccontextmanager
async def telling(clock: Callable[[], float] = time.monotonic) -> AsyncIterator[InHand]:
    held = InHand(clock)
    await held.start()
    try:
        yield held
    finally:
        await held.stop()


def delivery(raw: Raw) -> Delivery:
    return Delivery(raw, "cmd.config.add_streamer.v1", {}, b"", 1, 1)


async def test_a_delivery_is_told_to_be_in_hand_again_and_again_until_the_block_ends() -> None:
    longer, shorter = Raw(), Raw()
    async with telling() as held:
        with held.holding(delivery(longer)):
            with held.holding(delivery(shorter)):
                await shorter.twice()
            before = shorter.beats
            await longer.twice()
        assert shorter.beats == before


async def test_a_settled_one_is_not_told_any_more() -> None:
    other, raw = Raw(), Raw()
    settled = delivery(raw)
    async with telling() as held:
        with held.holding(settled, delivery(other)):
            await raw.twice()
            # when it goes back with a delay, which being in progress would overrule
            await settled.nak(1.0)
            before = raw.beats
            await other.twice()
            assert raw.beats == before


async def test_a_connection_that_is_away_does_not_end_it() -> None:
    raw = Raw()
    async with telling() as held:
        with held.holding(delivery(raw)):
            raw.broken = True
            await raw.twice()


async def test_one_that_hangs_is_left_to_others() -> None:
    passed_s = 0.0
    hanging, other = Raw(), Raw()
    async with telling(lambda: time.monotonic() + passed_s) as held:
        with held.holding(delivery(hanging)):
            await hanging.twice()
            passed_s = in_hand.LONGEST_S
            before = hanging.beats
            with held.holding(delivery(other)):
                await other.twice()
            assert hanging.beats == before
