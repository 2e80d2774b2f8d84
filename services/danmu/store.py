"""Inline views of the chat service: whose chat is kept, and where its files are cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from chassis.database import Connection, Row
from chassis.sql import beside
from contracts.downloader import SegmentCompleted, SegmentDiscarded, SegmentOpened
from contracts.envelope import Metadata
from contracts.scheduler import ProcessCompleted, ProcessStopping, RecordingPlanned
from contracts.values import Chat, EndReason
from media.chat.timing import Timing

from services.danmu.domain import OwnCuts, Segment, Turn

QUERIES = beside(__file__)


@dataclass(frozen=True, slots=True)
class Over:
    """Nothing more will be recorded: how many segments there are, since when it is known, and from which event."""

    expected: int
    at_ms: int
    metadata: Metadata


Mark = Literal["leaving", "holding", "joined", "departed"]


@dataclass(frozen=True, slots=True)
class Overlap:
    """Who leaves the room and who has come, by the epochs of their leases; see the migration ``0004_overlap``."""

    leaving: int = 0
    holding: int = 0
    joined: int = 0
    departed: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """A session whose chat is kept. ``reason``: why the session closed, once it has. ``own``: how its files are cut without a recording."""

    session_id: str
    streamer_id: str
    streamer_name: str
    platform: str
    title: str
    category: str
    started_ms: int
    chat: Chat
    metadata: Metadata
    reason: EndReason | None
    over: Over | None
    own: OwnCuts | None = None
    overlap: Overlap = Overlap()
    keep_raw: bool = False
    account: str | None = None


@dataclass(frozen=True, slots=True)
class View:
    """All rows of one session. ``causes``: the metadata of the event that completed a segment, by (recording, index)."""

    plan: Plan
    segments: tuple[Segment, ...]
    causes: dict[tuple[str, int], Metadata]


async def save_plan(
    connection: Connection, event: RecordingPlanned, chat: Chat, metadata: Metadata, ms: int, now_ms: int
) -> None:
    """Keep what the runner needs; ``ms`` is when the session started. The first file of a chat without video begins ``now_ms``."""
    own = not event.effective.record_video
    await connection.execute(
        QUERIES["plan"],
        event.session_id,
        event.streamer_id,
        event.streamer_name,
        event.platform,
        event.title,
        event.category,
        ms,
        chat.kind,
        chat.descriptor,
        metadata.to_dict(),
        event.recording_id if own else None,
        event.effective.segment_seconds * 1000 if own else None,
        event.effective.keep_raw_chat,
        event.effective.network.account,
    )
    if own:
        await connection.execute(QUERIES["open_segment"], event.session_id, event.recording_id, 0, now_ms)


async def turn(connection: Connection, session_id: str, own: OwnCuts, turn: Turn, metadata: Metadata) -> None:
    """A file of a chat without video ends, and the next one begins where there is one. Doing it again changes nothing."""
    arguments = (session_id, own.recording_id, turn.index, turn.at_ms, metadata.to_dict())
    await connection.execute(QUERIES["turn"], *arguments)
    if turn.opens:
        await connection.execute(QUERIES["open_segment"], session_id, own.recording_id, turn.index + 1, turn.at_ms)


async def set_reason(connection: Connection, event: ProcessStopping) -> None:
    """Remember why the session closed."""
    await connection.execute(QUERIES["stopping"], event.session_id, event.reason.value)


async def set_over(connection: Connection, event: ProcessCompleted, metadata: Metadata, ms: int) -> None:
    """Nothing more will be recorded; the cut points of a session without chat are forgotten."""
    known = await connection.fetchval(QUERIES["over"], event.session_id, event.segments, ms, metadata.to_dict())
    if known is None:
        await connection.execute(QUERIES["forget_segments"], event.session_id)


async def open_segment(connection: Connection, event: SegmentOpened, started_ms: int) -> None:
    """A cut point: a segment begins."""
    await connection.execute(QUERIES["open_segment"], event.session_id, event.recording_id, event.index, started_ms)


async def close_segment(
    connection: Connection, event: SegmentCompleted, started_ms: int, metadata: Metadata, now_ms: int
) -> None:
    """A segment is finished; its opening may not have been heard of. Time that its media lost makes it end later than it is long."""
    timing = Timing.of_segment(started_ms, event.start_ms, event.repairs)
    await connection.execute(
        QUERIES["close_segment"],
        event.session_id,
        event.recording_id,
        event.index,
        started_ms,
        started_ms + event.duration_ms + timing.lost_ms,
        now_ms,
        metadata.to_dict(),
        timing.breaks,
    )


async def discard_segment(connection: Connection, event: SegmentDiscarded) -> None:
    """There is no such segment after all."""
    await connection.execute(QUERIES["discard_segment"], event.session_id, event.recording_id, event.index)


async def load(connection: Connection, session_id: str) -> View | None:
    """All rows of a session, or ``None`` when its chat is not kept or has ended."""
    row = await connection.fetchrow(QUERIES["load_plan"], session_id)
    if row is None:
        return None
    rows = await connection.fetch(QUERIES["load_segments"], session_id)
    causes = {(one["recording_id"], one["index"]): one["metadata"] for one in rows if one["metadata"]}
    return View(
        _plan(row),
        tuple(_segment(one) for one in rows),
        {key: Metadata.from_dict(values) for key, values in causes.items()},
    )


async def revisions(connection: Connection, session_ids: Sequence[str]) -> dict[str, int]:
    """A number per session that grows whenever its rows change."""
    rows = await connection.fetch(QUERIES["revisions"], list(session_ids))
    return {row["session_id"]: row["revision"] for row in rows}


async def cut(connection: Connection, session_id: str, segment: Segment, cut_ms: int, statistics: bytes) -> None:
    """The chat file of a segment is finished; ``statistics`` counts what is in it and in all files before."""
    await connection.execute(QUERIES["cut_segment"], session_id, segment.recording_id, segment.index, cut_ms)
    await connection.execute(QUERIES["save_statistics"], session_id, statistics)


async def statistics(connection: Connection, session_id: str) -> bytes | None:
    """The statistics of what is in finished files; ``None`` before the first one."""
    found: bytes | None = await connection.fetchval(QUERIES["load_statistics"], session_id)
    return found


async def mark(connection: Connection, session_id: str, mark: Mark, epoch: int) -> None:
    """Say how far the owner with this epoch is; older news changes nothing."""
    await connection.execute(QUERIES[f"mark_{mark}"], session_id, epoch)


async def end(connection: Connection, session_id: str) -> None:
    """The chat has ended; its cut points are of no use any more."""
    await connection.execute(QUERIES["end_chat"], session_id)
    await connection.execute(QUERIES["save_statistics"], session_id, None)
    await connection.execute(QUERIES["forget_segments"], session_id)


async def ended(connection: Connection, session_ids: Sequence[str]) -> frozenset[str]:
    """Which of these sessions have a chat that has ended."""
    rows = await connection.fetch(QUERIES["ended_chats"], list(session_ids))
    return frozenset(row["session_id"] for row in rows)


def _plan(row: Row) -> Plan:
    over = None
    if row["over_ms"] is not None:
        over = Over(row["expected"], row["over_ms"], Metadata.from_dict(row["over_metadata"]))
    return Plan(
        session_id=row["session_id"],
        streamer_id=row["streamer_id"],
        streamer_name=row["streamer_name"],
        platform=row["platform"],
        title=row["title"],
        category=row["category"],
        started_ms=row["started_ms"],
        chat=Chat(kind=row["chat_kind"], descriptor=row["descriptor"]),
        metadata=Metadata.from_dict(row["metadata"]),
        reason=EndReason(row["reason"]) if row["reason"] else None,
        over=over,
        overlap=Overlap(row["leaving_epoch"], row["holding_epoch"], row["joined_epoch"], row["departed_epoch"]),
        keep_raw=row["keep_raw"],
        account=row["account"],
        own=OwnCuts(row["own_recording_id"], row["cut_every_ms"]) if row["own_recording_id"] else None,
    )


def _segment(row: Row) -> Segment:
    return Segment(
        recording_id=row["recording_id"],
        index=row["index"],
        started_ms=row["started_ms"],
        ended_ms=row["ended_ms"],
        closed_ms=row["closed_ms"],
        discarded=row["discarded"],
        cut_ms=row["cut_ms"],
        breaks=tuple((at, lost) for at, lost in row["breaks"]),
    )
