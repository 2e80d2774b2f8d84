"""The live FLV of one room: a GOP cache and its viewers, as a CDN edge keeps them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from .flv import AUDIO, SCRIPT, VIDEO, Tag

# A viewer that is this far behind is cut, as an edge does; also the bound of what a stalled viewer may cost.
MAX_BACKLOG_BYTES = 32 << 20


class ViewerTooSlowError(Exception):
    """The viewer's backlog is over the bound; its connection is to be cut."""


class FeedView:
    """What one viewer still has to be sent: whole tags, in order."""

    def __init__(self) -> None:
        self._tags: deque[bytes] = deque()
        self._bytes = 0
        self._ended = False
        self._wake = asyncio.Event()

    def push(self, tag: bytes) -> None:
        """Queue one encoded tag (or the file header)."""
        self._tags.append(tag)
        self._bytes += len(tag)
        self._wake.set()

    def end(self) -> None:
        """No more tags will come."""
        self._ended = True
        self._wake.set()

    @property
    def backlog(self) -> int:
        """The bytes that are queued."""
        return self._bytes

    async def chunks(self) -> AsyncIterator[bytes]:
        """Everything queued so far, joined; ends when the feed does. Raises ViewerTooSlowError."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._bytes > MAX_BACKLOG_BYTES:
                raise ViewerTooSlowError(f"{self._bytes} bytes behind")
            if self._tags:
                chunk = b"".join(self._tags)
                self._tags.clear()
                self._bytes = 0
                yield chunk
            if self._ended and not self._tags:
                return


class LiveFeed:
    """Takes tags from an encoder and gives every viewer: file header, metadata, sequence headers, the GOP so far, then live."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.ended = False
        self._file_header = b""
        self._headers: dict[int, Tag] = {}
        self._gop: list[bytes] = []
        self._views: set[FeedView] = set()
        self._offset_ms = 0
        self._now_ms = 0
        self._gop_ms = 0
        self._shown: list[tuple[int, int | None]] = []

    @property
    def shown(self) -> list[tuple[int, int]]:
        """The encoder's time in ms of the first and of the last tag that each viewer was given."""
        return [(first, self._now_ms if last is None else last) for first, last in self._shown]

    @property
    def backlog(self) -> int:
        """The bytes that wait for the viewer who is furthest behind."""
        return max((view.backlog for view in self._views), default=0)

    def begin(self, file_header: bytes) -> None:
        """The file header of the encoder, before its first tag."""
        self._file_header = file_header

    def publish(self, tag: Tag) -> None:
        """One tag from the encoder to the cache and to all viewers."""
        if tag.kind == SCRIPT or tag.is_sequence_header:
            self._headers[tag.kind] = tag
        else:
            self._now_ms = tag.timestamp
        encoded = tag.encode(self._stamp(tag.timestamp))
        if tag.is_keyframe:
            self._gop, self._gop_ms = [], tag.timestamp
            self.ready.set()
        if self.ready.is_set() and tag.kind != SCRIPT and not tag.is_sequence_header:
            self._gop.append(encoded)
        self._send(encoded)

    def view(self) -> AsyncIterator[bytes]:
        """The chunks for a new viewer, until the feed ends or the viewer stops asking."""
        return self._viewing()

    def jump(self, ms: int) -> None:
        """Add `ms` to all later timestamps."""
        self._offset_ms += ms

    def repeat_headers(self) -> None:
        """Send metadata and sequence headers once more, stamped now."""
        for tag in self._ordered_headers():
            self._send(tag.encode(self._stamp(self._now_ms)))

    def end(self) -> None:
        """The encoder stopped: every viewer gets what is queued and then the end."""
        self.ended = True
        self.ready.set()
        for view in self._views:
            view.end()

    async def _viewing(self) -> AsyncIterator[bytes]:
        view = FeedView()
        view.push(self._file_header)
        for tag in self._ordered_headers():
            view.push(tag.encode())
        for encoded in self._gop:
            view.push(encoded)
        if self.ended:
            view.end()
        self._views.add(view)
        number, first = len(self._shown), self._gop_ms
        self._shown.append((first, None))
        try:
            async for chunk in view.chunks():
                yield chunk
        finally:
            self._shown[number] = (first, self._now_ms)
            self._views.discard(view)

    def _ordered_headers(self) -> list[Tag]:
        return [self._headers[kind] for kind in (SCRIPT, VIDEO, AUDIO) if kind in self._headers]

    def _stamp(self, timestamp: int) -> int:
        return max(0, timestamp + self._offset_ms)

    def _send(self, encoded: bytes) -> None:
        for view in self._views:
            view.push(encoded)
