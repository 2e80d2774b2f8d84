"""Packed audio segments: ADTS frames behind an ID3 tag with their timestamp (RFC 8216 §3.4)."""

from __future__ import annotations

from dataclasses import dataclass

from media.mpegts.pes import CLOCK_HZ, TIMESTAMP_MODULUS

_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_SAMPLES_PER_FRAME = 1024
_TIMESTAMP_OWNER = b"com.apple.streaming.transportStreamTimestamp\x00"


@dataclass(frozen=True, slots=True)
class PackedAudioScan:
    """The whole ADTS frames of a segment; times in 90 kHz ticks, ``start`` None without a timestamp tag."""

    frames: bytes
    start: int | None
    duration: int
    sample_rate: int
    channels: int


def read_packed_audio(data: bytes) -> PackedAudioScan | None:
    """Read a segment; None when it does not hold ADTS frames."""
    position, start = _skip_tags(data)
    first, blocks, rate, channels = position, 0, 0, 0
    while (frame := _frame(data, position)) is not None:
        size, frame_rate, frame_channels, frame_blocks = frame
        if position + size > len(data):
            break
        rate, channels = rate or frame_rate, channels or frame_channels
        blocks += frame_blocks
        position += size
    if blocks == 0:
        return None
    duration = blocks * _SAMPLES_PER_FRAME * CLOCK_HZ // rate
    return PackedAudioScan(data[first:position], start, duration, rate, channels)


def _frame(data: bytes, at: int) -> tuple[int, int, int, int] | None:
    """Size, sample rate, channels and AAC blocks of the frame at an offset (ISO/IEC 13818-7 §6.2)."""
    if at + 7 > len(data) or data[at] != 0xFF or data[at + 1] & 0xF6 != 0xF0:
        return None
    index = data[at + 2] >> 2 & 15
    size = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
    if index >= len(_RATES) or size < 7:
        return None
    channels = (data[at + 2] & 1) << 2 | data[at + 3] >> 6
    return size, _RATES[index], channels, (data[at + 6] & 3) + 1


def _skip_tags(data: bytes) -> tuple[int, int | None]:
    """Where the audio begins after ID3v2 tags, and the timestamp they carry."""
    position, start = 0, None
    while data[position : position + 3] == b"ID3" and position + 10 <= len(data):
        size = sum((data[position + 6 + index] & 0x7F) << 7 * (3 - index) for index in range(4))
        tag = data[position : position + 10 + size]
        owner = tag.find(_TIMESTAMP_OWNER)
        if owner >= 0:
            value = tag[owner + len(_TIMESTAMP_OWNER) :][:8]
            start = int.from_bytes(value) % TIMESTAMP_MODULUS
        position += 10 + size
    return position, start
