"""Recording what arrives as FLV: one connection after the other into one repaired timeline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

from contracts.values import Json
from media.flv import recorder as flv
from media.flv.errors import FlvError
from media.repair.join import Tail
from media.repair.model import RepairOptions
from media.repair.records import to_records

from services.downloader.adapters.engine import (
    Chunk,
    DiskFailed,
    Progress,
    SegmentCompleted,
    SegmentOpened,
    SourceFailed,
    StartPoint,
    Take,
)
from services.downloader.adapters.held_flv import HeldFlv, Piece
from services.downloader.adapters.spill import Spill

PIECE_MS = 500
"""Media goes to the file in pieces of this length and not by groups of pictures, which last seconds: a killed process loses less.

Each piece costs processor time: at 100 ms the recorder needs about a quarter more of it.
"""
FIRST_PIECE_MS = 100
"""In the first group of a connection: the file begins that soon."""
MAX_REPLAYS = 10
"""Groups of pictures in a row that were sent before: the server is stuck, another one is the better choice."""
SETTLED_S = 3.0
"""A server begins with what it holds, and a file is opened with the first of it: only later is it known when that was on air."""
LONGEST_GROUP_S = 10.0
"""A new connection brings a group of pictures that is held until it is whole, or five seconds long; a slow line takes longer for it."""
WRITE_BYTES = 64 << 10
"""What a killed process loses of its file at most, half a second at 1 Mbit/s; still few enough writes at 50 Mbit/s."""
JOIN_S = 30.0
"""Held media that came this long before the end of what another owner wrote is looked at to find the joint."""
DAMAGE_EVERY_MS = 10_000
"""Gaps that unreadable bytes leave are told once in this time of media: a bad line makes one a second, and each is two events."""
MAX_REPAIRS = 500
"""Repairs told in one event: it must stay far below what the bus takes."""


class FlvStream:
    """Feeds a :class:`media.flv.recorder.FlvRecorder`; file numbers and the timeline go on over reconnects."""

    def __init__(self, take: Take, *, stall_s: float) -> None:
        start = take.start
        self._take, self._start, self._stall_s = take, start, stall_s
        self._gaps, self._emit = take.gaps, take.emit
        self._recorder: flv.FlvRecorder | None = None
        self._fresh_connection = False
        self._last_data_at = 0.0
        self._advanced_at = 0.0
        self._advanced_ms = -1
        self._next_index = start.index
        self._file_start_ms = start.position_ms
        self._end_ms = start.position_ms
        self._end_at = start.position_at
        self._held = HeldFlv(Spill(take.hold.folder), max_bytes=take.hold.max_bytes) if take.hold else None
        self._left = asyncio.Event()
        self._unread_ms = self._unread_bytes = 0
        self._damage_told_ms = -DAMAGE_EVERY_MS
        self._opened_at = 0.0
        self._on_air_at = 0.0

    @property
    def progress(self) -> Progress:
        """See `Engine`."""
        if self._held is not None:
            return Progress(self._start.index, self._held.received)
        if self._recorder is None:
            return Progress(self._start.index)
        now = self._recorder.progress
        return Progress(max(self._next_index - 1, self._start.index), now.total_bytes, now.total_duration_ms)

    @property
    def flowing(self) -> bool:
        """See `Engine`."""
        return self._next_index > self._start.index

    @property
    def here(self) -> StartPoint:
        """See `Engine`."""
        return StartPoint(self._next_index, self._position_ms, self._end_at)

    @property
    def _position_ms(self) -> int:
        if self._recorder is not None and self._recorder.progress.index is not None:
            return self._file_start_ms + self._recorder.progress.duration_ms
        return self._end_ms

    def connected(self) -> None:
        """See `Stream`."""
        self._fresh_connection = True
        self._advanced_at = time.monotonic()

    async def feed(self, chunk: Chunk) -> None:
        """See `Stream`."""
        self._feed(chunk)

    def cut(self) -> None:
        """See `Engine`."""
        if self._recorder is not None:
            self._recorder.cut()

    async def finish(self) -> None:
        """See `Engine`."""
        if self._held is not None:
            self._held.close()
        if self._recorder is not None:
            try:
                self._tell(self._recorder.finish())
            except OSError as error:
                raise DiskFailed(_reason(error)) from error
            self._tell_damage(self._end_ms)

    async def abandon(self) -> None:
        """See `Engine`. Nothing runs outside :meth:`feed`; what the recorder holds is left out of the file."""
        if self._held is not None:
            self._held.close()

    # Standing by and handing over

    @property
    def holds(self) -> Json | None:
        """See `Holder`: the mark of the newest keyframe, behind which the owner may leave."""
        return self._held.holds if self._held is not None else None

    def holds_group(self, mark: int) -> bool:
        """See `Holder`."""
        return self._held is not None and self._held.holds_group(mark)

    def forget_before(self, at: float) -> None:
        """See `Holder`."""
        if self._held is not None:
            self._held.forget_before(at)

    async def join(self, take: Take) -> None:
        """See `Holder`. The connection goes on meanwhile; what it brings is held until its turn comes."""
        start = take.start
        self._take, self._start, self._gaps, self._emit = take, start, take.gaps, take.emit
        self._next_index = start.index
        self._file_start_ms = self._end_ms = start.position_ms
        self._end_at = start.position_at
        if self._held is None:
            return
        if tail := Tail.from_json(take.behind):
            # Content is looked for near the joint only: what is older was written long ago.
            self._held.forget_before(tail.ended_at - JOIN_S)
        for piece in self._held.pieces():
            self._replay(piece)
            await asyncio.sleep(0)
        held, self._held = self._held, None
        held.close()
        self._advanced_at = time.monotonic()
        if self._recorder is not None and (rest := held.rest()):
            self._record(self._recorder, rest, self._last_data_at)

    async def leave(self, holds: Json) -> None:
        """See `Holder`. Whole groups of pictures are written only, so that the next file begins with a keyframe."""
        if holds.get("protocol") != "flv" or self._recorder is None:
            return
        self._note_left(self._recorder.leave(holds.get("mark")))
        await self._left.wait()

    @property
    def tail(self) -> Json | None:
        """See `Holder`."""
        recorder = self._recorder
        return recorder.tail.to_json() if recorder is not None and recorder.tail is not None else None

    def _replay(self, piece: Piece) -> None:
        self._fresh_connection = piece.begins
        self._record(self._connected(piece.at), piece.data, piece.at)

    def _note_left(self, left: bool) -> None:
        if left:
            self._left.set()

    def _feed(self, chunk: Chunk) -> None:
        now = time.time()
        if self._held is not None:
            self._hold(self._held, chunk, now)
            return
        recorder = self._connected(now)
        self._record(recorder, chunk, now)
        self._check_advance(recorder.progress)

    def _hold(self, held: HeldFlv, chunk: Chunk, now: float) -> None:
        if self._fresh_connection:
            held.reconnected()
            self._fresh_connection = False
        try:
            held.feed(chunk, now)
        except FlvError as error:
            raise SourceFailed(f"not an FLV stream ({type(error).__name__})") from error
        except OSError as error:
            raise DiskFailed(_reason(error)) from error

    def _record(self, recorder: flv.FlvRecorder, data: Chunk, at: float) -> None:
        self._last_data_at = at
        try:
            self._tell(recorder.feed(data, received_at=at))
        except FlvError as error:
            raise SourceFailed(f"not an FLV stream ({type(error).__name__})") from error
        except OSError as error:
            raise DiskFailed(_reason(error)) from error
        if at - self._opened_at < SETTLED_S:
            self._settle(recorder)
        self._note_left(recorder.left)

    def _settle(self, recorder: flv.FlvRecorder) -> None:
        on_air = recorder.timeline.on_air(self._file_start_ms)
        if on_air is not None:
            self._on_air_at = min(self._on_air_at, on_air)

    def _connected(self, now: float) -> flv.FlvRecorder:
        """The recorder, told about a new connection only when its first bytes are here."""
        if self._recorder is None:
            # Made now and not before: after a crash the first byte says how long the break was.
            self._recorder = flv.FlvRecorder(
                lambda index: self._take.open_file(index, "flv"),
                options=_repair_options(whole_groups=self._take.whole_groups),
                limits=lambda: flv.Limits(self._take.bounds.max_duration_ms, self._take.bounds.max_bytes),
                first_index=self._start.index,
                start_ms=self._start.now_ms(datetime.fromtimestamp(now, UTC)),
                buffer_size=WRITE_BYTES,
                behind=Tail.from_json(self._take.behind),
                keep_tail=self._take.keep_tail,
            )
        elif self._fresh_connection:
            was_open = self._gaps.is_open
            self._tell(self._recorder.reconnected(round((now - self._last_data_at) * 1000)))
            self._opened_at = 0.0
            if was_open and not self._gaps.is_open:
                # What the connection before brought was a piece of a group: it became media, and closed its gap, only now.
                self._gaps.reopen(self._position_ms)
        self._fresh_connection = False
        return self._recorder

    def _check_advance(self, progress: flv.Progress) -> None:
        if progress.consecutive_replays > MAX_REPLAYS:
            raise SourceFailed("the server repeats itself")
        now = time.monotonic()
        if progress.total_duration_ms != self._advanced_ms:
            self._advanced_ms, self._advanced_at = progress.total_duration_ms, now
        elif now - self._advanced_at > max(2 * self._stall_s, LONGEST_GROUP_S):
            raise SourceFailed("bytes arrive, but no media")

    def _tell(self, events: list[flv.SegmentEvent]) -> None:
        for event in events:
            match event:
                case flv.SegmentOpened():
                    self._opened(event)
                case flv.SegmentCompleted():
                    self._completed(event)
                case flv.Damaged():
                    self._damaged(event)
                case flv.Rejoined():
                    if event.gap_ms is None and not self.flowing:
                        self._gaps.open(self._start.position_ms, "the media of the next owner does not overlap")
                    self._gaps.close(event.at_ms, event.gap_ms)

    def _damaged(self, event: flv.Damaged) -> None:
        """Tell a gap that is over already. Of a line that breaks again and again it is told now and then how much is missing."""
        self._unread_ms += event.lost_ms
        self._unread_bytes += event.size
        if event.at_ms >= self._damage_told_ms + DAMAGE_EVERY_MS:
            self._tell_damage(event.at_ms)

    def _tell_damage(self, at_ms: int) -> None:
        if self._unread_ms and self.flowing and not self._gaps.is_open:
            self._gaps.open(at_ms, f"{self._unread_bytes} bytes of the stream could not be read")
            self._gaps.close(at_ms, self._unread_ms)
            self._unread_ms, self._unread_bytes, self._damage_told_ms = 0, 0, at_ms

    def _opened(self, event: flv.SegmentOpened) -> None:
        on_air = self._recorder.timeline.on_air(event.start_ms) if self._recorder else None
        now = self._opened_at = time.time()
        self._on_air_at = min(now, on_air or now)
        started_at = datetime.fromtimestamp(self._on_air_at, UTC)
        if not self.flowing:
            self._gaps.close(event.start_ms)
        self._next_index, self._file_start_ms = event.index + 1, event.start_ms
        self._emit(SegmentOpened(event.index, "flv", event.start_ms, started_at))

    def _completed(self, event: flv.SegmentCompleted) -> None:
        self._end_ms = event.start_ms + event.duration_ms
        self._end_at = datetime.fromtimestamp(self._last_data_at, UTC)
        self._emit(
            SegmentCompleted(
                index=event.index,
                start_ms=event.start_ms,
                bytes=event.bytes,
                duration_ms=event.duration_ms,
                reason="end" if event.reason is flv.SplitReason.END_OF_STREAM else event.reason.value,
                repairs=to_records(event.repairs, MAX_REPAIRS),
                started_at=datetime.fromtimestamp(self._on_air_at, UTC),
                joint=_joint(event.tail) if event.tail is not None else None,
            )
        )


def _joint(tail: Tail) -> Callable[[], Json]:
    return lambda: {"tail": tail.to_json()}


def _repair_options(*, whole_groups: bool) -> RepairOptions:
    return RepairOptions() if whole_groups else RepairOptions(piece_ms=PIECE_MS, first_piece_ms=FIRST_PIECE_MS)


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__
