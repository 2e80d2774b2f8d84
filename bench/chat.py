"""Chat beside other programs for it: how fast it is parsed and written, what many rooms cost, how fast a file becomes subtitles."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from chassis import bus, provision
from media.chat.head import ChatHead
from media.chat.timing import Timing
from media.chat.xml import xml_lines

from bench import chatload, peers, processes
from bench.benchmark import Benchmark, Scale
from bench.figures import Goal, Line, Measure, Series, alternate
from deploy.embedded.nats_server import NatsServer
from services.danmu.adapters.bilibili import BilibiliCodec

MESSAGES = 100_000
ROOMS, PER_ROOM_S = 200, 50
HOLD_S, QUICK_HOLD_S = 20, 6
MB = 1_000_000
BLIVEDM = """
import asyncio, json, struct, sys, time
import blivedm
class Count(blivedm.BaseHandler):
    lines = 0
    async def _on_danmaku(self, client, message): self.lines += 1
async def main():
    data, at, frames = open(sys.argv[1], "rb").read(), 0, []
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        frames.append(data[at + 4 : at + 4 + size]); at += 4 + size
    client, count = blivedm.BLiveClient(1), Count()
    client.add_handler(count)
    begun = time.process_time()
    for frame in frames: await client._parse_ws_message(frame)
    print(json.dumps({"lines": count.lines, "cpu_s": time.process_time() - begun}))
    await client.close()
