"""The items of an FLV stream: header, tag, junk, and the cheap classification of a tag from its first two bytes.

Sources: Adobe "Flash Video File Format Specification" 10.1 annex E (tag header, AVC and AAC packet types); Veovera "Enhanced RTMP" v2
(FourCC video and audio headers). Codec ids 12 (HEVC) and 13 (AV1) are the de-facto numbers of CDNs that predate Enhanced RTMP.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

AUDIO: Final = 8
VIDEO: Final = 9
SCRIPT: Final = 18
TAG_TYPES: Final = (AUDIO, VIDEO, SCRIPT)

# The kind of an item. Frames are the smallest numbers, so that `kind <= KEYFRAME` says "ordinary media" in one comparison.
FRAME: Final = 0
KEYFRAME: Final = 1
SEQUENCE_HEADER: Final = 2
END_OF_SEQUENCE: Final = 3
SCRIPT_DATA: Final = 4
STREAM_HEADER: Final = 5
JUNK: Final = 6
INVALID: Final = -1

TAG_HEADER_SIZE: Final = 11
PREVIOUS_TAG_SIZE: Final = 4
MAX_PAYLOAD_SIZE: Final = (1 << 24) - 1

_FRAME_TYPE_KEY = 1
_VIDEO_WITH_PACKET_TYPE = (7, 12, 13)
_AAC = 10
_ENHANCED_AUDIO = 9
_MULTITRACK_VIDEO = 6
_MULTITRACK_AUDIO = 5
_ENHANCED_START = 0
_ENHANCED_END = 2
_CODED_FRAMES = (1, 3)
_CHANNEL_LAYOUT = 4
_KIND_CACHE_SIZE = 8192


class Codec(StrEnum):
    """What a media tag carries."""

    AVC = "avc"
    HEVC = "hevc"
    VVC = "vvc"
    AV1 = "av1"
    VP8 = "vp8"
    VP9 = "vp9"
    H263 = "h263"
    VP6 = "vp6"
    SCREEN = "screen"
    AAC = "aac"
    MP3 = "mp3"
    OPUS = "opus"
    FLAC = "flac"
    AC3 = "ac3"
    EAC3 = "eac3"
    PCM = "pcm"
    ADPCM = "adpcm"
    NELLYMOSER = "nellymoser"
    G711 = "g711"
    SPEEX = "speex"
    UNKNOWN = "unknown"


_VIDEO_CODECS = {
    2: Codec.H263,
    3: Codec.SCREEN,
    4: Codec.VP6,
    5: Codec.VP6,
    6: Codec.SCREEN,
    7: Codec.AVC,
    12: Codec.HEVC,
    13: Codec.AV1,
}
_AUDIO_CODECS = {
    0: Codec.PCM,
    1: Codec.ADPCM,
    2: Codec.MP3,
    3: Codec.PCM,
    4: Codec.NELLYMOSER,
    5: Codec.NELLYMOSER,
    6: Codec.NELLYMOSER,
    7: Codec.G711,
    8: Codec.G711,
    10: Codec.AAC,
    11: Codec.SPEEX,
    13: Codec.OPUS,
    14: Codec.MP3,
}
_FOURCC_CODECS = {
    b"avc1": Codec.AVC,
    b"hvc1": Codec.HEVC,
    b"vvc1": Codec.VVC,
    b"av01": Codec.AV1,
    b"vp08": Codec.VP8,
    b"vp09": Codec.VP9,
    b"mp4a": Codec.AAC,
    b"Opus": Codec.OPUS,
    b"fLaC": Codec.FLAC,
    b".mp3": Codec.MP3,
    b"ac-3": Codec.AC3,
    b"ec-3": Codec.EAC3,
}


def classify(tag_type: int, first: int, second: int) -> int:
    """Return the kind of a tag from its type and its first two payload bytes; INVALID for a type that FLV does not know."""
    if tag_type == VIDEO:
        return _classify_video(first, second)
    if tag_type == AUDIO:
        return _classify_audio(first, second)
    return SCRIPT_DATA if tag_type == SCRIPT else INVALID


def _classify_video(first: int, second: int) -> int:
    key = (first >> 4) & 7 == _FRAME_TYPE_KEY
    if first & 0x80:
        packet = first & 15
        if packet == _MULTITRACK_VIDEO:
            packet = second & 15
        return _classify_enhanced(packet, key)
    if first & 15 in _VIDEO_WITH_PACKET_TYPE:
        if second == 0:
            return SEQUENCE_HEADER
        if second == 2:
            return END_OF_SEQUENCE
        return KEYFRAME if key and second == 1 else FRAME
    return KEYFRAME if key else FRAME


def _classify_enhanced(packet: int, key: bool) -> int:
    if packet == _ENHANCED_START:
        return SEQUENCE_HEADER
    if packet == _ENHANCED_END:
        return END_OF_SEQUENCE
    return KEYFRAME if key and packet in _CODED_FRAMES else FRAME


def _classify_audio(first: int, second: int) -> int:
    sound_format = first >> 4
    if sound_format == _AAC:
        return SEQUENCE_HEADER if second == 0 else FRAME
    if sound_format != _ENHANCED_AUDIO:
        return FRAME
    packet = first & 15
    if packet == _MULTITRACK_AUDIO:
        packet = second & 15
    if packet == _CHANNEL_LAYOUT:  # a parameter that each file needs in front, not media
        return SEQUENCE_HEADER
    return _classify_enhanced(packet, key=False)


class _KindCache(dict[int, int]):
    """Kinds by `type << 16 | first two bytes`: one dictionary look-up per tag in the parser's loop, bounded in size."""

    def __missing__(self, key: int) -> int:
        kind = classify(key >> 16, key >> 8 & 255, key & 255)
        if len(self) < _KIND_CACHE_SIZE:
            self[key] = kind
        return kind


