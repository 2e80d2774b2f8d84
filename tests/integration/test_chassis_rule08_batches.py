"""Rule 8: high-volume paths handle whole batches, one transaction each, and acknowledge after it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from chassis import in_hand
from chassis.bus import Bus
from chassis.consumer import BatchConsumer
from chassis.delivery import Delivery
from contracts.topology import PROJECTOR

from tests.integration.harness import Wire, eventually, wire, within

pytestmark = pytest.mark.engines
SUBJECT = "evt.config.streamer.s1.changed.v1"


async def fill(on: Wire, first: int, last: int) -> None:
    for number in range(first, last + 1):
        await on.raw(SUBJECT, b"%d" % number)


class Sink:
    """Keeps what it is given; fails while told to."""

    def __init__(self, total: int) -> None:
        self.batches: list[list[int]] = []
        self.attempts: list[list[int]] = []
        self.failing = 0
        self.all, self.total = asyncio.Event(), total

    async def __call__(self, deliveries: Sequence[Delivery]) -> None:
        batch = [int(one.data) for one in deliveries]
        self.attempts.append(batch)
        if self.failing:
            self.failing -= 1
            raise RuntimeError("not now")
        self.batches.append(batch)
        if self.total <= sum(len(one) for one in self.batches):
            self.all.set()

    @property
    def flat(self) -> list[int]:
        return [number for batch in self.batches for number in batch]


def consumer_of(on: Wire, sink: Sink, **options: object) -> BatchConsumer:
    return BatchConsumer(Bus(on.client, "gateway"), "EVENTS", PROJECTOR, sink, **options)


async def test_batches_come_whole_in_stream_order_and_are_acknowledged(nats_url: str) -> None:
    async with wire(nats_url) as on:
        await fill(on, 1, 50)
        sink = Sink(50)
        consumer = consumer_of(on, sink, batch=20)
        await consumer.start()
        await within(sink.all)
        await consumer.stop()
        assert sink.flat == list(range(1, 51))
        assert max(len(batch) for batch in sink.batches) <= 20
        assert len(sink.batches) < 50, "those that wait come together"
        await on.settled(PROJECTOR, "EVENTS")


async def test_a_failed_batch_comes_again_before_anything_later(nats_url: str) -> None:
    async with wire(nats_url) as on:
        await fill(on, 1, 10)
        sink = Sink(30)
        sink.failing = 2
        consumer = consumer_of(on, sink, batch=10)
        await consumer.start()
        await fill(on, 11, 30)
        await within(sink.all)
        await consumer.stop()
        assert sink.flat == list(range(1, 31))
        assert sink.attempts[0] == sink.attempts[1] == sink.attempts[2]
        await on.settled(PROJECTOR, "EVENTS")


async def test_nothing_is_acknowledged_while_the_batch_is_in_hand(nats_url: str) -> None:
    async with wire(nats_url) as on:
        await fill(on, 1, 5)
        entered, go = asyncio.Event(), asyncio.Event()

        async def slow(deliveries: Sequence[Delivery]) -> None:
            entered.set()
            await go.wait()

        consumer = consumer_of(on, slow)
        await consumer.start()
        await within(entered)
        info = await on.js.consumer_info("EVENTS", PROJECTOR)
        assert (info.ack_floor.stream_seq, info.num_ack_pending) == (0, 5)
        go.set()
        await on.settled(PROJECTOR, "EVENTS")
        await consumer.stop()


async def test_a_batch_in_hand_for_long_is_not_delivered_again(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_hand, "EVERY_S", 0.1)
    async with wire(nats_url) as on:
        await on.let_wait("EVENTS", PROJECTOR, 3)
        await fill(on, 1, 5)
        entered, go = asyncio.Event(), asyncio.Event()

        async def slow(deliveries: Sequence[Delivery]) -> None:
            entered.set()
            await go.wait()

        async with on.in_progress("EVENTS", PROJECTOR) as told:
            consumer = consumer_of(on, slow)
            await consumer.start()
            await within(entered)
            # when each of the five has been told so often that the bus would have stopped waiting
            await eventually(told.at_least(5 * 40))
            go.set()
            await on.settled(PROJECTOR, "EVENTS")
        await consumer.stop()
        assert (await on.js.consumer_info("EVENTS", PROJECTOR)).delivered.consumer_seq == 5


async def test_stopping_gives_a_failing_batch_to_the_next_consumer_at_once(nats_url: str) -> None:
    async with wire(nats_url) as on:
        # given a bus that would wait much longer than this test for an acknowledgement
        await on.let_wait("EVENTS", PROJECTOR, 600)
        await fill(on, 1, 10)
        broken = Sink(1)
        broken.failing = 10_000
        first = consumer_of(on, broken)
        await first.start()

        async def tried() -> bool:
            return len(broken.attempts) >= 2

        await eventually(tried)
        await first.stop()
        sink = Sink(10)
        second = consumer_of(on, sink)
        await second.start()
        await within(sink.all)
        await second.stop()
        assert sink.flat == list(range(1, 11))


async def test_a_fetch_with_nothing_to_get_is_no_error_and_stopping_does_not_hang(nats_url: str) -> None:
    async with wire(nats_url) as on:
        sink = Sink(1)
        consumer = consumer_of(on, sink, expires_s=0.2)
        await consumer.start()
        with pytest.raises(TimeoutError):
            subscription = await on.js.pull_subscribe_bind(durable="notifier", stream="EVENTS")
            await subscription.fetch(10, timeout=0.2)
        await fill(on, 1, 1)
        await within(sink.all)
        await consumer.stop()
        assert consumer._task.done()
