"""Writes FLV tags: payload views are gathered and handed to the file in few large writes."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from io import FileIO
from typing import BinaryIO, Final

from media.flv.tag import KEYFRAME, PREVIOUS_TAG_SIZE, TAG_HEADER_SIZE, FlvHeader, Tag

FILE_HEADER_SIZE: Final = 9
DEFAULT_BUFFER: Final = 1 << 20
_MAX_PARTS: Final = 1024  # of one system call, IOV_MAX of Linux and the BSDs
_OVERHEAD: Final = TAG_HEADER_SIZE + PREVIOUS_TAG_SIZE
# The size behind the tag before, then the header of this one: one pack per tag.
_pack = struct.Struct(">III3x").pack


def encode_header(header: FlvHeader) -> bytes:
    """The nine bytes that begin a file."""
    return struct.pack(">3sBBI", b"FLV", header.version, header.flags, FILE_HEADER_SIZE)


def encode_tag(tag: Tag) -> bytes:
    """One tag with the size behind it, for small things such as a script tag; media goes through FlvWriter."""
    header = _pack(0, tag.type << 24 | tag.size, _time_word(tag.timestamp))[4:]
    return header + bytes(tag.payload) + (tag.size + TAG_HEADER_SIZE).to_bytes(4)


def _time_word(timestamp: int) -> int:
    return (timestamp & 0xFFFFFF) << 8 | timestamp >> 24 & 255


class FlvWriter:
    """Appends tags to a binary file from its current beginning, buffered; timestamps are written minus `base`.

    Tags are gathered as views of what was received, and written when they are `buffer_size` bytes and the caller says that nothing more
    comes at the moment (:meth:`settle`), or when they are many. The size behind the last tag is written with the next tag or by `finish`: a
    file whose writer was killed lacks those four bytes at most, besides what was still buffered.
    """

    def __init__(self, file: BinaryIO, *, buffer_size: int = DEFAULT_BUFFER) -> None:
        self._file = file
        # The parts of an unbuffered file need not be joined: the system takes them one by one.
        self._descriptor = file.fileno() if isinstance(file, FileIO) else None
        self._buffer_size = buffer_size
        self._most = max(buffer_size, DEFAULT_BUFFER)
        self._parts: list[bytes | memoryview] = []
        self._size_behind = 0
        self._written = 0
        self.position = 0  # where the next tag header will stand, buffered bytes included

    def start(self, header: FlvHeader) -> None:
        """Write the file header; the first call on a new file."""
        self._parts.append(encode_header(header))
        self.position = FILE_HEADER_SIZE + PREVIOUS_TAG_SIZE

    def write(self, tags: Sequence[Tag], base: int = 0) -> list[tuple[int, int]]:
        """Append tags; return `(timestamp, file position)` of each keyframe among them."""
        append, pack, behind, position = self._parts.append, _pack, self._size_behind, self.position
        keyframes: list[tuple[int, int]] = []
        for tag in tags:
            payload = tag.payload
            size = len(payload)
            timestamp = tag.timestamp - base
            if tag.kind == KEYFRAME:
                keyframes.append((timestamp, position))
            append(pack(behind, tag.type << 24 | size, (timestamp & 0xFFFFFF) << 8 | timestamp >> 24 & 255))
            append(payload)
            behind = size + TAG_HEADER_SIZE
            position += size + _OVERHEAD
        self._size_behind, self.position = behind, position
        if position - self._written >= self._most:
            self.flush()
        return keyframes

    def settle(self) -> None:
        """Nothing more comes for now: write what is buffered if it is worth it."""
        if self.position - self._written >= self._buffer_size:
            self.flush()

    def flush(self) -> None:
        """Hand everything buffered to the file in one write."""
        parts = self._parts
        if not parts:
            return
        if self._descriptor is None:
            block = b"".join(parts)
            _write_all(self._file, block)
            self._written += len(block)
        else:
            for at in range(0, len(parts), _MAX_PARTS):
                self._written += _write_parts(self._descriptor, parts[at : at + _MAX_PARTS])
        parts.clear()

    def overwrite(self, position: int, data: bytes) -> None:
        """Replace bytes written before; what is buffered reaches the file first, so an index names no position that is not there."""
        self.flush()
        self._file.seek(position)
        _write_all(self._file, data)
        self._file.seek(self._written)

    def finish(self) -> int:
        """Write the size behind the last tag and flush; return the bytes of the file."""
        self._parts.append(self._size_behind.to_bytes(PREVIOUS_TAG_SIZE))
        self.flush()
        return self._written


def _write_all(file: BinaryIO, data: bytes) -> None:
    """Write all of `data`: an unbuffered file may take only a part at a time."""
    written = file.write(data)
    if written == len(data):
        return
    view = memoryview(data)[written or 0 :]
    while view:
        view = view[file.write(view) or 0 :]


def _write_parts(descriptor: int, parts: Sequence[bytes | memoryview]) -> int:
    """Write all of `parts`, of which the system may take only some at a time; return their bytes."""
    size = sum(map(len, parts))
    written = os.writev(descriptor, parts)
    if written < size:
        rest = memoryview(b"".join(parts))[written:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    return size
