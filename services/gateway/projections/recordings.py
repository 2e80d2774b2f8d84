"""Recordings with their gaps, and their segments."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from contracts.downloader import (
    CutRequested,
    GapClosed,
    GapOpened,
    RecordingEnded,
    RecordingReconfigured,
    RecordingRequested,
    RecordingStarted,
    SegmentCompleted,
    SegmentDiscarded,
    SegmentOpened,
    StopRequested,
)
from contracts.message import Event
from contracts.values import Effective, Priority

from services.gateway.projections.model import Change, Folded, Row, Table, own_key

_SEGMENT = (SegmentOpened, SegmentCompleted, SegmentDiscarded)
_ALL = (
    RecordingRequested,
    RecordingStarted,
    StopRequested,
    CutRequested,
    RecordingReconfigured,
    *_SEGMENT,
    GapOpened,
    GapClosed,
    RecordingEnded,
)
_RANK = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}
MAX_GAPS = 1000
"""Gaps kept in a recording's row; the log has them all. Counting and losses go on beyond."""


def recording(row: Row | None, change: Change) -> Row | None:
    """A recording after an event of its stream."""
    event = change.event
    if isinstance(event, RecordingRequested):
        return _requested(event, change)
    if row is None:
        return None
    return {**row, **_changed(row, change), "version": change.version}


def _requested(event: RecordingRequested, change: Change) -> Row:
    return {
        **event.model_dump(mode="json", exclude={"effective", "first_index"}),
        **_priority(event.effective),
        "state": "requested",
        "worker": "",
        "epoch": 0,
        "engine": "",
        "segments": 0,
        "gaps": [],
        "lost_ms": 0,
        "duration_ms": 0,
        "bytes": 0,
        "reason": None,
        "detail": "",
        "requested_at": change.time,
        "started_at": None,
        "ended_at": None,
        "version": change.version,
    }


def _priority(effective: Effective) -> Row:
    return {"priority": effective.priority.value, "queue_rank": _RANK[effective.priority]}


def _changed(row: Row, change: Change) -> Row:
    event = change.event
    match event:
        case RecordingStarted():
            begun = row["started_at"] or change.time
            holder = {"worker": event.worker, "epoch": event.epoch, "engine": event.engine}
            return {"state": _unless_ended(row, "recording"), "started_at": begun, **holder}
        case StopRequested():
            return {"state": _unless_ended(row, "stopping")}
        case RecordingReconfigured():
            engine = {"engine": event.effective.engine.value} if row["engine"] else {}
            return {**_priority(event.effective), **engine}
        case CutRequested():
            named = event.model_dump(include={"title", "category"}, exclude_none=True)
            return {} if row["ended_at"] else named
        case SegmentCompleted():
            return {
                "segments": row["segments"] + 1,
                "duration_ms": row["duration_ms"] + event.duration_ms,
                "bytes": row["bytes"] + event.artifact.size,
            }
        case GapOpened():
            gap = {
                "at_ms": event.at_ms,
                "cause": event.cause,
                "opened_at": change.time,
                "closed_at": None,
                "lost_ms": None,
            }
            return {"gaps": [*row["gaps"], gap][:MAX_GAPS]}
        case GapClosed():
            return {"gaps": _close(row["gaps"], event, change), "lost_ms": row["lost_ms"] + event.lost_ms}
        case RecordingEnded():
            totals = {"segments": event.segments, "duration_ms": event.duration_ms, "bytes": event.bytes}
            over = {"state": "ended", "reason": str(event.reason), "detail": event.detail, "ended_at": change.time}
            return {**totals, **over}
    return {}


def _unless_ended(row: Row, state: str) -> str:
    return "ended" if row["ended_at"] else state


def _close(gaps: list[Row], event: GapClosed, change: Change) -> list[Row]:
    if not gaps or gaps[-1]["closed_at"]:
        return gaps
    return [*gaps[:-1], {**gaps[-1], "closed_at": change.time, "lost_ms": event.lost_ms}]


def segment(row: Row | None, change: Change) -> Row | None:
    """A segment after an event of its recording."""
    event = change.event
    match event:
        case SegmentOpened():
            return _opened(event, change)
        case SegmentCompleted():
            return {
                **(row or _opened(event, change)),
                **event.model_dump(mode="json", exclude={"streamer_id"}),
                "uri": event.artifact.uri,
                "state": "completed",
                "completed_at": change.time,
            }
        case SegmentDiscarded() if row:
            return {**row, "state": "discarded", "split_reason": event.reason, "completed_at": change.time}
    return row


def _opened(event: SegmentOpened | SegmentCompleted, change: Change) -> Row:
    return {
        **event.model_dump(mode="json", include={"recording_id", "index", "session_id", "start_ms", "started_at"}),
        "state": "writing",
        "uri": event.uri if isinstance(event, SegmentOpened) else event.artifact.uri,
        "artifact": None,
        "duration_ms": None,
        "split_reason": "",
        "recovered": False,
        "repairs": [],
        "opened_at": change.time,
        "completed_at": None,
    }


def _segment_key(event: Event) -> Iterable[tuple[Any, ...]]:
    return [(event.recording_id, event.index)] if isinstance(event, _SEGMENT) else []


RECORDINGS = Folded(
    "recordings",
    4,
    _ALL,
    (
        Table("recordings", ("recording_id",), own_key(*_ALL), recording),
        Table("segments", ("recording_id", "index"), _segment_key, segment),
    ),
)
