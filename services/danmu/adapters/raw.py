"""The frames of a chat as they came, kept so that a parser that is mended later can read them again.

A file is a row of zstd frames, one per flush, which may simply follow each other; what a killed process did not flush is all it loses. Inside
is one line of JSON, ``{"aircheck_raw":1,"kind":"bilibili"}``, and then records: time of receipt (unix ms, u64), connection (u32, counted from
1), direction (u8: 0 received, 1 sent), length (u32), all big-endian, and the bytes. Of what is sent only the time and the length are kept:
a greeting holds a token.
"""

from __future__ import annotations

import io
import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast

import zstandard
from media.chat.log import write_all

SUFFIX: Final = ".frames.zst"
RECEIVED, SENT = 0, 1
MAX_FRAME: Final = 16 << 20
_RECORD: Final = struct.Struct(">QIBI")
_LEVEL: Final = 3


class RawFrame(NamedTuple):
    """One frame. ``data`` is empty for what was sent."""

    at: int
    connection: int
    direction: int
    size: int
    data: bytes


class InvalidRaw(ValueError):
    """A file that holds no raw frames."""


class RawWriter:
    """Appends frames to a file that is made with the first one, up to ``limit`` bytes of it; later frames are counted and left out."""

    def __init__(self, path: Path, kind: str, limit: int) -> None:
        self._path, self._limit = path, limit
        self._pending = bytearray(json.dumps({"aircheck_raw": 1, "kind": kind}).encode() + b"\n")
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self._descriptor: int | None = None
        self._any = False
        self._closed = False
        self._size = 0
        self.left_out = 0

    def add(self, at: int, connection: int, direction: int, data: bytes) -> None:
        """Keep a frame until the next flush."""
        if self._closed or self._size + len(self._pending) >= self._limit:
            self.left_out += 1
            return
        self._any = True
        kept = data if direction == RECEIVED else b""
        self._pending += _RECORD.pack(at, connection, direction, len(data)) + kept

    def flush(self) -> None:
        """Hand what is pending to the system. Raises OSError; it is tried again with the next flush."""
        if not self._any or not self._pending or self._closed:
            return
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o600)
        packed = self._compressor.compress(bytes(self._pending))
        write_all(self._descriptor, packed, self._size)
        self._size += len(packed)
        self._pending.clear()

    def close(self) -> None:
        """Flush and close. Raises OSError. Closing again does nothing."""
        try:
            self.flush()
        finally:
            self._closed = True
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None


class RawReader:
    """The frames of a file in order; a torn end costs what is behind it. ``kind`` and ``torn`` are known after iteration has begun and ended."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.kind = ""
        self.torn = False

    def __iter__(self) -> Iterator[RawFrame]:
        """Raises InvalidRaw, OSError."""
        with self._path.open("rb") as file:
            packed = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
            stream = cast(BinaryIO, io.BufferedReader(packed, 1 << 16))
            try:
                self._begin(stream)
                yield from self._records(stream)
            except zstandard.ZstdError:
                if not self.kind:
                    raise InvalidRaw(f"{self._path.name} holds no raw frames") from None
                self.torn = True

    def _begin(self, stream: BinaryIO) -> None:
        try:
            about = json.loads(stream.readline(1024))
            if about["aircheck_raw"] != 1:
                raise InvalidRaw(f"{self._path.name} is of version {about['aircheck_raw']!r}")
            self.kind = str(about["kind"])
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidRaw(f"{self._path.name} holds no raw frames") from error

    def _records(self, stream: BinaryIO) -> Iterator[RawFrame]:
        while head := stream.read(_RECORD.size):
            if len(head) < _RECORD.size:
                self.torn = True
                return
            at, connection, direction, size = _RECORD.unpack(head)
            wanted = size if direction == RECEIVED else 0
            if wanted > MAX_FRAME:
                self.torn = True
                return
            data = stream.read(wanted) if wanted else b""
            if len(data) < wanted:
                self.torn = True
                return
            yield RawFrame(at, connection, direction, size, data)
