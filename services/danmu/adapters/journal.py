"""What was received for one session and is in no finished file yet, on this machine's disk.

A message is journalled when it comes, long before it is known where the video is cut; the files are made from the journal afterwards.
That is why a killed process loses only what was not flushed, and why making a file twice gives the same file. The journal is a folder of
chunks, each a chat log written by one owner: the name begins with the epoch of its lease, so that a process which does not know yet that
it was replaced never writes where its successor does.
"""

from __future__ import annotations

import re
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

from media.chat.log import ChatLogReader, ChatLogWriter
from media.chat.message import ChatMessage, encode_line

CHUNKS_WHILE_WAITING: Final = 8
"""The journal that has no file to go to is dropped in pieces of this share of its limit."""
HAND_OVER_MS: Final = 30_000
"""Two owners may both have received a message that is at most this old."""
ALIKE_MS: Final = 5_000
"""Where the platform gives neither id nor time, two owners' copies came at most this far apart by the clocks of their machines."""
MAX_ALIKE: Final = 1024
PRUNE_EVERY: Final = 10_000
MAX_UNWRITTEN: Final = 20_000
"""Lines kept in memory while the disk takes none."""

_NAME: Final = re.compile(r"(\d{8})-(\d{5})\.chat\.jsonl\.gz")


@dataclass(slots=True)
class Chunk:
    """One file of the journal; ``last_ms`` is the latest time of receipt in it."""

    path: Path
    epoch: int
    lines: int = 0
    last_ms: int = 0


class Journal:
    """Written by one task; closed chunks may be read by another thread meanwhile."""

    def __init__(self, folder: Path, epoch: int) -> None:
        """Go on in ``folder``, which is made; what earlier owners left there is not looked at before `adopt`. Raises OSError."""
        self._folder, self._epoch = folder, epoch
        folder.mkdir(parents=True, exist_ok=True)
        self._closed: list[Chunk] = []
        self._chunk = Chunk(folder, epoch)
        self._writer: ChatLogWriter | None = None
        self._number = 0
        self._floor_ms = 0
        self._unwritten = 0
        self.limit: int | None = None
        """At most about this many lines are kept, the oldest go first; ``None``: all of them."""
        self.dropped = 0
        """Lines that the limit, or a full disk, has cost."""

    @property
    def lines(self) -> int:
        """How many lines the journal holds."""
        return sum(chunk.lines for chunk in self._closed) + self._chunk.lines

    def adopt(self, chunks: Sequence[Chunk]) -> None:
        """Take over what earlier owners left, see `left_behind`: it precedes everything of this owner."""
        self._closed[:0] = chunks

    def extend(self, messages: Sequence[ChatMessage], lines: Sequence[bytes]) -> None:
        """Add messages with their lines. Raises OSError when the disk does not take them; they are then kept in memory, within bounds."""
        room = MAX_UNWRITTEN - self._unwritten
        if room < len(lines):
            self.dropped += len(lines) - room
            messages, lines = messages[:room], lines[:room]
        if not lines:
            return
        times = [message.received_at for message in messages]
        if min(times) < self._floor_ms:
            # The clock was set back, or the file of that time is finished already.
            times = [max(at, self._floor_ms) for at in times]
            lines = [encode_line(one._replace(received_at=at)) for one, at in zip(messages, times, strict=True)]
        writer = self._writer or self._begin()
        self._chunk.lines += len(lines)
        self._chunk.last_ms = max(self._chunk.last_ms, *times)
        self._unwritten += len(lines)
        writer.extend(lines)
        if self.limit is not None:
            self._trim(self.limit)

    def flush(self) -> None:
        """Hand what is pending to the system: afterwards it survives the end of this process. Raises OSError."""
        if self._writer is not None:
            self._writer.flush()
        self._unwritten = 0

    def rotate(self, floor_ms: int = 0) -> tuple[Chunk, ...]:
        """Close the current chunk and return all closed ones, in order; later messages count as received at ``floor_ms`` or after."""
        self.flush()
        self._floor_ms = max(self._floor_ms, floor_ms)
        if self._writer is not None:
            self._writer.close(sync=False)
            self._closed.append(self._chunk)
            self._writer, self._chunk = None, Chunk(self._folder, self._epoch)
        return tuple(self._closed)

    def forget(self, before_ms: int) -> None:
        """Remove the closed chunks that hold nothing received at ``before_ms`` or later."""
        for chunk in [one for one in self._closed if one.last_ms < before_ms - self._memory_ms(one)]:
            chunk.path.unlink(missing_ok=True)
            self._closed.remove(chunk)

    def _memory_ms(self, chunk: Chunk) -> int:
        """What another owner heard last may still come from this one's connection, behind the cut."""
        return 0 if chunk.epoch == self._epoch else HAND_OVER_MS

    def abandon(self) -> None:
        """Another owner has taken over: close without writing anything."""
        if self._writer is not None:
            self._writer.abandon()
            self._writer = None

    def _begin(self) -> ChatLogWriter:
        self._number += 1
        path = self._folder / f"{self._epoch:08}-{self._number:05}.chat.jsonl.gz"
        self._writer, self._chunk = ChatLogWriter(path), Chunk(path, self._epoch)
        return self._writer

    def _trim(self, limit: int) -> None:
        if self._chunk.lines < max(limit // CHUNKS_WHILE_WAITING, 1):
            return
        self.rotate()
        while self._closed and self.lines > limit:
            oldest = self._closed.pop(0)
            oldest.path.unlink(missing_ok=True)
            self.dropped += oldest.lines


def chunk_paths(folder: Path) -> list[Path]:
    """The chunks in a folder, oldest first."""
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name)) if folder.is_dir() else []


