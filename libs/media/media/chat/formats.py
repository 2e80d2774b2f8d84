"""Reads and writes chat files by format: the log, XML, ASS, SRT, JSON, CSV. Formats of input are told apart by content, not by name."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final, Protocol

from media.chat.ass import AssOptions, ass_lines
from media.chat.head import ChatHead
from media.chat.log import ChatLogReader, decode_head
from media.chat.message import MAX_LINE_BYTES, InvalidLine, decode_line
from media.chat.srt import CUE_S, srt_lines
from media.chat.tables import JSON_OPENING, csv_lines, json_lines
from media.chat.timing import Timed, Timing
from media.chat.xml import xml_lines
from media.chat.xml_reader import XmlChatReader

_GZIP: Final = b"\x1f\x8b"
_OFFSET: Final = b'{"offset_ms":'
_PIECE: Final = 1 << 16


class OutputFormat(StrEnum):
    """What chat can be written as."""

    XML = "xml"
    ASS = "ass"
    SRT = "srt"
    JSON = "json"
    CSV = "csv"


class UnknownFormat(ValueError):
    """The content of a file is no chat that can be read here."""


@dataclass(frozen=True, slots=True)
class Style:
    """How text formats look. ``gifts``: show gifts and memberships in SRT too (`ass` has its own switch)."""

    ass: AssOptions = field(default_factory=AssOptions)
    cue_s: float = CUE_S
    gifts: bool = False


class ChatInput(Protocol):
    """Chat read from a file. ``head`` and ``start_ms`` are complete after iteration; ``damaged`` counts what could not be read by then."""

    size: int

    @property
    def head(self) -> ChatHead: ...

    @property
    def start_ms(self) -> int:
        """Unix milliseconds of the start of the video, 0 = unknown."""

    @property
    def done(self) -> int:
        """Bytes of the file read so far."""

    @property
    def damaged(self) -> int: ...

    def __iter__(self) -> Iterator[Timed]: ...


def open_chat(path: Path) -> ChatInput:
    """The chat of a log, an XML or a JSON file. Raises UnknownFormat, OSError."""
    with path.open("rb") as file:
        begin = file.read(256).removeprefix(b"\xef\xbb\xbf").lstrip()
    if begin.startswith(_GZIP):
        return _Log(path)
    if begin.startswith(b"<"):
        return _Xml(path)
    if begin.startswith(JSON_OPENING.encode()):
        return _Json(path)
    raise UnknownFormat(f"{path.name} is neither a chat log (.jsonl.gz) nor chat XML nor JSON of this program")


class _Log:
    def __init__(self, path: Path) -> None:
        self._reader = ChatLogReader(path)
        self.size = path.stat().st_size
        self.start_ms = 0

    @property
    def head(self) -> ChatHead:
        return self._reader.about.head if self._reader.about else ChatHead()

    @property
    def done(self) -> int:
        return self._reader.done

    @property
    def damaged(self) -> int:
        return self._reader.damaged_members + self._reader.skipped_lines

    def __iter__(self) -> Iterator[Timed]:
        """A log without a first line about itself begins with its first message."""
        timing: Timing | None = None
        for message in self._reader:
            if timing is None:
                timing = self._reader.about.timing if self._reader.about else Timing(message.received_at)
                self.start_ms = timing.start_ms
            yield timing.of(message)


class _Xml:
    def __init__(self, path: Path) -> None:
        self._reader = XmlChatReader(path)
        self.size = path.stat().st_size
        self.start_ms = 0

    @property
    def head(self) -> ChatHead:
        return self._reader.head

    @property
    def done(self) -> int:
        return self._reader.done

    @property
    def damaged(self) -> int:
        return self._reader.skipped

    def __iter__(self) -> Iterator[Timed]:
        for timed in self._reader:
            if not self.start_ms and timed.message.sent_at:
                self.start_ms = max(timed.message.sent_at - timed.offset_ms, 0)
            yield timed


class _Json:
    """The JSON of this program, read line by line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.head, self.start_ms = ChatHead(), 0
        self.size, self.done, self.damaged = path.stat().st_size, 0, 0

    def __iter__(self) -> Iterator[Timed]:
        with self._path.open("rb") as file:
            self._begin(file.readline(MAX_LINE_BYTES))
            while line := file.readline(MAX_LINE_BYTES):
                self.done += len(line)
                text = line.strip().removesuffix(b",")
                if text in (b"", b"]}"):
                    continue
                try:
                    offset, _, _ = text.removeprefix(_OFFSET).partition(b",")
                    yield Timed(max(int(offset), 0), decode_line(text))
                except ValueError:
                    self.damaged += 1

    def _begin(self, line: bytes) -> None:
        self.done += len(line)
        try:
            about = decode_head(json.loads(line.strip() + b"]}"))
        except (ValueError, InvalidLine) as error:
            raise UnknownFormat(f"{self._path.name} is not JSON of this program") from error
        self.head, self.start_ms = about.head, about.timing.start_ms


def write_chat(
    messages: Iterable[Timed],
    path: Path,
    to: OutputFormat,
    *,
    head: Callable[[], ChatHead],
    start_ms: Callable[[], int],
    style: Style,
) -> int:
    """Write a whole file, replacing one of that name only when it is complete; the number of messages read. Raises OSError.

    ``head`` and ``start_ms`` are asked after the first message was read.
    """
    counted = _Counted(messages)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            for piece in _rendered(counted, to, head, start_ms, style):
                file.write(piece)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return counted.count


class _Counted:
    """Counts, and reads the first message before anybody asks for the head."""

    def __init__(self, messages: Iterable[Timed]) -> None:
        self._iterator = iter(messages)
        self._first = next(self._iterator, None)
        self.count = 0

    def __iter__(self) -> Iterator[Timed]:
        if self._first is not None:
            self.count += 1
            yield self._first
        for timed in self._iterator:
            self.count += 1
            yield timed


def _rendered(
    messages: Iterable[Timed], to: OutputFormat, head: Callable[[], ChatHead], start_ms: Callable[[], int], style: Style
) -> Iterator[bytes]:
    if to is OutputFormat.JSON:
        yield from json_lines(messages, head(), start_ms())
        return
    lines = {
        OutputFormat.XML: lambda: xml_lines(messages, head(), start_ms()),
        OutputFormat.ASS: lambda: ass_lines(messages, style.ass, head().title),
        OutputFormat.SRT: lambda: srt_lines(messages, cue_s=style.cue_s, gifts=style.gifts),
        OutputFormat.CSV: lambda: csv_lines(messages),
    }[to]()
    pending: list[str] = []
    for line in lines:
        pending.append(line)
        if len(pending) >= 1024:
            yield "".join(pending).encode("utf-8", "replace")
            pending.clear()
    yield "".join(pending).encode("utf-8", "replace")
