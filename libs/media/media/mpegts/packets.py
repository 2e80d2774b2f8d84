"""Transport packets: finding them in bytes that may begin or break with something else."""

from __future__ import annotations

import re
from collections.abc import Iterator

PACKET_BYTES = 188
SYNC_BYTE = 0x47
NULL_PID = 0x1FFF

_SYNC_RUN = re.compile(rb"G(?=.{187}G.{187}G)", re.DOTALL)
_SYNC_SHORT = re.compile(rb"G(?=.{187}(?:G.{187})?\Z)", re.DOTALL)
_UNIT_START = re.compile(rb"[\x40-\x7f]")


def find_sync(data: bytes | bytearray, start: int = 0) -> int | None:
    """The offset of the first transport packet at or after ``start``: three sync bytes in a row, or a whole short tail.

    Some sites put a picture header in front of the packets, so that a segment passes for an image.
    """
    match = _SYNC_RUN.search(data, start) or _SYNC_SHORT.search(data, max(start, len(data) - 2 * PACKET_BYTES))
    return match.start() if match else None


def aligned(data: bytes) -> bytes:
    """Only the whole packets of ``data``; the same object when there is nothing else in it, empty without packets."""
    if _in_sync(data, 0, len(data)):
        return data
    return b"".join(data[start:end] for start, end in _runs(data))


def _in_sync(data: bytes, start: int, end: int) -> bool:
    count, rest = divmod(end - start, PACKET_BYTES)
    return rest == 0 and count > 0 and data[start:end:PACKET_BYTES].count(SYNC_BYTE) == count


def _runs(data: bytes) -> Iterator[tuple[int, int]]:
    """Spans of whole packets."""
    position = 0
    while (start := find_sync(data, position)) is not None:
        end = start
        while end + PACKET_BYTES <= len(data) and data[end] == SYNC_BYTE:
            end += PACKET_BYTES
        if end > start:
            yield start, end
        position = max(end, start + 1)


def unit_starts(data: bytes) -> Iterator[tuple[int, int]]:
    """Offset and PID of each packet in aligned ``data`` where a table section or a PES packet begins.

    A packet with the transport error indicator is passed over. One slice and one search in C over the header bytes:
    only one packet in fifty begins a unit, and a loop over all of them would cost more than the recording.
    """
    headers = data[1::PACKET_BYTES]
    for match in _UNIT_START.finditer(headers):
        offset = match.start() * PACKET_BYTES
        yield offset, (data[offset + 1] & 0x1F) << 8 | data[offset + 2]


def payload(data: bytes, offset: int) -> bytes:
    """The payload of the packet at ``offset``; empty when it carries none."""
    control = data[offset + 3] >> 4 & 3
    if not control & 1:
        return b""
    start = offset + 4 + (1 + data[offset + 4] if control & 2 else 0)
    return data[start : offset + PACKET_BYTES]


def is_random_access(data: bytes, offset: int) -> bool:
    """The random_access_indicator of the packet at ``offset`` (ISO/IEC 13818-1 §2.4.3.5)."""
    return bool(data[offset + 3] & 0x20 and data[offset + 4] and data[offset + 5] & 0x40)


def pid_of(data: bytes, offset: int) -> int:
    """The packet identifier of the packet at ``offset``."""
    return (data[offset + 1] & 0x1F) << 8 | data[offset + 2]


def unit(data: bytes, offset: int, max_packets: int) -> tuple[bytes, tuple[int, ...]]:
    """The payload of the unit that begins at ``offset``, over at most ``max_packets`` packets of its PID, and where they are."""
    wanted = pid_of(data, offset)
    collected = [payload(data, offset)]
    offsets = [offset]
    for position in range(offset + PACKET_BYTES, len(data), PACKET_BYTES):
        if len(offsets) >= max_packets:
            break
        if pid_of(data, position) != wanted:
            continue
        if data[position + 1] & 0x40:
            break
        collected.append(payload(data, position))
        offsets.append(position)
    return b"".join(collected), tuple(offsets)
