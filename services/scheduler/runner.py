"""The supervisor: holds partitions under leases, runs the actors of their streamers, starts crashed ones again with back-off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from chassis.database import UNREACHABLE
from chassis.leases import Again, Lease, Outcome
from chassis.waiting import wait_for_event
from contracts.scheduler import WatchCrashed

from services.scheduler.actor import Actor
from services.scheduler.domain import partition_of
from services.scheduler.store import Watched

PARTITION = "partition"
BACKOFF_CAP_S = 300.0
log = structlog.get_logger(__name__)

LoadWatched = Callable[[], Awaitable[list[Watched]]]
MakeActor = Callable[[Watched], Actor]
Report = Callable[[WatchCrashed], Awaitable[None]]


class Supervisor:
    """Keeps exactly one actor for each enabled streamer of the partitions this replica holds."""

    def __init__(
        self, load: LoadWatched, make: MakeActor, report: Report, *, partitions: int, refresh_s: float
    ) -> None:
        self._load, self._make, self._report = load, make, report
        self._partitions, self._refresh_s = partitions, refresh_s
        self._held: set[int] = set()
        self._actors: dict[str, tuple[Actor, asyncio.Task[None]]] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def streamers(self) -> frozenset[str]:
        """Streamers with a running actor here."""
        return frozenset(self._actors)

    def wake(self) -> None:
        """Read the list of streamers again now."""
        self._wake.set()

    async def start(self) -> None:
        """Begin to follow the list."""
        self._task = asyncio.create_task(self._follow(), name="supervisor")

    async def stop(self) -> None:
        """Stop every actor."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._reconcile([])

    async def hold(self, lease: Lease) -> Outcome:
        """Own one partition until its lease is lost or handed over."""
        number = int(lease.id)
        self._held.add(number)
        self.wake()
        try:
            await lease.handing_over.wait()
        finally:
            self._held.discard(number)
            self.wake()
        return Again()

    async def _follow(self) -> None:
        while True:
            self._wake.clear()
            try:
                self._reconcile(await self._load())
            except UNREACHABLE as error:
                log.warning("watchlist.unreadable", error=repr(error))
            await wait_for_event(self._wake, self._refresh_s)

    def _reconcile(self, listed: list[Watched]) -> None:
        mine = {one.streamer_id: one for one in listed if partition_of(one.streamer_id, self._partitions) in self._held}
        for streamer_id in self._actors.keys() - mine.keys():
            self._actors.pop(streamer_id)[1].cancel()
        for streamer_id, watched in mine.items():
            if streamer_id in self._actors:
                self._actors[streamer_id][0].update(watched)
            else:
                actor = self._make(watched)
                self._actors[streamer_id] = (
                    actor,
                    asyncio.create_task(self._keep_running(actor), name=f"actor-{streamer_id}"),
                )

    async def _keep_running(self, actor: Actor) -> None:
        failures = 0
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            try:
                await actor.run()
            except Exception as error:
                failures = 1 if loop.time() - started > BACKOFF_CAP_S else failures + 1
                delay = min(2.0 ** (failures - 1), BACKOFF_CAP_S)
                log.exception("actor.crashed", streamer=actor.watched.streamer_id, restart_s=delay)
                await self._tell(
                    WatchCrashed(streamer_id=actor.watched.streamer_id, error=repr(error)[:500], delay_s=delay)
                )
                await asyncio.sleep(delay)

    async def _tell(self, crashed: WatchCrashed) -> None:
        try:
            await self._report(crashed)
        except Exception as error:
            log.warning("actor.crash_not_recorded", streamer=crashed.streamer_id, error=repr(error))
