"""The inline view of the downloader: what is asked of each recording, and how far it came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from chassis.database import Connection, Pool
from chassis.sql import beside
from contracts.downloader import (
    CutRequested,
    RecordingEnded,
    RecordingReconfigured,
    RecordingRequested,
    RecordingStarted,
    SegmentCompleted,
    SlotsChanged,
    StopRequested,
)
from contracts.message import Event
from contracts.values import Json

from services.downloader.limits import Slots

QUERIES = beside(__file__)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a running recording: to stop, and how often it was asked for a cut or given a new configuration."""

    stop: bool
    changes: int


async def follow(connection: Connection, events: Sequence[Event]) -> None:
    """Take over what was just appended."""
    for event in events:
        match event:
            case RecordingRequested():
                await connection.execute(QUERIES["requested"], event.recording_id, event.session_id, event.streamer_id)
            case RecordingStarted():
                await connection.execute(QUERIES["started"], event.recording_id, event.worker, event.epoch)
            case StopRequested():
                await connection.execute(QUERIES["stop_requested"], event.recording_id, event.reason.value)
            case CutRequested() | RecordingReconfigured():
                await connection.execute(QUERIES["changed"], event.recording_id)
            case SlotsChanged():
                await connection.execute(QUERIES["slots_changed"], event.scope, event.slots, event.extra_high)
            case SegmentCompleted():
                ended_at = datetime.fromisoformat(event.started_at) + timedelta(milliseconds=event.duration_ms)
                await connection.execute(QUERIES["secured"], event.recording_id, ended_at)
            case RecordingEnded():
                await connection.execute(QUERIES["ended"], event.recording_id)


class View:
    """What the runner reads and writes beside the log, each on a connection of its own."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def asked(self, recordings: Sequence[str]) -> dict[str, Asked]:
        """What is asked of these recordings, in one query."""
        rows = await self._pool.fetch(QUERIES["asked"], list(recordings))
        return {row["recording_id"]: Asked(row["stop_reason"] is not None, row["changes"]) for row in rows}

    async def slots(self, scopes: Sequence[str]) -> dict[str, Slots]:
        """What is set for these scopes."""
        rows = await self._pool.fetch(QUERIES["slots"], list(scopes))
        return {row["scope"]: Slots(row["slots"], row["extra_high"]) for row in rows}

    async def save_cursor(self, recording_id: str, epoch: int, cursor: Json) -> None:
        """Remember how far a playlist was written; a stale owner changes nothing."""
        await self._pool.execute(QUERIES["save_cursor"], recording_id, epoch, cursor)

    async def cursor(self, recording_id: str) -> Json | None:
        """How far the playlist of a recording was written, or ``None``."""
        found = await self._pool.fetchval(QUERIES["cursor"], recording_id)
        return found if isinstance(found, dict) else None
