"""Makes a file whole that a killed recorder left behind."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from media.flv.amf0 import AmfValue
from media.flv.errors import FlvError
from media.flv.metadata import KeyframeIndex, carried_fields, encode_metadata, read_metadata, reserved_room
from media.flv.parser import MAX_HEADER_SIZE
from media.flv.tag import (
    AUDIO,
    END_OF_SEQUENCE,
    FRAME,
    KEYFRAME,
    PREVIOUS_TAG_SIZE,
    SCRIPT,
    SCRIPT_DATA,
    TAG_HEADER_SIZE,
    TAG_TYPES,
    VIDEO,
    Tag,
    classify,
)
from media.flv.writer import FILE_HEADER_SIZE, encode_tag

_BLOCK: Final = 1 << 20
_MAX_TRUNCATED: Final = 64 << 20
_MAX_SCRIPT: Final = 4 << 20
_READ_AHEAD: Final = TAG_HEADER_SIZE + 2
_read_tag = struct.Struct(">II3xBB").unpack


@dataclass(frozen=True, slots=True)
class RecoveredFile:
    """The file as it is now; `indexed` = its duration and keyframe index are true, `changed` = something had to be written."""

    bytes: int
    duration_ms: int
    keyframes: int
    truncated_bytes: int
    indexed: bool
    changed: bool


@dataclass(frozen=True, slots=True)
class _Script:
    """The script tag in front of the media: where it begins, where the next tag does, its payload and the fields of an `onMetaData`."""

    start: int
    end: int
    payload: bytes
    fields: dict[str, AmfValue] | None

    @property
    def room(self) -> int | None:
        """Entries that the tag has room for; None when it was not written with room."""
        return reserved_room(self.fields) if self.fields else None


@dataclass(slots=True)
class _Scan:
    end: int  # where the last whole tag ends, the size behind it not counted
    last_size: int = 0
    duration_ms: int = 0
    first_ms: int | None = None
    keyframes: int = 0
    has_video: bool = False
    index: KeyframeIndex = field(default_factory=KeyframeIndex)
    audio: KeyframeIndex = field(default_factory=KeyframeIndex)
    script: _Script | None = None

    @property
    def places(self) -> KeyframeIndex:
        """Where a player may start: keyframes, or any audio where there is no video."""
        return self.index if self.has_video else self.audio

    def begin_index(self, room: int) -> None:
        self.index, self.audio = KeyframeIndex(room), KeyframeIndex(room)


def recover(file: BinaryIO, *, max_truncated: int = _MAX_TRUNCATED) -> RecoveredFile:
    """Truncate a torn last tag and write the true duration, size and index into the room that the recorder reserved.

    `file` is seekable and open for reading and writing. Idempotent. Raises FlvError when the file is not FLV, or when more than
    `max_truncated` bytes would go: that is not what a crash of the recorder leaves, and repairing it is a decision for somebody else.
    """
    length, scan = _scan_file(file)
    whole = scan.end + PREVIOUS_TAG_SIZE
    truncated = max(0, length - whole)
    if truncated > max_truncated:
        raise FlvError(f"{truncated} bytes of the file are no FLV tags: more than a crash leaves behind")
    if length != whole:
        file.truncate(min(length, whole))
        file.seek(scan.end)
        file.write(scan.last_size.to_bytes(PREVIOUS_TAG_SIZE))
    patched = _write_index(file, scan, whole)
    file.flush()
    changed = length != whole or patched is True
    return RecoveredFile(whole, scan.duration_ms, scan.keyframes, truncated, patched is not None, changed)


def copy_with_index(file: BinaryIO, target: BinaryIO) -> RecoveredFile:
    """Copy a file whose script tag has no room for an index, giving it one that has; all other tags stay as they are, byte for byte.

    A torn last tag is left out. `target` is seekable, empty and open for writing. Raises FlvError when `file` is not FLV.
    """
    length, scan = _scan_file(file)
    first = _first_tag(file, length)
    script = scan.script or _Script(first, first, b"", None)
    fields = carried_fields(script.fields or {})
    whole = scan.end + PREVIOUS_TAG_SIZE
    index = KeyframeIndex()
    tag_size = len(_script_tag(encode_metadata(fields, index, duration_ms=0, file_size=0).payload))
    moved = tag_size - (script.end - script.start)
    for time_ms, at in zip(scan.places.times, scan.places.positions, strict=True):
        index.add(time_ms, at + moved)
    encoded = encode_metadata(fields, index, duration_ms=scan.duration_ms, file_size=whole + moved)
    _copy(file, target, 0, script.start)
    target.write(_script_tag(encoded.payload))
    _copy(file, target, script.end, scan.end)
    target.write(scan.last_size.to_bytes(PREVIOUS_TAG_SIZE))
    return RecoveredFile(
        whole + moved, scan.duration_ms, scan.keyframes, max(0, length - whole), indexed=True, changed=True
    )


def _scan_file(file: BinaryIO) -> tuple[int, _Scan]:
    length = file.seek(0, 2)
    return length, _scan(file, _first_tag(file, length), length)


def _first_tag(file: BinaryIO, length: int) -> int:
    file.seek(0)
    header = file.read(FILE_HEADER_SIZE)
    if len(header) < FILE_HEADER_SIZE or header[:3] != b"FLV":
        raise FlvError("not an FLV file")
    size = int.from_bytes(header[5:9])
    if not FILE_HEADER_SIZE <= size <= MAX_HEADER_SIZE or size > length:
        raise FlvError("the file header is broken")
    return size + PREVIOUS_TAG_SIZE


def _script_tag(payload: bytes) -> bytes:
    return encode_tag(Tag(SCRIPT, 0, memoryview(payload), SCRIPT_DATA))


def _copy(file: BinaryIO, target: BinaryIO, start: int, end: int) -> None:
    file.seek(start)
    while start < end:
        block = file.read(min(_BLOCK, end - start))
        if not block:
            raise FlvError("the file became shorter while it was read")
        target.write(block)
        start += len(block)


def _scan(file: BinaryIO, position: int, length: int) -> _Scan:
    """Walk the tag headers, reading no payloads; stop at the first tag that is not whole or not confirmed by the size behind it."""
    scan = _Scan(end=position - PREVIOUS_TAG_SIZE)
    reader = _HeaderReader(file)
    while position + TAG_HEADER_SIZE <= length:
        tag_word, time_word, first, second = _read_tag(reader.read(position, _READ_AHEAD))
        tag_type, size = tag_word >> 24, tag_word & 0xFFFFFF
        end = position + TAG_HEADER_SIZE + size
        if tag_type not in TAG_TYPES or end > length:
            break
        # Only the very last tag may lack the size behind it.
        if end + PREVIOUS_TAG_SIZE <= length:
            size_behind = int.from_bytes(reader.read(end, PREVIOUS_TAG_SIZE))
            if size_behind != TAG_HEADER_SIZE + size:
                break
        timestamp = time_word >> 8 | (time_word & 255) << 24
        if tag_type == SCRIPT:
            if scan.first_ms is None and scan.script is None and size <= _MAX_SCRIPT:
                _note_script(scan, file, position, size)
        else:
            kind = classify(tag_type, first, second) if size >= 2 else FRAME
            _note(scan, tag_type, timestamp, position, kind)
        scan.last_size = size + TAG_HEADER_SIZE
        scan.end = end
        position = end + PREVIOUS_TAG_SIZE
    return scan


def _note_script(scan: _Scan, file: BinaryIO, position: int, size: int) -> None:
    file.seek(position + TAG_HEADER_SIZE)
    payload = file.read(size)
    end = position + TAG_HEADER_SIZE + size + PREVIOUS_TAG_SIZE
    scan.script = _Script(position, end, payload, read_metadata(payload))
    if (room := scan.script.room) is not None:
        scan.begin_index(room)


def _note(scan: _Scan, tag_type: int, timestamp: int, position: int, kind: int) -> None:
    scan.has_video |= tag_type == VIDEO and kind != END_OF_SEQUENCE
    if kind > KEYFRAME:
        return
    if scan.first_ms is None:
        scan.first_ms = timestamp
    scan.duration_ms = max(scan.duration_ms, timestamp - scan.first_ms)
    if kind == KEYFRAME:
        scan.keyframes += 1
        scan.index.add(timestamp, position)
    elif tag_type == AUDIO:
        scan.audio.add(timestamp, position)


class _HeaderReader:
    """Reads tag headers by block: most tags are far smaller than a block."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._start = 0
        self._block = b""

    def read(self, position: int, size: int) -> bytes:
        """`size` bytes at `position`, with zeros for what lies behind the end of the file."""
        offset = position - self._start
        if offset + size > len(self._block) or offset < 0:
            self._file.seek(position)
            self._block = self._file.read(_BLOCK)
            self._start, offset = position, 0
        return self._block[offset : offset + size].ljust(size, b"\0")


def _write_index(file: BinaryIO, scan: _Scan, size: int) -> bool | None:
    """Patch the index; whether it had to be written, None when the script tag has no room for it."""
    script = scan.script
    if script is None or script.fields is None or script.room is None:
        return None
    encoded = encode_metadata(carried_fields(script.fields), scan.places, duration_ms=scan.duration_ms, file_size=size)
    if len(encoded.payload) != len(script.payload):
        return None  # written by another program
    if encoded.payload == script.payload:
        return False
    file.seek(script.start + TAG_HEADER_SIZE)
    file.write(encoded.payload)
    return True
