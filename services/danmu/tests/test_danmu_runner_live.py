"""Lines for browsers: bounded, and of no consequence when they fail."""

from __future__ import annotations

import asyncio
import json

from media.chat.message import ChatMessage, MessageKind, encode_line

from services.danmu.live import BURST_S, MESSAGE_BYTES, LiveFeed
from services.danmu.post import MAX_WAITING_BYTES, Post
from tests.deadline import DEADLINE_S


class Bus:
    def __init__(self) -> None:
        self.now = 0.0
        self.sent: list[str] = []
        self.sizes: list[int] = []

    def clock(self) -> float:
        return self.now

    def put(self, lines: bytes, count: int) -> None:
        assert lines.count(b"\n") == count
        self.sizes.append(len(lines))
        self.sent += [json.loads(line)["text"] for line in lines.splitlines()]


def send(feed: LiveFeed, *texts: str) -> None:
    feed.send([encode_line(ChatMessage(MessageKind.CHAT, 1, text=text)) for text in texts])


def test_a_flood_is_cut_to_the_rate() -> None:
    bus = Bus()
    feed = LiveFeed(bus.put, 10, bus.clock)
    send(feed, *map(str, range(1000)))
    assert bus.sent == [str(number) for number in range(round(10 * BURST_S))]
    bus.now += 1
    send(feed, *(["later"] * 100))
    assert bus.sent.count("later") == 10


def test_a_rate_of_nothing_sends_nothing() -> None:
    bus = Bus()
    send(LiveFeed(bus.put, 0, bus.clock), "one")
    assert bus.sent == []


def test_lines_that_came_together_go_together_in_messages_a_server_takes() -> None:
    bus = Bus()
    feed = LiveFeed(bus.put, 10, bus.clock)
    send(feed, "a", "b")
    assert len(bus.sizes) == 1
    long = "x" * (MESSAGE_BYTES // 3)
    send(feed, long, long, long, "last")
    assert bus.sent == ["a", "b", long, long, long, "last"]
    assert len(bus.sizes) == 3 and max(bus.sizes) <= MESSAGE_BYTES


class Line:
    """A bus that breaks, blocks or carries."""

    def __init__(self) -> None:
        self.broken = False
        self.open = asyncio.Event()
        self.open.set()
        self.sent: list[tuple[str, bytes]] = []
        self.heard = asyncio.Event()

    async def publish(self, session_id: str, lines: bytes) -> None:
        await self.open.wait()
        self.heard.set()
        if self.broken:
            raise ConnectionError("no bus")
        self.sent.append((session_id, lines))

    async def hear(self) -> None:
        self.heard.clear()
        async with asyncio.timeout(DEADLINE_S):
            await self.heard.wait()


async def test_what_several_sessions_say_goes_out_in_order() -> None:
    line = Line()
    post = Post(line.publish)
    for session_id, message in (("a", b"1\n"), ("b", b"2\n"), ("a", b"3\n")):
        post.put(session_id, message, 1)
    assert line.sent == []
    await line.hear()
    assert line.sent == [("a", b"1\n"), ("b", b"2\n"), ("a", b"3\n")]


async def test_a_broken_bus_is_nobodys_problem() -> None:
    line = Line()
    post = Post(line.publish)
    line.broken = True
    post.put("a", b"lost\n", 1)
    await line.hear()
    line.broken = False
    post.put("a", b"kept\n", 1)
    await line.hear()
    assert line.sent == [("a", b"kept\n")]


async def test_what_a_blocked_bus_does_not_take_is_bounded() -> None:
    line = Line()
    post = Post(line.publish)
    line.open.clear()
    many = MAX_WAITING_BYTES // MESSAGE_BYTES + 5
    for _ in range(many):
        post.put("a", b"x" * MESSAGE_BYTES, 1)
    line.open.set()
    await line.hear()
    post.put("a", b"last", 1)
    await line.hear()
    assert [len(lines) for _, lines in line.sent] == [MESSAGE_BYTES] * (many - 5) + [4]
