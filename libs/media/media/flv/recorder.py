"""Records a live FLV stream into repaired files: the object a downloader feeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from media.flv.amf0 import AmfValue
from media.flv.metadata import DEFAULT_ROOM, ENTRY_SIZE, MIN_SPACING_MS
from media.flv.parser import Buffer, FlvParser
from media.flv.segment_file import SegmentFile
from media.flv.tag import VIDEO, Item, Tag
from media.flv.writer import DEFAULT_BUFFER
from media.repair.chain import EndMarker, Hole, MediaRun, NewHeaders, NewMetadata, Output, RepairChain, Seam
from media.repair.join import Tail
from media.repair.limit import FileState, Limiter, Limits, SplitReason
from media.repair.log import RepairLog
from media.repair.model import Repair, RepairKind, RepairOptions
from media.repair.timeline import Timeline

_SMALLEST_ROOM: Final = 64
_ROOM: Final = 2
_LONG_GROUP_MS: Final = 10_000
_LARGE_GROUP: Final = 16 << 20
"""A group of pictures is expected to be at most twice as long and large as the largest so far, or this where there was none."""
_INDEX_SHARE: Final = 64  # at most this fraction of a file is its index


@dataclass(frozen=True, slots=True)
class SegmentOpened:
    """A file was created; `start_ms` is its place on the recording's timeline."""

    index: int
    start_ms: int


@dataclass(frozen=True, slots=True)
class SegmentCompleted:
    """A file is final and closed; `keyframes` counts them, `detail` explains a codec change, `repairs` are those of its media.

    `source_ms`: the source's timestamp of its first media, as it was sent; with it and `repairs`, `media.repair.alignment` places
    anything that was timed by the source or by a stopwatch. `tail`: the end of its media, where one is kept.
    """

    index: int
    start_ms: int
    bytes: int
    duration_ms: int
    keyframes: int
    reason: SplitReason
    detail: str
    repairs: tuple[Repair, ...] = ()
    source_ms: int | None = None
    tail: Tail | None = None


@dataclass(frozen=True, slots=True)
class Rejoined:
    """New media came after a reconnect, at `at_ms` of the timeline.

    `seamless`: nothing was lost. `gap_ms`: media time that was lost; None when nothing tells. `overlap_*`: what came twice and was dropped.
    """

    seamless: bool
    gap_ms: int | None
    overlap_ms: int
    overlap_tags: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Damaged:
    """`lost_ms` of media before `at_ms` of the timeline were lost because `size` bytes inside a connection could not be read."""

    at_ms: int
    lost_ms: int
    size: int


SegmentEvent = SegmentOpened | SegmentCompleted | Rejoined | Damaged


@dataclass(frozen=True, slots=True)
class Progress:
    """A snapshot: `index` is None while no file is open; totals cover completed files too.

    `consecutive_replays` above ten means that the server repeats itself and another one is the better choice.
    """

    index: int | None
    bytes: int
    duration_ms: int
    total_bytes: int
    total_duration_ms: int
    connections: int
    consecutive_replays: int


