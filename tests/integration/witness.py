"""Somebody else who watches the same stream: what it saw is what was sent, and what recordings are compared with."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import av
from media.flv.parser import FlvParser
from media.flv.recorder import FlvRecorder
from media.flv.tag import Tag

from tests.deadline import DEADLINE_S

Told = list[tuple[int, bytes]]
"""Time on the timeline in ms and payload of each tag of one channel."""


class Viewer:
    """A viewer of an FLV stream."""

    def __init__(self) -> None:
        self._file = io.BytesIO()
        self._recorder = FlvRecorder(lambda _: self._file)
        self._file.close = lambda: None  # type: ignore[method-assign]

    async def watch(self, url: str, began: asyncio.Event) -> None:
        """Watch until cancelled."""
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            async for chunk in response.content.iter_any():
                self._recorder.feed(chunk)
                began.set()

    def channel(self, kind: int) -> Told:
        """Everything that was sent of one channel; the watching is over with it."""
        self._recorder.finish()
        return channel(self._file.getvalue(), 0, kind)


@asynccontextmanager
async def viewer(url: str) -> AsyncIterator[Viewer]:
    """Watches as long as the block runs, from its first bytes on."""
    watching, began = Viewer(), asyncio.Event()
    task = asyncio.create_task(watching.watch(url, began))
    first = asyncio.create_task(began.wait())
    try:
        await asyncio.wait([task, first], timeout=DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
        assert began.is_set(), f"nothing to be seen: {task}"
        yield watching
    finally:
        for one in (task, first):
            one.cancel()
        await asyncio.gather(task, first, return_exceptions=True)


def channel(data: bytes, start_ms: int, kind: int) -> Told:
    """The media of one channel of an FLV file that begins at ``start_ms`` of the timeline."""
    items = FlvParser().feed(data)
    tags = [one for one in items if isinstance(one, Tag) and one.type == kind and one.is_media]
    return [(start_ms + tag.timestamp, bytes(tag.payload)) for tag in tags]


def frames(path: Path) -> list[bytes]:
    """Every frame of a file as it was encoded, in the order of decoding: NAL units behind their lengths, as FLV and MP4 have them."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def frame_times(path: Path) -> list[int]:
    """Presentation times of every frame in a file, in order."""
    with av.open(str(path)) as container:
        return sorted(packet.pts for packet in container.demux(video=0) if packet.pts is not None)
