"""Writes the assembled stream into files and decides where one ends and the next begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO

from media.fmp4 import Mp4Error
from media.hls.containers import (
    Container,
    FragmentedMp4,
    PackedAudio,
    Piece,
    TransportStream,
    looks_like_mp4,
    looks_like_transport_stream,
)
from media.hls.items import Discontinuity, Init, Media, MissingMedia, StreamItem
from media.hls.layout import Change, Layout, change_between, merged
from media.mpegts import CLOCK_HZ, unwrap
from media.segments import Gap, GapReason, Limits, Lost, SegmentCompleted, SegmentEvent, SegmentOpened, SplitReason

OpenFile = Callable[[int, str], BinaryIO]

_TICKS_PER_MS = CLOCK_HZ // 1000
BACKWARD_SLACK = 500 * _TICKS_PER_MS
"""Ticks. Segments may overlap by their reordered frames; further back is another time base."""
FORWARD_SLACK = 10_000 * _TICKS_PER_MS
"""Ticks. A longer silent jump forward is another time base, a shorter one a gap of the source."""
DAMAGE_SLACK = 200 * _TICKS_PER_MS
"""Ticks. What is missing beside bytes that could not be read is told from here on."""
ANNOUNCED_SLACK = 1_000 * _TICKS_PER_MS
"""Ticks. After an announced discontinuity a shorter jump still continues the same time base."""
LIMIT_TOLERANCE_MS = 100
"""A file of sixty one-second segments is not over a limit of one minute because of rounded frames."""


@dataclass(slots=True)
class _OpenSegment:
    """The file that is being written; times in ticks."""

    index: int
    file: BinaryIO
    container: Container
    layout: Layout
    start_ms: int
    base: int
    end: int
    bytes: int = 0
    gaps: list[Gap] = field(default_factory=list)

    @property
    def duration_ms(self) -> int:
        """From the first to the end of the last sample."""
        return (self.end - self.base) // _TICKS_PER_MS

    def at_ms(self, ticks: int) -> int:
        """A time of this file on the recording's timeline."""
        return self.start_ms + (ticks - self.base) // _TICKS_PER_MS


