"""Makes room: looks which finished sessions the policy lets go, says so, and removes their files. One replica at a time does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from chassis import eventlog
from chassis.leases import Again, Done, Lease, Outcome
from chassis.service import Service
from contracts.message import Event
from contracts.pipeline import ReclaimCompleted
from contracts.values import Artifact
from prometheus_client import Counter

from services.pipeline import store
from services.pipeline.adapters.shelves import Shelves
from services.pipeline.domain import REQUEST, RUN, SESSION
from services.pipeline.domain import reclaim as domain
from services.pipeline.domain.reclaim import Candidate, Going, Policy

REGULAR = "policy"
"""The lease of this name comes again and again; others are requests."""
RECLAIMED = Counter("aircheck_reclaimed_bytes_total", "Bytes of sessions that were removed to make room.")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Rules:
    """The policy of the settings, and how often it is looked at; 0 is never."""

    policy: Policy
    every_s: float

    @property
    def active(self) -> bool:
        """Whether any rule could let a session go by itself."""
        return bool(self.policy.keep_days or self.policy.max_total_gb or self.policy.min_free_mb)


class Reclaimer:
    """What the leases of kind ``reclaim`` run."""

    def __init__(self, service: Service, shelves: Shelves, rules: Rules) -> None:
        self._service, self._shelves, self._rules = service, shelves, rules

    async def run(self, lease: Lease) -> Outcome:
        """Finish what another replica began, then follow the policy, or answer a request."""
        await self._finish_what_was_begun(lease)
        if lease.id != REGULAR:
            return await self._answer(lease)
        if self._rules.active:
            await self._remove(lease, await self._plan(self._rules.policy))
        return Again(self._rules.every_s)

    async def _answer(self, lease: Lease) -> Outcome:
        async with self._service.pool.acquire() as connection:
            at = await eventlog.load(connection, REQUEST, lease.id)
        request = at.state.asked
        if request is None or at.state.over:
            return Done()
        found = await self._plan(self._rules.policy.asked(request))
        if not at.state.planned:
            await self._tell(lease, [domain.answer(lease.id, found)])
        if not request.dry_run:
            sessions, size = await self._remove(lease, found)
            if lease.handing_over.is_set():
                return Again()  # what is left goes with another replica
            await self._tell(lease, [ReclaimCompleted(request_id=lease.id, sessions=sessions, bytes=size)])
        return Done()

    async def _plan(self, policy: Policy) -> list[Going]:
        candidates = await self._candidates(policy)
        free = await self._shelves.free_bytes()
        return domain.plan(candidates, policy, now=datetime.now(UTC), free_bytes=free)

    async def _candidates(self, policy: Policy) -> list[Candidate]:
        async with self._service.pool.acquire() as connection:
            rows = await store.finished_sessions(connection)
            uploads = await store.uploads(connection)
        busy = await self._under_way()
        # What was uploaded somewhere is never removed there, whatever the roots are.
        kept = {one.destination for one in uploads}
        sources = {one.source for one in uploads if one.done}
        found = []
        for row in rows:
            files = [await self._shelves.find(file) for file in row.files if file.uri not in kept]
            here = tuple(file for file in files if file is not None)
            if not here:
                continue
            media, everything = await self._uploaded(policy, row.session_id, here, sources)
            found.append(
                Candidate(
                    row.session_id, row.streamer_id, row.streamer_name, row.title, row.finished_at, here,
                    blocked="a run or an upload of it is under way" if row.session_id in busy else "",
                    media_uploaded=media, all_uploaded=everything,
                )
            )  # fmt: skip
        return found

    async def _under_way(self) -> set[str]:
        """Sessions with runs or uploads that are not over."""
        async with self._service.pool.acquire() as connection:
            uploading = {one.session_id for one in await store.uploads(connection) if not one.done}
            run_ids = await store.open_runs(connection)
            plans = [(await eventlog.load(connection, RUN, run_id)).state.plan for run_id in run_ids]
        return uploading | {plan.session_id for plan in plans if plan is not None}

    async def _uploaded(
        self, policy: Policy, session_id: str, here: Sequence[Artifact], sources: set[str]
    ) -> tuple[bool, bool]:
        everything = all(file.uri in sources for file in here)
        if policy.only_uploaded != "media" or everything:
            return everything, everything
        async with self._service.pool.acquire() as connection:
            session = (await eventlog.load(connection, SESSION, session_id)).state
            runs = [(await eventlog.load(connection, RUN, run_id)).state for run_id in session.runs]
        recorded = [segment.artifact for segment in session.segments.values()]
        return domain.media_is_uploaded(recorded, runs, sources), everything

    # Removing

    async def _remove(self, lease: Lease, found: Sequence[Going]) -> tuple[int, int]:
        removed, size = 0, 0
        for going in found:
            if going.blocked or lease.lost.is_set() or lease.handing_over.is_set():
                continue
            if going.candidate.session_id in await self._under_way():
                continue  # it began while others were removed: the next look decides anew
            log.info("reclaim.session", session=going.candidate.session_id, reason=going.reason)
            async with self._service.unit(fence=lease.fence) as work:
                at = await work.load(SESSION, going.candidate.session_id)
                if at.state.going or at.state.reclaimed:
                    continue
                await work.append(at, domain.starting(going))
                await store.session_goes(work.connection, going.candidate.session_id)
            await self._take_away(lease, going.candidate.session_id)
            removed, size = removed + 1, size + going.candidate.bytes
        return removed, size

    async def _finish_what_was_begun(self, lease: Lease) -> None:
        async with self._service.pool.acquire() as connection:
            going = await store.going_sessions(connection)
        for session_id in going:
            await self._take_away(lease, session_id)

    async def _take_away(self, lease: Lease, session_id: str) -> None:
        """Remove what was said to go, then say that it is gone. Raises OSError when a store refuses: it is tried again."""
        async with self._service.pool.acquire() as connection:
            state = (await eventlog.load(connection, SESSION, session_id)).state
        for file in state.going:
            await self._shelves.remove(file.uri)
        size = sum(file.size for file in state.going)
        async with self._service.unit(fence=lease.fence) as work:
            at = await work.load(SESSION, session_id)
            if at.state.going and at.state.plan is not None:
                gone = domain.reclaimed(session_id, at.state.plan.streamer_id, len(at.state.going), size)
                await work.append(at, [gone])
            await store.session_gone(work.connection, session_id)
        RECLAIMED.inc(size)

    async def _tell(self, lease: Lease, events: Sequence[Event]) -> None:
        async with self._service.unit(fence=lease.fence) as work:
            await work.append(await work.load(REQUEST, lease.id), events)
