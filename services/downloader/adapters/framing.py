"""Where the body of an HTTP answer ends: by its length, by its chunks, or with the connection. RFC 9112 §6.3 and §7.1; bytes in, bytes out."""

from __future__ import annotations

import re
from typing import Final, Protocol

MAX_LINE: Final = 8190
"""The longest line with the size of a chunk and its extensions, and the longest trailer."""
MAX_TRAILERS: Final = 64 << 10
"""Bytes of all trailers together."""
_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?\r?\n")
_TRAILER: Final = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*\r?\n")
_USUAL_LINE: Final = 32


class BadFraming(ValueError):
    """The bytes are not framed as the answer said."""


class Framing(Protocol):
    """Takes the bytes of a connection behind the head of an answer and gives those of the body."""

    @property
    def done(self) -> bool:
        """The body is complete; what follows on the connection is none of it."""

    @property
    def may_end(self) -> bool:
        """Whether a connection that is closed here leaves a whole body."""

    def feed(self, data: memoryview) -> list[memoryview]:
        """The parts of the body that lie in ``data``, as views of it; raises BadFraming."""


class UntilClosed:
    """The end of the connection is the end of the body."""

    done, may_end = False, True

    def feed(self, data: memoryview) -> list[memoryview]:
        """See `Framing`."""
        return [data] if data else []


class OfLength:
    """So many bytes."""

    def __init__(self, length: int) -> None:
        self._missing = length

    @property
    def done(self) -> bool:
        """See `Framing`."""
        return not self._missing

    may_end = done

    def feed(self, data: memoryview) -> list[memoryview]:
        """See `Framing`."""
        part = data[: self._missing]
        self._missing -= len(part)
        return [part] if part else []


class Chunked:
    """The chunked transfer coding: lines with sizes, data, a chunk of size zero, trailers, which are dropped.

    A line may end with a line feed alone (RFC 9112 §2.2); nothing else is forgiven.
    """

    def __init__(self) -> None:
        self.done = False
        self._missing = 0  # bytes of the chunk in hand
        self._behind = False  # the end of the line behind a chunk's data is due
        self._last = False  # the chunk of size zero came: trailers
        self._line = b""  # the beginning of a line that is not whole yet
        self._trailers = 0

    @property
    def may_end(self) -> bool:
        """See `Framing`."""
        return self.done

    def feed(self, data: memoryview) -> list[memoryview]:
        """See `Framing`."""
        parts: list[memoryview] = []
        position, size = 0, len(data)
        while position < size and not self.done:
            if self._missing:
                part = data[position : position + self._missing]
                parts.append(part)
                position += len(part)
                self._missing -= len(part)
                self._behind = not self._missing
            else:
                position = self._read_line(data, position)
        return parts

    def _read_line(self, data: memoryview, position: int) -> int:
        """Take what there is of a line; returns the position behind it."""
        room = MAX_LINE - len(self._line)
        block = bytes(data[position : position + min(room, _USUAL_LINE)])
        end = block.find(b"\n")
        if end < 0:
            block = bytes(data[position : position + room])
            end = block.find(b"\n")
        if end < 0:
            self._line += block
            if len(self._line) >= MAX_LINE:
                raise BadFraming("a line of the chunked coding is too long")
            return position + len(block)
        line, self._line = self._line + block[: end + 1], b""
        self._take_line(line)
        return position + end + 1

    def _take_line(self, line: bytes) -> None:
        if self._behind:
            self._behind = False
            if line not in (b"\r\n", b"\n"):
                raise BadFraming("a chunk is longer than its size")
        elif self._last:
            self._take_trailer(line)
        elif (match := _SIZE_LINE.fullmatch(line)) is None:
            raise BadFraming("no size of a chunk where one was due")
        else:
            self._missing = int(match[1], 16)
            self._last = not self._missing

    def _take_trailer(self, line: bytes) -> None:
        self._trailers += len(line)
        if self._trailers > MAX_TRAILERS or _TRAILER.fullmatch(line) is None:
            raise BadFraming("trailers that are none, or too many")
        self.done = line in (b"\r\n", b"\n")
