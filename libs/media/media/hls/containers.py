"""The containers that HLS segments come in, each behind one small interface for the recorder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import BinaryIO, Protocol

from media.fmp4 import (
    FragmentScan,
    InitTracks,
    Mp4Error,
    duration_patch,
    mark_of_fragment,
    parse_init,
    rebase,
    scan_fragments,
    whole_fragments,
    with_duration_box,
)
from media.hls.layout import Layout
from media.hls.packed_audio import read_packed_audio
from media.mpegts import (
    CLOCK_HZ,
    TIMESTAMP_MODULUS,
    Program,
    TsScan,
    aligned,
    find_sync,
    lacks_packets,
    mark_of,
    scan_ts,
)

_SEGMENT_BOXES = frozenset({b"styp", b"moof", b"sidx", b"emsg", b"prft", b"ftyp", b"free", b"mdat"})
_PROBE_BYTES = 64 * 1024
"""How far into a segment the first transport packet is looked for, past a disguise in front of it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One segment, understood; times in 90 kHz ticks, None where the segment carries none.

    ``lost``: media that damage took out of its middle, up to ``lost_until``; ``trimmed``: some of its bytes could not be read.
    """

    data: bytes
    start: int | None
    duration: int | None
    keyframe: bool
    layout: Layout
    fragments: FragmentScan | None = None
    lost: int = 0
    lost_until: int = 0
    trimmed: bool = False


class Container(Protocol):
    """Turns the segments of one kind into a file of its own."""

    extension: str
    modulus: int | None
    """Where the timestamps start over, in ticks; None when they do not."""

    def inspect(self, data: bytes) -> Piece | None:
        """Understand a segment; None when nothing in it can be played."""

    def begin(self, piece: Piece, seekable: bool) -> bytes:
        """What a file that starts with this piece needs in front of it."""

    def body(self, piece: Piece, position: int) -> bytes:
        """What to write for a piece at this offset of the file."""

    def end(self, file: BinaryIO, duration_ms: int) -> None:
        """Complete a file that is about to be closed."""


class TransportStream:
    """MPEG-TS segments: written as they are, each file beginning with the program tables."""

    extension = "ts"
    modulus: int | None = TIMESTAMP_MODULUS

    def __init__(self) -> None:
        self._program: Program | None = None
        self._tables = b""
        self._has_tables = True

    def set_init(self, data: bytes) -> None:
        """Take tables from an EXT-X-MAP section (RFC 8216 §3.2)."""
        self._note(scan_ts(aligned(data), None))

    def inspect(self, data: bytes) -> Piece | None:
        """Understand a segment; None when it has no transport packets."""
        packets = aligned(data)
        if not packets:
            return None
        scan = scan_ts(packets, self._program)
        self._note(scan)
        self._has_tables = scan.begins_with_tables
        times = scan.timestamps
        duration = None
        if times is not None and times.interval is not None:
            duration = times.high - times.low + times.interval
        start = times.low if times is not None else None
        piece = Piece(packets, start, duration, scan.starts_with_keyframe, _transport_layout(scan))
        # What precedes the packets may be a disguise.
        trimmed = len(packets) < len(data) - (find_sync(data) or 0)
        # Each packet is looked at only where time is missing: a source may pause, damage is what has to be proved.
        if times is not None and times.hole and (trimmed or lacks_packets(packets, times.pid)):
            piece = replace(piece, lost=times.hole, lost_until=times.hole_ends)
        return replace(piece, trimmed=True) if trimmed else piece

    def begin(self, piece: Piece, seekable: bool) -> bytes:
        """The program tables, where the first segment does not begin with them."""
        return b"" if self._has_tables else self._tables

    def body(self, piece: Piece, position: int) -> bytes:
        """The packets, unchanged."""
        return piece.data

    def end(self, file: BinaryIO, duration_ms: int) -> None:
        """Nothing: a transport stream has no end."""

    def mark(self, data: bytes) -> int:
        """A fingerprint of how the media of a segment begins, after :meth:`inspect`."""
        return mark_of(data, self._program)

    def _note(self, scan: TsScan) -> None:
        self._program = scan.program or self._program
        self._tables = scan.tables or self._tables


def _transport_layout(scan: TsScan) -> Layout:
    program = scan.program
    if program is None:
        return Layout(picture=scan.picture)
    video, audio = program.video, program.audio
    return Layout(
        video.codec if video else "",
        audio.codec if audio else "",
        scan.picture,
        (
            program.transport_stream_id,
            program.number,
            program.pmt_pid,
            video.pid if video else None,
            audio.pid if audio else None,
        ),
    )


class FragmentedMp4:
    """fMP4 segments: the initialisation section, then fragments whose times start at zero in each file."""

    extension = "mp4"
    modulus: int | None = None

    def __init__(self, init: bytes) -> None:
        """Raises Mp4Error when the initialisation section cannot be read."""
        self._init = init
        self._tracks = parse_init(init)
        self._layout = _movie_layout(self._tracks)
        self._base: dict[int, int] = {}
        self._header = init

    def same_as(self, other: bytes) -> bool:
        """Whether another initialisation section describes the same tracks."""
        return other == self._init or _movie_layout(parse_init(other)) == self._layout

    def inspect(self, data: bytes) -> Piece | None:
        """Understand a segment; None when it has no whole fragment of a known track."""
        size = len(data)
        try:
            data = whole_fragments(data)
            scan = scan_fragments(data, self._tracks)
        except Mp4Error:
            return None
        reference = scan.reference
        if reference is None:
            return None
        timescale = reference.track.timescale
        start = reference.start * CLOCK_HZ // timescale
        duration = reference.end * CLOCK_HZ // timescale - start
        keyframe = self._tracks.video is None or (scan.video is not None and scan.video.starts_with_sync)
        return Piece(data, start, duration or None, keyframe, self._layout, scan, trimmed=len(data) < size)

    def begin(self, piece: Piece, seekable: bool) -> bytes:
        """The initialisation section; fixes what is subtracted from the times of this file."""
        spans = piece.fragments.spans.values() if piece.fragments else ()
        # The earliest sample of any track becomes zero: one base for all keeps picture and sound together.
        origin = min(spans, key=lambda span: span.start / span.track.timescale, default=None)
        self._base = {
            track.track_id: origin.start * track.timescale // origin.track.timescale if origin else 0
            for track in self._tracks.tracks
        }
        self._header = with_duration_box(self._init) if seekable else self._init
        return self._header

    def body(self, piece: Piece, position: int) -> bytes:
        """The fragments, moved to this file's times and offset."""
        return rebase(piece.data, self._base, position)

    def end(self, file: BinaryIO, duration_ms: int) -> None:
        """Write the duration into the header, where the file can seek."""
        patch = duration_patch(self._header, duration_ms) if file.seekable() else None
        if patch is not None:
            file.seek(patch[0])
            file.write(patch[1])

    def mark(self, data: bytes) -> int:
        """A fingerprint of how the media of a segment begins, after :meth:`inspect`."""
        return mark_of_fragment(data)


