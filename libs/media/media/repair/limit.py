"""Decides where a file ends: at the keyframe before a limit is passed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from media.flv.tag import KEYFRAME, Tag

_TAG_OVERHEAD: Final = 15
_HARD_FACTOR: Final = 2


class SplitReason(StrEnum):
    """Why a file ended."""

    CODEC_CHANGE = "codec_change"
    DURATION_LIMIT = "duration_limit"
    SIZE_LIMIT = "size_limit"
    CUT = "cut"
    END_OF_STREAM = "end_of_stream"


@dataclass(frozen=True, slots=True)
class Limits:
    """The longest and the largest file wanted; None = no limit. Raises ValueError for anything that is not positive."""

    max_duration_ms: int | None = None
    max_bytes: int | None = None

    def __post_init__(self) -> None:
        if any(limit is not None and limit <= 0 for limit in (self.max_duration_ms, self.max_bytes)):
            raise ValueError("a limit must be positive")

    @property
    def is_set(self) -> bool:
        return self.max_duration_ms is not None or self.max_bytes is not None


@dataclass(frozen=True, slots=True)
class FileState:
    """The open file as the limiter sees it: where it began on the timeline, its bytes, and whether it has video."""

    start_ms: int
    size: int
    has_video: bool


class Limiter:
    """Finds the first place in a run of tags where the file must end.

    A cut stands at a keyframe whose group would pass a limit. Without video any tag will do; with video the file is cut anywhere once it has
    twice the limit. A file that came that far got no keyframe since its limit: so only a group that is longer (or larger) than the limit is ever
    cut inside, and the file behind that cut cannot be shown until the next keyframe. What is written cannot be taken back to the keyframe
    before: it may be gigabytes, and in a bucket already.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.cut_requested = False

    @property
    def is_idle(self) -> bool:
        """Nothing can end the file: no limit is set, and nobody asked for a cut."""
        return not self.cut_requested and not self.limits.is_set

    def find(self, tags: Sequence[Tag], held: Sequence[Tag], state: FileState) -> tuple[int, SplitReason] | None:
        """Return the index of the tag that begins the next file, and why; None when the file goes on."""
        if self.is_idle:
            return None
        if not state.has_video:
            return self._find_anywhere(tags, state, factor=1)
        size = state.size
        for start, end in _sections(tags):
            section = tags[start:end]
            ending = [*section, *held] if end == len(tags) else section
            duration = ending[-1].timestamp - state.start_ms
            if tags[start].kind == KEYFRAME:
                reason = self._reason(duration, size + _size(ending), factor=1)
                if reason is not None:
                    return start, reason
            following = size + _size(section)
            if self._reason(duration, following, factor=_HARD_FACTOR) is not None:
                forced = self._find_anywhere(section, FileState(state.start_ms, size, True), factor=_HARD_FACTOR)
                if forced is not None:
                    return start + forced[0], forced[1]
            size = following
        return None

    def _find_anywhere(self, tags: Sequence[Tag], state: FileState, factor: int) -> tuple[int, SplitReason] | None:
        size = state.size
        for index, tag in enumerate(tags):
            size += len(tag.payload) + _TAG_OVERHEAD
            reason = self._reason(tag.timestamp - state.start_ms, size, factor)
            if reason is not None:
                return index, reason
        return None

    def _reason(self, duration_ms: int, size: int, factor: int) -> SplitReason | None:
        limits = self.limits
        if self.cut_requested and factor == 1:
            return SplitReason.CUT
        if limits.max_duration_ms is not None and duration_ms > factor * limits.max_duration_ms:
            return SplitReason.DURATION_LIMIT
        if limits.max_bytes is not None and size > factor * limits.max_bytes:
            return SplitReason.SIZE_LIMIT
        return None


def _size(tags: Sequence[Tag]) -> int:
    return sum([len(tag.payload) for tag in tags]) + _TAG_OVERHEAD * len(tags)


def _sections(tags: Sequence[Tag]) -> Iterator[tuple[int, int]]:
    """The ranges that begin at a keyframe, and what stands before the first one."""
    if not tags:
        return
    starts = [index for index, tag in enumerate(tags) if tag.kind == KEYFRAME]
    if not starts or starts[0]:
        starts.insert(0, 0)
    yield from zip(starts, [*starts[1:], len(tags)], strict=True)
