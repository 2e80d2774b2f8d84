"""The chat of a session, and which part of it belongs to which video segment. Pure; times are unix milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from contracts.aggregate import Aggregate
from contracts.danmu import (
    ChatDisconnected,
    ChatEnded,
    ChatFileCompleted,
    ChatReconnected,
    ChatStarted,
    ChatSummarised,
    ChatUnreachable,
    Statistics,
)
from contracts.message import Event
from contracts.values import Artifact, EndReason


@dataclass(frozen=True, slots=True)
class Chat:
    """What the log says of one session's chat. ``files`` holds (recording, index) of the finished ones."""

    epoch: int = 0
    down: bool = False
    files: frozenset[tuple[str, int]] = frozenset()
    lines: int = 0
    ended: bool = False
    unreachable: bool = False


def evolve(state: Chat, event: Event) -> Chat:
    """The chat after an event."""
    match event:
        case ChatStarted():
            return replace(state, epoch=event.epoch, down=False, unreachable=False)
        case ChatDisconnected():
            return replace(state, down=True)
        case ChatUnreachable():
            return replace(state, unreachable=True)
        case ChatReconnected():
            return replace(state, down=False, unreachable=False)
        case ChatFileCompleted():
            files = state.files | {(event.recording_id, event.index)}
            return replace(state, files=files, lines=state.lines + event.lines)
        case ChatEnded():
            return replace(state, ended=True)
    return state


CHAT = Aggregate("chat", Chat(), evolve)
AGGREGATES = (CHAT,)


def decide_start(state: Chat, started: ChatStarted) -> list[Event]:
    """A replica claimed the chat, unless it is over or somebody newer has claimed it."""
    return [] if state.ended or started.epoch <= state.epoch else [started]


def decide_disconnect(state: Chat, lost: ChatDisconnected) -> list[Event]:
    """The connection broke; once per outage."""
    return [] if state.ended or state.down else [lost]


def decide_unreachable(state: Chat, outage: ChatUnreachable) -> list[Event]:
    """The outage that was told is a long one; once."""
    return [outage] if state.down and not (state.unreachable or state.ended) else []


def decide_reconnect(state: Chat, back: ChatReconnected) -> list[Event]:
    """The connection stands again after an outage that was told."""
    return [back] if state.down and not state.ended else []


def decide_file(state: Chat, finished: ChatFileCompleted) -> list[Event]:
    """The chat of one segment is finished, once."""
    return [] if state.ended or (finished.recording_id, finished.index) in state.files else [finished]


def decide_end(
    state: Chat,
    *,
    session_id: str,
    streamer_id: str,
    reason: EndReason,
    statistics: Statistics | None = None,
    frames: tuple[Artifact, ...] = (),
) -> list[Event]:
    """Nothing more will be written, once; what the chat was like comes before, where anything was said. ``frames``: where raw frames lie."""
    if state.ended:
        return []
    end = ChatEnded(
        session_id=session_id,
        streamer_id=streamer_id,
        reason=reason,
        files=len(state.files),
        lines=state.lines,
        frames=frames,
    )
    if statistics is None or not statistics.messages:
        return [end]
    return [ChatSummarised(session_id=session_id, streamer_id=streamer_id, statistics=statistics), end]


@dataclass(frozen=True, slots=True)
class Segment:
    """One video segment as far as it is known.

    ``ended_ms``: where its media ends. ``closed_ms``: when this service learned that it is finished; ``None`` while it is being
    recorded. ``cut_ms``: its chat file is finished and holds what was received before this moment. ``breaks``: (place in the file, ms)
    of time that passed without media, so that the file ends as much later than it is long.
    """

    recording_id: str
    index: int
    started_ms: int
    ended_ms: int | None = None
    closed_ms: int | None = None
    discarded: bool = False
    cut_ms: int | None = None
    breaks: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Cut:
    """The chat that belongs to a segment: received from ``lower_ms`` up to, not including, ``upper_ms``."""

    segment: Segment
    lower_ms: int
    upper_ms: int


def next_cut(segments: Sequence[Segment], *, now_ms: int, over: bool, linger_ms: int) -> Cut | None:
    """The next chat file that can be finished, in the order of the segments, or ``None``.

    The ranges of all cuts touch and never overlap, so that each message is in exactly one file. Chat between two segments
    belongs to the later one; a discarded segment is no segment, its chat falls between its neighbours. A segment that has no
    successor yet keeps waiting for one for ``linger_ms``; if none opens, or nothing more will come (``over``), the chat after its
    end stays with it: what came in this very millisecond too, where there is no later file for it.
    """
    kept = sorted((one for one in segments if not one.discarded), key=lambda one: (one.started_ms, one.index))
    if over:
        kept = [one for one in kept if one.closed_ms is not None]
    lower = max((one.cut_ms for one in kept if one.cut_ms is not None), default=0)
    for number, segment in enumerate(kept):
        if segment.cut_ms is not None:
            continue
        following = kept[number + 1] if number + 1 < len(kept) else None
        upper = _upper_ms(segment, following, now_ms=now_ms, over=over, linger_ms=linger_ms)
        return None if upper is None else Cut(segment, lower, max(lower, upper))
    return None


def _upper_ms(segment: Segment, following: Segment | None, *, now_ms: int, over: bool, linger_ms: int) -> int | None:
    if segment.closed_ms is None:
        return None
    if following is not None:
        # Media that came in a burst ends later by its own clock than the next segment begins by the wall's.
        # Never the future: what is still to be received cannot be cut off yet, whatever another machine's clock says.
        ends = (segment.ended_ms, segment.closed_ms, following.started_ms, now_ms)
        return min(end for end in ends if end is not None)
    if over:
        return now_ms + 1
    return now_ms if now_ms >= segment.closed_ms + linger_ms else None


@dataclass(frozen=True, slots=True)
class OwnCuts:
    """How the chat of a session without video is cut: a file every ``every_ms``, or one for all when that is 0."""

    recording_id: str
    every_ms: int


@dataclass(frozen=True, slots=True)
class Turn:
    """The file ``index`` of a chat without video ends at ``at_ms``; ``opens``: another one begins there."""

    index: int
    at_ms: int
    opens: bool


def next_turn(segments: Sequence[Segment], own: OwnCuts, *, now_ms: int, over_ms: int | None) -> Turn | None:
    """The next end of a file of a chat without video, or ``None`` while the open one goes on.

    The places follow from where the first file began, so that each owner finds the same ones.
    """
    current = next((one for one in segments if one.closed_ms is None and not one.discarded), None)
    if current is None:
        return None
    full_ms = current.started_ms + own.every_ms if own.every_ms else None
    end_ms = None if over_ms is None else max(over_ms, current.started_ms)
    if full_ms is not None and full_ms <= now_ms and (end_ms is None or full_ms < end_ms):
        return Turn(current.index, full_ms, opens=True)
    return Turn(current.index, end_ms, opens=False) if end_ms is not None else None


def all_known(segments: Sequence[Segment], *, expected: int) -> bool:
    """Whether every segment that was recorded (``expected`` finished ones) has been heard of, and none is being recorded."""
    kept = [one for one in segments if not one.discarded]
    return len(kept) >= expected and all(one.closed_ms is not None for one in kept)


def is_waiting(segments: Sequence[Segment]) -> bool:
    """Whether no segment is being recorded or waits for its chat file: what is said now has no file yet."""
    return all(one.discarded or one.cut_ms is not None for one in segments)
