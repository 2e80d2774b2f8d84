"""Recording an endless MPEG-TS or fragmented MP4: cut at its key frames, its pieces are recorded like the segments of a playlist."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from contracts.values import Json
from media.fmp4 import Mp4Error
from media.fmp4.split import Mp4Splitter
from media.hls import Discontinuity, Init, InitSection, Media, MissingMedia, PlanCursor, SegmentTask, StreamItem
from media.hls.containers import FragmentedMp4, TransportStream, looks_like_mp4
from media.mpegts import CLOCK_HZ, unwrap
from media.mpegts.split import TsSplitter
from media.segments import GapReason

from services.downloader.adapters.engine import Chunk, Progress, SourceFailed, StartPoint, Take
from services.downloader.adapters.hls_writer import HlsWriter

SAME_CLOCK_S = 60.0
"""A new connection that begins this near to where the last one ended goes on with the same clock."""
SAME_START_S = 0.2
"""Pieces of one clock that begin this near to each other are the same group of pictures; the shortest groups are longer."""
REMEMBERED = 64
"""Pieces of which it is known that they were written: more than a server keeps for new viewers."""
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
        self._container: TransportStream | FragmentedMp4 | None = None
        self._order = 0
        self._fresh_connection = False
        self._last = _UNKNOWN
        self._written: deque[_About] = deque(maxlen=REMEMBERED)
        # The piece that a broken connection did not bring to its end: the next one may bring all of it.
        self._torn: tuple[bytes, _About] | None = None
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
        self._writer.put(self._next(*torn) for torn in self._take_torn())
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
        about = self._about(data)
        if self._fresh_connection and (self._order or self._torn):
            if self._torn and about.covers(self._torn[1]):
                self._torn = None
            missing_ms = self._missing_ms(about)
            if missing_ms is None:
                return
            for torn in self._take_torn():
                yield self._next(*torn)
            yield Discontinuity()
            yield MissingMedia(self._order, self._order, missing_ms, GapReason.DISCONNECTED)
        self._fresh_connection = False
        yield self._next(data, about)

    def _next(self, data: bytes, about: _About) -> Media:
        self._last = about
        self._written.append(about)
        self._order += 1
        return Media(SegmentTask(self._order, self._order, "", 1.0, PlanCursor(self._order, "stream")), data)

    def _tear(self, data: bytes) -> None:
        """Hold what is left of a broken connection. Of one group of pictures that broke twice the longer part is kept."""
        about = self._about(data)
        if about.begins is not None and about.begins == about.ends:
            return  # a single picture, and perhaps not all of it
        if self._torn is None or about.covers(self._torn[1]):
            self._torn = data, about
        else:
            self._put([(False, data)])

    def _take_torn(self) -> list[tuple[bytes, _About]]:
        torn, self._torn = self._torn, None
        return [torn] if torn else []

    def _missing_ms(self, about: _About) -> int | None:
        """What a new connection lost: by the stream's clock if it goes on, else by ours. None: it was written already.

        Servers send again what they keep for new viewers. A clock that is behind proves nothing: many muxers begin anew with each connection.
        """
        ended = (self._torn[1] if self._torn else self._last).ends
        begins = about.begins
        if ended is not None and begins is not None and abs(begins - ended) <= SAME_CLOCK_S * CLOCK_HZ:
            if begins >= ended - SAME_START_S * CLOCK_HZ:
                return max(0, begins - ended) * 1000 // CLOCK_HZ
            torn = [self._torn[1]] if self._torn else []
            if any(about.repeats(one) for one in (*self._written, *torn)):
                return None
        return round((self._connected_at - self._broke_at) * 1000)

    def _about(self, data: bytes) -> _About:
        """What tells a piece from others; times go on where the clock of the stream wraps around."""
        if self._container is None:
            self._container = TransportStream()
        piece = self._container.inspect(data)
        if piece is None or piece.start is None:
            return _UNKNOWN
        start, near = piece.start, self._last.ends
        if near is not None and self._container.modulus is not None:
            start = unwrap(start, near)
        return _About(start, start + (piece.duration or 0), self._container.mark(piece.data))

    def _understand(self, init: bytes) -> None:
        try:
            self._container = FragmentedMp4(init)
        except Mp4Error as error:
            raise SourceFailed("not a fragmented MP4") from error


@dataclass(frozen=True, slots=True)
class _About:
    """Where a piece begins and ends, in ticks of 90 kHz (both are the same for a single picture), and a fingerprint of how it begins."""

    begins: int | None
    ends: int | None
    mark: int

    def repeats(self, other: _About) -> bool:
        """Whether both begin with the same media at the same time."""
        if self.begins is None or other.begins is None:
            return False
        return self.mark == other.mark and abs(self.begins - other.begins) <= SAME_START_S * CLOCK_HZ

    def covers(self, torn: _About) -> bool:
        """Whether this holds all of what is left of another one."""
        return self.repeats(torn) and (self.ends or 0) >= (torn.ends or 0)


_UNKNOWN = _About(None, None, 0)


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
