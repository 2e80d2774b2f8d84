"""What the studio's tests look with: PyAV for what is playable, a tag reader for what is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import av

from tests.deadline import DEADLINE_S
from tests.studio.flv import Tag, TagReader


@dataclass(frozen=True)
class Picture:
    """What PyAV made of a stream."""

    codec: str
    width: int
    height: int
    frames: int
    samples: int


def _play(url: str, frames: int) -> Picture:
    pictures = samples = 0
    with av.open(url, timeout=DEADLINE_S) as container:
        video = container.streams.video[0]
        for packet in container.demux():
            for frame in packet.decode():
                if isinstance(frame, av.VideoFrame):
                    pictures += 1
                else:
                    samples += frame.samples
            if pictures >= frames:
                return Picture(video.codec_context.name, video.width, video.height, pictures, samples)
    return Picture(video.codec_context.name, video.width, video.height, pictures, samples)


async def play(url: str, frames: int = 20) -> Picture:
    """Decode `frames` pictures of a stream (and the sound that comes with them)."""
    return await asyncio.to_thread(_play, url, frames)


class FlvViewer:
    """Reads the tags of one FLV response."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self._reader = TagReader()
        self._tags: list[Tag] = []

    async def tag(self) -> Tag:
        """The next tag; EOFError at the clean end, aiohttp.ClientPayloadError when the connection was cut."""
        while not self._tags:
            data = await asyncio.wait_for(self.response.content.readany(), DEADLINE_S)
            if not data:
                raise EOFError
            self._tags = self._reader.feed(data)
        return self._tags.pop(0)

    async def tags(self, count: int) -> list[Tag]:
        return [await self.tag() for _ in range(count)]

    async def rest(self) -> list[Tag]:
        """All tags until the clean end."""
        found: list[Tag] = []
        try:
            while True:
                found.append(await self.tag())
        except EOFError:
            return found


@asynccontextmanager
async def watching(http: aiohttp.ClientSession, url: str) -> AsyncIterator[FlvViewer]:
    """A viewer of a live FLV that answered 200."""
    async with http.get(url) as response:
        assert response.status == 200
        yield FlvViewer(response)
