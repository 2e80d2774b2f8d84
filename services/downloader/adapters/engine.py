"""What an engine is: it plays one source at a time into files and tells what happens, whatever the protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from contracts.values import EndReason, Json, Source

OpenFile = Callable[[int, str], BinaryIO]
"""Index and extension to an empty file opened for writing; the recorder closes it."""

Chunk = bytes | memoryview
"""What a source sends, in pieces. A view stays as it is for as long as somebody holds it, but keeps a whole buffer: copy what stays long."""

EXPIRED = frozenset({401, 403, 404, 410})
"""HTTP statuses that a signed address answers with when its time is over."""


class SourceFailed(Exception):
    """One connection is over. ``over``: the server ended it in good order, which may be the end of the broadcast.

    The message goes into events, so it names no address.
    """

    def __init__(self, cause: str, *, status: int | None = None, over: bool = False) -> None:
        super().__init__(cause)
        self.status, self.over = status, over

    @property
    def stale(self) -> bool:
        """Whether trying the same address again makes little sense: ask for fresh ones."""
        return self.over or self.status in EXPIRED


class LineFailed(SourceFailed):
    """The connection could not be made, broke, or brought nothing in time: nobody refused, and the same address may work in a moment."""


class NeedsFfmpeg(SourceFailed):
    """Our own engine cannot record this source, but ffmpeg can."""


class SourcesUnavailable(Exception):
    """Nobody says at the moment where the media is; asking again later may help."""


class Offline(Exception):
    """The channel is not live any more (``SOURCE_ENDED``), or can never be recorded (``FAILED``)."""

    def __init__(self, detail: str, reason: EndReason = EndReason.SOURCE_ENDED) -> None:
        super().__init__(detail)
        self.reason = reason


class DiskFailed(Exception):
    """A file could not be written. Not an OSError, so that no network code mistakes it for a broken connection."""


@dataclass(frozen=True, slots=True)
class SegmentOpened:
    """A file was begun; ``start_ms`` is its place on the recording's timeline, ``started_at`` when that moment was received."""

    index: int
    extension: str
    start_ms: int
    started_at: datetime


@dataclass(frozen=True, slots=True)
class SegmentCompleted:
    """A file was finished and closed."""

    index: int
    start_ms: int
    bytes: int
    duration_ms: int
    reason: str
    repairs: tuple[Json, ...] = ()
    started_at: datetime | None = None
    """When its first media was on air, if more is known than when it was opened."""
    joint: Callable[[], Json] | None = None
    """How another owner goes on behind this file, should everything after it be lost with its machine."""


@dataclass(frozen=True, slots=True)
class GapOpened:
    """No media from ``at_ms`` on."""

    at_ms: int
    cause: str


@dataclass(frozen=True, slots=True)
class GapClosed:
    """Media again; ``lost_ms`` is missing."""

    at_ms: int
    lost_ms: int


