"""A pre-encoded FLV replayed for ever with rewritten timestamps: many rooms for the price of one encoder run."""

from __future__ import annotations

import asyncio
import bisect
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from .ffmpeg import encode_once
from .flv import AUDIO, SCRIPT, VIDEO, Tag, TagReader
from .options import RoomOptions

# 375 AAC frames of 1024 samples at 48 kHz last exactly 8 s, so that neither track drifts from loop to loop.
LOOP_MS = 8000
_TICK_S = 0.1
_UNPACED_CHUNK_BYTES = 256 << 10


@dataclass(frozen=True)
class LoopMedia:
    """The loop in memory: the headers a decoder needs, then the tags with timestamps in [0, LOOP_MS)."""

    file_header: bytes
    headers: tuple[Tag, ...]
    tags: tuple[Tag, ...]
    stamps: tuple[int, ...]
    keyframes: tuple[int, ...]

    @classmethod
    async def encode(cls, options: RoomOptions) -> LoopMedia:
        """Encode the test card of these options once (about a second of CPU for small pictures)."""
        # Half a second more than the loop: the encoder's delay must not leave the last frames missing.
        flv = await encode_once(options, LOOP_MS / 1000 + 0.5)
        reader = TagReader()
        tags = reader.feed(flv)
        headers = {tag.kind: tag for tag in tags if tag.kind == SCRIPT or tag.is_sequence_header}
        media = [tag for tag in tags if tag.kind in {AUDIO, VIDEO} and not tag.is_sequence_header]
        return cls._assemble(reader.header, headers, media)

    @classmethod
    def _assemble(cls, file_header: bytes, headers: dict[int, Tag], media: list[Tag]) -> LoopMedia:
        base = {kind: min((tag.timestamp for tag in media if tag.kind == kind), default=0) for kind in (AUDIO, VIDEO)}
        rebased = [Tag(tag.kind, tag.timestamp - base[tag.kind], tag.body) for tag in media]
        # At equal times video goes first: the loop then starts at its keyframe.
        kept = sorted((tag for tag in rebased if tag.timestamp < LOOP_MS), key=lambda tag: (tag.timestamp, -tag.kind))
        return cls(
            file_header,
            tuple(headers[kind] for kind in (SCRIPT, VIDEO, AUDIO) if kind in headers),
            tuple(kept),
            tuple(tag.timestamp for tag in kept),
            tuple(index for index, tag in enumerate(kept) if tag.is_keyframe),
        )


@dataclass(frozen=True)
class _Cursor:
    """A place in the endless stream: which loop is replayed, the how manieth time, and the index of the next tag."""

    media: LoopMedia
    lap: int
    index: int

    @property
    def tag(self) -> Tag:
        return self.media.tags[self.index]

    @property
    def stamp(self) -> int:
        return self.lap * LOOP_MS + self.tag.timestamp

    def next(self) -> _Cursor:
        if self.index + 1 < len(self.media.tags):
            return _Cursor(self.media, self.lap, self.index + 1)
        return _Cursor(self.media, self.lap + 1, 0)


def _last_keyframe(media: LoopMedia, now_ms: int) -> _Cursor:
    lap, position = divmod(now_ms, LOOP_MS)
    found = bisect.bisect_right([media.stamps[index] for index in media.keyframes], position)
    return _Cursor(media, lap, media.keyframes[max(0, found - 1)])


def _next_keyframe(media: LoopMedia, now_ms: int) -> _Cursor:
    lap, position = divmod(now_ms, LOOP_MS)
    later = (index for index in media.keyframes if media.stamps[index] >= position)
    index = next(later, None)
    return _Cursor(media, lap + 1, media.keyframes[0]) if index is None else _Cursor(media, lap, index)


class LoopSource:
    """Replays a loop: paced (all viewers see one timeline, from the last keyframe), or as fast as the reader takes."""

    def __init__(self, options: RoomOptions, media: LoopMedia) -> None:
        self._options = options
        self._media = media
        self._started = time.monotonic()
        self._ended = asyncio.Event()
        self._offset_ms = 0
        self._header_epoch = 0

    def jump(self, ms: int) -> None:
        """Add `ms` to all later timestamps."""
        self._offset_ms += ms

    def repeat_headers(self) -> None:
        """Send metadata and sequence headers again, before the next chunk of every viewer."""
        self._header_epoch += 1

    def switch(self, media: LoopMedia) -> None:
        """Go on with another loop from its next keyframe, its headers first; the timeline goes on."""
        self._media = media
        self._header_epoch += 1

    def end(self) -> None:
        """Every viewer's stream ends with its current chunk."""
        self._ended.set()

    def view(self) -> AsyncIterator[bytes]:
        """The chunks for a new viewer."""
        return self._unpaced() if self._options.source == "unpaced" else self._paced()

    async def _paced(self) -> AsyncIterator[bytes]:
        cursor = _last_keyframe(self._media, self._now_ms())
        epoch = self._header_epoch
        yield self._opening()
        while not self._ended.is_set():
            cursor, headers = self._follow(cursor, epoch)
            epoch = self._header_epoch
            cursor, chunk = self._until(cursor, self._now_ms())
            if headers or chunk:
                yield headers + chunk
            await self._tick()

    async def _unpaced(self) -> AsyncIterator[bytes]:
        sent = 0
        cursor = _Cursor(self._media, 0, 0)
        epoch = self._header_epoch
        yield self._opening()
        while sent < self._options.total_bytes and not self._ended.is_set():
            cursor, headers = self._follow(cursor, epoch)
            epoch = self._header_epoch
            cursor, chunk = self._up_to_bytes(cursor, min(_UNPACED_CHUNK_BYTES, self._options.total_bytes - sent))
            sent += len(chunk)
            yield headers + chunk
            # A reader that never makes the transport wait would otherwise keep the event loop for itself.
            await asyncio.sleep(0)

    def _follow(self, cursor: _Cursor, epoch: int) -> tuple[_Cursor, bytes]:
        """What a viewer that saw header epoch `epoch` has to be told first, and where it goes on."""
        if epoch == self._header_epoch:
            return cursor, b""
        if cursor.media is not self._media:
            cursor = _next_keyframe(self._media, cursor.stamp)
        stamp = max(0, cursor.stamp + self._offset_ms)
        return cursor, b"".join(tag.encode(stamp) for tag in self._media.headers)

    async def _tick(self) -> None:
        try:
            async with asyncio.timeout(_TICK_S):
                await self._ended.wait()
        except TimeoutError:
            return

    def _now_ms(self) -> int:
        return int((time.monotonic() - self._started) * 1000)

    def _opening(self) -> bytes:
        return self._media.file_header + b"".join(tag.encode() for tag in self._media.headers)

    def _until(self, cursor: _Cursor, now_ms: int) -> tuple[_Cursor, bytes]:
        parts: list[bytes] = []
        while cursor.stamp <= now_ms:
            parts.append(self._encoded(cursor))
            cursor = cursor.next()
        return cursor, b"".join(parts)

    def _up_to_bytes(self, cursor: _Cursor, wanted: int) -> tuple[_Cursor, bytes]:
        parts: list[bytes] = []
        size = 0
        while size < wanted:
            parts.append(self._encoded(cursor))
            size += len(parts[-1])
            cursor = cursor.next()
        return cursor, b"".join(parts)

    def _encoded(self, cursor: _Cursor) -> bytes:
        return cursor.tag.encode(max(0, cursor.stamp + self._offset_ms))
