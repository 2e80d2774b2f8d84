"""Makes a file whole that a killed recorder left behind."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from media.flv.errors import FlvError
from media.flv.metadata import KeyframeIndex, carried_fields, encode_metadata, read_metadata, reserved_room
from media.flv.tag import AUDIO, KEYFRAME, PREVIOUS_TAG_SIZE, SCRIPT, TAG_HEADER_SIZE, TAG_TYPES, classify
from media.flv.writer import FILE_HEADER_SIZE

_BLOCK: Final = 1 << 20
_MAX_TRUNCATED: Final = 64 << 20
_MAX_SCRIPT: Final = 4 << 20
_READ_AHEAD: Final = TAG_HEADER_SIZE + 2
_read_tag = struct.Struct(">II3xBB").unpack


@dataclass(frozen=True, slots=True)
class RecoveredFile:
    """The file as it is now; `indexed` = its duration and keyframe index were written."""

    bytes: int
    duration_ms: int
    keyframes: int
    truncated_bytes: int
    indexed: bool


@dataclass(slots=True)
class _Scan:
    end: int  # where the last whole tag ends, the size behind it not counted
    last_size: int = 0
    duration_ms: int = 0
    keyframes: list[tuple[int, int]] = field(default_factory=list)
    audio: list[tuple[int, int]] = field(default_factory=list)
    script: tuple[int, int] | None = None  # position and size of the first script payload


def recover(file: BinaryIO, *, max_truncated: int = _MAX_TRUNCATED) -> RecoveredFile:
    """Truncate a torn last tag and write the true duration, size and index into the room that the recorder reserved.

    `file` is seekable and open for reading and writing. Idempotent. Raises FlvError when the file is not FLV, or when more than
    `max_truncated` bytes would go: that is not what a crash of the recorder leaves, and repairing it is a decision for somebody else.
    """
    length = file.seek(0, 2)
    file.seek(0)
    header = file.read(FILE_HEADER_SIZE)
    if len(header) < FILE_HEADER_SIZE or header[:3] != b"FLV":
        raise FlvError("not an FLV file")
    scan = _scan(file, int.from_bytes(header[5:9]) + PREVIOUS_TAG_SIZE, length)
    whole = scan.end + PREVIOUS_TAG_SIZE
    truncated = max(0, length - whole)
    if truncated > max_truncated:
        raise FlvError(f"{truncated} bytes of the file are no FLV tags: more than a crash leaves behind")
    file.truncate(min(length, whole))
    file.seek(scan.end)
    file.write(scan.last_size.to_bytes(PREVIOUS_TAG_SIZE))
    indexed = _write_index(file, scan, whole)
    file.flush()
    return RecoveredFile(whole, scan.duration_ms, len(scan.keyframes), truncated, indexed)


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
        _note(scan, tag_type, timestamp, position, size, classify(tag_type, first, second))
        scan.last_size = size + TAG_HEADER_SIZE
        scan.end = end
        position = end + PREVIOUS_TAG_SIZE
    return scan


def _note(scan: _Scan, tag_type: int, timestamp: int, position: int, size: int, kind: int) -> None:
    if tag_type == SCRIPT:
        if scan.script is None and size <= _MAX_SCRIPT:
            scan.script = (position + TAG_HEADER_SIZE, size)
        return
    scan.duration_ms = max(scan.duration_ms, timestamp)
    if kind == KEYFRAME:
        scan.keyframes.append((timestamp, position))
    elif tag_type == AUDIO and kind < KEYFRAME:
        scan.audio.append((timestamp, position))


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


def _write_index(file: BinaryIO, scan: _Scan, size: int) -> bool:
    if scan.script is None:
        return False
    position, length = scan.script
    file.seek(position)
    fields = read_metadata(file.read(length))
    room = reserved_room(fields) if fields else None
    if fields is None or room is None:
        return False
    index = KeyframeIndex(room)
    for time_ms, at in scan.keyframes or scan.audio:
        index.add(time_ms, at)
    encoded = encode_metadata(carried_fields(fields), index, duration_ms=scan.duration_ms, file_size=size)
    if len(encoded.payload) != length:
        return False  # written by another program
    file.seek(position)
    file.write(encoded.payload)
    return True
