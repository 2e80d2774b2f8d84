"""Stands by for recordings that other replicas own: holds their media, and goes on with them when their owner leaves or is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import structlog
from chassis.database import UNREACHABLE
from chassis.leases import ANY, Lease, LeaseRunner

from services.downloader import metrics
from services.downloader.adapters.capture import Capture, Ended, Patience, Sources
from services.downloader.adapters.engine import Gaps, Hold, StartPoint, Take
from services.downloader.adapters.engines import Engines
from services.downloader.facts import Facts
from services.downloader.handovers import Handovers, Offer, Standing
from services.downloader.journal import Journal

POLL_S = 0.2
"""How often a standby is heard of, and looks whether its turn has come."""
LOOK_S = 0.5
"""How often recordings are looked for that want a standby."""
MARGIN = timedelta(seconds=30)
"""Media this much older than the end of the last finished file is still held: clocks differ, and players join by content."""
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a standby needs, as ``app.py`` wires it; ``spill`` is where media is held, in memory where it is None."""

    handovers: Handovers
    leases: LeaseRunner
    engines: Engines
    journal_of: Callable[[str, Lease | None], Journal]
    sources_of: Callable[[Facts], Sources]
    accepting: Callable[[], bool]
    spill: Path | None
    max_bytes: int
    patience: Patience


class Running:
    """A capture that holds media, with everything that has to be closed behind it."""

    def __init__(self, capture: Capture, task: asyncio.Task[Ended], stack: AsyncExitStack) -> None:
        self.capture, self.task, self._stack = capture, task, stack

    @property
    def since(self) -> float | None:
        """Everything that came from then on (Unix time) is held; ``None`` while nothing is."""
        holds = self.capture.holds
        return float(holds["since"]) if holds is not None else None

    async def close(self) -> None:
        """End it, if it still runs."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self._stack.aclose()


class Standbys:
    """The part of the service that stands by. :meth:`take` gives the runner what is held for a lease it has just claimed."""

    def __init__(self, needs: Needs) -> None:
        self._needs = needs
        self._looking: asyncio.Task[None] | None = None
        self._standing: dict[str, asyncio.Task[None]] = {}
        self._held: dict[str, Running] = {}

    async def start(self) -> None:
        """Be known to the other replicas, and begin to look for recordings that want a standby.

        Known before the service says that it is ready: an orchestrator may then stop the owner of a recording at once, which would leave alone
        when nobody was known to it.
        """
        await self._look_once()
        self._looking = asyncio.create_task(self._look(), name="standbys")

    async def stop(self) -> None:
        """Leave all of them to others."""
        tasks = [task for task in (self._looking, *self._standing.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(*UNREACHABLE):
            await self._needs.handovers.depart()

    def take(self, recording_id: str) -> Running | None:
        """What is held for a recording; the caller closes it. Its standby is over."""
        running = self._held.pop(recording_id, None)
        task = self._standing.get(recording_id)
        if task is not None:
            task.cancel()
        return running

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            await self._look_once()

    async def _look_once(self) -> None:
        try:
            await self._announce_and_claim()
        except UNREACHABLE as error:
            log.warning("standbys.unreachable", error=repr(error)[:200])
        except Exception:
            # Without this loop the replica would silently take nothing over any more.
            log.exception("standbys.failed")

    async def _announce_and_claim(self) -> None:
        needs = self._needs
        free = needs.leases.room(ANY) - len(self._standing) if needs.accepting() and not needs.leases.paused else 0
        await needs.handovers.announce(free)
        if not needs.accepting():
            for task in self._standing.values():
                task.cancel()
        elif free > 0:
            for offer in await needs.handovers.claim(free):
                self._begin(offer)

    def _begin(self, offer: Offer) -> None:
        if offer.recording_id in self._standing:
            return
        task = asyncio.create_task(self._stand(offer), name=f"standby-{offer.recording_id}")
        self._standing[offer.recording_id] = task
        metrics.STANDBYS.inc()
        task.add_done_callback(lambda _: self._forget(offer.recording_id))

    def _forget(self, recording_id: str) -> None:
        del self._standing[recording_id]
        metrics.STANDBYS.dec()

    async def _stand(self, offer: Offer) -> None:
        log.info("standby.begins", recording_id=offer.recording_id, lasting=offer.lasting)
        try:
            running = await self._capture(offer)
            if running is not None:
                self._held[offer.recording_id] = running
                await self._wait_for_turn(offer.recording_id, running)
        except UNREACHABLE as error:
            log.warning("standby.unreachable", recording_id=offer.recording_id, error=repr(error)[:200])
        except Exception:
            log.exception("standby.failed", recording_id=offer.recording_id)
        finally:
            await asyncio.shield(self._step_back(offer.recording_id))

    async def _step_back(self, recording_id: str) -> None:
        """Close what nobody took. Shielded: a cancelled standby must not leave its connection open."""
        held = self._held.pop(recording_id, None)
        if held is None:
            return
        await held.close()
        with suppress(*UNREACHABLE):
            await self._needs.handovers.step_back(recording_id)

    async def _capture(self, offer: Offer) -> Running | None:
        needs = self._needs
        state = await needs.journal_of(offer.recording_id, None).load()
        if state.request is None or state.ended:
            return None
        facts = Facts(state.request)
        take = Take(
            _no_file,
            StartPoint(cursor=offer.cursor),
            Gaps(lambda _: None),
            lambda _: None,
            hold=Hold(needs.spill, needs.max_bytes),
        )
        stack = AsyncExitStack()
        request = facts.request
        kit = await stack.enter_async_context(needs.engines.for_recording(request.effective, request.url))
        capture = Capture(needs.sources_of(facts), kit, take, needs.patience)
        task = asyncio.create_task(capture.run(), name=f"standby-capture-{offer.recording_id}")
        return Running(capture, task, stack)

    async def _wait_for_turn(self, recording_id: str, running: Running) -> None:
        """Until the lease is ours (then `take` ends this), somebody else stands by, or nothing can be held."""
        needs, told = self._needs, None
        while not running.task.done():
            holds = running.capture.holds
            standing = await needs.handovers.stand_by(recording_id, holds if holds != told else None)
            told = holds
            if standing is None:
                log.info("standby.not_wanted", recording_id=recording_id)
                return
            _forget(running.capture, standing)
            # Once its owner has left; and before that, in case it is gone without a word.
            await needs.leases.claim(recording_id)
            await asyncio.sleep(POLL_S)
        log.warning("standby.ended", recording_id=recording_id, detail=running.task.result().detail)


def _forget(capture: Capture, standing: Standing) -> None:
    if standing.secured_at is not None:
        capture.forget_before((standing.secured_at - MARGIN).timestamp())


def _no_file(index: int, extension: str) -> BinaryIO:
    raise AssertionError("a standby opens no files")
