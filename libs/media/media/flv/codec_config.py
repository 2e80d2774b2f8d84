"""Sequence headers: what of them decides how frames are decoded.

Sources: ISO/IEC 14496-15 (AVCDecoderConfigurationRecord 5.3.3.1, HEVCDecoderConfigurationRecord 8.3.3.1), ITU-T H.264 7.3.2.1.1 (SPS),
ISO/IEC 14496-3 1.6.2.1 (AudioSpecificConfig), RFC 9639 8.2 (STREAMINFO).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from media.flv.tag import AUDIO, Codec, Tag

_AVC_NAL_SPS: Final = 7
_AVC_SPS_EXTENDED_PROFILES: Final = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
_AAC_RATES: Final = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_MAX_PARAMETER_SETS: Final = 64


@dataclass(frozen=True, slots=True)
class CodecConfig:
    """The meaning of a sequence header.

    Two headers with equal `signature` decode the same frames: repeats, reordered or repeated parameter sets, other reserved bits and
    other display hints (VUI) of an otherwise equal SPS are no change. `nal_length_size` is 0 where the codec has no NAL units.
    """

    codec: Codec
    signature: tuple[object, ...]
    description: str
    nal_length_size: int = 0


class BitReader:
    """Reads the bits of an RBSP, most significant first; raises ValueError past the end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data)
        self._size = len(data) * 8
        self.position = 0

    def bits(self, count: int) -> int:
        """The next `count` bits as an unsigned number."""
        end = self.position + count
        if end > self._size:
            raise ValueError("read past the end")
        self.position = end
        return self._value >> (self._size - end) & ((1 << count) - 1)

    def unsigned(self) -> int:
        """An Exp-Golomb number, ue(v)."""
        zeros = 0
        while self.bits(1) == 0:
            zeros += 1
            if zeros > 32:
                raise ValueError("not an Exp-Golomb number")
        return (1 << zeros) - 1 + self.bits(zeros)

    def signed(self) -> int:
        """A signed Exp-Golomb number, se(v)."""
        code = self.unsigned()
        return (code + 1) // 2 if code & 1 else -(code // 2)

    def prefix(self) -> int:
        """All bits read so far as one number, with a leading 1 so that leading zeros count."""
        return 1 << self.position | self._value >> (self._size - self.position)


def read_config(tag: Tag) -> CodecConfig:
    """Read a sequence header tag; a record that cannot be parsed is compared byte by byte."""
    codec = tag.codec
    record = bytes(tag.payload[_record_offset(tag) :])
    try:
        if codec is Codec.AVC:
            return _read_avc(record)
        if codec is Codec.HEVC:
            return _read_hevc(record)
        if codec is Codec.AAC:
            return _read_aac(record)
        if codec is Codec.FLAC:
            return _read_flac(record)
    except (ValueError, IndexError):
        pass
    return CodecConfig(codec, (codec, record), f"{codec} ({len(record)} bytes)")


def is_empty(tag: Tag) -> bool:
    """Whether a sequence header has nothing behind its packet type: it announces a codec whose parameters are not known yet."""
    return len(tag.payload) <= _record_offset(tag)


def _record_offset(tag: Tag) -> int:
    if tag.is_multitrack:
        return 7
    if tag.is_enhanced:
        return 5
    return 2 if tag.type == AUDIO else 5


def _read_avc(record: bytes) -> CodecConfig:
    length_size = (record[4] & 3) + 1
    position = 6
    sets: list[bytes] = []
    position = _take_sets(record, position, record[5] & 31, sets)
    _take_sets(record, position + 1, record[position], sets)
    sps = [_sps_signature(unit) if unit and unit[0] & 31 == _AVC_NAL_SPS else (unit,) for unit in sets]
    width, height = _sps_size(sets[0])
    signature = (Codec.AVC, length_size, frozenset(sps))
    return CodecConfig(Codec.AVC, signature, f"avc {width}x{height} profile {record[1]} level {record[3]}", length_size)


def _take_sets(record: bytes, position: int, count: int, sets: list[bytes]) -> int:
    """Append `count` length-prefixed parameter sets; return the position behind them."""
    if len(sets) + count > _MAX_PARAMETER_SETS:
        raise ValueError("too many parameter sets")
    for _ in range(count):
        size = int.from_bytes(record[position : position + 2])
        unit = record[position + 2 : position + 2 + size]
        if len(unit) != size:
            raise ValueError("truncated parameter set")
        sets.append(unit)
        position += 2 + size
    return position