asyncio.run(main())
"""
DANMAKUC = """
import sys
from xml.etree import ElementTree
from danmakuC.ass import Ass
ass = Ass(1920, 1080, 0, "sans-serif", 42.0, 0.8, 12.0, 5.0, "", False)
for _, element in ElementTree.iterparse(sys.argv[1]):
    if element.tag == "d":
        p = element.get("p").split(",")
        mode = {1: 0, 4: 2, 5: 1}[int(p[1])]
        ass.add_comment(float(p[0]), int(p[4]) // 1000, element.text or "", float(p[2]), mode, int(p[3]))
        element.clear()
ass.write_to_file(sys.argv[2])
"""
BILIASS = "from biliass.__main__ import main; main()"
ABOUT = f"""{MESSAGES:,} chat messages of Bilibili in brotli frames of ten, with the sender's profile as the platform sends it. *Parsed and
written*: frames in, the compressed log and the XML out; the peer is the parser of blivedm alone, frames in, calls of a handler
out, nothing written. Messages per second of processor time, all threads. *Rooms*: one process holds {ROOMS} rooms over loopback
WebSockets from a server in another process, each with {PER_ROOM_S} messages a second, with journal, and live lines and
statistics on a bus; what arrived, processor time scaled to all of it, and private memory after {HOLD_S} s. *XML to ASS*: a file of
{MESSAGES:,} messages, user and system time of the whole command from the start of the interpreter on. danmakuC 0.3.6 reads no
XML: its layout, in C++, is fed by ElementTree. biliass reads and writes in Rust."""


async def run(scale: Scale, step: Callable[[int, int], None]) -> list[Line]:
    """Parse, hold, convert."""
    done, total = 0, 9 * scale.rounds

    def advance() -> None:
        nonlocal done
        done = min(done + 1, total)
        step(done, total)

    folder = Path(tempfile.mkdtemp(prefix="aircheck-bench-"))
    try:
        python = await _peers(step, total)
        await asyncio.to_thread(_prepare, folder, scale.of(MESSAGES))
        parsing = await _parsing(folder, python, scale, advance)
        rooms = await _rooms(folder, scale, advance)
        converting = await _converting(folder, python, scale, advance)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder)
    step(total, total)
    return [*parsing, *rooms, *converting]


async def _peers(step: Callable[[int, int], None], total: int) -> Path | None:
    step(0, total)
    try:
        return await peers.environment("chat")
    except peers.PeerMissing as missing:
        print(
            f"chat: measured without blivedm, danmakuC and biliass, which cannot be installed: {missing}",
            file=sys.stderr,
        )
        return None


def _prepare(folder: Path, count: int) -> None:
    chatload.write_frames(folder / "frames", count)
    codec = BilibiliCodec(lambda: chatload.START_MS)
    timed = (
        Timing(0).of(message._replace(received_at=72 * number))
        for number, message in enumerate(one for frame in chatload.read_frames(folder / "frames") for one in codec.feed(frame).messages)
    )  # fmt: skip
    (folder / "chat.xml").write_text("".join(xml_lines(timed, ChatHead(), chatload.START_MS)))


async def _parsing(folder: Path, python: Path | None, scale: Scale, advance: Callable[[], None]) -> list[Line]:
    def case(*command: object) -> Measure:
        async def measure() -> float:
            found = await _said([str(one) for one in command], folder)
            if found["lines"] != scale.of(MESSAGES):
                raise RuntimeError(f"{found['lines']} messages came out")
            return float(found["lines"]) / float(found["cpu_s"])

        return measure

    cases = [case(*processes.python("bench.chatload", name, "frames")) for name in ("write", "parse")]
    if python:
        cases.append(case(python, "-c", BLIVEDM, "frames"))
    values = await alternate(scale.rounds, cases, advance)
    peer = Series("blivedm's parser", "messages/s", values[2]) if python else None
    faster = (Goal("ratio", "at least", 1.5),) if peer else ()
    return [
        Line("parsed and written", Series("log and XML", "messages/s", values[0]), peer, (Goal("figure", "at least", 50_000), *faster)),
        Line("parsed", Series("codec", "messages/s", values[1]), peer),
    ]  # fmt: skip


async def _rooms(folder: Path, scale: Scale, advance: Callable[[], None]) -> list[Line]:
    seconds = QUICK_HOLD_S if scale.quick else HOLD_S
    shares: list[float] = []
    arrived: list[float] = []
    serving = processes.started(processes.python("bench.chatload", "serve", PER_ROOM_S), folder)
    async with serving as server, _nats(folder / "nats") as nats:
        assert server.stdout is not None
        url = json.loads(await asyncio.to_thread(server.stdout.readline))["url"]

        async def hold() -> float:
            found = await _said(processes.python("bench.chatload", "listen", url, nats.url, ROOMS, seconds), folder)
            arrived.append(float(found["lines_per_s"]))
            shares.append(100 * float(found["cpu_share"]) * ROOMS * PER_ROOM_S / arrived[-1])
            return float(found["bytes"]) / MB

        (memory,) = await alternate(scale.rounds, [hold], advance)
    what = f"{ROOMS} rooms of {PER_ROOM_S} messages/s"
    cases = (
        ("arrived", Series("one process", "messages/s", tuple(arrived)), Goal("figure", "at least", 0.97 * ROOMS * PER_ROOM_S)),
        ("processor", Series("one process", "% of a core", tuple(shares)), Goal("figure", "at most", 40)),
        ("memory", Series("one process", "MB", memory), Goal("figure", "at most", 150)),
    )  # fmt: skip
    return [Line(f"{what}: {name}", series, None, (goal,)) for name, series, goal in cases]


@asynccontextmanager
async def _nats(folder: Path) -> AsyncIterator[NatsServer]:
    """A bus with the streams that live lines and statistics go to."""
    nats = NatsServer(folder)
    await asyncio.to_thread(nats.start)
    try:
        connection = await bus.connect(nats.url, "config")
        await provision.provision(connection.jetstream)
        await connection.close()
        yield nats
    finally:
        await asyncio.to_thread(nats.stop)


async def _converting(folder: Path, python: Path | None, scale: Scale, advance: Callable[[], None]) -> list[Line]:
    def command(*words: object) -> Callable[[], Awaitable[float]]:
        async def measure() -> float:
            return (await processes.run([str(one) for one in words], folder)).cpu_s

        return measure

    cases = [command(*processes.python("aircheck", "chat", "convert", "chat.xml", "-o", "ours.ass"))]
    if python:
        cases.append(command(python, "-c", DANMAKUC, "chat.xml", "danmakuc.ass"))
        cases.append(command(python, "-c", BILIASS, "chat.xml", "-s", "1920x1080", "-o", "biliass.ass"))
    values = await alternate(scale.rounds, cases, advance)
    ours = Series("aircheck chat convert", "CPU s", values[0])
    what = f"XML to ASS, {scale.of(MESSAGES):,} messages"
    if not python:
        return [Line(what, ours)]
    return [
        Line(f"{what}: danmakuC", ours, Series("danmakuC", "CPU s", values[1])),
        Line(f"{what}: biliass", ours, Series("biliass", "CPU s", values[2])),
    ]


async def _said(command: Any, folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((await processes.run(command, folder)).last_line)
    return found


BENCHMARK = Benchmark("chat", ABOUT, run)
