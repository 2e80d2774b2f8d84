"""The script tag `onMetaData` with a duration, a file size and a keyframe index in room that is reserved once and patched in place.

The index is `keyframes {times, filepositions}` in seconds and bytes, the form that players and ffmpeg's demuxer read; the unused room is
a third array, `spacer`, so that the tag never changes its size and a crash leaves a file that can be sought.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from media.flv.amf0 import AmfValue, EcmaArray, decode_all, encode_all, encode_elements, encode_name
from media.flv.errors import AmfError

ON_METADATA: Final = "onMetaData"
DEFAULT_ROOM: Final = 6300  # entries: 3.3 hours at one per 1.9 s, and any length at wider spacing
MIN_SPACING_MS: Final = 1900
ENTRY_SIZE: Final = 18  # bytes of a time and a position
_OWN_FIELDS: Final = frozenset(
    {"duration", "filesize", "hasKeyframes", "canSeekToEnd", "lasttimestamp", "lastkeyframetimestamp", "keyframes"}
)
_MAX_CARRIED_BYTES: Final = 64 * 1024


class KeyframeIndex:
    """The keyframes of one file, thinned so that they always cover all of it within `room` entries."""

    def __init__(self, room: int = DEFAULT_ROOM, spacing_ms: int = MIN_SPACING_MS) -> None:
        self.room = max(2, room)
        self._spacing = spacing_ms
        self.times: list[int] = []
        self.positions: list[int] = []
        self._encoded_times, self._encoded_positions = bytearray(), bytearray()

    def add(self, time_ms: int, position: int) -> None:
        """Add a keyframe unless it lies too close to the last one; when the room is full every second entry goes."""
        if self.times and time_ms - self.times[-1] < self._spacing:
            return
        if len(self.times) == self.room:
            del self.times[1::2]
            del self.positions[1::2]
            self._encoded_times = bytearray(encode_elements([time / 1000 for time in self.times]))
            self._encoded_positions = bytearray(encode_elements(self.positions))
            self._spacing *= 2
            if time_ms - self.times[-1] < self._spacing:
                return
        self.times.append(time_ms)
        self.positions.append(position)
        self._encoded_times += encode_elements([time_ms / 1000])
        self._encoded_positions += encode_elements([position])

    def encode(self) -> bytes:
        """The two arrays, named. Entries are encoded once: a file that is written for hours is patched thousands of times."""
        count = len(self.times).to_bytes(4)
        times = encode_name("times") + b"\x0a" + count + self._encoded_times
        return times + encode_name("filepositions") + b"\x0a" + count + self._encoded_positions


def read_metadata(payload: bytes | memoryview) -> dict[str, AmfValue] | None:
    """Return the fields of an `onMetaData` payload, or None when it is another script or broken (a broken one is replaced)."""
    try:
        values = decode_all(payload)
    except AmfError:
        return None
    if values[:1] == ["@setDataFrame"]:  # left in by encoders that publish over RTMP
        del values[0]
    if len(values) < 2 or values[0] != ON_METADATA or not isinstance(values[1], Mapping):
        return None
    return dict(values[1])


def carried_fields(source: Mapping[str, AmfValue]) -> dict[str, AmfValue]:
    """The source's own fields that stay true in a new file; none of them when they are absurdly large."""
    fields = {name: value for name, value in source.items() if name not in _OWN_FIELDS}
    try:
        size = len(encode_all([EcmaArray(fields)]))
    except AmfError:
        return {}
    return fields if size <= _MAX_CARRIED_BYTES else {}


@dataclass(frozen=True, slots=True)
class EncodedMetadata:
    """A payload of constant size; everything from `used` on is zeros and end markers that stay as they were first written."""

    payload: bytes
    used: int


def encode_metadata(
    fields: Mapping[str, AmfValue], index: KeyframeIndex, *, duration_ms: int, file_size: int
) -> EncodedMetadata:
    """Encode the payload; its size depends on `fields` and `index.room` only."""
    used = encode_used(fields, index, duration_ms=duration_ms, file_size=file_size)
    # The number 0.0 is nine zero bytes.
    return EncodedMetadata(used + bytes(ENTRY_SIZE * (index.room - len(index.times))) + 2 * b"\x00\x00\x09", len(used))


def encode_used(fields: Mapping[str, AmfValue], index: KeyframeIndex, *, duration_ms: int, file_size: int) -> bytes:
    """Only what is in use of the payload: zeros follow up to the end markers."""
    entries = len(index.times)
    head: dict[str, AmfValue] = {
        "duration": duration_ms / 1000,
        "filesize": float(file_size),
        "lasttimestamp": duration_ms / 1000,
        "hasKeyframes": entries > 0,
        **fields,
    }
    spare = 2 * (index.room - entries)
    return b"".join(
        [
            encode_all([ON_METADATA]),
            b"\x08" + (len(head) + 1).to_bytes(4),
            *(encode_name(name) + encode_all([value]) for name, value in head.items()),
            encode_name("keyframes") + b"\x03",
            index.encode(),
            encode_name("spacer") + b"\x0a" + spare.to_bytes(4),
        ]
    )


def reserved_room(fields: Mapping[str, AmfValue]) -> int | None:
    """How many entries a decoded `onMetaData` has room for; None when it was not written with reserved room."""
    keyframes = fields.get("keyframes")
    if not isinstance(keyframes, Mapping):
        return None
    lists = [keyframes.get(name) for name in ("times", "filepositions", "spacer")]
    if not all(isinstance(values, list) for values in lists):
        return None
    return sum(len(values) for values in lists if isinstance(values, list)) // 2