def _unescape(unit: bytes) -> bytes:
    return unit.replace(b"\x00\x00\x03", b"\x00\x00")


@dataclass(frozen=True, slots=True)
class _Sps:
    prefix: int
    width: int
    height: int


def _read_sps(unit: bytes) -> _Sps:
    bits = BitReader(_unescape(unit[1:]))
    profile = bits.bits(8)
    bits.bits(16)  # constraint flags, level
    bits.unsigned()  # seq_parameter_set_id
    chroma = 1
    if profile in _AVC_SPS_EXTENDED_PROFILES:
        chroma = _read_sps_high(bits)
    bits.unsigned()  # log2_max_frame_num
    _read_sps_order(bits)
    bits.unsigned()  # max_num_ref_frames
    bits.bits(1)  # gaps allowed
    width = (bits.unsigned() + 1) * 16
    map_units = bits.unsigned() + 1
    frames_only = bits.bits(1)
    if not frames_only:
        bits.bits(1)  # mb_adaptive_frame_field
    bits.bits(1)  # direct_8x8_inference
    height = map_units * 16 * (2 - frames_only)
    if bits.bits(1):
        left, right, top, bottom = (bits.unsigned() for _ in range(4))
        width -= (left + right) * (2 if chroma in (1, 2) else 1)
        height -= (top + bottom) * (2 if chroma == 1 else 1) * (2 - frames_only)
    return _Sps(bits.prefix(), width, height)


def _read_sps_high(bits: BitReader) -> int:
    chroma = bits.unsigned()
    if chroma == 3:
        bits.bits(1)  # separate_colour_plane
    bits.unsigned()  # bit depth, luma
    bits.unsigned()  # bit depth, chroma
    bits.bits(1)  # lossless bypass
    if bits.bits(1):
        for index in range(12 if chroma == 3 else 8):
            if bits.bits(1):
                _skip_scaling_list(bits, 16 if index < 6 else 64)
    return chroma


def _skip_scaling_list(bits: BitReader, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last


def _read_sps_order(bits: BitReader) -> None:
    order = bits.unsigned()
    if order == 0:
        bits.unsigned()
    elif order == 1:
        bits.bits(1)
        bits.signed()
        bits.signed()
        for _ in range(min(bits.unsigned(), 255)):
            bits.signed()


def _sps_signature(unit: bytes) -> tuple[object, ...]:
    """Everything before the VUI: the VUI only hints at display and timing, and flips between edge servers of one stream."""
    try:
        return (unit[0], _read_sps(unit).prefix)
    except ValueError:
        return (unit,)


def _sps_size(unit: bytes) -> tuple[int, int]:
    sps = _read_sps(unit)
    return sps.width, sps.height


def _read_hevc(record: bytes) -> CodecConfig:
    length_size = (record[21] & 3) + 1
    sets: list[bytes] = []
    position = 23
    for _ in range(record[22]):
        count = int.from_bytes(record[position + 1 : position + 3])
        position = _take_sets(record, position + 3, count, sets)
    signature = (Codec.HEVC, length_size, frozenset(sets))
    return CodecConfig(Codec.HEVC, signature, f"hevc profile {record[1] & 31} level {record[12]}", length_size)


def _read_aac(record: bytes) -> CodecConfig:
    bits = BitReader(record)
    object_type = bits.bits(5)
    if object_type == 31:
        object_type = 32 + bits.bits(6)
    index = bits.bits(4)
    if index in (13, 14):
        raise ValueError("reserved sampling frequency index")
    rate = bits.bits(24) if index == 15 else _AAC_RATES[index]
    channels = bits.bits(4)
    signature = (Codec.AAC, object_type, rate, channels)
    return CodecConfig(Codec.AAC, signature, f"aac {rate} Hz {channels} channels object type {object_type}")


def _read_flac(record: bytes) -> CodecConfig:
    """STREAMINFO; its sample count and checksum are known at the end only, when encoders send it again."""
    bits = BitReader(record[10:14])
    rate, channels, depth = bits.bits(20), bits.bits(3) + 1, bits.bits(5) + 1
    return CodecConfig(
        Codec.FLAC, (Codec.FLAC, rate, channels, depth), f"flac {rate} Hz {channels} channels {depth} bits"
    )