class FlvRecorder:
    """Turns the bytes of one or more connections to a live stream into a sequence of clean FLV files on one timeline.

    `open_file(index)` returns a seekable binary file, opened for writing and empty; it is called when the first media of that file is
    ready, and the recorder closes the file. `limits` may be a function: it is asked again for each file. `first_index` and `start_ms`
    continue a recording that another process began.
    Raises FlvError when a connection carries no FLV; an OSError of a file passes through, and the recorder is unusable after it.
    """

    def __init__(
        self,
        open_file: Callable[[int], BinaryIO],
        *,
        limits: Limits | Callable[[], Limits] | None = None,
        options: RepairOptions | None = None,
        first_index: int = 0,
        start_ms: int = 0,
        buffer_size: int = DEFAULT_BUFFER,
        behind: Tail | None = None,
        keep_tail: bool = False,
    ) -> None:
        self.timeline = Timeline()
        self.tail = Tail() if keep_tail else None
        self._received_at: float | None = None
        self._open_file = open_file
        self._wanted_limits = limits if callable(limits) else lambda: limits or Limits()
        self._limits = self._wanted_limits()
        self._limiter = Limiter(self._limits)
        self._options = options or RepairOptions()
        self._log = RepairLog()
        self._log.position = start_ms
        self._chain = RepairChain(
            self._options,
            self._log,
            self.timeline,
            self._handle,
            start_ms=start_ms,
            behind=behind,
            flows=self._has_room,
        )
        self._parser = FlvParser()
        self._buffer_size = buffer_size
        self._next_index = first_index
        self._file: SegmentFile | None = None
        self._headers: tuple[Tag, ...] = ()
        self._fields: dict[str, AmfValue] = {}
        self._waiting: list[Tag] = []  # media of a file that is not worth opening yet
        self._end_marker: Tag | None = None
        self._events: list[SegmentEvent] = []
        self._completed_bytes = 0
        self._completed_ms = 0
        self._connections = 1
        self._finished = False

    @property
    def progress(self) -> Progress:
        """Where the recording stands; cheap, to be read at any time."""
        size = self._file.size if self._file else 0
        duration = self._file.duration_ms if self._file else 0
        return Progress(
            index=self._next_index - 1 if self._file else None,
            bytes=size,
            duration_ms=duration,
            total_bytes=self._completed_bytes + size,
            total_duration_ms=self._completed_ms + duration,
            connections=self._connections,
            consecutive_replays=self._chain.consecutive_replays,
        )

    @property
    def repairs_without_file(self) -> tuple[Repair, ...]:
        """Repairs of media that is in no completed file: while recording those of the open file, after `finish` of what became none."""
        return tuple(self._log)

    def feed(self, chunk: Buffer, received_at: float | None = None) -> list[SegmentEvent]:
        """Add bytes of the current connection; `received_at` (wall clock, seconds) feeds the timeline."""
        if self._finished:
            raise ValueError("the recorder is finished")
        return self.feed_items(self._parser.feed(chunk), received_at)

    def feed_items(self, items: list[Item], received_at: float | None = None) -> list[SegmentEvent]:
        """Add what a parser of the caller returned, instead of bytes; the tags are the recorder's from here on."""
        self._received_at = received_at
        if items:
            self._chain.process(items, received_at)
            if self._file is not None:
                self._file.settle()
        return self._drain()

    def cut(self) -> None:
        """Begin a new file at the next keyframe (the next tag of a stream without video)."""
        self._limiter.cut_requested = True

    def leave(self, mark: int | None) -> bool:
        """Write nothing more from the first group boundary on behind which a tag with this mark is written; True once that is so.

        Without a mark that is the last boundary there was.

        Whole groups are written only, so that whoever holds the source from that tag on can go on at the boundary.
        """
        self._chain.leave(mark)
        return self._chain.left

    @property
    def left(self) -> bool:
        """Whether :meth:`leave` has come about: only `finish` is left to call."""
        return self._chain.left

    def reconnected(self, offline_ms: int | None = None) -> list[SegmentEvent]:
        """The next bytes come from a new connection; `offline_ms` is the length of the break where the source's clock cannot tell."""
        self._end_of_bytes()
        self._chain.end_connection(offline_ms)
        self._parser = FlvParser()
        self._connections += 1
        return self._drain()

    def finish(self, *, torn: int = 0) -> list[SegmentEvent]:
        """No more input: write everything, close the file. Calling it again does nothing.

        `torn`: bytes that the parser of a caller who feeds items dropped at the end.
        """
        if self._finished:
            return []
        self._finished = True
        self._end_of_bytes(torn)
        self._chain.finish()
        self._drop_waiting()
        self._close(SplitReason.END_OF_STREAM)
        return self._drain()

    def abandon(self) -> None:
        """Close the open file as it is, after an error; it can be recovered or removed. Nothing more may be fed."""
        self._finished = True
        if self._file is not None:
            self._file.abandon()

    def _end_of_bytes(self, torn: int = 0) -> None:
        self._chain.process(self._parser.finish())
        if torn := torn + self._parser.torn:
            self._log.add(RepairKind.TORN, None, amount=torn)

    def _drain(self) -> list[SegmentEvent]:
        events, self._events = self._events, []
        return events

    def _handle(self, output: Output) -> None:
        match output:
            case MediaRun():
                self._media(output)
            case NewHeaders():
                self._change_headers(output)
            case NewMetadata():
                self._fields = output.fields
            case EndMarker():
                self._end_marker = output.tag
            case Hole():
                self._events.append(Damaged(output.at_ms, output.lost_ms, output.size))
            case Seam():
                self._events.append(
                    Rejoined(output.gap_ms == 0, output.gap_ms, output.overlap_ms, output.overlap_tags, output.at_ms)
                )

    def _media(self, run: MediaRun) -> None:
        tags, held = run.tags, run.held
        if self._end_marker is not None:
            self._log.add(RepairKind.END_OF_SEQUENCE, self._end_marker.timestamp, detail="media follows")
            self._end_marker = None
        if self._file is None:
            self._waiting += tags
            if len(self._waiting) + len(held) + run.following < self._options.min_fragment_tags:
                return
            tags, self._waiting = self._waiting, []
            self._open(tags)
        self._write(tags, held)

    def _write(self, tags: list[Tag], held: Sequence[Tag]) -> None:
        """Write a run, cutting it wherever a limit says so."""
        while (file := self._file) is not None:
            if self._limiter.is_idle:
                self._put(file, tags)
                return
            state = FileState(file.start_ms, file.size, self._has_video(file))
            # The first tag of a file never ends it.
            fresh = file.media_tags == 0
            found = self._limiter.find(tags[1:] if fresh else tags, held, state)
            if found is None:
                self._put(file, tags)
                return
            at = found[0] + fresh
            self._put(file, tags[:at])
            tags = tags[at:]
            self._close(found[1], next_start=tags[0].timestamp)
            self._open(tags)

    def _put(self, file: SegmentFile, tags: list[Tag]) -> None:
        file.write(tags)
        if self.tail is not None:
            self.tail.add(tags, self._received_at)

    def _has_room(self, longest_ms: int, largest_bytes: int) -> bool:
        """Whether the next group will fit into the file in hand, so that it can be written before its length is known."""
        limits, file = self._limits, self._file
        if limits.max_duration_ms is not None:
            used_ms = file.duration_ms if file else 0
            if used_ms + _ROOM * (longest_ms or _LONG_GROUP_MS) > limits.max_duration_ms:
                return False
        used = file.size if file else 0
        return limits.max_bytes is None or used + _ROOM * (largest_bytes or _LARGE_GROUP) <= limits.max_bytes

    def _has_video(self, file: SegmentFile) -> bool:
        return file.has_video or any(tag.type == VIDEO for tag in self._headers)

    def _change_headers(self, output: NewHeaders) -> None:
        headers = output.headers
        if headers.changed:
            self._drop_waiting()
        if self._file is not None:
            self._log.add(RepairKind.HEADER_CHANGED, None, detail=headers.detail)
            self._close(SplitReason.CODEC_CHANGE, headers.detail)
        self._headers = headers.tags

    def _drop_waiting(self) -> None:
        if self._waiting:
            self._log.add(RepairKind.FRAGMENT, None, amount=len(self._waiting), detail="file too short")
            self._waiting = []

    def _open(self, tags: Sequence[Tag]) -> None:
        index, start_ms = self._next_index, tags[0].timestamp
        self._limits = self._limiter.limits = self._wanted_limits()
        self._file = SegmentFile(
            self._open_file(index),
            start_ms=start_ms,
            headers=self._headers,
            fields=self._fields,
            room=self._room(),
            buffer_size=self._buffer_size,
        )
        self._next_index += 1
        self._events.append(SegmentOpened(index, start_ms))

    def _room(self) -> int:
        """Index entries to reserve: enough for hours, or for the hard cap of a limited file, and a small part of a small file."""
        room = DEFAULT_ROOM
        if self._limits.max_duration_ms is not None:
            room = min(room, 2 * self._limits.max_duration_ms // MIN_SPACING_MS + 1)
        if self._limits.max_bytes is not None:
            room = min(room, self._limits.max_bytes // (_INDEX_SHARE * ENTRY_SIZE))
        return max(_SMALLEST_ROOM, room)

    def _close(self, reason: SplitReason, detail: str = "", next_start: int | None = None) -> None:
        file = self._file
        if file is None:
            return
        if self._end_marker is not None:
            file.write_end_marker(self._end_marker)
            self._end_marker = None
        size = file.close()
        self._file = None
        self._completed_bytes += size
        self._completed_ms += file.duration_ms
        if reason is SplitReason.CUT:
            self._limiter.cut_requested = False
        self._events.append(
            SegmentCompleted(
                index=self._next_index - 1,
                start_ms=file.start_ms,
                bytes=size,
                duration_ms=file.duration_ms,
                keyframes=file.keyframes,
                reason=reason,
                detail=detail,
                repairs=self._log.drain(next_start),
                source_ms=self.timeline.source_at(file.start_ms),
                tail=self.tail.copy() if self.tail is not None else None,
            )
        )


__all__ = [
    "Damaged",
    "FlvRecorder",
    "Limits",
    "Progress",
    "Rejoined",
    "SegmentCompleted",
    "SegmentEvent",
    "SegmentOpened",
    "SplitReason",
]
