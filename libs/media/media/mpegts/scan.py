"""One pass over a transport stream segment: its program, its timestamps, and whether it can be decoded from its start."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from zlib import crc32

from media.mpegts.nal import has_key_frame, picture_size
from media.mpegts.packets import PACKET_BYTES, is_random_access, payload, unit, unit_starts
from media.mpegts.pes import elementary_data, presentation_timestamp, unwrap
from media.mpegts.psi import MAX_SECTION_PACKETS, Program, parse_pat, parse_pmt

HOLE_TICKS = 18_000
"""90 kHz: 0.2 s. A stretch without pictures that is this much longer than usual counts as one; shorter ones are a few frames."""
MAX_ACCESS_UNIT_PACKETS = 64
"""Parameter sets and the first slice header come before this; the rest of the picture is not looked at."""


@dataclass(frozen=True, slots=True)
class Timestamps:
    """Presentation timestamps of one stream in 90 kHz ticks, unwrapped around the first; ``count`` PES packets.

    ``hole``: how much longer than usual the longest steps between them are, in sum; ``hole_ends``: behind the last of these steps.
    """

    first: int
    low: int
    high: int
    count: int
    pid: int
    hole: int = 0
    hole_ends: int = 0

    @property
    def interval(self) -> int | None:
        """Mean distance between PES packets, or None for a single one."""
        return (self.high - self.low) // (self.count - 1) if self.count > 1 else None


@dataclass(frozen=True, slots=True)
class TsScan:
    """What a segment holds."""

    program: Program | None
    timestamps: Timestamps | None
    """Of the video, else of the audio; None when no PES header with a PTS was found."""
    starts_with_keyframe: bool
    """The first picture can be decoded on its own; always true without video."""
    picture: tuple[int, int] | None
    tables: bytes
    """The packets of the first PAT and PMT, to put in front of a file."""
    begins_with_tables: bool


class _Scanner:
    def __init__(self, data: bytes, known: Program | None) -> None:
        self._data = data
        self.program = known
        self._fresh: tuple[int, int, int] | None = None
        self._pmt_seen = False
        self._pat_packet = b""
        self.tables = b""
        self.tables_at: int | None = None
        self.times: dict[int, list[int]] = {}
        self.first_video: int | None = None

    def run(self) -> None:
        for offset, pid in unit_starts(self._data):
            if pid == 0:
                self._pat(offset)
            elif self._fresh is not None and pid == self._fresh[2]:
                self._pmt(offset)
            else:
                self._pes(offset, pid)

    def _pat(self, offset: int) -> None:
        if self._fresh is not None:
            return
        self._fresh = parse_pat(payload(self._data, offset))
        if self._fresh is not None:
            self._pat_packet = self._data[offset : offset + PACKET_BYTES]
            self.tables_at = offset

    def _pmt(self, offset: int) -> None:
        if self._pmt_seen or self._fresh is None:
            return
        packets: tuple[int, ...] = (offset,)
        streams = parse_pmt(payload(self._data, offset))
        if streams is None:
            section, packets = unit(self._data, offset, MAX_SECTION_PACKETS)
            streams = parse_pmt(section)
        if streams is not None:
            self._pmt_seen = True
            identifier, number, pmt_pid = self._fresh
            self.program = Program(number, identifier, pmt_pid, streams)
            self.tables = self._pat_packet + b"".join(self._data[at : at + PACKET_BYTES] for at in packets)

    def _pes(self, offset: int, pid: int) -> None:
        timestamp = presentation_timestamp(payload(self._data, offset))
        video = self.program.video if self.program else None
        if video is not None and pid == video.pid and self.first_video is None:
            self.first_video = offset
        if timestamp is not None:
            self.times.setdefault(pid, []).append(timestamp)


def scan_ts(data: bytes, known: Program | None = None) -> TsScan:
    """Scan a segment of whole packets; ``known`` is the program so far, for segments without tables of their own."""
    scanner = _Scanner(data, known)
    scanner.run()
    program = scanner.program
    keyframe, picture = _first_picture(data, program, scanner.first_video)
    return TsScan(
        program=program,
        timestamps=_timestamps(program, scanner.times),
        starts_with_keyframe=keyframe,
        picture=picture,
        tables=scanner.tables,
        begins_with_tables=bool(scanner.tables) and not _media_before(data, scanner.tables_at),
    )


def mark_of(data: bytes, program: Program | None) -> int:
    """A fingerprint of the first picture of a segment (of its first sound, where there is none): the same whoever muxed it."""
    stream = (program.video or program.audio) if program else None
    first = next((offset for offset, pid in unit_starts(data) if stream is not None and pid == stream.pid), None)
    return crc32(data if first is None else elementary_data(unit(data, first, MAX_ACCESS_UNIT_PACKETS)[0]))


def _first_picture(data: bytes, program: Program | None, offset: int | None) -> tuple[bool, tuple[int, int] | None]:
    if program is None or program.video is None:
        return True, None
    if offset is None:
        return False, None
    access_unit = elementary_data(unit(data, offset, MAX_ACCESS_UNIT_PACKETS)[0])
    codec = program.video.codec
    keyframe = is_random_access(data, offset) or has_key_frame(codec, access_unit)
    return keyframe, picture_size(codec, access_unit)


def _timestamps(program: Program | None, times: dict[int, list[int]]) -> Timestamps | None:
    streams = program.streams if program else ()
    preferred = [stream.pid for stream in sorted(streams, key=lambda each: not each.is_video)]
    pid = next((each for each in preferred if each in times), None)
    if pid is None:
        return None
    first = times[pid][0]
    unwrapped = sorted(unwrap(timestamp, first) for timestamp in times[pid])
    return Timestamps(first, unwrapped[0], unwrapped[-1], len(unwrapped), pid, *_hole(unwrapped))


def _hole(times: list[int]) -> tuple[int, int]:
    steps = [after - before for before, after in pairwise(times)]
    if not steps or max(steps) < HOLE_TICKS:
        return 0, 0
    usual = sorted(steps)[len(steps) // 2]
    long = [(step - usual, after) for step, after in zip(steps, times[1:], strict=True) if step - usual >= HOLE_TICKS]
    return sum(step for step, _ in long), max((after for _, after in long), default=0)


def _media_before(data: bytes, tables_at: int | None) -> bool:
    return tables_at is None or any(offset < tables_at for offset, pid in unit_starts(data[:tables_at]) if pid > 0x1F)
