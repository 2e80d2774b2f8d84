"""What is left of a .ts file after a crash."""

from __future__ import annotations

import os
from typing import BinaryIO

from media.mpegts.packets import PACKET_BYTES, SYNC_BYTE, aligned
from media.mpegts.pes import CLOCK_HZ, unwrap
from media.mpegts.scan import TsScan, scan_ts
from media.segments import Recovered

WINDOW_PACKETS = 16_384
"""3 MB: how much of the beginning and of the end is read for timestamps."""


_ZEROS = bytes(8)


def recover_ts(file: BinaryIO) -> Recovered:
    """Truncate a file, opened for reading and writing, to whole packets and measure it.

    Also removes packets of zeros, which a file system leaves at the end of a file that was not synced. The caller syncs
    and closes. Zero bytes left means that nothing can be played.
    """
    size = file.seek(0, os.SEEK_END)
    kept = _whole_packets(file, size)
    file.truncate(kept)
    head = _scan(file, 0, min(kept, WINDOW_PACKETS * PACKET_BYTES), None)
    tail_start = max(0, kept - WINDOW_PACKETS * PACKET_BYTES)
    tail = _scan(file, tail_start, kept - tail_start, head)
    return Recovered(kept, _duration_ms(head, tail), size - kept)


def _whole_packets(file: BinaryIO, size: int) -> int:
    kept = _end_of_last_packet(file, size - size % PACKET_BYTES)
    # Only where a tail was cut off: zeros in a file that ends in order are media.
    if kept < size and _is_torn(file, kept):
        return _end_of_last_packet(file, kept - PACKET_BYTES)
    return kept


def _end_of_last_packet(file: BinaryIO, end: int) -> int:
    while end > 0:
        start = max(0, end - WINDOW_PACKETS * PACKET_BYTES)
        file.seek(start)
        sync = file.read(end - start)[::PACKET_BYTES]
        last = sync.rfind(bytes([SYNC_BYTE]))
        if last >= 0:
            return start + (last + 1) * PACKET_BYTES
        end = start
    return 0


def _is_torn(file: BinaryIO, end: int) -> bool:
    """Whether zeros complete the last packet: real ones are stuffed with ones."""
    if end == 0:
        return False
    file.seek(end - len(_ZEROS))
    return file.read(len(_ZEROS)) == _ZEROS


def _scan(file: BinaryIO, start: int, size: int, head: TsScan | None) -> TsScan:
    file.seek(start)
    return scan_ts(aligned(file.read(size)), head.program if head else None)


def _duration_ms(head: TsScan, tail: TsScan) -> int:
    if head.timestamps is None or tail.timestamps is None:
        return 0
    last = unwrap(tail.timestamps.high, head.timestamps.high)
    if last < head.timestamps.low:  # more than 13 hours: the nearest value is one round too low
        last += 1 << 33
    interval = tail.timestamps.interval or head.timestamps.interval or 0
    return (last + interval - head.timestamps.low) * 1000 // CLOCK_HZ
