"""What the operators of the chain share: a repair as data, a group of tags, and the options."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from media.flv.tag import Tag


class RepairKind(StrEnum):
    """What was wrong with the input."""

    JUNK = "junk"  # bytes between tags were skipped; amount = bytes
    TORN = "torn"  # the last tag of a connection or file was incomplete and dropped; amount = bytes
    FRAGMENT = "fragment"  # a connection or file too short to keep was dropped; amount = tags
    HEADER_REPEATED = "header_repeated"  # an equal sequence header was dropped
    HEADER_REPLACED = "header_replaced"  # several different headers in a row: the last one counts
    HEADER_CHANGED = "header_changed"  # a new file was begun; detail = old -> new
    HEADER_LATE = "header_late"  # data came before its header, which was moved to the front of the file
    REPLAY = "replay"  # a group that was already written was dropped; amount = ms dropped
    OVERLAP = "overlap"  # the part of a group that was already written was dropped; amount = tags
    GAP = "gap"  # media was lost between two connections; amount = ms, 0 when unknown
    TIMESTAMP_JUMP = "timestamp_jump"  # the source clock jumped; amount = ms of the jump
    REALIGNED = "realigned"  # the clock of a new connection differs, which media that both carried proves; amount = ms
    TIMESTAMP_REBOUND = "timestamp_rebound"  # a small step backwards was held; amount = ms (negative)
    INTERLEAVE = "interleave"  # a channel came too late to be sorted in and was moved up; amount = ms
    FILLER = "filler"  # filler NAL units were removed; amount = bytes
    END_OF_SEQUENCE = "end_of_sequence"  # an end marker in the middle of a file was dropped
    SCRIPT = "script"  # a repeated, foreign or broken script tag was dropped or replaced


@dataclass(frozen=True, slots=True)
class Repair:
    """One repair, or the sum of `count` like ones: times in ms, the input's as the source sent it, the output's on the recording's timeline.

    `lost_ms`: real time that the file does not have here: a stopwatch that was right before runs ahead of the file by this much from
    here on. See `media.repair.alignment` for what it is good for.
    """

    kind: RepairKind
    input_timestamp: int | None
    output_timestamp: int
    amount: int = 0
    detail: str = ""
    lost_ms: int = 0
    count: int = 1


MOVES = frozenset({RepairKind.GAP, RepairKind.TIMESTAMP_JUMP, RepairKind.REALIGNED})
"""The repairs behind which the source's clock and the timeline differ by another amount than before."""


@dataclass(frozen=True, slots=True)
class RepairOptions:
    """Thresholds of the chain.

    `replay="timeline"` drops a group as a replay only where the source's clock was broken as well, so that a still picture or a short
    loop is kept; `"content"` drops every group that equals one of the last `replay_window` groups, so repairing its output again may drop more.
    `hole_ms`: media of this length that was lost to unreadable bytes is told.
    `piece_ms`: a group that cannot be a replay is handed on while it comes, in pieces of this many ms of media; 0: whole groups only.
    `first_piece_ms`: the length of pieces in the first group of a connection, where somebody waits for the first media; 0: like the others.
    """

    min_fragment_tags: int = 10
    jump_ms: int = 500
    hole_ms: int = 200
    replay_window: int = 16
    replay: Literal["timeline", "content"] = "timeline"
    remove_filler: bool = True
    max_interleave_ms: int = 1000
    max_group_tags: int = 8192
    max_group_bytes: int = 64 << 20
    max_group_ms: int = 5_000
    piece_ms: int = 0
    first_piece_ms: int = 0

    def __post_init__(self) -> None:
        if min(self.min_fragment_tags, self.max_group_tags, self.max_group_bytes, self.max_group_ms) < 1:
            raise ValueError("group and fragment limits must be at least 1")
        lengths = (self.max_interleave_ms, self.replay_window, self.piece_ms, self.first_piece_ms, self.hole_ms)
        if self.jump_ms < 100 or min(lengths) < 0:
            raise ValueError("jump_ms must be at least 100, the others not negative")


@dataclass(slots=True)
class Group:
    """A run of media tags: one GOP, or a stretch of it where keyframes are rare or absent.

    `received_at`, `completed_at`: when its first and its last tag arrived (wall clock, seconds). `source_shift`: how far the source
    clock of this group lies ahead of the clock so far, known from content that both carry. `reconnected`: the first group of a new
    source connection. `begins`, `ends`: both for a whole group; of one that is handed on in pieces, the first and the last one.
    `following`: tags that are here already and belong to the next pieces of it; how many may depend on how the input was chunked.
    """

    tags: list[Tag]
    received_at: float | None = None
    completed_at: float | None = None
    reconnected: bool = False
    source_shift: int | None = None
    begins: bool = True
    ends: bool = True
    following: int = 0

    @property
    def is_piece(self) -> bool:
        """Whether other pieces come before or behind it."""
        return not (self.begins and self.ends)


def wrapped(difference: int) -> int:
    """A difference of two 32-bit timestamps as a signed step: the clock may wrap, and may begin below zero."""
    return (difference + 0x80000000 & 0xFFFFFFFF) - 0x80000000