KINDS: Final = _KindCache()


class Tag:
    """One FLV tag: type, timestamp in ms (unsigned 32 bit, extended byte included), payload view and kind.

    Slots and a plain class, not a dataclass: a recording makes a million of these an hour.
    """

    __slots__ = ("kind", "payload", "timestamp", "type")

    def __init__(self, type: int, timestamp: int, payload: memoryview, kind: int) -> None:
        self.type = type
        self.timestamp = timestamp
        self.payload = payload
        self.kind = kind

    @classmethod
    def of(cls, type: int, timestamp: int, payload: bytes | memoryview) -> Tag:
        """Make a tag from bytes and classify it; raises ValueError above 2^24 - 1 bytes."""
        view = memoryview(payload).toreadonly()
        if len(view) > MAX_PAYLOAD_SIZE:
            raise ValueError("an FLV tag holds at most 16 MiB")
        return cls(type, timestamp, view, kind_of(type, view))

    @property
    def size(self) -> int:
        """Payload bytes."""
        return len(self.payload)

    @property
    def is_media(self) -> bool:
        """A coded frame: neither a sequence header, nor an end marker, nor script data."""
        return self.kind <= KEYFRAME

    @property
    def is_keyframe(self) -> bool:
        return self.kind == KEYFRAME

    @property
    def is_sequence_header(self) -> bool:
        return self.kind == SEQUENCE_HEADER

    @property
    def is_end_of_sequence(self) -> bool:
        return self.kind == END_OF_SEQUENCE

    @property
    def is_enhanced(self) -> bool:
        """True for a FourCC (Enhanced RTMP) tag."""
        if not self.payload:
            return False
        first = self.payload[0]
        return bool(first & 0x80) if self.type == VIDEO else self.type == AUDIO and first >> 4 == _ENHANCED_AUDIO

    @property
    def is_multitrack(self) -> bool:
        """True for a tag of the multitrack extension of Enhanced RTMP v2."""
        return self.is_enhanced and self.payload[0] & 15 == (
            _MULTITRACK_VIDEO if self.type == VIDEO else _MULTITRACK_AUDIO
        )

    @property
    def is_channel_layout(self) -> bool:
        """True for the MultichannelConfig packet of enhanced audio, sent besides the codec's sequence header."""
        if self.type != AUDIO or not self.is_enhanced:
            return False
        at = 1 if self.is_multitrack else 0
        return len(self.payload) > at and self.payload[at] & 15 == _CHANNEL_LAYOUT

    @property
    def fourcc(self) -> bytes | None:
        """The FourCC of an enhanced tag, else None."""
        if not self.is_enhanced:
            return None
        start = 2 if self.is_multitrack else 1
        return bytes(self.payload[start : start + 4])

    @property
    def track(self) -> int:
        """The track id of a one-track multitrack tag; 0 for everything else."""
        return self.payload[6] if self.is_multitrack and len(self.payload) > 6 else 0

    @property
    def codec(self) -> Codec:
        """The codec of a media tag, read from its first byte or its FourCC."""
        if self.type not in (AUDIO, VIDEO) or not self.payload:
            return Codec.UNKNOWN
        fourcc = self.fourcc
        if fourcc is not None:
            return _FOURCC_CODECS.get(fourcc, Codec.UNKNOWN)
        first = self.payload[0]
        if self.type == VIDEO:
            return _VIDEO_CODECS.get(first & 15, Codec.UNKNOWN)
        return _AUDIO_CODECS.get(first >> 4, Codec.UNKNOWN)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tag):
            return NotImplemented
        return (self.type, self.timestamp, self.payload) == (other.type, other.timestamp, other.payload)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Tag(type={self.type}, timestamp={self.timestamp}, size={self.size}, kind={self.kind})"


def kind_of(tag_type: int, payload: memoryview) -> int:
    """Return the kind of a tag whose payload may be shorter than two bytes: what is absent counts as a plain frame."""
    if len(payload) >= 2:
        return KINDS[tag_type << 16 | payload[0] << 8 | payload[1]]
    if tag_type in (AUDIO, VIDEO):
        return FRAME
    return SCRIPT_DATA if tag_type == SCRIPT else INVALID


@dataclass(frozen=True, slots=True)
class FlvHeader:
    """The file header: seen once in a file, and again wherever a server joined two streams."""

    version: int = 1
    flags: int = 5

    @property
    def kind(self) -> int:
        return STREAM_HEADER

    @property
    def has_audio(self) -> bool:
        return bool(self.flags & 4)

    @property
    def has_video(self) -> bool:
        return bool(self.flags & 1)


@dataclass(frozen=True, slots=True)
class Junk:
    """Bytes between two tags that are no tag: `size` of them were skipped."""

    size: int

    @property
    def kind(self) -> int:
        return JUNK


Item = Tag | FlvHeader | Junk
