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
from media.mpegts import CLOCK_HZ, unwrap
from media.mpegts.split import TsSplitter
from media.segments import GapReason

from services.downloader.adapters.engine import Chunk, Progress, SourceFailed, StartPoint, Take
from services.downloader.adapters.hls_writer import HlsWriter

SAME_CLOCK_S = 60.0
"""A new connection that begins this near to where the last one ended goes on with the same clock."""
SAME_START_S = 0.2
"""Pieces of one clock that begin this near to each other are the same group of pictures; the shortest groups are longer."""
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
        self._torn = (
            b""  # the piece that a broken connection did not bring to its end: the next one may bring all of it
        )
        self._last_data_at = self._advanced_at = self._connected_at = time.monotonic()
        self._broke_at = self._last_data_at

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
        torn = self._splitter.finish() if self._splitter else []
        if torn or not self._fresh_connection:
            self._broke_at = self._last_data_at
        self._connected_at = self._advanced_at = time.monotonic()
        for _, data in torn:
            self._tear(data)
        self._fresh_connection = True

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
        self._writer.put(map(self._next, self._take_torn()))
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
        if self._fresh_connection and (self._last or self._torn):
            if self._torn and self._covers(data):
                self._torn = b""
            missing_ms = self._missing_ms(data)
            if missing_ms is None:
                return
            for torn in self._take_torn():
                yield self._next(torn)
            yield Discontinuity()
            yield MissingMedia(self._order, self._order, missing_ms, GapReason.DISCONNECTED)
        self._fresh_connection = False
        yield self._next(data)

    def _next(self, data: bytes) -> Media:
        self._last = data
        self._order += 1
        return Media(SegmentTask(self._order, self._order, "", 1.0, PlanCursor(self._order, "stream")), data)

    def _tear(self, data: bytes) -> None:
        """Hold what is left of a broken connection. Of one group of pictures that broke twice the longer part is kept."""
        self._times(self._last)  # the tables of the stream may be there alone
        begins, ends = self._times(data)
        if begins is not None and begins == ends:
            return  # a single picture, and perhaps not all of it
        if not self._torn or self._covers(data):
            self._torn = data
        else:
            self._put([(False, data)])

    def _take_torn(self) -> list[bytes]:
        torn, self._torn = self._torn, b""
        return [torn] if torn else []

    def _covers(self, data: bytes) -> bool:
        """Whether a piece holds all of the torn one."""
        began, ended = self._times(self._torn)
        begins, ends = self._times(data, ended)
        if began is None or ended is None or begins is None or ends is None:
            return False
        return abs(begins - began) <= SAME_START_S * CLOCK_HZ and ends >= ended

    def _missing_ms(self, data: bytes) -> int | None:
        """What a new connection lost: by the stream's clock if it is the same one, else by ours. None: it was written already.

        Servers send again what they keep for new viewers.
        """
        _, ended = self._times(self._torn or self._last)
        begins, ends = self._times(data, ended)
        if ended is None or begins is None or ends is None or abs(begins - ended) > SAME_CLOCK_S * CLOCK_HZ:
            return round((self._connected_at - self._broke_at) * 1000)
        return None if (begins + ends) // 2 < ended else max(0, begins - ended) * 1000 // CLOCK_HZ

    def _times(self, data: bytes, near: int | None = None) -> tuple[int | None, int | None]:
        """Where a piece begins and ends, in ticks of 90 kHz; both are the same for a single picture. ``near``: the clock may have wrapped."""
        if self._container is None:
            self._container = TransportStream()
        piece = self._container.inspect(data)
        if piece is None or piece.start is None:
            return None, None
        start = piece.start
        if near is not None and self._container.modulus is not None:
            start = unwrap(start, near)
        return start, start + (piece.duration or 0)

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
