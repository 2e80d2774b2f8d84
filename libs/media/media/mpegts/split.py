"""Cuts an endless transport stream into pieces that begin with a key frame, as if they were the segments of a playlist."""

from __future__ import annotations

from media.mpegts.nal import has_key_frame
from media.mpegts.packets import PACKET_BYTES, aligned, find_sync, is_random_access, unit, unit_starts
from media.mpegts.pes import elementary_data
from media.mpegts.psi import Program
from media.mpegts.scan import MAX_ACCESS_UNIT_PACKETS, scan_ts

MIN_UNITS = 8
"""Pictures in a piece at least: a stream of nothing but key frames is not cut at each of them."""
MIN_AUDIO_BYTES = 32 << 10
"""A piece of a stream without pictures: two seconds at 128 kbit/s."""
MAX_PIECE_BYTES = 32 << 20
"""A stream whose key frames are not recognised is cut here; also the bound on memory."""

MAX_UNKNOWN_BYTES = 2 << 20
"""Tables come several times a second. What is longer without them is looked through once and passed on: looking at it all again with each
packet would take minutes of a hostile stream."""


class TsSplitter:
    """Feed bytes as they come; complete pieces come back. What precedes the first key frame cannot be decoded and is left out."""

    def __init__(self) -> None:
        self._rest = b""
        self._piece = bytearray()
        self._scanned = 0
        self._units = 0
        self._begun = False
        self._program: Program | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """Add bytes; returns the pieces that they complete."""
        self._take(data)
        pieces: list[bytes] = []
        while (boundary := self._boundary()) is not None:
            piece = bytes(self._piece[:boundary])
            del self._piece[:boundary]
            self._scanned, self._units = PACKET_BYTES, 1
            if self._begun:
                pieces.append(piece)
            self._begun = True
        return pieces

    def finish(self) -> list[bytes]:
        """The last piece, which nothing follows; afterwards another stream may be fed."""
        last = [bytes(self._piece)] if self._begun and self._piece else []
        self.__init__()  # type: ignore[misc]
        return last

    def _take(self, data: bytes) -> None:
        data = self._rest + data
        start = find_sync(data) if data[:1] != b"G" else 0
        if start is None:
            self._rest = data[-2 * PACKET_BYTES :]
            return
        end = start + (len(data) - start) // PACKET_BYTES * PACKET_BYTES
        self._rest = data[end:]
        self._piece += aligned(data[start:end])

    def _boundary(self) -> int | None:
        """Where the next piece begins; looks at each packet once."""
        data = bytes(self._piece)
        if self._program is None:
            self._program = scan_ts(data).program
            if self._program is None:
                return len(data) if len(data) > MAX_UNKNOWN_BYTES else None
        # The last packets of a picture that may be a key frame can still be on their way.
        for offset, pid in unit_starts(data[self._scanned :]):
            at = self._scanned + offset
            if self._begins(data, at, pid):
                return at
        self._scanned = len(data)
        return None

    def _begins(self, data: bytes, at: int, pid: int) -> bool:
        assert self._program is not None
        video, audio = self._program.video, self._program.audio
        if video is None:
            return audio is not None and pid == audio.pid and (not self._begun or at >= MIN_AUDIO_BYTES)
        if pid != video.pid:
            return False
        self._units += 1
        if at > MAX_PIECE_BYTES:
            return True
        return (not self._begun or self._units > MIN_UNITS) and self._is_key(data, at, video.codec)

    def _is_key(self, data: bytes, at: int, codec: str) -> bool:
        if is_random_access(data, at):
            return True
        return has_key_frame(codec, elementary_data(unit(data, at, MAX_ACCESS_UNIT_PACKETS)[0]))
