"""Writes what the assembler releases, in order, in a thread, and tells which files and gaps come of it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from contracts.values import Json
from media import segments
from media.hls import Discontinuity, HlsRecorder, Limits, Media, MissingMedia, PlanCursor, StreamItem

from services.downloader.adapters.engine import (
    DiskFailed,
    Progress,
    SegmentCompleted,
    SegmentOpened,
    StartPoint,
    Take,
)
from services.downloader.adapters.held_hls import HeldHls
from services.downloader.adapters.spill import Spill

T = TypeVar("T")
DAMAGE_EVERY_MS = 10_000
"""Gaps that damage leaves are told once in this time of media: a bad line makes one with each segment, and each is two events."""
MAX_WAITING = 32
"""Items in memory that wait for the disk; above it no further segment is downloaded."""


class HlsWriter:
    """The one task that touches the files of an HLS recording; downloads only hand items over.

    ``backlog_s`` says how many seconds of planned media are not handed over yet.
    """

    def __init__(self, take: Take, backlog_s: Callable[[], float]) -> None:
        start = take.start
        self._take, self._start, self._backlog_s = take, start, backlog_s
        self._gaps, self._emit = take.gaps, take.emit
        self._recorder: HlsRecorder | None = None
        self._items: deque[StreamItem] = deque()
        self._waiting: list[StreamItem] = []
        self._arrived, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None
        self._resumed = cursor_from_json(start.cursor) is not None
        self._first_ms = start.position_ms
        self._missing_ms = 0
        self._lost_ms = 0
        self._lost_cause = ""
        self._lost_told_ms = -DAMAGE_EVERY_MS
        self._joined = False
        self._cursor_before = start.cursor
        self._starts: dict[int, int] = {}
        self._next_index = start.index
        self._end_at = start.position_at
        self.cursor = start.cursor
        self.held = HeldHls(Spill(take.hold.folder), max_bytes=take.hold.max_bytes) if take.hold else None
        self.failed = asyncio.Event()
        self.error: DiskFailed | None = None

    @property
    def flowing(self) -> bool:
        """Whether a file was begun."""
        return self._next_index > self._start.index

    @property
    def progress(self) -> Progress:
        """See `Engine`."""
        if self.held is not None:
            return Progress(self._start.index, self.held.received)
        if self._recorder is None:
            return Progress(self._start.index)
        index = max(self._next_index - 1, self._start.index)
        return Progress(index, self._recorder.bytes_written, self._recorder.position_ms - self._first_ms)

    @property
    def here(self) -> StartPoint:
        """See `Engine`."""
        return StartPoint(self._next_index, self.position_ms, self._end_at, self.cursor)

    @property
    def position_ms(self) -> int:
        """The end of what is written, on the recording's timeline."""
        return self._recorder.position_ms if self._recorder else self._start.position_ms

    def put(self, items: Iterable[StreamItem]) -> None:
        """Hand over items; they are written in this order, or held until :meth:`join`."""
        if self.held is not None:
            self._hold(self.held, items)
        else:
            self._queue(items)

    def _queue(self, items: Iterable[StreamItem]) -> None:
        self._items.extend(items)
        if self._items and self.error is None:
            self._idle.clear()
            self._arrived.set()
            if self._task is None:
                self._task = asyncio.create_task(self._run(), name="hls-writer")

    def _hold(self, held: HeldHls, items: Iterable[StreamItem]) -> None:
        try:
            for item in items:
                held.put(item, time.time())
        except OSError as error:
            self._fail(DiskFailed(error.strerror or type(error).__name__))

    async def join(self, take: Take) -> None:
        """Write what is held behind what another owner wrote, and whatever comes then; raises DiskFailed."""
        start, held = take.start, self.held
        self._take, self._start, self._gaps, self._emit = take, start, take.gaps, take.emit
        cursor = cursor_from_json(start.cursor)
        self._first_ms, self._next_index, self._end_at = start.position_ms, start.index, start.position_at
        if held is None:
            return
        reached_at = start.position_at.timestamp() if start.position_at else 0.0
        self._resumed = held.join_behind(cursor, reached_at) and cursor is not None
        self.cursor, self._joined = start.cursor, True
        for item in held.items():
            self._queue([item])
            await self.room()
            if self.error is not None:
                raise self.error
        self.held = None

    async def room(self) -> None:
        """Wait until the disk has caught up, when it is behind."""
        if len(self._items) > MAX_WAITING:
            await self._idle.wait()

    def cut(self) -> None:
        """Begin a new file at the next keyframe."""
        if self._recorder is not None:
            self._recorder.cut()

    def _fail(self, error: DiskFailed) -> None:
        self.error = error
        self.failed.set()

    async def finish(self) -> None:
        """Write everything handed over and close the file; raises DiskFailed."""
        if self.held is not None:
            self.held.close()
        await self._idle.wait()
        if self.error is not None:
            raise self.error
        await self._stop()
        self._cursor_before = self.cursor
        if self._recorder is not None:
            self._tell(await _in_thread(self._recorder.finish))
            self._tell_lost(self._recorder.position_ms)

    async def abandon(self) -> None:
        """Write nothing more; the item in hand is written to its end."""
        if self.held is not None:
            self.held.close()
        self._items.clear()
        await self._stop()

    async def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            try:
                while self._items:
                    await self._write(self._items.popleft())
            except DiskFailed as error:
                self._fail(error)
                return
            finally:
                self._idle.set()

    async def _write(self, item: StreamItem) -> None:
        if isinstance(item, MissingMedia):
            self._note_missing(item)
        first = self._recorder is None
        if first and not isinstance(item, Media):
            self._early(item)
            return
        if first:
            self._place(item)
        recorder = self._recorder
        assert recorder is not None
        at_ms = recorder.position_ms + (0 if first else self._missing_ms)
        self._tell(await _in_thread(self._record, recorder, item))
        if isinstance(item, Media):
            self._end_at = datetime.now(UTC) - timedelta(seconds=self._behind_s())
            if not self._breaks_next:
                self._gaps.close(at_ms, self._missing_ms)
            self._missing_ms = 0

    @property
    def _breaks_next(self) -> bool:
        """Whether what was written is the end of a broken connection: the gap that is open lies behind it."""
        following = next((item for item in self._items if not isinstance(item, Discontinuity)), None)
        return isinstance(following, MissingMedia) and following.reason is segments.GapReason.DISCONNECTED

    def _record(self, recorder: HlsRecorder, item: StreamItem) -> list[segments.SegmentEvent]:
        events: list[segments.SegmentEvent] = []
        self._cursor_before = self.cursor
        for each in (*self._waiting, item):
            events += recorder.write(each)
        self._waiting.clear()
        if isinstance(item, Media):
            index, size = recorder.place or (0, 0)
            self.cursor = {**cursor_to_json(item.task.cursor), "index": index, "bytes": size}
            self._take.keep_cursor(self.cursor)
        return events

    def _early(self, item: StreamItem) -> None:
        """Before the first media: an initialisation section waits for it, what is missing moves it."""
        if not isinstance(item, MissingMedia):
            self._waiting.append(item)

    def _place(self, item: StreamItem) -> None:
        """Begin on the timeline: at 0, or behind what an earlier owner wrote, plus what is missing in between."""
        start = self._start
        if start.position_at is None:
            self._missing_ms = 0
        elif not self._resumed or (isinstance(item, Media) and item.task.discontinuity):
            # No common numbering with what was written: the clock on the wall is the best there is.
            self._missing_ms = start.now_ms(datetime.now(UTC)) - start.position_ms
        self._first_ms = start.position_ms + self._missing_ms
        bounds = self._take.bounds
        self._recorder = HlsRecorder(
            self._take.open_file,
            lambda: Limits(bounds.max_duration_ms, bounds.max_bytes),
            first_index=start.index,
            start_ms=self._first_ms,
        )

    def _note_missing(self, item: MissingMedia) -> None:
        self._missing_ms += item.duration_ms
        if not (self.flowing or self._joined):
            return
        if item.reason is segments.GapReason.DISCONNECTED:
            # Whoever noticed the break has told it; what came before it may have been written only now.
            self._gaps.reopen(self.position_ms)
        else:
            self._gaps.open(self.position_ms, f"segments missing ({item.reason.value})")

    def _behind_s(self) -> float:
        """How far the end of what is written lies behind the newest media that the playlist showed."""
        held_s = self.held.seconds if self.held is not None else 0.0
        return held_s + self._backlog_s() + sum(item.task.duration for item in self._items if isinstance(item, Media))

    def _tell(self, events: list[segments.SegmentEvent]) -> None:
        for event in events:
            match event:
                case segments.SegmentOpened():
                    self._opened(event)
                case segments.SegmentCompleted():
                    self._completed(event)
                case segments.Lost():
                    self._note_lost(event)

    def _note_lost(self, event: segments.Lost) -> None:
        """Tell a gap that is over already. Of a line that breaks again and again it is told now and then how much is missing."""
        self._lost_ms += event.lost_ms
        self._lost_cause = _LOST[event.reason]
        if event.at_ms >= self._lost_told_ms + DAMAGE_EVERY_MS:
            self._tell_lost(event.at_ms)

    def _tell_lost(self, at_ms: int) -> None:
        if self._lost_ms and self.flowing and not self._gaps.is_open:
            self._gaps.open(at_ms, self._lost_cause)
            self._gaps.close(at_ms, self._lost_ms)
            self._lost_ms, self._lost_told_ms = 0, at_ms

    def _opened(self, event: segments.SegmentOpened) -> None:
        written_ms = self.position_ms - event.start_ms
        started_at = datetime.now(UTC) - timedelta(seconds=self._behind_s(), milliseconds=written_ms)
        self._next_index = event.index + 1
        self._starts[event.index] = event.start_ms
        self._emit(SegmentOpened(event.index, event.extension, event.start_ms, started_at))

    def _completed(self, event: segments.SegmentCompleted) -> None:
        start_ms = self._starts.pop(event.index)
        cursor = self._cursor_before
        self._emit(
            SegmentCompleted(
                index=event.index,
                start_ms=start_ms,
                bytes=event.bytes,
                duration_ms=event.duration_ms,
                reason=event.split_reason.value,
                repairs=tuple(_repairs(event, start_ms)),
                joint=lambda: {"cursor": cursor},
            )
        )