def _movie_layout(tracks: InitTracks) -> Layout:
    video, audio = tracks.video, tracks.audio
    return Layout(
        video.codec if video else "",
        audio.codec if audio else "",
        (video.width, video.height) if video else None,
        (tracks.tracks,),
    )


class PackedAudio:
    """AAC frames without a container (RFC 8216 §3.4): written one after the other."""

    extension = "aac"
    modulus: int | None = TIMESTAMP_MODULUS

    def inspect(self, data: bytes) -> Piece | None:
        """Understand a segment; None when it has no ADTS frame."""
        audio = read_packed_audio(data)
        if audio is None:
            return None
        layout = Layout("", f"aac {audio.sample_rate} Hz {audio.channels} ch")
        return Piece(audio.frames, audio.start, audio.duration, keyframe=True, layout=layout)

    def begin(self, piece: Piece, seekable: bool) -> bytes:
        """Nothing: every frame describes itself."""
        return b""

    def body(self, piece: Piece, position: int) -> bytes:
        """The frames without their ID3 tags."""
        return piece.data

    def end(self, file: BinaryIO, duration_ms: int) -> None:
        """Nothing to complete."""


def looks_like_mp4(data: bytes) -> bool:
    """Whether a segment begins with a box that fMP4 segments begin with."""
    return data[4:8] in _SEGMENT_BOXES


def looks_like_transport_stream(data: bytes) -> bool:
    """Whether transport packets are near the beginning of a segment."""
    return find_sync(data[:_PROBE_BYTES]) is not None
