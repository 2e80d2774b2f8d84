"""Where a room's media comes from while it is on air."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol

from tests.deadline import DEADLINE_S

from .feed import LiveFeed
from .ffmpeg import LiveEncoder
from .loop import LoopMedia, LoopSource
from .options import RoomOptions


class Source(Protocol):
    """One broadcast's media; `directory` holds the HLS files of the formats that have any."""

    directory: Path | None

    @property
    def shown(self) -> list[tuple[int, int]]:
        """From when to when in ms each FLV viewer of an encoder was given its media."""

    def view(self) -> AsyncIterator[bytes]:
        """FLV chunks for a new viewer, each made of whole tags; ends with the broadcast."""

    def jump(self, ms: int) -> None:
        """Add `ms` to all later FLV timestamps."""

    def repeat_headers(self) -> None:
        """Send metadata and sequence headers again."""

    def switch(self, media: LoopMedia) -> None:
        """Go on with another picture in the same stream; ValueError where that cannot be."""

    async def start(self) -> None:
        """Return when every format can be played; RuntimeError when the encoder cannot."""

    async def stop(self) -> None:
        """End the broadcast: FLV ends, playlists get their ENDLIST."""

    async def remove(self) -> None:
        """Forget the files of the broadcast."""


class EncoderSource:
    """A live encoder, its feed, and the folder it writes HLS to."""

    def __init__(self, options: RoomOptions, on_exit: Callable[[], None]) -> None:
        self._options = options
        self.feed = LiveFeed()
        self.directory: Path | None = Path(tempfile.mkdtemp(prefix="studio-"))
        self.encoder = LiveEncoder(options, self.directory, self.feed, on_exit)
        self.view = self.feed.view
        self.jump = self.feed.jump
        self.repeat_headers = self.feed.repeat_headers

    @property
    def shown(self) -> list[tuple[int, int]]:
        return self.feed.shown

    def switch(self, media: LoopMedia) -> None:
        raise ValueError("an encoder keeps its picture: resize needs a room with source loop or unpaced")

    async def start(self) -> None:
        await self.encoder.start()
        async with asyncio.timeout(DEADLINE_S):
            await self.feed.ready.wait()
            # Another process writes these files: there is no event to wait for.
            while not self._playlists_exist() and not self.feed.ended:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        if self.feed.ended:
            raise RuntimeError("the encoder ended before it was ready; its own words are in the log studio.ffmpeg")

    async def stop(self) -> None:
        await self.encoder.stop()

    async def remove(self) -> None:
        if self.directory is not None:
            directory, self.directory = self.directory, None
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    def _playlists_exist(self) -> bool:
        return all(
            self.directory is not None and (self.directory / name / "index.m3u8").exists()
            for name in self._options.formats
            if name != "flv"
        )


class ReplaySource:
    """A loop from memory: FLV only, no process, no files."""

    directory: Path | None = None

    def __init__(self, options: RoomOptions, media: LoopMedia) -> None:
        self._loop = LoopSource(options, media)
        self.view = self._loop.view
        self.jump = self._loop.jump
        self.repeat_headers = self._loop.repeat_headers
        self.switch = self._loop.switch
        self.shown: list[tuple[int, int]] = []

    async def start(self) -> None:
        """Ready at once."""

    async def stop(self) -> None:
        self._loop.end()

    async def remove(self) -> None:
        """Nothing to remove."""
