"""Lines for browsers: bounded, and of no consequence when they fail."""

from __future__ import annotations

import json

from media.chat.message import ChatMessage, MessageKind, encode_line

from services.danmu.live import BURST_S, MESSAGE_BYTES, LiveFeed


class Bus:
    def __init__(self) -> None:
        self.now, self.broken = 0.0, False
        self.sent: list[str] = []
        self.sizes: list[int] = []

    def clock(self) -> float:
        return self.now

    async def publish(self, lines: bytes) -> None:
        if self.broken:
            raise ConnectionError("no bus")
        self.sizes.append(len(lines))
        self.sent += [json.loads(line)["text"] for line in lines.splitlines()]


async def send(feed: LiveFeed, *texts: str) -> None:
    await feed.send([encode_line(ChatMessage(MessageKind.CHAT, 1, text=text)) for text in texts])


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


async def test_lines_that_came_together_go_together_in_messages_a_server_takes() -> None:
    bus = Bus()
    feed = LiveFeed(bus.publish, 10, bus.clock)
    await send(feed, "a", "b")
    assert len(bus.sizes) == 1
    long = "x" * (MESSAGE_BYTES // 3)
    await send(feed, long, long, long, "last")
    assert bus.sent == ["a", "b", long, long, long, "last"]
    assert len(bus.sizes) == 3 and max(bus.sizes) <= MESSAGE_BYTES
