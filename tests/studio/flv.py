"""FLV tags as the studio sends them: read from an encoder, written with other timestamps.

The studio is the oracle for the recorder's own FLV code and therefore shares nothing with it.
Source: Adobe Flash Video File Format Specification 10.1, annex E; Enhanced RTMP v2 for the extended headers.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

AUDIO, VIDEO, SCRIPT = 8, 9, 18
FILE_HEADER_BYTES = 13  # "FLV", version, flags, offset, and the first PreviousTagSize
TAG_HEADER_BYTES = 11
MAX_TAG_BYTES = 0xFFFFFF
_AVC, _HEVC, _AAC, _EXTENDED_AUDIO = 7, 12, 10, 9


@dataclass(frozen=True, slots=True)
class Tag:
    """One FLV tag: `kind` is 8, 9 or 18, `timestamp` milliseconds, `body` without the tag header."""

    kind: int
    timestamp: int
    body: bytes

    @property
    def is_sequence_header(self) -> bool:
        """True for the codec configuration that a decoder needs before the first frame."""
        if self.kind == VIDEO and len(self.body) > 1:
            if self.body[0] & 0x80:
                return self.body[0] & 0x0F == 0
            return self.body[0] & 0x0F in {_AVC, _HEVC} and self.body[1] == 0
        if self.kind == AUDIO and len(self.body) > 1:
            sound_format = self.body[0] >> 4
            if sound_format == _EXTENDED_AUDIO:
                return self.body[0] & 0x0F == 0
            return sound_format == _AAC and self.body[1] == 0
        return False

    @property
    def is_keyframe(self) -> bool:
        """True for a coded key frame (not for a sequence header, nor for an end of sequence)."""
        if self.kind != VIDEO or len(self.body) < 2 or (self.body[0] >> 4) & 0x07 != 1:
            return False
        if self.body[0] & 0x80:
            return self.body[0] & 0x0F in {1, 3}
        return self.body[0] & 0x0F not in {_AVC, _HEVC} or self.body[1] == 1

    def encode(self, timestamp: int | None = None) -> bytes:
        """The tag with its header and PreviousTagSize, stamped `timestamp` (its own by default) modulo 2^32."""
        stamp = (self.timestamp if timestamp is None else timestamp) & 0xFFFFFFFF
        size = len(self.body)
        header = struct.pack(
            ">BBHBHB3x", self.kind, size >> 16, size & 0xFFFF, (stamp >> 16) & 0xFF, stamp & 0xFFFF, stamp >> 24
        )
        return b"".join((header, self.body, struct.pack(">I", TAG_HEADER_BYTES + size)))


class TagReader:
    """Cuts a byte stream into tags; `header` holds the 13 bytes of the file header once they were read."""

    def __init__(self) -> None:
        self.header = b""
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Tag]:
        """The tags that are complete after `data`; ValueError when the stream is no FLV."""
        self._pending += data
        if not self.header:
            if len(self._pending) < FILE_HEADER_BYTES:
                return []
            self.header = bytes(self._pending[:FILE_HEADER_BYTES])
            if self.header[:3] != b"FLV":
                raise ValueError("not an FLV stream")
            del self._pending[:FILE_HEADER_BYTES]
        return self._cut()

    def _cut(self) -> list[Tag]:
        tags: list[Tag] = []
        at = 0
        while len(self._pending) - at >= TAG_HEADER_BYTES:
            kind = self._pending[at]
            size = int.from_bytes(self._pending[at + 1 : at + 4], "big")
            end = at + TAG_HEADER_BYTES + size + 4
            if len(self._pending) < end:
                break
            stamp = int.from_bytes(self._pending[at + 4 : at + 7], "big") | self._pending[at + 7] << 24
            tags.append(Tag(kind, stamp, bytes(self._pending[at + TAG_HEADER_BYTES : end - 4])))
            at = end
        del self._pending[:at]
        return tags


def half_of_first_tag(chunk: bytes) -> bytes:
    """The first tag of `chunk` (which starts at a tag) up to the middle of its body."""
    return chunk[: TAG_HEADER_BYTES + int.from_bytes(chunk[1:4], "big") // 2]
