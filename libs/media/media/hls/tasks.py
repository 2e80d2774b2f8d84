"""What the planner asks for: segments to download, and the holes between them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from media.hls.playlist import ByteRange
from media.segments import GapReason


@dataclass(frozen=True, slots=True)
class KeyRef:
    """An AES-128 key to fetch, with the initialisation vector already resolved (16 bytes)."""

    uri: str
    iv: bytes


@dataclass(frozen=True, slots=True)
class InitSection:
    """An initialisation section to fetch before the segments that name it (EXT-X-MAP)."""

    uri: str
    byte_range: ByteRange | None = None
    key: KeyRef | None = None


@dataclass(frozen=True, slots=True)
class PlanCursor:
    """How far a recording came; another replica goes on after it.

    ``part`` is None when the whole segment is done. ``identity`` tells the same numbering from a restarted one.
    """

    sequence: int
    identity: str
    part: int | None = None


@dataclass(frozen=True, slots=True)
class SegmentTask:
    """One segment, or one part of a segment, to download; duration in seconds."""

    order: int
    """0, 1, 2, … in one plan: the only key to sort by, because media sequence numbers can start over."""
    sequence: int
    url: str
    duration: float
    cursor: PlanCursor
    part: int | None = None
    byte_range: ByteRange | None = None
    init: InitSection | None = None
    key: KeyRef | None = None
    discontinuity: bool = False
    program_date_time: datetime | None = None
    title: str = ""


@dataclass(frozen=True, slots=True)
class GapTask:
    """Segments that will never be downloaded; duration in seconds, estimated where the playlist no longer says it."""

    order: int
    first_sequence: int
    last_sequence: int
    duration: float
    reason: GapReason


PlanItem = SegmentTask | GapTask
