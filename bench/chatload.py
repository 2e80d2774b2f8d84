"""What the chat benchmark runs in processes of their own: ``python -m bench.chatload CASE …``; each prints its figures as its last line."""

from __future__ import annotations

import asyncio
import json
import random
import struct
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import uvloop
from aiohttp import web
from chassis import bus, logs
from chassis.collector import settle
from contracts import subjects
from contracts.danmu import ChatPulse, Statistics
from media.chat.head import ChatHead
from media.chat.timing import Timing
from yarl import URL

from services.danmu.adapters.bilibili import (
    OP_AUTH,
    OP_AUTH_REPLY,
    OP_HEARTBEAT,
    OP_HEARTBEAT_REPLY,
    BilibiliCodec,
    pack,
)
from services.danmu.adapters.chatfile import ChatFile
from services.danmu.adapters.driver import Access, ChatDriver, Pace
from services.danmu.adapters.journal import Journal
from services.danmu.adapters.links import Server
from services.danmu.listener import Listener
from services.danmu.live import LiveFeed
from services.danmu.post import Post
from services.danmu.tally import Tally
from tests.studio import danmaku
from tests.studio.options import ChatMessage

PER_FRAME = 10
START_MS = 1_750_000_000_000
_PHRASES = (
    "主播今天玩得真不错啊",
    "哈哈哈哈哈哈",
    "这波操作太秀了吧",
    "前方高能预警",
    "晚上好",
    "gg wp",
    "来了来了",
    "求个歌单",
)
_WARM_S = 6


def frames(count: int) -> Iterator[bytes]:
    """Frames of ten chat messages as the platform sends them: brotli, with the sender's profile; 3000 people, a hundred thousand texts."""
    chosen = random.Random(1)
    for number in range(0, count, PER_FRAME):
        some = []
        for at in range(number, number + PER_FRAME):
            who = chosen.randrange(3000)
            said = ChatMessage(
                text=f"{chosen.choice(_PHRASES)}{chosen.randrange(100)}", user=f"viewer{who}", uid=10_000 + who
            )
            some.append(danmaku.message_of(said, 1, at, START_MS + at))
        yield danmaku.packet_of(some, danmaku.BROTLI)


def write_frames(path: Path, count: int) -> None:
    """Keep frames in a file, each behind its length as u32."""
    with path.open("wb") as file:
        for frame in frames(count):
            file.write(struct.pack(">I", len(frame)) + frame)


def read_frames(path: Path) -> list[bytes]:
    """What :func:`write_frames` wrote."""
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return found


def write(path: Path) -> None:
    """Frames in, log and XML out."""
    given = read_frames(path)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        codec = BilibiliCodec()
        file = ChatFile.open(Path(folder) / "chat", Timing(START_MS), ChatHead("bilibili", "1", "somebody"))
        for frame in given:
            for message in codec.feed(frame).messages:
                file.write(message)
        lines = file.close().lines
        spent = time.process_time() - begun
    _print(lines=lines, cpu_s=spent)


def parse(path: Path) -> None:
    """Frames in, messages out."""
    given, lines = read_frames(path), 0
    begun = time.process_time()
    codec = BilibiliCodec()
    for frame in given:
        lines += len(codec.feed(frame).messages)
    _print(lines=lines, cpu_s=time.process_time() - begun)


class _Room(ChatDriver):
    """A room of the server below: everything as in the service, but that nobody is asked where the room is."""

    def __init__(self, session: aiohttp.ClientSession, url: URL) -> None:
        super().__init__(session, Pace())
        self._url = url

    async def access(self) -> Access:
        """See ChatDriver."""
        codec = BilibiliCodec()
        return Access((Server(self._url),), lambda: (codec, [codec.hello(1)]))


async def listen(url: str, nats_url: str, rooms: int, seconds: float) -> None:
    """Hold rooms as the service does, with journal, live lines and live statistics on the bus."""
    carrier = await bus.connect(nats_url, "danmu")

    async def publish(session_id: str, lines: bytes) -> None:
        await carrier.client.publish(subjects.chat_of(session_id), lines)

    post = Post(publish)

    def feed(number: int) -> LiveFeed:
        return LiveFeed(lambda message, lines: post.put(f"session{number}", message, lines), 50)

    def tally(number: int) -> Tally:
        async def tell(found: Statistics) -> None:
            await carrier.signal(ChatPulse(session_id=f"session{number}", streamer_id="somebody", statistics=found))

        return Tally(tell, 10.0)

    settle()
    wake = asyncio.Event()
    connector = aiohttp.TCPConnector(limit=0)
    with tempfile.TemporaryDirectory() as folder:
        async with aiohttp.ClientSession(connector=connector) as session:
            held = [_listener(session, URL(url), Path(folder) / str(number), feed(number), tally(number), wake)
                    for number in range(rooms)]  # fmt: skip
            for one in held:
                one.start()
            await asyncio.sleep(_WARM_S)
            lines, cpu, begun = _lines(held), time.process_time(), time.perf_counter()
            await asyncio.sleep(seconds)
            wall = time.perf_counter() - begun
            figures = {
                "lines_per_s": (_lines(held) - lines) / wall,
                "cpu_share": (time.process_time() - cpu) / wall,
                "bytes": psutil.Process().memory_full_info().uss,
            }
            await asyncio.gather(*(one.stop() for one in held))
    await carrier.close()
    _print(**figures)


def _listener(
    session: aiohttp.ClientSession, url: URL, folder: Path, live: LiveFeed, tally: Tally, wake: asyncio.Event
) -> Listener:
    from media.chat.statistics import ChatStatistics

    tally.begin(ChatStatistics(), ())
    return Listener("bilibili", _Room(session, url), Journal(folder, 1), live, tally, wake)


def _lines(held: list[Listener]) -> int:
    return sum(one.journal.lines for one in held)


async def serve(per_room_s: int) -> None:
    """A chat server whose rooms all say so much a second; prints its address, ends with its input."""
    prepared = list(frames(20_000))

    async def room(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        speaking = asyncio.create_task(speak(socket))
        try:
            async for message in socket:
                for operation, _, _ in danmaku.frames_of(message.data):
                    answer = {OP_AUTH: (OP_AUTH_REPLY, b'{"code":0}'), OP_HEARTBEAT: (OP_HEARTBEAT_REPLY, bytes(4))}[
                        operation
                    ]
                    await socket.send_bytes(pack(*answer))
        finally:
            speaking.cancel()
        return socket

    async def speak(socket: web.WebSocketResponse) -> None:
        at = random.randrange(len(prepared))
        every_s = PER_FRAME / per_room_s
        due = time.monotonic() + random.random() * every_s
        while True:
            await asyncio.sleep(max(due - time.monotonic(), 0))
            due += every_s
            at = (at + 1) % len(prepared)
            await socket.send_bytes(prepared[at])

    application = web.Application()
    application.router.add_get("/sub", room)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    print(json.dumps({"url": f"ws://127.0.0.1:{port}/sub"}), flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)


def _print(**figures: Any) -> None:
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    logs.configure("bench", level="ERROR")
    case, *arguments = sys.argv[1:]
    match case:
        case "write" | "parse":
            {"write": write, "parse": parse}[case](Path(arguments[0]))
        case "listen":
            uvloop.run(listen(arguments[0], arguments[1], int(arguments[2]), float(arguments[3])))
        case "serve":
            uvloop.run(serve(int(arguments[0])))
        case _:
            sys.exit(f"no case {case!r}")
