"""The chat log: every message as JSON lines, in gzip members of at most 100 messages, which end with each flush.

The finished log of a media segment begins with one line about itself, ``{"aircheck_chat":1,"head":{…},"start_ms":…,"breaks":[[at,lost],…]}``: with
it every other format can be made again from this file alone. The journal's chunks have no such line.

A process that is killed loses what was not flushed and nothing else: each flush writes one complete gzip member, and
gzip members may simply follow each other (RFC 1952, section 2.2). The log is the source of truth, the XML is made from it.
"""

from __future__ import annotations

import json
import mmap
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from media.chat.head import ChatHead
from media.chat.message import ChatMessage, InvalidLine, decode_line, encode_line
from media.chat.timing import Timing

MEMBER_MESSAGES: Final = 100
MEMBER_MAX_BYTES: Final = 64 << 20
"""A member that unpacks to more was not written by this service (100 lines of at most 1 MiB, in practice 25 KiB)."""

_GZIP: Final = 31
_MAGIC: Final = b"\x1f\x8b\x08"
_LEVEL: Final = 1
"""Level 6 takes twice the time for 6 % fewer bytes: most of a chat line does not repeat."""
_READ: Final = 64 << 10


HEAD_BEGINS: Final = b'{"aircheck_chat":'


@dataclass(frozen=True, slots=True)
class LogHead:
    """What the first line of a finished log says: whose chat it is, and how it lies on the video."""

    head: ChatHead
    timing: Timing


def encode_head(about: LogHead) -> bytes:
    """The first line of a log."""
    data = {"aircheck_chat": 1, "head": asdict(about.head), **about.timing.to_json()}
    return json.dumps(data, separators=(",", ":")).encode() + b"\n"


def decode_head(data: Mapping[str, Any]) -> LogHead:
    """What a first line, or the head of a JSON file, says. Raises InvalidLine."""
    about = data.get("head")
    try:
        given = dict(about or {})
        names = {one.name for one in fields(ChatHead)} - {"live_started_at"}
        head = ChatHead(
            live_started_at=int(given.get("live_started_at", 0)),
            **{name: str(value) for name, value in given.items() if name in names},
        )
        return LogHead(head, Timing.from_json(data))
    except (TypeError, ValueError, KeyError) as error:
        raise InvalidLine(f"not the head of a chat file: {type(error).__name__}") from error


class ChatLogWriter:
    """Appends messages to a log. The caller calls `flush` at least every 500 ms; 100 messages flush by themselves."""

    def __init__(self, path: Path, about: LogHead | None = None) -> None:
        """Create the log. Raises FileExistsError."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
        self._file = os.fdopen(os.open(path, flags, 0o644), "ab", buffering=0)
        self._pending: list[bytes] = [encode_head(about)] if about else []
        self.lines = 0
        self.size = 0
        self.flush()

    def append(self, message: ChatMessage) -> None:
        """Add one message; OSError when a flush of a full member fails."""
        self.extend([encode_line(message)])

    def extend(self, lines: Sequence[bytes]) -> None:
        """Add messages by their lines, see `append`; after an OSError all of them wait for the next flush."""
        members = len(self._pending) // MEMBER_MESSAGES
        self._pending += lines
        self.lines += len(lines)
        # Not "is a member full": on a full disk every single message would compress what waits.
        if len(self._pending) // MEMBER_MESSAGES > members:
            self.flush()

    def flush(self) -> None:
        """Write what is pending in gzip members. Afterwards it survives the end of this process."""
        while self._pending:
            member = zlib.compress(b"".join(self._pending[:MEMBER_MESSAGES]), _LEVEL, _GZIP)
            write_all(self._file.fileno(), member, self.size)
            self.size += len(member)
            del self._pending[:MEMBER_MESSAGES]

    def close(self, *, sync: bool = True) -> int:
        """Flush, sync to disk and close; the size of the file in bytes. Closing again does nothing."""
        if not self._file.closed:
            self.flush()
            if sync:
                os.fsync(self._file.fileno())
            self._file.close()
        return self.size

    def abandon(self) -> None:
        """Close without writing what is pending."""
        self._pending.clear()
        self._file.close()


def write_all(descriptor: int, data: bytes, end: int) -> None:
    """Append all of `data`, however many calls that takes, to a file of `end` bytes; all or nothing.

    When the disk is full the part that was written is cut off again, so that the caller may retry. Raises OSError.
    """
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError:
        os.ftruncate(descriptor, end)
        raise


class ChatLogReader:
    """The messages of a log, in order. Damage costs the damaged members, or lines, and no more.

    After iteration `damaged_members` and `skipped_lines` say what could not be read, `about` is what the first line said.
    `done` grows from 0 to the size of the file while it is read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.about: LogHead | None = None
        self.done = 0
        self.damaged_members = 0
        self.skipped_lines = 0

    def __iter__(self) -> Iterator[ChatMessage]:
        self.damaged_members = self.skipped_lines = 0
        with self._path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                for member in self._members(data):
                    yield from self._messages(member)

    def page(self, first: int, limit: int) -> list[tuple[int, ChatMessage]]:
        """At most ``limit`` messages from line ``first`` on, with the numbers of their lines; what comes before is skipped unread.

        Lines are counted from 0 without the one about the log itself; one that cannot be read has a number and no message.
        """
        found: list[tuple[int, ChatMessage]] = []
        number = 0
        with self._path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return found
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                for member in self._members(data):
                    if member.startswith(HEAD_BEGINS):
                        list(self._messages(member))
                        number += member.count(b"\n") - 1
                        continue
                    end = number + member.count(b"\n")
                    if end > first:
                        found += _numbered(member, number, first)
                    number = end
                    if len(found) >= limit:
                        return found[:limit]
        return found

    def _members(self, data: mmap.mmap) -> Iterator[bytes]:
        at = 0
        while 0 <= at < len(data):
            member, end, whole = _unpack(data, at)
            if whole:
                at = end
            else:
                self.damaged_members += 1
                at = data.find(_MAGIC, at + 1)
            self.done = at if at >= 0 else len(data)
            yield member

    def _messages(self, member: bytes) -> Iterator[ChatMessage]:
        """A torn member ends in the middle of a line, which is not a line then."""
        *lines, torn = member.split(b"\n")
        self.skipped_lines += bool(torn)
        for line in lines:
            try:
                if line.startswith(HEAD_BEGINS):
                    self.about = self.about or decode_head(json.loads(line))
                    continue
                yield decode_line(line)
            except ValueError:
                self.skipped_lines += 1


def _numbered(member: bytes, number: int, first: int) -> Iterator[tuple[int, ChatMessage]]:
    for at, line in enumerate(member.split(b"\n")[:-1], number):
        if at >= first:
            try:
                yield at, decode_line(line)
            except InvalidLine:
                continue


def _unpack(data: mmap.mmap, start: int) -> tuple[bytes, int, bool]:
    """One member: its bytes (of a damaged one those before the damage), where it ends, and whether it is whole."""
    inflater = zlib.decompressobj(_GZIP)
    output = bytearray()
    at = start
    try:
        while at < len(data) and not inflater.eof:
            piece = data[at : at + _READ]
            at += len(piece)
            output += inflater.decompress(piece, MEMBER_MAX_BYTES - len(output))
            if inflater.unconsumed_tail or len(output) >= MEMBER_MAX_BYTES:
                return b"", at, False
    except zlib.error:
        return bytes(output), at, False
    return bytes(output), at - len(inflater.unused_data), inflater.eof
