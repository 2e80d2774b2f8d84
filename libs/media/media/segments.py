"""What a container writer reports while it cuts a recording into files; shared by every container."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class SplitReason(StrEnum):
    """Why a file ended where it did."""

    END = "end"
    """The source ended or the recording was stopped."""
    CUT = "cut"
    """Somebody asked for a new file."""
    SIZE_LIMIT = "size_limit"
    DURATION_LIMIT = "duration_limit"
    CODEC_CHANGE = "codec_change"
    RESOLUTION_CHANGE = "resolution_change"
    STREAM_STRUCTURE_CHANGE = "stream_structure_change"
    """Tracks were added or removed, or the initialisation changed in a way that is neither codec nor resolution."""
    DISCONTINUITY = "discontinuity"
    """The timestamps went to another base: one file cannot hold both."""
    HEADER_RECEIVED = "header_received"
    """The source started over with a new container header."""


class GapReason(StrEnum):
    """Why media is missing from a recording."""

    SLID_OUT = "slid_out"
    """The playlist window moved past segments before they were seen."""
    FAILED = "failed"
    """The download failed for good."""
    SKIPPED = "skipped"
    """Waited long enough for a download: the gap policy moved on."""
    OVER_BUDGET = "over_budget"
    """The reorder buffer was full: the gap policy had to move on."""
    AD = "ad"
    """Stitched advertising, left out on purpose."""
    SOURCE = "source"
    """The source itself says that it has no media here, or its timestamps jumped forward."""
    DAMAGED = "damaged"
    """What arrived cannot be read as media."""
    DISCONNECTED = "disconnected"
    """The connection to the source broke."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Missing media inside one file."""

    at_ms: int
    """Where, in ms from the start of the file."""
    duration_ms: int
    """How much is missing, in ms; an estimate where the source gives no exact number, 0 when unknown."""
    reason: GapReason


@dataclass(frozen=True, slots=True)
class SegmentOpened:
    """A new file was begun."""

    index: int
    """0, 1, 2, … in one recording."""
    extension: str
    """Without the dot: ``flv``, ``ts`` or ``mp4``."""
    start_ms: int
    """Where the file starts, in ms from the recording's first sample, gaps included."""


@dataclass(frozen=True, slots=True)
class SegmentCompleted:
    """A file was finished and closed."""

    index: int
    bytes: int
    duration_ms: int
    """From the first to the end of the last sample, gaps included: what a player shows."""
    split_reason: SplitReason
    gaps: tuple[Gap, ...] = ()
    split_detail: str = ""
    """Old and new value where the reason has them, for example ``1280x720 -> 1920x1080``."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a file is cut, at a key frame and before it goes over; None is no limit."""

    max_duration_ms: int | None = None
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Recovered:
    """What is left of a file that a crash interrupted."""

    bytes: int
    """0 when nothing in it can be played."""
    duration_ms: int
    removed_bytes: int


@dataclass(frozen=True, slots=True)
class Lost:
    """Media that nobody left out is missing before ``at_ms`` of the recording: it could not be read, or the source went on later."""

    at_ms: int
    lost_ms: int
    reason: GapReason


SegmentEvent = SegmentOpened | SegmentCompleted | Lost
