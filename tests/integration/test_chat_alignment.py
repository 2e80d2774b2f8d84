"""Chat stays with the picture: a broadcast whose clock jumps and whose connection breaks, with messages said beside known frames."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiohttp
import pytest
from chassis.storage import LocalStorage
from contracts.values import Effective
from media.chat.formats import open_chat
from media.chat.head import ChatHead
from media.chat.message import ChatMessage, MessageKind, encode_line
from media.chat.timing import Timing

from services.danmu.adapters.archive import Archive, ChatPart
from services.danmu.adapters.journal import Journal
from services.downloader.adapters.engine import GapClosed, GapOpened, SegmentCompleted, SegmentOpened
from services.downloader.standalone import record
from tests.deadline import DEADLINE_S
from tests.studio import Studio
from tests.studio.flv import VIDEO, Tag, TagReader

TOLERANCE_MS: Final = 200
"""The studio sends every 100 ms what has become due; how late a picture came besides is measured."""


JUMP_MS: Final = 3_600_000


class Viewer:
    """Watches beside the recorder: ``picture`` is the newest frame that has arrived, by its content.

    ``late_ms``: how far the newest frame is behind the clock that the most punctual one of its timeline gives.
    """

    def __init__(self) -> None:
        self.picture = b""
        self.fresh = asyncio.Event()
        self._stamp = 0
        self._starts: list[float] = []

    def late_ms(self) -> Callable[[], float]:
        """Of the frame that is on screen now; to be asked in the end, when all are known."""
        now_ms, stamp, timeline = time.time() * 1000, self._stamp, len(self._starts) - 1
        return lambda: now_ms - stamp - self._starts[timeline]

    def _note(self, stamp: int) -> None:
        start = time.time() * 1000 - stamp
        if not self._starts or abs(stamp - self._stamp) > JUMP_MS // 2:
            self._starts.append(start)
        self._starts[-1] = min(self._starts[-1], start)
        self._stamp = stamp

    async def watch(self, url: str) -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.get(url) as answer:
                        await self._read(answer)
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0)

    async def _read(self, answer: aiohttp.ClientResponse) -> None:
        reader = TagReader()
        async for chunk in answer.content.iter_any():
            for tag in reader.feed(chunk):
                if is_picture(tag):
                    self._note(tag.timestamp)
                    self.picture = tag.body
                    self.fresh.set()


def hear(journal: Journal, text: str) -> None:
    message = ChatMessage(MessageKind.CHAT, time.time_ns() // 1_000_000, text=text)
    journal.extend([message], [encode_line(message)])


def is_picture(tag: Tag) -> bool:
    return tag.kind == VIDEO and not tag.is_sequence_header


@asynccontextmanager
async def watching(url: str) -> AsyncIterator[Viewer]:
    viewer = Viewer()
    task = asyncio.create_task(viewer.watch(url))
    try:
        yield viewer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def pictures(path: Path) -> list[tuple[int, bytes]]:
    return [(tag.timestamp, tag.body) for tag in TagReader().feed(path.read_bytes()) if is_picture(tag)]


async def said_with_pictures(viewer: Viewer, journal: Journal, count: int) -> list[tuple[bytes, Callable[[], float]]]:
    """Messages, a moment apart, each with the frame on screen when it came, and how late that was."""
    shown = []
    for _ in range(count):
        for _ in range(3):
            viewer.fresh.clear()
            await viewer.fresh.wait()
        hear(journal, "look")
        shown.append((viewer.picture, viewer.late_ms()))
    return shown


async def test_messages_lie_at_their_pictures_after_a_jump_and_a_gap(tmp_path: Path) -> None:
    told: list[object] = []
    changed = asyncio.Event()

    def listen(event: object) -> None:
        told.append(event)
        changed.set()

    async def until(kind: type) -> None:
        while not any(isinstance(event, kind) for event in told):
            changed.clear()
            await changed.wait()

    journal = Journal(tmp_path / "journal", 1)
    async with Studio() as studio, asyncio.timeout(DEADLINE_S):
        # given a broadcast that is recorded
        await studio.put_on_air("1")
        url, stop = studio.flv_url("1"), asyncio.Event()
        source = f"{url}?cdn=a"
        running = asyncio.create_task(
            record(source, tmp_path / "video", allow_private=True, on_event=listen, effective=Effective(), stop=stop)
        )
        await until(SegmentOpened)
        async with watching(url) as viewer:
            shown = await said_with_pictures(viewer, journal, 4)
            # when its clock jumps by an hour
            await studio.fault("1", "timestamp_jump", ms=JUMP_MS)
            shown += await said_with_pictures(viewer, journal, 4)
            # and the recorder's server is away for some seconds
            await studio.fault("1", "status", status=503, n=3, target="flv", cdn="a")
            await studio.fault("1", "drop")
            await until(GapOpened)
            hear(journal, "where is the picture?")
            await until(GapClosed)
            shown += await said_with_pictures(viewer, journal, 6)
        stop.set()
        recorded = await running
    (segment,) = recorded.segments
    completed = next(event for event in told if isinstance(event, SegmentCompleted))
    started_ms = round(completed.started_at.timestamp() * 1000)
    timing = Timing.of_segment(started_ms, completed.start_ms, completed.repairs)
    kinds = {repair["kind"] for repair in completed.repairs}
    assert {"timestamp_jump", "gap"} <= kinds and timing.lost_ms > 1000

    # then each message lies where its picture is
    archive = Archive(LocalStorage(tmp_path / "chat"), tmp_path)
    part = ChatPart(0, timing, 0, 1 << 60, ChatHead())
    await archive.store("s", part, journal.rotate(), epoch=1)
    placed = [one for one in open_chat(tmp_path / "chat" / "s" / "00000.xml") if one.message.text == "look"]
    frames = pictures(segment.path)
    assert len(placed) == len(shown) == 14
    errors = []
    for (offset, _), (picture, late_ms) in zip(placed, shown, strict=True):
        places = [at for at, body in frames if body == picture]
        errors.append(min((offset - at for at in places), key=abs) - late_ms())
    assert all(-TOLERANCE_MS <= error <= TOLERANCE_MS for error in errors), errors
    # and the one said into the break lies where the picture comes back
    (lonely,) = [one for one in open_chat(tmp_path / "chat" / "s" / "00000.xml") if one.message.text != "look"]
    assert lonely.offset_ms == pytest.approx(next(at for at, lost in timing.breaks if lost > 1000), abs=TOLERANCE_MS)
