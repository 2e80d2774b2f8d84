"""Cuts an endless fragmented MP4 into its initialisation section and its fragments."""

from __future__ import annotations

from dataclasses import dataclass

from media.fmp4.boxes import Mp4Error, read_header

MAX_PART_BYTES = 64 << 20
"""One fragment with all that stands before it; the largest seen are a GOP of some seconds at 50 Mbit/s. Also the bound on memory."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A complete part of the stream: an initialisation section (``ftyp`` and ``moov``), or one fragment up to its ``mdat``."""

    data: bytes
    is_init: bool


class Mp4Splitter:
    """Feed bytes as they come; complete parts come back. Raises Mp4Error when the bytes are no boxes, or too large ones."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0

    def feed(self, data: bytes) -> list[Cut]:
        """Add bytes; returns the parts that they complete."""
        self._buffer += data
        cuts: list[Cut] = []
        while (kind := self._next_box()) is not None:
            if kind in (b"moov", b"mdat"):
                cuts.append(Cut(bytes(self._buffer[: self._scanned]), kind == b"moov"))
                del self._buffer[: self._scanned]
                self._scanned = 0
        return cuts

    def finish(self) -> list[Cut]:
        """Forget an unfinished part: a fragment without its media cannot be played. Afterwards another stream may be fed."""
        self._buffer.clear()
        self._scanned = 0
        return []

    def _next_box(self) -> bytes | None:
        """Move over the next box when it is here as a whole."""
        if len(self._buffer) - self._scanned < 16:
            return None
        box = read_header(self._buffer, self._scanned, len(self._buffer))
        if box is None or box.end > MAX_PART_BYTES or not all(32 <= byte < 127 for byte in box.kind):
            raise Mp4Error("this is no box of a fragmented MP4")
        if box.end > len(self._buffer):
            return None
        self._scanned = box.end
        return box.kind
