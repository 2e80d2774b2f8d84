"""What the first access unit of a segment tells: is it a key frame, and how large is the picture.

Sources: ITU-T H.264 §7.3.1, §7.3.2.1.1; ITU-T H.265 §7.3.1.2, §7.3.2.2.1, §7.3.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_START_CODE = re.compile(rb"\x00\x00\x01(?=.)", re.DOTALL)
_HIGH_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 134, 135, 138, 139})
_H264_IDR, _H264_SPS = 5, 7
_HEVC_FIRST_IRAP, _HEVC_LAST_IRAP, _HEVC_SPS = 16, 23, 33
_SEQUENCE_HEADER = b"\x00\x00\x01\xb3"
_MAX_SPS_BYTES = 1024


class _Bits:
    """Reads an RBSP most significant bit first; raises ValueError past its end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data)
        self._left = len(data) * 8

    def take(self, count: int) -> int:
        if count > self._left:
            raise ValueError("the parameter set is cut short")
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)

    def ue(self) -> int:
        zeros = 0
        while self.take(1) == 0:
            zeros += 1
            if zeros > 32:
                raise ValueError("not an Exp-Golomb code")
        return (1 << zeros) - 1 + self.take(zeros)

    def se(self) -> int:
        code = self.ue()
        return (code + 1) // 2 if code & 1 else -(code // 2)


def units(annex_b: bytes) -> Iterator[bytes]:
    """The NAL units of a byte stream (Annex B), without start codes."""
    start: int | None = None
    for code in _START_CODE.finditer(annex_b):
        if start is not None:
            yield annex_b[start : code.start()]
        start = code.end()
    if start is not None:
        yield annex_b[start:]


def has_key_frame(codec: str, annex_b: bytes) -> bool:
    """Whether decoding can start with an access unit.

    True for codecs that are not looked into: HLS segments begin with a key frame unless something shows that they do not.
    """
    if codec == "h264":
        return any(unit and unit[0] & 0x1F == _H264_IDR for unit in units(annex_b))
    if codec == "hevc":
        return any(unit and _HEVC_FIRST_IRAP <= unit[0] >> 1 & 0x3F <= _HEVC_LAST_IRAP for unit in units(annex_b))
    if codec in ("mpeg1video", "mpeg2video"):
        return _SEQUENCE_HEADER in annex_b
    return True


def picture_size(codec: str, annex_b: bytes) -> tuple[int, int] | None:
    """Width and height from the first sequence parameter set in an access unit, or None."""
    for unit in units(annex_b):
        if codec == "h264" and unit and unit[0] & 0x1F == _H264_SPS:
            return parameter_set_size(codec, unit)
        if codec == "hevc" and unit and unit[0] >> 1 & 0x3F == _HEVC_SPS:
            return parameter_set_size(codec, unit)
    return None


def parameter_set_size(codec: str, unit: bytes) -> tuple[int, int] | None:
    """Width and height in luma samples, cropped, of one sequence parameter set with its NAL header, or None."""
    header = 1 if codec == "h264" else 2
    bits = _Bits(unit[header:_MAX_SPS_BYTES].replace(b"\x00\x00\x03", b"\x00\x00"))
    try:
        return _h264_size(bits) if codec == "h264" else _hevc_size(bits)
    except ValueError:
        return None


def _h264_size(bits: _Bits) -> tuple[int, int]:
    profile = bits.take(8)
    bits.take(16)
    bits.ue()  # seq_parameter_set_id
    chroma = _h264_high(bits) if profile in _HIGH_PROFILES else 1
    bits.ue()  # log2_max_frame_num_minus4
    _h264_order_count(bits)
    bits.ue()  # max_num_ref_frames
    bits.take(1)
    width = (bits.ue() + 1) * 16
    height = (bits.ue() + 1) * 16
    frames_only = bits.take(1)
    height *= 2 - frames_only
    bits.take(1 if frames_only else 2)
    if bits.take(1):
        left, right, top, bottom = bits.ue(), bits.ue(), bits.ue(), bits.ue()
        width -= (left + right) * (2 if chroma in (1, 2) else 1)
        height -= (top + bottom) * (2 if chroma == 1 else 1) * (2 - frames_only)
    return width, height


def _h264_high(bits: _Bits) -> int:
    chroma = bits.ue()
    if chroma == 3:
        bits.take(1)
    bits.ue()  # bit_depth_luma_minus8
    bits.ue()  # bit_depth_chroma_minus8
    bits.take(1)
    if bits.take(1):
        for index in range(12 if chroma == 3 else 8):
            if bits.take(1):
                _h264_scaling_list(bits, 16 if index < 6 else 64)
    return chroma


def _h264_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def _h264_order_count(bits: _Bits) -> None:
    kind = bits.ue()
    if kind == 0:
        bits.ue()
    elif kind == 1:
        bits.take(1)
        bits.se()
        bits.se()
        for _ in range(min(bits.ue(), 255)):
            bits.se()


def _hevc_size(bits: _Bits) -> tuple[int, int]:
    bits.take(4)  # sps_video_parameter_set_id
    sub_layers = bits.take(3)
    bits.take(1)
    _hevc_profile_tier_level(bits, sub_layers)
    bits.ue()  # sps_seq_parameter_set_id
    chroma = bits.ue()
    if chroma == 3:
        bits.take(1)
    width, height = bits.ue(), bits.ue()
    if bits.take(1):
        left, right, top, bottom = bits.ue(), bits.ue(), bits.ue(), bits.ue()
        width -= (left + right) * (2 if chroma in (1, 2) else 1)
        height -= (top + bottom) * (2 if chroma == 1 else 1)
    return width, height


def _hevc_profile_tier_level(bits: _Bits, sub_layers: int) -> None:
    bits.take(96)  # general profile (88 bits) and level (8 bits)
    present = [(bits.take(1), bits.take(1)) for _ in range(sub_layers)]
    if sub_layers:
        bits.take(2 * (8 - sub_layers))
    for profile, level in present:
        bits.take(88 * profile + 8 * level)
