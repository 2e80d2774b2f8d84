"""Presentation timestamps in PES headers (ISO/IEC 13818-1 §2.4.3.6)."""

from __future__ import annotations

CLOCK_HZ = 90_000
"""Ticks per second of PTS and DTS."""
TIMESTAMP_MODULUS = 1 << 33
"""Timestamps have 33 bits and start over after 26.5 hours."""

_NO_HEADER_STREAMS = frozenset({0xBC, 0xBE, 0xBF, 0xF0, 0xF1, 0xF2, 0xF8, 0xFF})


def presentation_timestamp(payload: bytes) -> int | None:
    """The PTS in 90 kHz ticks of the PES packet that begins with ``payload``, or None when it has none."""
    if len(payload) < 14 or payload[:3] != b"\x00\x00\x01" or payload[3] in _NO_HEADER_STREAMS:
        return None
    if payload[6] & 0xC0 != 0x80 or not payload[7] & 0x80:
        return None
    return _timestamp(payload, 9)


def elementary_data(payload: bytes) -> bytes:
    """What follows the PES header."""
    return payload[9 + payload[8] :] if len(payload) > 9 else b""


def unwrap(timestamp: int, reference: int) -> int:
    """The value congruent to ``timestamp`` modulo 2^33 that is nearest to ``reference``."""
    half = TIMESTAMP_MODULUS >> 1
    return reference + (timestamp - reference + half) % TIMESTAMP_MODULUS - half


def _timestamp(data: bytes, at: int) -> int:
    high, middle, low = (
        data[at] >> 1 & 7,
        (data[at + 1] << 8 | data[at + 2]) >> 1,
        (data[at + 3] << 8 | data[at + 4]) >> 1,
    )
    return high << 30 | middle << 15 | low