class HlsRecorder:
    """Writes stream items in order; one recorder for one recording, used by one task.

    ``open_file`` is called with the file's index and extension (``ts``, ``mp4`` or ``aac``) when its first media is
    here; the recorder closes the file. Its OSErrors pass through, after which only finish() may be called. ``limits``
    may be a function: it is asked again for each file.
    """

    def __init__(
        self,
        open_file: OpenFile,
        limits: Limits | Callable[[], Limits] | None = None,
        *,
        first_index: int = 0,
        start_ms: int = 0,
    ):
        self._open_file = open_file
        self._wanted_limits = limits if callable(limits) else lambda: limits or Limits()
        self._limits = self._wanted_limits()
        self._next_index = first_index
        self._timeline_ms = start_ms
        self._transport = TransportStream()
        self._movie: FragmentedMp4 | None = None
        self._packed = PackedAudio()
        self._segment: _OpenSegment | None = None
        self._after_discontinuity = False
        self._after_trimmed = False
        self._cut_requested = False
        self._missing_ms = 0
        self._missing: list[tuple[int, GapReason]] = []
        self._bytes_of_closed = 0

    @property
    def position_ms(self) -> int:
        """The end of what is written, in ms on the recording's timeline."""
        return self._segment.start_ms + self._segment.duration_ms if self._segment else self._timeline_ms

    @property
    def place(self) -> tuple[int, int] | None:
        """Index of the open file and the bytes written to it; ``None`` while none is open."""
        return (self._segment.index, self._segment.bytes) if self._segment else None

    @property
    def bytes_written(self) -> int:
        """Bytes in all files of this recording so far."""
        return self._bytes_of_closed + (self._segment.bytes if self._segment else 0)

    def write(self, item: StreamItem) -> list[SegmentEvent]:
        """Take the next item; returns the files that it ended or began."""
        if isinstance(item, Media):
            return self._media(item)
        if isinstance(item, MissingMedia):
            self._note_missing(item.duration_ms, item.reason)
        elif isinstance(item, Discontinuity):
            self._after_discontinuity = True
        elif isinstance(item, Init):
            self._take_init(item.data)
        return []

    def cut(self) -> None:
        """Begin a new file at the next key frame."""
        self._cut_requested = self._segment is not None

    def finish(self) -> list[SegmentEvent]:
        """Close the last file. Calling it again does nothing."""
        return self._close(Change(SplitReason.END))

    # Understanding

    def _take_init(self, data: bytes) -> None:
        if not looks_like_mp4(data) and looks_like_transport_stream(data):
            self._movie = None
            self._transport.set_init(data)
            return
        try:
            if self._movie is None or not self._movie.same_as(data):
                self._movie = FragmentedMp4(data)
        except Mp4Error:
            self._movie = None

    def _container(self, data: bytes) -> Container | None:
        if looks_like_mp4(data):
            return self._movie
        return self._transport if looks_like_transport_stream(data) else self._packed

    def _media(self, item: Media) -> list[SegmentEvent]:
        container = self._container(item.data)
        piece = container.inspect(item.data) if container else None
        extinf = round(item.task.duration * CLOCK_HZ)
        if container is None or piece is None:
            lost_ms = extinf // _TICKS_PER_MS
            self._note_missing(lost_ms, GapReason.DAMAGED)
            return [Lost(self.position_ms + self._missing_ms, lost_ms, GapReason.DAMAGED)]
        duration = _believable(piece.duration, extinf)
        start = self._start_of(piece, container)
        events: list[SegmentEvent] = []
        change = self._change(piece, container, start, duration)
        if change is not None:
            events += self._close(change, start)
        if self._segment is None:
            events += self._open(container, piece, start)
        return events + self._append(piece, start, duration)

    def _start_of(self, piece: Piece, container: Container) -> int:
        """Where the piece begins, in ticks that do not wrap around."""
        expected = self._segment.end if self._segment else piece.start or 0
        if piece.start is None:
            return expected + self._missing_ms * _TICKS_PER_MS
        return piece.start if container.modulus is None else unwrap(piece.start, expected)

    # Where to split

    def _change(self, piece: Piece, container: Container, start: int, duration: int) -> Change | None:
        segment = self._segment
        if segment is None:
            return None
        if container is not segment.container:
            layout_change = change_between(segment.layout, piece.layout, after_discontinuity=True)
            return layout_change or Change(SplitReason.STREAM_STRUCTURE_CHANGE)
        return (
            change_between(segment.layout, piece.layout, self._after_discontinuity)
            or self._time_change(segment, start)
            or self._limit(segment, piece, start + duration)
        )

    def _time_change(self, segment: _OpenSegment, start: int) -> Change | None:
        jump = start - segment.end
        missing = self._missing_ms * _TICKS_PER_MS
        # The length of a gap is an estimate, so that half of it more is still the same time base.
        slack = (ANNOUNCED_SLACK if self._after_discontinuity else FORWARD_SLACK) + missing // 2
        if -BACKWARD_SLACK <= jump <= missing + slack:
            return None
        return Change(SplitReason.DISCONTINUITY, f"timestamps jumped by {jump // _TICKS_PER_MS} ms")

    def _limit(self, segment: _OpenSegment, piece: Piece, end: int) -> Change | None:
        if self._cut_requested and piece.keyframe:
            return Change(SplitReason.CUT)
        size = segment.bytes + len(piece.data)
        duration_ms = (end - segment.base) // _TICKS_PER_MS - LIMIT_TOLERANCE_MS
        for value, limit, reason in (
            (size, self._limits.max_bytes, SplitReason.SIZE_LIMIT),
            (duration_ms, self._limits.max_duration_ms, SplitReason.DURATION_LIMIT),
        ):
            # A stream whose key frames are not recognised must not make one endless file.
            if limit is not None and value > limit and (piece.keyframe or value > 2 * limit):
                return Change(reason)
        return None

    # Files

    def _open(self, container: Container, piece: Piece, start: int) -> list[SegmentEvent]:
        index = self._next_index
        self._limits = self._wanted_limits()
        file = self._open_file(index, container.extension)
        self._next_index += 1
        self._segment = _OpenSegment(index, file, container, piece.layout, self._timeline_ms, start, start)
        self._cut_requested = False
        self._put(container.begin(piece, file.seekable()))
        return [SegmentOpened(index, container.extension, self._timeline_ms)]

    def _append(self, piece: Piece, start: int, duration: int) -> list[SegmentEvent]:
        segment = self._segment
        assert segment is not None
        events: list[SegmentEvent] = []
        jump = start - segment.end
        trimmed, self._after_trimmed = piece.trimmed or self._after_trimmed, piece.trimmed
        if not self._missing and jump > (DAMAGE_SLACK if trimmed else ANNOUNCED_SLACK):
            reason = GapReason.DAMAGED if trimmed else GapReason.SOURCE
            self._note_missing(jump // _TICKS_PER_MS, reason)
            events.append(Lost(segment.at_ms(start), jump // _TICKS_PER_MS, reason))
        self._settle_gaps(segment)
        self._put(segment.container.body(piece, segment.bytes))
        segment.layout = merged(segment.layout, piece.layout)
        segment.end = max(segment.end, start + duration)
        self._after_discontinuity = False
        if piece.lost and piece.start is not None:
            events.append(self._note_hole(segment, piece, start - piece.start))
        return events

    def _note_hole(self, segment: _OpenSegment, piece: Piece, shift: int) -> Lost:
        """Damage inside of a piece: its media is there before and behind it."""
        lost_ms = piece.lost // _TICKS_PER_MS
        at_ms = segment.at_ms(piece.lost_until + shift)
        segment.gaps.append(Gap(max(0, at_ms - segment.start_ms - lost_ms), lost_ms, GapReason.DAMAGED))
        return Lost(at_ms, lost_ms, GapReason.DAMAGED)

    def _put(self, data: bytes) -> None:
        segment = self._segment
        assert segment is not None
        view = memoryview(data)
        while view:
            # An unbuffered file may take less than it was given.
            written = segment.file.write(view)
            segment.bytes += written
            view = view[written:]

    def _close(self, change: Change, next_start: int | None = None) -> list[SegmentEvent]:
        segment = self._segment
        if segment is None:
            return []
        missing_ms = self._missing_ms
        self._settle_gaps(segment)
        self._segment = None
        try:
            segment.container.end(segment.file, segment.duration_ms)
        finally:
            segment.file.close()
        self._bytes_of_closed += segment.bytes
        jump_ms = (next_start - segment.end) // _TICKS_PER_MS if next_start is not None else 0
        same_base = change.reason is not SplitReason.DISCONTINUITY and 0 <= jump_ms <= 2 * missing_ms
        self._timeline_ms = segment.start_ms + segment.duration_ms + (jump_ms if same_base else missing_ms)
        completed = SegmentCompleted(
            segment.index, segment.bytes, segment.duration_ms, change.reason, tuple(segment.gaps), change.detail
        )
        return [completed]

    # Gaps

    def _note_missing(self, duration_ms: int, reason: GapReason) -> None:
        self._missing_ms += duration_ms
        if self._missing and self._missing[-1][1] is reason:
            duration_ms += self._missing.pop()[0]
        self._missing.append((duration_ms, reason))

    def _settle_gaps(self, segment: _OpenSegment) -> None:
        """Write what is missing down in the file that it follows or, at its very beginning, precedes."""
        segment.gaps += [Gap(segment.duration_ms, missing_ms, reason) for missing_ms, reason in self._missing]
        self._missing, self._missing_ms = [], 0


def _believable(duration: int | None, extinf: int) -> int:
    """The measured duration of a segment, or the playlist's where there is none or a timestamp in it is damaged."""
    if duration is None or duration <= 0 or duration > 10 * extinf + FORWARD_SLACK:
        return extinf
    return duration
