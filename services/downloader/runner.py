"""One recording under its lease: take over what is there, record, end it or leave it to another replica."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import structlog
from chassis.database import UNREACHABLE
from chassis.leases import Again, Done, Lease, Outcome
from chassis.waiting import wait_for_event
from contracts.downloader import RecordingProgress
from contracts.message import Event
from contracts.values import EndReason, Json

from services.downloader import domain, metrics
from services.downloader.adapters.capture import Capture, Ended, Patience, Sources
from services.downloader.adapters.engine import DiskFailed, Gaps, SegmentCompleted, StartPoint, Take
from services.downloader.adapters.engines import Engines
from services.downloader.adapters.files import Folder, Session
from services.downloader.breaker import Breakers, key_of
from services.downloader.domain import Recording
from services.downloader.facts import Facts
from services.downloader.filing import Filing
from services.downloader.following import Following
from services.downloader.guard import Guard
from services.downloader.handovers import Handovers
from services.downloader.journal import Journal
from services.downloader.leaving import RESERVED_S, Leaving
from services.downloader.requests import Requests
from services.downloader.salvage import Salvage
from services.downloader.settings import DownloaderSettings
from services.downloader.space import MEGABYTE
from services.downloader.splitting import CLOCK, ClockCuts, Splits, bounds_of, clock_step_s
from services.downloader.standby import Running, Standbys
from services.downloader.store import View
from services.downloader.streams import Streams
from services.downloader.waiting import Beginning

NO_ROOM_S = 5.0
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outside:
    """What the runner needs of the service and the world, as ``app.py`` wires it."""

    settings: DownloaderSettings
    folder: Folder
    salvage: Salvage
    requests: Requests
    view: View
    streams: Streams | None
    handovers: Handovers
    engines: Engines
    guard: Guard
    breakers: Breakers
    journal_of: Callable[[str, Lease], Journal]
    sources_of: Callable[[Facts], Sources]
    signal: Callable[[RecordingProgress], Awaitable[None]]


class Runner:
    """``run`` is what the leases of kind ``recording`` run."""

    def __init__(self, outside: Outside) -> None:
        self._outside, self._settings = outside, outside.settings
        self.standbys: Standbys | None = None

    async def run(self, lease: Lease) -> Outcome:
        """Record until the recording ends, or until this replica has to leave it to another one."""
        metrics.RUNNING.inc()
        try:
            with structlog.contextvars.bound_contextvars(recording_id=lease.id):
                return await self._own(lease)
        finally:
            metrics.RUNNING.dec()

    async def _own(self, lease: Lease) -> Outcome:
        journal = self._outside.journal_of(lease.id, lease)
        before = await journal.load()
        if before.request is None or before.ended:
            return Done()
        wait_s = self._held_back_s(before)
        if wait_s > 0:
            return Again(wait_s)
        standby = self.standbys.take(lease.id) if self.standbys else None
        try:
            if standby is None and before.epoch and await self._outside.handovers.successor(lease.id):
                return Again(RESERVED_S)  # whoever stands by for it loses less
            return await self._go_on(lease, journal, before, Facts(before.request), standby)
        finally:
            if before.epoch == 0:  # also one that ended before it got to its engine: others would wait for its outcome
                self._outside.breakers.left(key_of(before.request.effective))
            if standby is not None:
                await standby.close()

    async def _go_on(
        self, lease: Lease, journal: Journal, before: Recording, facts: Facts, standby: Running | None
    ) -> Outcome:
        await journal.append([facts.started(self._settings.worker, lease.epoch)])
        since = standby.since if standby is not None else None
        held = standby.capture.holds_group if standby and since is not None else None
        left = await self._outside.salvage.take_over(journal, facts, lease.epoch, held=held)
        if self._outside.streams is not None:
            left |= await self._outside.streams.take_over(journal, facts, lease.epoch, held=held)
        joint, secured = await self._joint(lease, before, facts)
        origin = _Origin(before, joint or left, standby, planned=joint is not None and standby is not None)
        if since is not None and joint is None and _holds_what_is_lost(journal.state, since, secured):
            gone = [
                facts.discarded(one.index, f"lost with {one.worker}; another replica has it")
                for one in journal.state.open
            ]
            await journal.append(gone)
            origin = _Origin(before, secured or {"cursor": None}, standby)
        ended, leaving = Ended(None), None
        if journal.state.stop is None:
            ended, leaving = await self._record(lease, journal, facts, origin)
        return await self._conclude(lease, journal, facts, ended, leaving)

    async def _joint(self, lease: Lease, before: Recording, facts: Facts) -> tuple[Json | None, Json | None]:
        """Where the owner before left off, if it had time to say so, and how to go on behind its last finished file.

        Who stood by for it need not any more, unless somebody always does.
        """
        if before.epoch == 0:
            return None, None
        found = await self._outside.handovers.joint(lease.id, before.epoch)
        if not facts.request.effective.dual_capture:
            await self._outside.handovers.close(lease.id, lease.epoch)
        return found

    def _held_back_s(self, before: Recording) -> float:
        """Seconds for which this replica leaves a recording to others: without room here, or when its engine fails again and again."""
        if before.request is None or before.stop is not None:
            return 0.0
        refusal = self._outside.guard.refusal
        wait_s = NO_ROOM_S if refusal else 0.0
        if not refusal and before.epoch == 0:
            wait_s = self._outside.breakers.admit(key_of(before.request.effective))
        if wait_s > 0:
            reason = refusal or "its engine fails again and again"
            log.warning("recording.held_back", reason=reason, wait_s=round(wait_s, 1))
        return wait_s

    # Recording

    async def _record(
        self, lease: Lease, journal: Journal, facts: Facts, origin: _Origin
    ) -> tuple[Ended, Leaving | None]:
        streams = self._outside.streams
        session = Session(self._outside.folder, lease.id, lease.epoch, streams.open if streams else None)
        filing = Filing(
            journal,
            facts,
            self._outside.folder,
            session,
            epoch=lease.epoch,
            min_bytes=self._settings.min_segment_bytes,
            secured=lambda event: self._secure(lease, facts, event),
            streams=streams,
        )
        start = await self._start_point(journal, origin)
        beginning = self._beginning(lease, facts, origin.before)
        bounds, splits = bounds_of(facts.request.effective), Splits(beginning.tells(filing.take))
        gaps = _gaps(filing, journal, origin)
        take = Take(
            session.open,
            start,
            gaps,
            splits.tell,
            bounds,
            session.keep_cursor,
            behind=origin.joint.get("tail"),
            keep_tail=True,
            durable=session.durable,
            whole_groups=facts.request.effective.dual_capture,
        )
        leaving = None
        try:
            async with self._capture(facts, beginning, take, origin.standby) as capture:
                leaving = Leaving(
                    self._outside.handovers,
                    lease,
                    capture,
                    broken=lambda: facts.request.effective.dual_capture and gaps.is_open,
                    longest_s=self._settings.hand_over_s,
                )
                following = Following(capture, journal, facts, splits, bounds)
                going = self._capturing(capture, take, origin.standby)
                ended = await self._together(lease, going, capture, filing, facts, following, leaving, journal.state)
        except OSError as error:
            # A finished file could not be synced or named: it stays a part, which the end recovers if the disk allows it.
            ended = Ended(EndReason.FAILED, f"the disk refuses: {error.strerror or type(error).__name__}")
        finally:
            await session.stop_streams()
            session.close()
        return ended, leaving

    @asynccontextmanager
    async def _capture(
        self, facts: Facts, beginning: Beginning, take: Take, standby: Running | None
    ) -> AsyncIterator[Capture]:
        """The capture that stood by for this recording, or a new one."""
        if standby is not None:
            yield standby.capture
            return
        request = facts.request
        async with self._outside.engines.for_recording(request.effective, request.url) as kit:
            yield Capture(beginning, kit, take, self.patience())

    async def _capturing(self, capture: Capture, take: Take, standby: Running | None) -> Ended:
        try:
            if standby is None:
                return await capture.run()
            await capture.join(take)
            return await standby.task
        except DiskFailed as error:
            return Ended(EndReason.FAILED, f"the disk refuses: {error}")

    async def _together(
        self,
        lease: Lease,
        going: Coroutine[object, object, Ended],
        capture: Capture,
        filing: Filing,
        facts: Facts,
        following: Following,
        leaving: Leaving,
        baseline: Recording,
    ) -> Ended:
        """Capture, file, follow and watch until the capture is over and filed, or one of them fails."""

        async def captured() -> Ended:
            ended = await going
            await filing.settled()
            return ended

        capturing = asyncio.create_task(captured(), name=f"capture-{lease.id}")
        clock = ClockCuts(lambda: clock_step_s(facts.request.effective), lambda: following.cut(CLOCK))
        # These end only by failing.
        helpers = [
            asyncio.create_task(filing.run(), name=f"filing-{lease.id}"),
            asyncio.create_task(following.run(), name=f"following-{lease.id}"),
            asyncio.create_task(clock.run(), name=f"clock-{lease.id}"),
            asyncio.create_task(leaving.run(), name=f"leaving-{lease.id}"),
            asyncio.create_task(self._watch(lease, capture, facts, baseline), name=f"watch-{lease.id}"),
        ]
        try:
            with self._outside.requests.follow(lease.id, following):
                await asyncio.wait([capturing, *helpers], return_when=asyncio.FIRST_COMPLETED)
            for helper in helpers:
                if helper.done():
                    helper.result()
            return capturing.result()
        finally:
            for task in (capturing, *helpers):
                task.cancel()
            await asyncio.gather(capturing, *helpers, return_exceptions=True)

    async def _watch(self, lease: Lease, capture: Capture, facts: Facts, before: Recording) -> None:
        """Once a second: tell the progress, remember the cursor, look at the disk. Never returns."""
        settings, last_bytes, saved, doubled = self._settings, 0, capture.cursor, False
        loop = asyncio.get_running_loop()
        told_at = loop.time()
        while True:
            await asyncio.sleep(settings.poll_s)
            now, progress = loop.time(), capture.progress
            gained, elapsed = max(0, progress.bytes - last_bytes), max(now - told_at, 0.001)
            last_bytes, told_at = progress.bytes, now
            metrics.BYTES.inc(gained)
            size, duration_ms = before.bytes + progress.bytes, before.duration_ms + progress.duration_ms
            await self._outside.signal(facts.progress(progress.index, size, duration_ms, round(8 * gained / elapsed)))
            saved = await self._remember(lease, capture.cursor, saved)
            doubled = await self._double(lease, facts, doubled)
            if self._outside.guard.too_low_to_go_on:
                free_mb = self._outside.guard.free // MEGABYTE
                log.error("recording.disk_low", free_mb=free_mb)
                capture.stop(Ended(EndReason.FAILED, f"only {free_mb} MB are free"))

    async def _double(self, lease: Lease, facts: Facts, doubled: bool) -> bool:
        """Ask for a second replica that holds the same media, where the streamer's configuration wants one; says whether that is done."""
        wanted = facts.request.effective.dual_capture
        if wanted == doubled or lease.handing_over.is_set():
            return doubled
        handovers = self._outside.handovers
        try:
            if wanted:
                await handovers.offer(lease.id, lease.epoch, lasting=True, cursor=None)
            else:
                await handovers.close(lease.id, lease.epoch)
        except UNREACHABLE:
            return doubled
        return wanted

    async def _secure(self, lease: Lease, facts: Facts, event: SegmentCompleted) -> None:
        if facts.request.effective.dual_capture and event.joint is not None:
            with suppress(*UNREACHABLE):
                await self._outside.handovers.secure(lease.id, lease.epoch, event.index, event.joint())

    async def _remember(self, lease: Lease, cursor: Json | None, saved: Json | None) -> Json | None:
        if cursor is None or cursor == saved:
            return saved
        try:
            await self._outside.view.save_cursor(lease.id, lease.epoch, cursor)
        except UNREACHABLE:
            return saved
        return cursor

    # Taking over and ending

    def _beginning(self, lease: Lease, facts: Facts, before: Recording) -> Beginning:
        """Where the media is; asked anew when the request waited long enough for that to have changed."""
        fresh = before.epoch == 0
        if fresh:
            metrics.QUEUED.observe(lease.waited_s)
        ask = fresh and lease.waited_s > self._settings.queue_freshness_s
        return Beginning(self._outside.sources_of(facts), self._outside.breakers, facts, ask=ask)

    async def _start_point(self, journal: Journal, origin: _Origin) -> StartPoint:
        state, epoch = journal.state, origin.before.epoch
        position_ms, position_at = domain.resume_point(state)
        if "cursor" in origin.joint:
            return StartPoint(state.next_index, position_ms, position_at, origin.joint["cursor"])
        cursor = await asyncio.to_thread(self._outside.folder.cursor, journal.recording_id, epoch)
        if cursor is None and epoch > 0:
            cursor = await self._outside.view.cursor(journal.recording_id)
        return StartPoint(state.next_index, position_ms, position_at, cursor or None)

    async def _conclude(
        self, lease: Lease, journal: Journal, facts: Facts, ended: Ended, leaving: Leaving | None
    ) -> Outcome:
        state = await journal.load()
        reason = ended.reason or state.stop
        if reason is None:
            # Another replica goes on.
            return await leaving.settle() if leaving else Again()
        await self._outside.salvage.take_over(journal, facts, lease.epoch + 1)
        if self._outside.streams is not None:
            await self._outside.streams.take_over(journal, facts, lease.epoch + 1)
        if not await self._wait_for_others(lease, journal):
            return Again()
        state = journal.state
        lost: list[Event] = [facts.discarded(one.index, f"lost with worker {one.worker}") for one in state.open]
        await journal.append(lost)
        await self._end(journal, state.stop or reason, ended.detail)
        with suppress(*UNREACHABLE):
            await self._outside.handovers.close(lease.id, lease.epoch)
        await asyncio.to_thread(self._outside.folder.close_recording, lease.id)
        return Done()

    async def _wait_for_others(self, lease: Lease, journal: Journal) -> bool:
        """Give other machines time to bring files that only they have; False when this replica has to leave meanwhile."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._settings.lost_after_s
        while journal.state.open and loop.time() < until:
            if await wait_for_event(lease.handing_over, min(1.0, self._settings.lost_after_s)):
                return False
            await journal.load()
        return True

    async def _end(self, journal: Journal, reason: EndReason, detail: str) -> None:
        await journal.append([domain.ending(journal.state, reason, detail)])
        log.info("recording.ended", reason=reason.value, detail=detail, segments=journal.state.segments)

    def patience(self) -> Patience:
        """How failures of sources are met."""
        settings = self._settings
        return Patience(
            settings.reconnect_base_s, settings.reconnect_cap_s, settings.give_up_s, settings.refresh_after_failures
        )


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where an owner begins: the recording before it, what the last owner said or left of its media's end, what was held meanwhile."""

    before: Recording
    joint: Json
    standby: Running | None
    planned: bool = False
    """The owner before left it to the standby: nothing is missing."""


def _holds_what_is_lost(state: Recording, since: float, secured: Json | None) -> bool:
    """Whether a standby that holds everything from ``since`` on has what lies in open files that are not here."""
    if not state.open:
        return False
    return state.position_at is None or (secured is not None and since < state.position_at.timestamp())


def _gaps(filing: Filing, journal: Journal, origin: _Origin) -> Gaps:
    """A recording that goes on begins inside a gap, from where its media ended with the owner before; not if that was planned and held."""
    state = journal.state
    gaps = Gaps(filing.take, open_at_ms=state.gap.at_ms if state.gap else None)
    position_ms, position_at = domain.resume_point(state)
    if position_at is not None and not origin.planned:
        gaps.open(position_ms, f"the owner changed from {origin.before.worker} to {state.worker}")
    return gaps
