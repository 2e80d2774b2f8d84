"""Repairs and examines whole FLV files: the recorder's chain, fed block by block, so that memory does not grow with the file."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO, Final, cast

from media.flv.codec_config import read_config
from media.flv.errors import FlvError
from media.flv.metadata import read_metadata
from media.flv.parser import SIGNATURE, FlvParser
from media.flv.recorder import FlvRecorder, Limits, SegmentCompleted, SegmentEvent
from media.flv.tag import KEYFRAME, SCRIPT, SEQUENCE_HEADER, VIDEO, FlvHeader, Item, Junk, Tag
from media.repair.model import Repair, RepairOptions

BLOCK: Final = 1 << 20
_MAX_CONFIGS: Final = 16
_CONTAINER_FIELDS: Final = frozenset({"keyframes"})

OnProgress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Repaired:
    """What became of a file: the files written, and repairs of what is in none of them."""

    read: int
    files: tuple[SegmentCompleted, ...]
    without_file: tuple[Repair, ...]

    @property
    def repairs(self) -> tuple[Repair, ...]:
        """Every repair; empty for a file that needed nothing."""
        return (*(repair for file in self.files for repair in file.repairs), *self.without_file)


def repair(
    source: BinaryIO,
    open_file: Callable[[int], BinaryIO],
    *,
    limits: Limits | None = None,
    options: RepairOptions | None = None,
    on_event: Callable[[SegmentEvent], None] = lambda _: None,
    on_progress: OnProgress = lambda _: None,
) -> Repaired:
    """Read `source` to its end and write it repaired into one or more files, as :class:`FlvRecorder` does.

    `on_progress` gets the bytes read so far. A source without faults comes out as one file with the same media. Raises FlvError when the
    source is no FLV; an OSError passes through.
    """
    recorder = FlvRecorder(open_file, limits=limits, options=options)
    completed: list[SegmentCompleted] = []
    read = 0

    def tell(events: list[SegmentEvent]) -> None:
        for event in events:
            if isinstance(event, SegmentCompleted):
                completed.append(event)
            on_event(event)

    try:
        while block := source.read(BLOCK):
            if not read and len(block) < BLOCK and SIGNATURE not in block:
                raise FlvError("not an FLV file")
            read += len(block)
            tell(recorder.feed(block))
            on_progress(read)
        if not read:
            raise FlvError("the file is empty")
        tell(recorder.finish())
    except BaseException:
        recorder.abandon()
        raise
    return Repaired(read, tuple(completed), recorder.repairs_without_file)


@dataclass(slots=True)
class Track:
    """One channel of a file: its codec as the source declared it, each set of parameters once, and what was counted."""

    codec: str
    configs: list[str] = field(default_factory=list)
    tags: int = 0
    keyframes: int = 0
    bytes: int = 0
    first_ms: int = 0
    last_ms: int = 0


@dataclass(slots=True)
class Probe:
    """What a file holds and what a repair of it would do; times in ms as the file has them."""

    bytes: int = 0
    header_flags: int | None = None
    tracks: dict[str, Track] = field(default_factory=dict)
    metadata: dict[str, object] = field(default_factory=dict)
    index_entries: int = 0
    junk_bytes: int = 0
    files: tuple[SegmentCompleted, ...] = ()
    without_file: tuple[Repair, ...] = ()

    @property
    def repairs(self) -> tuple[Repair, ...]:
        """What a repair would do; empty for a file that needs nothing."""
        return (*(repair for file in self.files for repair in file.repairs), *self.without_file)

    @property
    def duration_ms(self) -> int:
        """The media time that a repaired recording would have."""
        return sum(file.duration_ms for file in self.files)


def probe(source: BinaryIO, *, options: RepairOptions | None = None, on_progress: OnProgress = lambda _: None) -> Probe:
    """Read a file to its end, count what it holds, and run the repair chain without writing anything.

    Raises FlvError when it is no FLV, also when it is empty.
    """
    found = Probe()
    parser = FlvParser()
    recorder = FlvRecorder(lambda _: cast(BinaryIO, _Nowhere()), options=options)
    completed: list[SegmentEvent] = []
    while block := source.read(BLOCK):
        if not found.bytes and len(block) < BLOCK and SIGNATURE not in block:
            raise FlvError("not an FLV file")
        found.bytes += len(block)
        items = parser.feed(block)
        _examine(found, items)
        completed += recorder.feed_items(items)
        on_progress(found.bytes)
    if not found.bytes:
        raise FlvError("the file is empty")
    items = parser.finish()
    _examine(found, items)
    completed += recorder.feed_items(items)
    completed += recorder.finish(torn=parser.torn)
    found.files = tuple(event for event in completed if isinstance(event, SegmentCompleted))
    found.without_file = recorder.repairs_without_file
    return found


def _examine(found: Probe, items: list[Item]) -> None:
    for item in items:
        if isinstance(item, Tag):
            if item.type == SCRIPT:
                _examine_script(found, item)
            else:
                _count(found, item)
        elif isinstance(item, FlvHeader):
            found.header_flags = item.flags if found.header_flags is None else found.header_flags
        elif isinstance(item, Junk):
            found.junk_bytes += item.size


def _count(found: Probe, tag: Tag) -> None:
    name = "video" if tag.type == VIDEO else "audio"
    track = found.tracks.get(name)
    if track is None:
        track = found.tracks[name] = Track(tag.codec.value, first_ms=tag.timestamp)
    if tag.kind == SEQUENCE_HEADER:
        description = read_config(tag).description
        if description not in track.configs and len(track.configs) < _MAX_CONFIGS:
            track.configs.append(description)
    elif tag.kind <= KEYFRAME:
        track.first_ms = tag.timestamp if not track.tags else track.first_ms
        track.last_ms = tag.timestamp
        track.tags += 1
        track.keyframes += tag.kind == KEYFRAME
        track.bytes += len(tag.payload)


def _examine_script(found: Probe, tag: Tag) -> None:
    fields = read_metadata(tag.payload)
    if fields is None or found.metadata:
        return
    keyframes = fields.get("keyframes")
    times = keyframes.get("times") if isinstance(keyframes, dict) else None
    found.index_entries = len(times) if isinstance(times, list) else 0
    found.metadata = {
        name: value
        for name, value in fields.items()
        if name not in _CONTAINER_FIELDS and isinstance(value, str | int | float | bool)
    }


class _Nowhere(io.RawIOBase):
    """A file that forgets what it is given."""

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        return len(data)  # type: ignore[arg-type]

    def seek(self, offset: int, whence: int = 0) -> int:
        return offset
