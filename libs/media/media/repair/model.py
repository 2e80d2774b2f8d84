"""What the operators of the chain share: a repair as data, the log that collects them, and the options."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from media.flv.tag import Tag

MAX_LOGGED: Final = 2000


class RepairKind(StrEnum):
    """What was wrong with the input."""

    JUNK = "junk"  # bytes between tags were skipped; amount = bytes
    FRAGMENT = "fragment"  # a connection or file too short to keep was dropped; amount = tags
    HEADER_REPEATED = "header_repeated"  # an equal sequence header was dropped
    HEADER_REPLACED = "header_replaced"  # several different headers in a row: the last one counts
    HEADER_CHANGED = "header_changed"  # a new file was begun; detail = old -> new
    HEADER_LATE = "header_late"  # data came before its header, which was moved to the front of the file
    REPLAY = "replay"  # a group that was already written was dropped; amount = ms dropped
    OVERLAP = "overlap"  # the part of a group that was already written was dropped; amount = tags
    GAP = "gap"  # media was lost between two connections; amount = ms, 0 when unknown
    TIMESTAMP_JUMP = "timestamp_jump"  # the source clock jumped; amount = ms of the jump
    TIMESTAMP_REBOUND = "timestamp_rebound"  # a small step backwards was held; amount = ms (negative)
    INTERLEAVE = "interleave"  # a channel came too late to be sorted in and was moved up; amount = ms
    FILLER = "filler"  # filler NAL units were removed; amount = bytes
    END_OF_SEQUENCE = "end_of_sequence"  # an end marker in the middle of a file was dropped
    SCRIPT = "script"  # a repeated, foreign or broken script tag was dropped or replaced


@dataclass(frozen=True, slots=True)
class Repair:
    """One repair: timestamps in ms, the input's as the source sent it, the output's on the recording's timeline."""

    kind: RepairKind
    input_timestamp: int | None
    output_timestamp: int
    amount: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RepairOptions:
    """Thresholds of the chain.

    `replay="timeline"` drops a group as a replay only where the source's clock was broken as well, so that a still picture or a short
    loop is kept; `"content"` drops every group that equals one of the last `replay_window` groups, so repairing its output again may drop more.
    """

    min_fragment_tags: int = 10
    jump_ms: int = 500
    replay_window: int = 16
    replay: Literal["timeline", "content"] = "timeline"
    remove_filler: bool = True
    max_interleave_ms: int = 1000
    max_group_tags: int = 8192
    max_group_bytes: int = 64 << 20
    max_group_ms: int = 5_000

    def __post_init__(self) -> None:
        if min(self.min_fragment_tags, self.max_group_tags, self.max_group_bytes, self.max_group_ms) < 1:
            raise ValueError("group and fragment limits must be at least 1")
        if self.jump_ms < 100 or self.max_interleave_ms < 0 or self.replay_window < 0:
            raise ValueError("jump_ms must be at least 100, the others not negative")


class RepairLog:
    """Collects repairs until the file they belong to is complete; keeps the first MAX_LOGGED and counts the rest.

    `position` is the end of the recording's timeline: the place of repairs whose operator knows no output time.
    """

    def __init__(self) -> None:
        self.position = 0
        self._repairs: list[Repair] = []
        self._omitted = 0

    def add(
        self, kind: RepairKind, source: int | None, *, amount: int = 0, detail: str = "", output: int | None = None
    ) -> None:
        """Record one repair."""
        if len(self._repairs) >= MAX_LOGGED:
            self._omitted += 1
            return
        at = self.position if output is None else output
        self._repairs.append(Repair(kind, source, at, amount, detail))

    def drain(self) -> tuple[tuple[Repair, ...], int]:
        """Return and forget the repairs since the last call, and how many were left out."""
        drained = tuple(self._repairs), self._omitted
        self._repairs, self._omitted = [], 0
        return drained

    def __iter__(self) -> Iterator[Repair]:
        return iter(self._repairs)


@dataclass(slots=True)
class Group:
    """A run of media tags: one GOP, or a stretch of it where keyframes are rare or absent.

    `source_shift`: how far the source clock of this group lies ahead of the clock so far, known from content that both carry.
    `reconnected`: the first group of a new source connection.
    """

    tags: list[Tag]
    received_at: float | None = None
    reconnected: bool = False
    source_shift: int | None = None


def wrapped(difference: int) -> int:
    """A difference of two 32-bit timestamps as a signed step: the clock may wrap, and may begin below zero."""
    return (difference + 0x80000000 & 0xFFFFFFFF) - 0x80000000
