"""Initialisation sections: the tracks of a fragmented MP4 (ISO/IEC 14496-12 §8)."""

from __future__ import annotations

from dataclasses import dataclass

from media.fmp4.boxes import Box, Mp4Error, boxes, find, find_path, full_box, number

_SAMPLE_ENTRY_CODECS = {
    b"avc1": "h264",
    b"avc3": "h264",
    b"hvc1": "hevc",
    b"hev1": "hevc",
    b"dvh1": "hevc",
    b"dvhe": "hevc",
    b"av01": "av1",
    b"vp09": "vp9",
    b"vp08": "vp8",
    b"mp4a": "aac",
    b"Opus": "opus",
    b"fLaC": "flac",
    b"ac-3": "ac3",
    b"ec-3": "eac3",
    b".mp3": "mp3",
}
MAX_TRACKS = 32


@dataclass(frozen=True, slots=True)
class Track:
    """One track; ``configuration`` is its whole sample description, ``timescale`` ticks per second."""

    track_id: int
    kind: str
    """``video``, ``audio`` or another four-character handler."""
    timescale: int
    codec: str
    configuration: bytes
    width: int = 0
    height: int = 0
    default_duration: int = 0
    default_flags: int = 0


@dataclass(frozen=True, slots=True)
class InitTracks:
    """What an initialisation section says; ``timescale`` is that of the movie header."""

    timescale: int
    tracks: tuple[Track, ...]

    @property
    def video(self) -> Track | None:
        """The first video track."""
        return next((track for track in self.tracks if track.kind == "video"), None)

    @property
    def audio(self) -> Track | None:
        """The first audio track."""
        return next((track for track in self.tracks if track.kind == "audio"), None)


def parse_init(data: bytes) -> InitTracks:
    """Read ``ftyp`` + ``moov``; raises Mp4Error."""
    moov = next((box for box in boxes(data) if box.kind == b"moov"), None)
    if moov is None:
        raise Mp4Error("the initialisation section has no moov")
    header = find(data, b"mvhd", moov)
    if header is None:
        raise Mp4Error("the moov has no mvhd")
    defaults = _track_defaults(data, moov)
    traks = [box for box in boxes(data, moov.body, moov.end) if box.kind == b"trak"]
    if not traks or len(traks) > MAX_TRACKS:
        raise Mp4Error("the moov has no tracks, or too many")
    return InitTracks(_timescale(data, header), tuple(_track(data, trak, defaults) for trak in traks))


def _track_defaults(data: bytes, moov: Box) -> dict[int, tuple[int, int]]:
    """Default sample duration and flags by track (trex)."""
    mvex = find(data, b"mvex", moov)
    if mvex is None:
        raise Mp4Error("the movie is not fragmented: it has no mvex")
    return {
        number(data, box, 4, 4): (number(data, box, 12, 4), number(data, box, 20, 4))
        for box in boxes(data, mvex.body, mvex.end)
        if box.kind == b"trex"
    }


def _timescale(data: bytes, header: Box) -> int:
    """The timescale of an mvhd or mdhd."""
    version, _ = full_box(data, header)
    timescale = number(data, header, 20 if version == 1 else 12, 4)
    if timescale == 0:
        raise Mp4Error("a timescale is zero")
    return timescale


def _track(data: bytes, trak: Box, defaults: dict[int, tuple[int, int]]) -> Track:
    track_header = find(data, b"tkhd", trak)
    media_header = find_path(data, trak, b"mdia", b"mdhd")
    handler = find_path(data, trak, b"mdia", b"hdlr")
    description = find_path(data, trak, b"mdia", b"minf", b"stbl", b"stsd")
    if track_header is None or media_header is None or handler is None or description is None:
        raise Mp4Error("a track lacks one of its headers")
    version, _ = full_box(data, track_header)
    track_id = number(data, track_header, 20 if version == 1 else 12, 4)
    kind = {b"vide": "video", b"soun": "audio"}.get(_handler(data, handler)) or _handler(data, handler).decode(
        "latin-1"
    )
    codec, width, height = _sample_entry(data, description, kind)
    duration, flags = defaults.get(track_id, (0, 0))
    return Track(
        track_id=track_id,
        kind=kind,
        timescale=_timescale(data, media_header),
        codec=codec,
        configuration=data[description.body : description.end],
        width=width,
        height=height,
        default_duration=duration,
        default_flags=flags,
    )


def _handler(data: bytes, handler: Box) -> bytes:
    return data[handler.body + 8 : handler.body + 12]


def _sample_entry(data: bytes, description: Box, kind: str) -> tuple[str, int, int]:
    """Codec and picture size of the first sample entry, looking through encryption (encv, enca)."""
    entry = next(boxes(data, description.body + 8, description.end), None)
    if entry is None:
        raise Mp4Error("a track has no sample description")
    codec = _SAMPLE_ENTRY_CODECS.get(entry.kind) or entry.kind.decode("latin-1").strip()
    if kind != "video":
        return codec, 0, 0
    return codec, number(data, entry, 24, 2), number(data, entry, 26, 2)