_LOST = {
    segments.GapReason.DAMAGED: "some of the media could not be read",
    segments.GapReason.SOURCE: "the media of the source goes on later",
}


def cursor_from_json(value: Json | None) -> PlanCursor | None:
    """A stored cursor; ``None`` when there is none or it cannot be read."""
    try:
        part = value["part"] if value else None
        return PlanCursor(int(value["sequence"]), str(value["identity"]), part) if value else None
    except (KeyError, TypeError, ValueError):
        return None


def cursor_to_json(cursor: PlanCursor) -> Json:
    """A cursor in the form it is stored in."""
    return {"sequence": cursor.sequence, "identity": cursor.identity, "part": cursor.part}


def _repairs(event: segments.SegmentCompleted, start_ms: int) -> Iterator[Json]:
    for gap in event.gaps[:500]:
        yield {"kind": "gap", "at_ms": start_ms + gap.at_ms, "amount": gap.duration_ms, "detail": gap.reason.value}
    if event.split_detail:
        yield {"kind": "split", "at_ms": start_ms + event.duration_ms, "amount": 0, "detail": event.split_detail[:200]}


async def _in_thread(function: Callable[..., T], *arguments: object) -> T:
    """Run to its end, whoever is cancelled meanwhile: two must never write at the same time."""
    running = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
    except OSError as error:
        raise DiskFailed(error.strerror or type(error).__name__) from error
