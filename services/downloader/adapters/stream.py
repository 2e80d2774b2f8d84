"""The engine for endless streams: whatever brings the bytes, their container decides who records them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Literal, Protocol

from contracts.values import EndReason, Json, Source
from media.hls.containers import looks_like_mp4, looks_like_transport_stream

from services.downloader.adapters.engine import Chunk, Feed, Offline, Progress, SourceFailed, StartPoint, Take
from services.downloader.adapters.flv_stream import FlvStream
from services.downloader.adapters.piece_stream import PieceStream

SNIFF_BYTES = 1024
"""Enough for five transport packets; the other containers show themselves in their first bytes."""
Container = Literal["flv", "ts", "fmp4"]


class Stream(Protocol):
    """Records the bytes of one container."""

    @property
    def progress(self) -> Progress: ...

    @property
    def here(self) -> StartPoint: ...

    @property
    def flowing(self) -> bool: ...

    def connected(self) -> None:
        """The next bytes come from a new connection."""

    async def feed(self, chunk: Chunk) -> None:
        """Take bytes; raises SourceFailed when they are no media, DiskFailed."""

    def cut(self) -> None: ...

    async def finish(self) -> None: ...

    async def abandon(self) -> None: ...


class StreamEngine:
    """Plays feeds one after the other; the same container goes on in the same recorder, whoever brings it."""

    def __init__(self, feed: Feed, take: Take, *, stall_s: float) -> None:
        self._feed, self._take, self._stall_s = feed, take, stall_s
        self._stream: Stream | None = None
        self._container: Container | None = None
        self._before = Progress(take.start.index)
        self._first_index = take.start.index

    @property
    def progress(self) -> Progress:
        """See `Engine`."""
        if self._stream is None:
            return self._before
        now, before = self._stream.progress, self._before
        return Progress(now.index, before.bytes + now.bytes, before.duration_ms + now.duration_ms)

    @property
    def here(self) -> StartPoint:
        """See `Engine`."""
        return self._stream.here if self._stream else self._take.start

    @property
    def flowing(self) -> bool:
        """See `Engine`."""
        return self.here.index > self._first_index

    def fed_by(self, feed: Feed) -> None:
        """From the next connection on the bytes come from elsewhere."""
        self._feed = feed

    async def play(self, source: Source) -> None:
        """See `Engine`. A stream that ends in good order may be a restart as well as the end."""
        async with self._feed.open(source) as chunks:
            head = await _head(chunks)
            stream = await self._recording(container_of(head))
            stream.connected()
            await stream.feed(head)
            del head  # it may be hundreds of kilobytes, and the connection lasts for hours
            async for chunk in chunks:
                await stream.feed(chunk)
        raise SourceFailed("the server ended the stream", over=True)

    def cut(self) -> None:
        """See `Engine`."""
        if self._stream is not None:
            self._stream.cut()

    async def finish(self) -> None:
        """See `Engine`."""
        if self._stream is not None:
            await self._stream.finish()

    async def abandon(self) -> None:
        """See `Engine`."""
        if self._stream is not None:
            await self._stream.abandon()

    # Standing by and handing over: the recorder of FLV can, pieces cannot.

    @property
    def holds(self) -> Json | None:
        """See `Holder`."""
        return self._holder.holds if self._holder else None

    @property
    def tail(self) -> Json | None:
        """See `Holder`."""
        return self._holder.tail if self._holder else None

    def holds_group(self, mark: int) -> bool:
        """See `Holder`."""
        return self._holder is not None and self._holder.holds_group(mark)

    def forget_before(self, at: float) -> None:
        """See `Holder`."""
        if self._holder is not None:
            self._holder.forget_before(at)

    async def join(self, take: Take) -> None:
        """See `Holder`."""
        self._take, self._first_index, self._before = take, take.start.index, Progress(take.start.index)
        if self._holder is not None:
            await self._holder.join(take)

    async def leave(self, holds: Json) -> None:
        """See `Holder`."""
        if self._holder is not None:
            await self._holder.leave(holds)

    @property
    def _holder(self) -> FlvStream | None:
        return self._stream if isinstance(self._stream, FlvStream) else None

    async def _recording(self, container: Container) -> Stream:
        """Who records this container: the same as before, or a successor that goes on where the one before stopped."""
        if self._stream is not None and container == self._container:
            return self._stream
        if container != "flv" and self._take.hold is not None:
            raise Offline("this engine cannot stand by", EndReason.FAILED)
        if self._stream is not None:
            await self._stream.finish()
            self._before = self.progress
            self._take = replace(self._take, start=self._stream.here)
        make: Callable[..., Stream] = FlvStream if container == "flv" else PieceStream
        self._stream, self._container = make(self._take, stall_s=self._stall_s), container
        return self._stream


def container_of(head: bytes) -> Container:
    """The container that a stream begins with; what is none counts as FLV with junk in front, which its parser searches.

    Raises SourceFailed for nothing, and for a playlist.
    """
    if looks_like_mp4(head):
        return "fmp4"
    if not head.startswith(b"FLV") and looks_like_transport_stream(head):
        return "ts"
    if head.removeprefix(b"\xef\xbb\xbf").startswith(b"#EXTM3U"):
        raise SourceFailed("the address gives a playlist, not a stream")
    if not head:
        raise SourceFailed("the server ended the stream", over=True)
    return "flv"


async def _head(chunks: AsyncIterator[Chunk]) -> bytes:
    head = b""
    async for chunk in chunks:
        head += chunk
        if len(head) >= SNIFF_BYTES:
            break
    return head
