"""HLS playlists as frozen data: what a playlist says, with every URL absolute.

Names and meanings follow RFC 8216 and draft-pantos-hls-rfc8216bis (low latency).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


class PlaylistError(ValueError):
    """The text is not a playlist that can be followed: malformed, over a limit, or of the wrong kind."""


class UnsupportedPlaylistError(PlaylistError):
    """A valid playlist that needs something this recorder cannot do, such as SAMPLE-AES."""


@dataclass(frozen=True, slots=True)
class PlaylistLimits:
    """Upper bounds on what one playlist may cost; above them parsing raises PlaylistError."""

    max_chars: int = 8 * 1024 * 1024
    max_line_chars: int = 16 * 1024
    max_segments: int = 50_000
    max_parts: int = 20_000
    max_variants: int = 512
    max_date_ranges: int = 4096


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A sub-range of a resource, in bytes."""

    offset: int
    length: int

    @property
    def end(self) -> int:
        """Offset of the first byte after the range."""
        return self.offset + self.length

    @property
    def header(self) -> str:
        """The value of an HTTP Range header."""
        return f"bytes={self.offset}-{self.end - 1}"


@dataclass(frozen=True, slots=True)
class KeyTag:
    """EXT-X-KEY as written; ``iv`` is None when the media sequence number stands in for it."""

    method: str
    uri: str | None
    iv: bytes | None = None
    keyformat: str = "identity"


@dataclass(frozen=True, slots=True)
class MapTag:
    """EXT-X-MAP: where the initialisation section is."""

    uri: str
    byte_range: ByteRange | None = None
    key: KeyTag | None = None


@dataclass(frozen=True, slots=True)
class DateRange:
    """EXT-X-DATERANGE; durations in seconds."""

    id: str
    class_name: str = ""
    start: datetime | None = None
    end: datetime | None = None
    duration: float | None = None
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """EXT-X-PART: a piece of a segment that is announced before the segment is whole; duration in seconds."""

    uri: str
    duration: float
    independent: bool = False
    gap: bool = False
    byte_range: ByteRange | None = None


@dataclass(frozen=True, slots=True)
class PreloadHint:
    """EXT-X-PRELOAD-HINT: what the server will publish next."""

    kind: str
    uri: str
    start: int = 0
    length: int | None = None


@dataclass(frozen=True, slots=True)
class ServerControl:
    """EXT-X-SERVER-CONTROL; times in seconds."""

    can_block_reload: bool = False
    hold_back: float | None = None
    part_hold_back: float | None = None
    can_skip_until: float | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """One media segment with everything that the tags before it say about it; duration in seconds."""

    sequence: int
    uri: str
    duration: float
    title: str = ""
    byte_range: ByteRange | None = None
    key: KeyTag | None = None
    init: MapTag | None = None
    discontinuity: bool = False
    discontinuity_sequence: int = 0
    program_date_time: datetime | None = None
    gap: bool = False
    """EXT-X-GAP: the source says that it has no media here."""
    prefetch: bool = False
    """Announced by EXT-X-TWITCH-PREFETCH: downloadable, but not yet a regular segment."""
    ad: bool = False
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class MediaPlaylist:
    """A playlist of segments; durations in seconds."""

    url: str
    target_duration: float
    media_sequence: int = 0
    discontinuity_sequence: int = 0
    version: int = 1
    segments: tuple[Segment, ...] = ()
    ended: bool = False
    playlist_type: str = ""
    server_control: ServerControl = field(default_factory=ServerControl)
    part_target: float | None = None
    trailing_parts: tuple[Part, ...] = ()
    """Parts of the segment that is not whole yet."""
    trailing: Segment | None = None
    """That segment as far as it is known: sequence, key, init; its URI is empty."""
    preload_hints: tuple[PreloadHint, ...] = ()
    date_ranges: tuple[DateRange, ...] = ()

    @property
    def next_sequence(self) -> int:
        """The media sequence number after the last whole segment."""
        return self.segments[-1].sequence + 1 if self.segments else self.media_sequence


@dataclass(frozen=True, slots=True)
class Variant:
    """EXT-X-STREAM-INF: one quality of the same content; bandwidths in bits per second."""

    uri: str
    bandwidth: int
    average_bandwidth: int | None = None
    width: int | None = None
    height: int | None = None
    frame_rate: float | None = None
    codecs: tuple[str, ...] = ()
    audio_group: str | None = None
    video_group: str | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Rendition:
    """EXT-X-MEDIA: an alternative audio, video or subtitle track; ``uri`` is None when it is inside the variant."""

    kind: str
    group_id: str
    name: str
    uri: str | None = None
    language: str = ""
    default: bool = False
    autoselect: bool = False


@dataclass(frozen=True, slots=True)
class MasterPlaylist:
    """A playlist of variants (a multivariant playlist)."""

    url: str
    variants: tuple[Variant, ...]
    renditions: tuple[Rendition, ...] = ()
