"""What the owner of a recording appends: under its fence, idempotent, and kept in memory while the database is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog
from chassis import eventlog, telemetry
from chassis.database import UNREACHABLE
from chassis.errors import Conflict
from chassis.eventlog import Fence, Loaded
from chassis.work import Work
from contracts.downloader import RecordingRequested
from contracts.envelope import Metadata
from contracts.message import Event

from services.downloader import domain, store
from services.downloader.domain import RECORDING, Recording

RETRY_BASE_S = 0.2
RETRY_CAP_S = 5.0
log = structlog.get_logger(__name__)

NewWork = Callable[[Metadata], Work]


class Journal:
    """The log of one recording as its owner sees it. Without ``fence`` appends are those of a helper that owns nothing."""

    def __init__(
        self, recording_id: str, new_work: NewWork, committed: Callable[[], None], fence: Fence | None
    ) -> None:
        self.recording_id, self._fence = recording_id, fence
        self._new_work, self._committed = new_work, committed
        self._metadata: Metadata | None = None
        self._at: Loaded[Recording] | None = None
        self._turn = asyncio.Lock()

    @property
    def state(self) -> Recording:
        """The recording as it was at the last load or append."""
        return self._at.state if self._at else Recording()

    async def load(self) -> Recording:
        """Read the log anew, also when the database is away for a while."""
        async with self._turn:
            self._at = None
            await self._append_in_the_end([])
        return self.state

    async def append(self, facts: Sequence[Event]) -> None:
        """Append what is news; waits out an unreachable database. Raises LeaseLost when another replica owns the recording."""
        async with self._turn:
            await self._append_in_the_end(facts)

    async def _append_in_the_end(self, facts: Sequence[Event]) -> None:
        delay_s = RETRY_BASE_S
        while True:
            try:
                await self._append(facts)
                return
            except Conflict:
                self._at = None
            except UNREACHABLE as error:
                # Whether the commit arrived is unknown: load again, and append only what is not there.
                self._at = None
                log.warning("journal.waiting", recording=self.recording_id, facts=len(facts), error=repr(error)[:200])
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, RETRY_CAP_S)

    async def _append(self, facts: Sequence[Event]) -> None:
        work = self._new_work(self._metadata or telemetry.new_metadata())
        work.fence = self._fence
        try:
            at = self._at or await self._load(work)
            work.metadata = self._metadata or work.metadata
            events = domain.decide_facts(at.state, facts)
            if events:
                await work.append(at, events)
                await store.follow(work.connection, events)
                await work.commit()
                self._committed()
        finally:
            with suppress(*UNREACHABLE):
                await work.rollback()
        self._at = Loaded(at.stream, RECORDING.fold(events, at.state), at.version + len(events))

    async def _load(self, work: Work) -> Loaded[Recording]:
        at = await work.load(RECORDING, self.recording_id)
        if self._metadata is None:
            self._metadata = await self._cause(work, at.stream)
        return at

    async def _cause(self, work: Work, stream: str) -> Metadata | None:
        """Everything the owner appends was caused by the request, and belongs to its trace."""
        for recorded in await eventlog.read(work.connection, stream=stream, limit=10):
            if isinstance(recorded.event, RecordingRequested):
                before = recorded.metadata
                return Metadata(
                    correlation_id=before.correlation_id,
                    causation_id=recorded.event_id,
                    traceparent=telemetry.child_of(before.traceparent),
                    tracestate=before.tracestate,
                    actor=before.actor,
                )
        return None
