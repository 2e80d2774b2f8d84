"""Recording an endless MPEG-TS or fragmented MP4: cut at its key frames, its pieces are recorded like the segments of a playlist."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from contracts.values import Json
from media.fmp4 import Mp4Error
from media.fmp4.split import Mp4Splitter
from media.hls import Discontinuity, Init, InitSection, Media, MissingMedia, PlanCursor, SegmentTask, StreamItem
from media.hls.containers import Container, FragmentedMp4, TransportStream, looks_like_mp4
from media.mpegts import CLOCK_HZ
from media.mpegts.split import TsSplitter
from media.segments import GapReason

from services.downloader.adapters.engine import Chunk, Progress, SourceFailed, StartPoint, Take
from services.downloader.adapters.hls_writer import HlsWriter

SAME_CLOCK_S = 60.0
"""A new connection that begins this near to where the last one ended goes on with the same clock."""
_SECTION = InitSection("stream")


class PieceStream:
    """Feeds an :class:`HlsWriter`; file numbers and the timeline go on over reconnects."""

    def __init__(self, take: Take, *, stall_s: float) -> None:
        # There is no playlist: a cursor would mean nothing to whoever goes on.
        self._writer = HlsWriter(
            replace(take, start=replace(take.start, cursor=None), keep_cursor=_forget), lambda: 0.0
        )
        self._stall_s = stall_s
        self._splitter: _Splitter | None = None
        self._container: Container | None = None
        self._order = 0
        self._fresh_connection = False
        self._last = b""
        self._last_data_at = self._advanced_at = time.monotonic()

    @property
    def progress(self) -> Progress:
        """See `Engine`."""
        return self._writer.progress

    @property
    def here(self) -> StartPoint:
        """See `Engine`."""
        return replace(self._writer.here, cursor=None)

    @property
    def flowing(self) -> bool:
        """See `Engine`."""
        return self._writer.flowing

    def connected(self) -> None:
        """See `Stream`."""
        self._put(self._splitter.finish() if self._splitter else [])
        self._fresh_connection = True
        self._advanced_at = time.monotonic()

    async def feed(self, chunk: Chunk) -> None:
        """See `Stream`."""
        data = bytes(chunk)
        if self._splitter is None:
            self._splitter = _Mp4() if looks_like_mp4(data) else _Ts()
        try:
            items = self._splitter.feed(data)
        except Mp4Error as error:
            raise SourceFailed("not a fragmented MP4") from error
        self._put(items)
        if self._writer.error is not None:
            raise self._writer.error
        await self._writer.room()
        self._last_data_at = time.monotonic()
        if items:
            self._advanced_at = self._last_data_at
        elif self._last_data_at - self._advanced_at > 2 * self._stall_s:
            raise SourceFailed("bytes arrive, but no media")

    def cut(self) -> None:
        """See `Engine`."""
        self._writer.cut()

    async def finish(self) -> None:
        """See `Engine`."""
        self._put(self._splitter.finish() if self._splitter else [])
        await self._writer.finish()

    async def abandon(self) -> None:
        """See `Engine`."""
        await self._writer.abandon()

    def _put(self, pieces: list[tuple[bool, bytes]]) -> None:
        for is_init, data in pieces:
            self._writer.put([Init(_SECTION, data)] if is_init else self._media(data))
            if is_init:
                self._understand(data)

    def _media(self, data: bytes) -> Iterator[StreamItem]:
        if self._fresh_connection and self._last:
            missing_ms = self._missing_ms(data)
            if missing_ms is None:
                return
            yield Discontinuity()
            yield MissingMedia(self._order, self._order, missing_ms, GapReason.DISCONNECTED)
        self._fresh_connection, self._last = False, data
        self._order += 1
        yield Media(SegmentTask(self._order, self._order, "", 1.0, PlanCursor(self._order, "stream")), data)

    def _missing_ms(self, data: bytes) -> int | None:
        """What a new connection lost: by the stream's clock if it is the same one, else by ours. None: it was written already.

        Servers send again what they keep for new viewers.
        """
        (_, ended), (begins, ends) = self._times(self._last), self._times(data)
        if ended is None or begins is None or ends is None or abs(begins - ended) > SAME_CLOCK_S * CLOCK_HZ:
            return round((time.monotonic() - self._last_data_at) * 1000)
        return None if (begins + ends) // 2 < ended else max(0, begins - ended) * 1000 // CLOCK_HZ

    def _times(self, data: bytes) -> tuple[int | None, int | None]:
        """Where a piece begins and ends, in ticks of 90 kHz."""
        if self._container is None:
            self._container = TransportStream()
        piece = self._container.inspect(data)
        if piece is None or piece.start is None:
            return None, None
        return piece.start, piece.start + (piece.duration or 0)

    def _understand(self, init: bytes) -> None:
        try:
            self._container = FragmentedMp4(init)
        except Mp4Error as error:
            raise SourceFailed("not a fragmented MP4") from error


class _Splitter(Protocol):
    """Initialisation sections (True) and media (False), complete, in order."""

    def feed(self, data: bytes) -> list[tuple[bool, bytes]]: ...

    def finish(self) -> list[tuple[bool, bytes]]: ...


class _Ts:
    def __init__(self) -> None:
        self._splitter = TsSplitter()

    def feed(self, data: bytes) -> list[tuple[bool, bytes]]:
        return [(False, piece) for piece in self._splitter.feed(data)]

    def finish(self) -> list[tuple[bool, bytes]]:
        return [(False, piece) for piece in self._splitter.finish()]


class _Mp4:
    def __init__(self) -> None:
        self._splitter = Mp4Splitter()

    def feed(self, data: bytes) -> list[tuple[bool, bytes]]:
        return [(cut.is_init, cut.data) for cut in self._splitter.feed(data)]

    def finish(self) -> list[tuple[bool, bytes]]:
        return [(cut.is_init, cut.data) for cut in self._splitter.finish()]


def _forget(_: Json) -> None:
    """Nothing is kept."""