def chunks_until(folder: Path, epoch: int) -> list[Path]:
    """The chunks of this owner and earlier ones; a successor may write to the same folder already."""
    return [path for path in chunk_paths(folder) if _epoch(path) <= epoch]


def left_behind(folder: Path, epoch: int) -> list[Chunk]:
    """What owners with a smaller epoch left in a folder; each chunk is read once to measure it. Blocking."""
    return [_measured(path) for path in chunk_paths(folder) if _epoch(path) < epoch]


def is_chunk_name(name: str) -> bool:
    """Whether a file of this name can be part of a journal."""
    return _NAME.fullmatch(name) is not None


def remove(folder: Path) -> None:
    """Remove a journal and everything beside it. Blocking."""
    shutil.rmtree(folder, ignore_errors=True)


def received_between(chunks: Sequence[Chunk], lower_ms: int, upper_ms: int) -> Iterator[ChatMessage]:
    """The messages received from ``lower_ms`` up to, not including, ``upper_ms``, without what two owners both received."""
    one_owner = all(before.epoch == after.epoch for before, after in pairwise(chunks))
    for message in _plain(chunks) if one_owner else _distinct(chunks):
        if lower_ms <= message.received_at < upper_ms:
            yield message


def _plain(chunks: Iterable[Chunk]) -> Iterator[ChatMessage]:
    for chunk in chunks:
        yield from ChatLogReader(chunk.path)


def _distinct(chunks: Iterable[Chunk]) -> Iterator[ChatMessage]:
    """A message counts as repeated only across owners: one connection may well bring the same line twice."""
    seen, latest = _Heard(), _Heard()
    epoch = 0
    for chunk in chunks:
        if chunk.epoch != epoch:
            seen, latest, epoch = latest, _Heard(), chunk.epoch
        for message in ChatLogReader(chunk.path):
            latest.add(message)
            if not seen.take(message):
                yield message


class _Heard:
    """What one owner heard, as far back as another one may have heard it too. Each is taken once: two alike are two."""

    def __init__(self) -> None:
        self._at: dict[tuple[object, ...], deque[int]] = {}
        self._added = 0

    def add(self, message: ChatMessage) -> None:
        """Remember when this came."""
        self._at.setdefault(_identity(message), deque(maxlen=MAX_ALIKE)).append(message.received_at)
        self._added += 1
        if self._added % PRUNE_EVERY == 0:
            oldest = message.received_at - HAND_OVER_MS
            self._at = {key: times for key, times in self._at.items() if times[-1] >= oldest}

    def take(self, message: ChatMessage) -> bool:
        """Whether this is another copy of something that was heard."""
        times = self._at.get(_identity(message))
        if not times:
            return False
        window_ms = HAND_OVER_MS if message.id or message.sent_at else ALIKE_MS
        nearest = min(times, key=lambda at: abs(at - message.received_at))
        if abs(nearest - message.received_at) > window_ms:
            return False
        times.remove(nearest)
        return True


def _identity(message: ChatMessage) -> tuple[object, ...]:
    """What two copies of a message share: the platform's id, else content, sender and, where the platform tells it, time of sending."""
    return (message.kind, message.id) if message.id else message._replace(received_at=0)


def _measured(path: Path) -> Chunk:
    chunk = Chunk(path, _epoch(path))
    for message in ChatLogReader(path):
        chunk.lines += 1
        chunk.last_ms = max(chunk.last_ms, message.received_at)
    return chunk


def _epoch(path: Path) -> int:
    return int(path.name.partition("-")[0])
