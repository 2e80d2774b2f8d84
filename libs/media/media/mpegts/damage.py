"""Packets that are missing from a transport stream, by their continuity counters (ISO/IEC 13818-1 §2.4.3.3)."""

from __future__ import annotations

from media.mpegts.packets import PACKET_BYTES, pid_of

_PAYLOAD = 0x10
_ADAPTATION = 0x20
_DISCONTINUITY = 0x80


def lacks_packets(data: bytes, pid: int) -> bool:
    """Whether a packet of one stream is missing from aligned ``data``, or arrived with an error that its transport noticed.

    A packet may come twice in a row, one without payload does not count, and a counter that announces its jump is no loss.
    """
    expected: int | None = None
    for offset in range(0, len(data), PACKET_BYTES):
        if pid_of(data, offset) != pid:
            continue
        if data[offset + 1] & 0x80:
            return True
        control = data[offset + 3]
        if not control & _PAYLOAD:
            continue
        counter = control & 15
        announced = control & _ADAPTATION and data[offset + 4] and data[offset + 5] & _DISCONTINUITY
        if expected is not None and not announced and counter not in (expected, (expected - 1) & 15):
            return True
        expected = (counter + 1) & 15
    return False
