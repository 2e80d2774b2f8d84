"""What owners of recordings and those who stand by for them tell each other: two tables of this service, read several times a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from chassis.database import Pool
from contracts.values import Json

from services.downloader.store import QUERIES

ALIVE_S = 3.0
"""A replica that has not been heard of for this long is not counted on."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A recording that wants a standby: ``lasting``, or only until its owner has left; ``cursor``: how far its playlist was written."""

    recording_id: str
    lasting: bool
    cursor: Json | None


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand for a standby: ``settled``, its owner has left; up to ``secured_at`` the media lies in finished files."""

    settled: bool
    secured_at: datetime | None


class Handovers:
    """One replica's view of them. Raises what the database raises."""

    def __init__(self, pool: Pool, worker: str) -> None:
        self._pool, self._worker = pool, worker

    # The replica

    async def announce(self, free: int) -> None:
        """This replica could take so many recordings."""
        await self._pool.execute(QUERIES["replica"], self._worker, max(0, free))

    async def depart(self) -> None:
        """This replica takes none."""
        await self._pool.execute(QUERIES["replica_gone"], self._worker)

    async def others_are_free(self) -> bool:
        """Whether any other replica could take a recording."""
        return bool(await self._pool.fetchval(QUERIES["others_are_free"], self._worker, ALIVE_S))

    # The owner

    async def offer(self, recording_id: str, epoch: int, *, lasting: bool, cursor: Json | None) -> None:
        """Ask for a standby."""
        await self._pool.execute(QUERIES["offer_handover"], recording_id, self._worker, epoch, lasting, cursor)

    async def successor(self, recording_id: str) -> tuple[str, Json | None] | None:
        """Another replica that stands by, and what it holds."""
        row = await self._pool.fetchrow(QUERIES["successor"], recording_id, self._worker, ALIVE_S)
        return (row["successor"], row["holds"]) if row is not None else None

    async def leave(self, recording_id: str, epoch: int, joint: Json) -> None:
        """Say where this owner's media ends."""
        await self._pool.execute(QUERIES["leave_joint"], recording_id, self._worker, epoch, joint)

    async def joint(self, recording_id: str, epoch: int) -> tuple[Json | None, Json | None]:
        """Where the media of the owner of an epoch ended, if it had time to say so; and how to go on behind its last finished file."""
        row = await self._pool.fetchrow(QUERIES["joint"], recording_id, epoch)
        return (row["joint"], row["secured"]) if row is not None else (None, None)

    async def secure(self, recording_id: str, epoch: int, index: int, joint: Json) -> None:
        """A file is finished: note how to go on behind it."""
        await self._pool.execute(QUERIES["secure"], recording_id, epoch, {**joint, "index": index}, index)

    async def close(self, recording_id: str, epoch: int) -> None:
        """Nobody need stand by any more."""
        await self._pool.execute(QUERIES["close_handover"], recording_id, epoch)

    # The standby

    async def claim(self, limit: int) -> Sequence[Offer]:
        """Become the standby of recordings that have none."""
        rows = await self._pool.fetch(QUERIES["claim_handovers"], self._worker, limit, ALIVE_S)
        return [Offer(row["recording_id"], row["lasting"], row["cursor"]) for row in rows]

    async def stand_by(self, recording_id: str, holds: Json | None) -> Standing | None:
        """Be heard of, and say what is held; ``None`` when this replica is not the standby any more."""
        row = await self._pool.fetchrow(QUERIES["stand_by"], recording_id, self._worker, holds)
        return Standing(row["settled"], row["secured_at"]) if row is not None else None

    async def step_back(self, recording_id: str) -> None:
        """Leave it to another standby."""
        await self._pool.execute(QUERIES["step_back"], recording_id, self._worker)