EngineEvent = SegmentOpened | SegmentCompleted | GapOpened | GapClosed
Emit = Callable[[EngineEvent], None]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the engine came since it began; ``index`` is that of the open file."""

    index: int = 0
    bytes: int = 0
    duration_ms: int = 0


@dataclass(frozen=True, slots=True)
class StartPoint:
    """Where a recording goes on: the next file number, the end of its timeline, when that was reached, how far its playlist was written."""

    index: int = 0
    position_ms: int = 0
    position_at: datetime | None = None
    cursor: Json | None = None

    def now_ms(self, now: datetime) -> int:
        """Where on the timeline media belongs that arrives ``now``."""
        if self.position_at is None:
            return self.position_ms
        return self.position_ms + max(0, round((now - self.position_at).total_seconds() * 1000))


@dataclass(slots=True)
class Bounds:
    """When files are cut; None is no limit. May change while a recording runs: engines look again for each file."""

    max_duration_ms: int | None = None
    max_bytes: int | None = None


class Gaps:
    """The one gap that can be open: told once when it opens, once when media flows again."""

    def __init__(self, emit: Emit, *, open_at_ms: int | None = None) -> None:
        self._emit, self._at_ms = emit, open_at_ms
        self._cause = ""

    @property
    def is_open(self) -> bool:
        """Whether media is missing right now."""
        return self._at_ms is not None

    def open(self, at_ms: int, cause: str) -> None:
        """Media is missing from here on; nothing happens when it was already."""
        self._cause = cause
        if self._at_ms is None:
            self._at_ms = at_ms
            self._emit(GapOpened(at_ms, cause))

    def reopen(self, at_ms: int) -> None:
        """It was closed by media that another break followed: missing from here on, for the cause of that one."""
        self.open(at_ms, self._cause)

    def close(self, at_ms: int, lost_ms: int | None = None) -> None:
        """Media flows again; without ``lost_ms`` everything from the opening to here is lost."""
        if self._at_ms is not None:
            lost = max(0, at_ms - self._at_ms) if lost_ms is None else lost_ms
            self._at_ms = None
            self._emit(GapClosed(at_ms, lost))


@dataclass(frozen=True, slots=True)
class Hold:
    """A standby writes nothing: it holds the newest media, at most so many bytes, in unnamed files of a folder or in memory."""

    folder: Path | None
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Take:
    """What one engine works on: where it goes on, where files are opened, whom it tells.

    ``keep_cursor`` is called, possibly in a thread, after each piece of a playlist with what another owner needs to go on behind it.
    ``durable`` turns a cursor into the last one that another owner can go on behind.
    ``behind`` is the tail of the media that another owner wrote; ``keep_tail``: note one here. ``whole_groups``: let a
    file end with a group of pictures whenever this process dies, because another one holds what follows. ``hold``: see `Holder`.
    """

    open_file: OpenFile
    start: StartPoint
    gaps: Gaps
    emit: Emit
    bounds: Bounds = field(default_factory=Bounds)
    keep_cursor: Callable[[Json], None] = lambda _: None
    behind: Json | None = None
    keep_tail: bool = False
    durable: Callable[[Json | None], Json | None] = lambda cursor: cursor
    whole_groups: bool = False
    hold: Hold | None = None


class Feed(Protocol):
    """Where the bytes of an endless stream come from: a connection, or a program that plays a source for us."""

    def open(self, source: Source) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        """Begin; the chunks end when the source does. Raises SourceFailed, also while they are read."""


class Engine(Protocol):
    """Plays sources of one protocol into the files of one recording."""

    @property
    def progress(self) -> Progress: ...

    @property
    def here(self) -> StartPoint:
        """Where a successor goes on after :meth:`finish`."""

    @property
    def flowing(self) -> bool:
        """Whether media has been written to a file."""

    async def play(self, source: Source) -> None:
        """Write what the source sends until it is over for good; raises SourceFailed or DiskFailed."""

    def cut(self) -> None:
        """Begin a new file at the next keyframe."""

    async def finish(self) -> None:
        """Write what is held and close the file; raises DiskFailed."""

    async def abandon(self) -> None:
        """Stop at once and leave the file as it is: another owner recovers it."""


@runtime_checkable
class Holder(Protocol):
    """An engine that can stand by for another owner, and hand over to one that does."""

    @property
    def holds(self) -> Json | None:
        """From where on media is held, in the terms of this engine; ``None`` while none is."""

    def holds_group(self, mark: int) -> bool:
        """Whether the whole group of pictures is held that begins with the keyframe of this mark, as it stands in files of FLV."""

    def forget_before(self, at: float) -> None:
        """Let go of held media that came before a moment (wall clock, seconds)."""

    async def join(self, take: Take) -> None:
        """Write what is held behind what another owner wrote, and go on from there; raises DiskFailed."""

    async def leave(self, holds: Json) -> None:
        """Return when enough is written that whoever holds the rest (its `holds`) can go on; what comes then is not written any more."""

    @property
    def tail(self) -> Json | None:
        """The end of what was written, for `Take.behind`; ``None`` where `StartPoint.cursor` says all."""
