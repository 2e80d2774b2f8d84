"""Removes filler NAL units: padding that constant-bitrate encoders add, up to half of a stream's bytes."""

from __future__ import annotations

import struct
from typing import Final

from media.flv.tag import VIDEO, Codec, Tag
from media.repair.log import RepairLog
from media.repair.model import RepairKind

_AVC_FILLER: Final = 12
_HEVC_FILLER: Final = 38
USUAL_LENGTH_SIZE: Final = 4
"""Bytes of a NAL unit's length where no header has told yet; a frame is changed only if its lengths add up."""
_Layout = tuple[int, int, int, int] | tuple[()]
_read_size_and_type = struct.Struct(">IB").unpack_from


class FillerFilter:
    """Rewrites video frames without NAL units of type 12 (AVC, H.264 7.3.1) or 38 (HEVC, H.265 table 7-1).

    A frame that cannot be walked, or holds nothing but filler, stays as it is.
    """

    def __init__(self, log: RepairLog) -> None:
        self._log = log
        self._layouts: list[_Layout | None] = [None] * 128
        self.nal_length_size = USUAL_LENGTH_SIZE

    def process(self, tags: list[Tag]) -> None:
        """Rewrite the payloads of the frames that hold filler."""
        removed = 0
        for tag in tags:
            payload = tag.payload
            if tag.type != VIDEO or not payload:
                continue
            first = payload[0]
            # The first byte says it all unless a FourCC follows.
            layout = _layout(tag) if first & 0x80 else self._layouts[first] or self._learn_layout(tag)
            if layout and self._has_filler(payload, *layout):
                removed += self._strip(tag, *layout)
        if removed:
            self._log.add(RepairKind.FILLER, None, amount=removed)

    def _learn_layout(self, tag: Tag) -> _Layout:
        layout = self._layouts[tag.payload[0]] = _layout(tag)
        return layout

    def _has_filler(self, payload: memoryview, position: int, shift: int, mask: int, filler: int) -> bool:
        size = len(payload)
        if self.nal_length_size != 4:
            return any(kind == filler for _, _, kind in self._units(payload, position, shift, mask))
        while position + 5 <= size:
            length, lead = _read_size_and_type(payload, position)
            if lead >> shift & mask == filler:
                return True
            position += 4 + length
        return False

    def _units(self, payload: memoryview, position: int, shift: int, mask: int) -> list[tuple[int, int, int]]:
        """`(start, end, type)` of each NAL unit with its length field; empty when the lengths do not add up."""
        units: list[tuple[int, int, int]] = []
        width = self.nal_length_size
        while position < len(payload):
            body = position + width
            end = body + int.from_bytes(payload[position:body])
            if end > len(payload) or end <= body:
                return []
            units.append((position, end, payload[body] >> shift & mask))
            position = end
        return units

    def _strip(self, tag: Tag, offset: int, shift: int, mask: int, filler: int) -> int:
        payload = tag.payload
        units = self._units(payload, offset, shift, mask)
        kept = [payload[start:end] for start, end, kind in units if kind != filler]
        if not kept:
            return 0
        tag.payload = memoryview(b"".join([payload[:offset], *kept]))
        return len(payload) - len(tag.payload)


def _layout(tag: Tag) -> _Layout:
    """Where NAL units begin, shift and mask of the type in their first byte, the type of filler; nothing where there are no NAL units.

    Units stand behind the packet type and the composition time, which an enhanced CodedFramesX (3) lacks.
    """
    if tag.is_multitrack:
        return ()  # several tracks in one tag: not walked
    offset = 8 if tag.is_enhanced and tag.payload[0] & 15 != 3 else 5
    codec = tag.codec
    if codec is Codec.AVC:
        return offset, 0, 31, _AVC_FILLER
    if codec is Codec.HEVC:
        return offset, 1, 63, _HEVC_FILLER
    return ()
