"""Boxes: the nesting of an ISO base media file (ISO/IEC 14496-12 §4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

MAX_BOXES = 100_000
"""Boxes in one container; a segment of a live stream has a few dozen."""


class Mp4Error(ValueError):
    """The bytes are not the fragmented MP4 that they should be."""


@dataclass(frozen=True, slots=True)
class Box:
    """Where a box lies in the bytes around it; ``body`` is the offset after its header."""

    kind: bytes
    start: int
    body: int
    end: int


def boxes(data: bytes | bytearray, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes of a container in order; stops before a box that is not whole. Raises Mp4Error past MAX_BOXES."""
    end = len(data) if end is None else end
    position = start
    for _ in range(MAX_BOXES):
        box = read_header(data, position, end)
        if box is None or box.end > end:
            return
        yield box
        position = box.end
    raise Mp4Error("too many boxes")


def read_header(data: bytes | bytearray, position: int, end: int) -> Box | None:
    """The box that begins at ``position``; it may go past ``end``. None when there is no box header."""
    if position + 8 > end:
        return None
    size = int.from_bytes(data[position : position + 4])
    kind = bytes(data[position + 4 : position + 8])
    body = position + 8
    if size == 1:
        if position + 16 > end:
            return None
        size, body = int.from_bytes(data[position + 8 : position + 16]), position + 16
    elif size == 0:
        size = end - position
    return Box(kind, position, body, position + size) if size >= body - position else None


def find(data: bytes | bytearray, kind: bytes, parent: Box) -> Box | None:
    """The first child of this kind."""
    return next((box for box in boxes(data, parent.body, parent.end) if box.kind == kind), None)


def find_path(data: bytes | bytearray, parent: Box, *kinds: bytes) -> Box | None:
    """The first box below ``parent`` along this path."""
    box: Box | None = parent
    for kind in kinds:
        box = find(data, kind, box) if box else None
    return box


def full_box(data: bytes | bytearray, box: Box) -> tuple[int, int]:
    """Version and flags of a full box; raises Mp4Error when it is cut short."""
    if box.end - box.body < 4:
        raise Mp4Error(f"{box.kind.decode('latin-1')} is cut short")
    return data[box.body], int.from_bytes(data[box.body + 1 : box.body + 4])


def number(data: bytes | bytearray, box: Box, offset: int, size: int) -> int:
    """A big-endian number at ``offset`` from the body; raises Mp4Error when the box ends before it."""
    at = box.body + offset
    if at + size > box.end:
        raise Mp4Error(f"{box.kind.decode('latin-1')} is cut short")
    return int.from_bytes(data[at : at + size])
