"""Lines for browsers: bounded, and of no consequence when they fail."""

from __future__ import annotations

import json

from media.chat.message import ChatMessage, MessageKind

from services.danmu.live import BURST_S, LiveFeed


class Bus:
    def __init__(self) -> None:
        self.now, self.broken = 0.0, False
        self.sent: list[str] = []

    def clock(self) -> float:
        return self.now

    async def publish(self, line: bytes) -> None:
        if self.broken:
            raise ConnectionError("no bus")
        self.sent.append(json.loads(line)["text"])


async def send(feed: LiveFeed, *texts: str) -> None:
    for text in texts:
        await feed.send(ChatMessage(MessageKind.CHAT, 1, text=text))


async def test_a_flood_is_cut_to_the_rate() -> None:
    bus = Bus()
    feed = LiveFeed(bus.publish, 10, bus.clock)
    await send(feed, *map(str, range(1000)))
    assert bus.sent == [str(number) for number in range(round(10 * BURST_S))]
    bus.now += 1
    await send(feed, *(["later"] * 100))
    assert bus.sent.count("later") == 10


async def test_a_broken_bus_is_nobodys_problem() -> None:
    bus = Bus()
    feed = LiveFeed(bus.publish, 10, bus.clock)
    bus.broken = True
    await send(feed, "lost")
    bus.broken = False
    await send(feed, "kept")
    assert bus.sent == ["kept"]


async def test_a_rate_of_nothing_sends_nothing() -> None:
    bus = Bus()
    await send(LiveFeed(bus.publish, 0, bus.clock), "one")
    assert bus.sent == []
