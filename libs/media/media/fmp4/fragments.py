"""Movie fragments: when their samples play and whether decoding can start with them (ISO/IEC 14496-12 §8.8)."""

from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass
from zlib import crc32

from media.fmp4.boxes import Box, Mp4Error, boxes, find, full_box, number
from media.fmp4.init import InitTracks, Track

_NOT_SYNC = 0x0001_0000
"""sample_is_non_sync_sample in the sample flags (§8.8.3.1)."""

_TFHD_BASE_OFFSET, _TFHD_DESCRIPTION, _TFHD_DURATION, _TFHD_SIZE, _TFHD_FLAGS = 0x1, 0x2, 0x8, 0x10, 0x20
_TRUN_DATA_OFFSET, _TRUN_FIRST_FLAGS = 0x1, 0x4
_TRUN_DURATION, _TRUN_SIZE, _TRUN_FLAGS, _TRUN_COMPOSITION = 0x100, 0x200, 0x400, 0x800
_MARKED_BYTES = 4096
_TRUN_FIELDS = (_TRUN_DURATION, _TRUN_SIZE, _TRUN_FLAGS, _TRUN_COMPOSITION)


@dataclass(frozen=True, slots=True)
class TrackSpan:
    """Decode times of one track in one segment, in ticks of its timescale; ``end`` is after the last sample."""

    track: Track
    start: int
    end: int
    samples: int
    starts_with_sync: bool


@dataclass(frozen=True, slots=True)
class FragmentScan:
    """What a segment holds, by track id; empty when it has no movie fragment."""

    spans: dict[int, TrackSpan]

    @property
    def reference(self) -> TrackSpan | None:
        """The span that a recording's clock follows: the video's, else the first track's."""
        return self.video or next(iter(self.spans.values()), None)

    @property
    def video(self) -> TrackSpan | None:
        """The span of the video, if this segment has any."""
        return next((span for span in self.spans.values() if span.track.kind == "video"), None)


@dataclass(frozen=True, slots=True)
class _Run:
    samples: int
    duration: int
    first_flags: int | None


def mark_of_fragment(data: bytes) -> int:
    """A fingerprint of the media that a segment begins with, whatever its boxes say of numbers and times."""
    body = next((data[box.body : box.end] for box in boxes(data) if box.kind == b"mdat"), data)
    return crc32(body[:_MARKED_BYTES])


def whole_fragments(data: bytes) -> bytes:
    """The segment up to its last whole ``mdat``: a moof whose media was cut off cannot be played."""
    end = max((box.end for box in boxes(data) if box.kind == b"mdat"), default=0)
    return data if end == len(data) else data[:end]


def scan_fragments(data: bytes, init: InitTracks) -> FragmentScan:
    """Read all movie fragments of one segment; raises Mp4Error when they are damaged."""
    tracks = {track.track_id: track for track in init.tracks}
    spans: dict[int, TrackSpan] = {}
    for moof in boxes(data):
        if moof.kind != b"moof":
            continue
        for traf in boxes(data, moof.body, moof.end):
            if traf.kind == b"traf":
                _add(spans, _traf(data, traf, tracks, spans))
    return FragmentScan(spans)


def _add(spans: dict[int, TrackSpan], span: TrackSpan | None) -> None:
    if span is None:
        return
    before = spans.get(span.track.track_id)
    if before is None:
        spans[span.track.track_id] = span
        return
    spans[span.track.track_id] = TrackSpan(
        span.track,
        min(before.start, span.start),
        max(before.end, span.end),
        before.samples + span.samples,
        before.starts_with_sync,
    )


def _traf(data: bytes, traf: Box, tracks: dict[int, Track], spans: dict[int, TrackSpan]) -> TrackSpan | None:
    header = find(data, b"tfhd", traf)
    if header is None:
        raise Mp4Error("a track fragment has no tfhd")
    start = _decode_time(data, traf)
    track = tracks.get(number(data, header, 4, 4))
    if track is None:
        return None
    default_duration, default_flags = _defaults(data, header, track)
    runs = [_run(data, box, default_duration) for box in boxes(data, traf.body, traf.end) if box.kind == b"trun"]
    samples = sum(run.samples for run in runs)
    if samples == 0:
        return None
    if start is None:
        start = spans[track.track_id].end if track.track_id in spans else 0
    first = next(run for run in runs if run.samples)
    flags = default_flags if first.first_flags is None else first.first_flags
    return TrackSpan(track, start, start + sum(run.duration for run in runs), samples, not flags & _NOT_SYNC)


def _defaults(data: bytes, header: Box, track: Track) -> tuple[int, int]:
    """Sample duration and flags that hold unless a run says otherwise (tfhd over trex)."""
    _, flags = full_box(data, header)
    at = 8 + (8 if flags & _TFHD_BASE_OFFSET else 0) + (4 if flags & _TFHD_DESCRIPTION else 0)
    duration, sample_flags = track.default_duration, track.default_flags
    if flags & _TFHD_DURATION:
        duration = number(data, header, at, 4)
        at += 4
    at += 4 if flags & _TFHD_SIZE else 0
    if flags & _TFHD_FLAGS:
        sample_flags = number(data, header, at, 4)
    return duration, sample_flags


def _decode_time(data: bytes, traf: Box) -> int | None:
    box = find(data, b"tfdt", traf)
    if box is None:
        return None
    version, _ = full_box(data, box)
    return number(data, box, 4, 8 if version == 1 else 4)


def _run(data: bytes, box: Box, default_duration: int) -> _Run:
    _, flags = full_box(data, box)
    samples = number(data, box, 4, 4)
    at = 8 + (4 if flags & _TRUN_DATA_OFFSET else 0)
    first_flags = None
    if flags & _TRUN_FIRST_FLAGS:
        first_flags = number(data, box, at, 4)
        at += 4
    present = [field for field in _TRUN_FIELDS if flags & field]
    if samples * len(present) * 4 > box.end - box.body - at:
        raise Mp4Error("a track run names more samples than it describes")
    if samples == 0:
        return _Run(0, 0, None)
    table = _words(data, box.body + at, samples * len(present))
    duration = samples * default_duration
    if flags & _TRUN_DURATION:
        duration = sum(table[:: len(present)])
    if first_flags is None and flags & _TRUN_FLAGS:
        first_flags = table[present.index(_TRUN_FLAGS)]
    return _Run(samples, duration, first_flags)


def _words(data: bytes, start: int, count: int) -> array[int]:
    words = array("I", data[start : start + 4 * count])
    if sys.byteorder == "little":
        words.byteswap()
    return words
