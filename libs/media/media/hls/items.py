"""What the assembler hands to the recorder, in playing order."""

from __future__ import annotations

from dataclasses import dataclass

from media.hls.tasks import InitSection, SegmentTask
from media.segments import GapReason


@dataclass(frozen=True, slots=True)
class Init:
    """An initialisation section that holds for the media after it."""

    section: InitSection
    data: bytes


@dataclass(frozen=True, slots=True)
class Media:
    """The decrypted bytes of one segment or part."""

    task: SegmentTask
    data: bytes


@dataclass(frozen=True, slots=True)
class Discontinuity:
    """The media after this may have other timestamps and codecs (EXT-X-DISCONTINUITY, advertising, a restart)."""


@dataclass(frozen=True, slots=True)
class MissingMedia:
    """A hole, in the place where its media would have been."""

    first_sequence: int
    last_sequence: int
    duration_ms: int
    reason: GapReason


StreamItem = Init | Media | Discontinuity | MissingMedia
