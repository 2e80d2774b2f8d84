"""The composition root of the scheduler."""

from __future__ import annotations

from pathlib import Path

from chassis import leases
from chassis.service import Service
from chassis.settings import load
from contracts.monitor import CheckChannel
from contracts.scheduler import WatchCrashed

from services.scheduler import store
from services.scheduler.actor import Actor
from services.scheduler.domain import WATCH
from services.scheduler.handlers import handlers
from services.scheduler.runner import PARTITION, Supervisor
from services.scheduler.settings import SchedulerSettings
from services.scheduler.store import Watched


def build(settings: SchedulerSettings | None = None) -> Service:
    """Wire the service; reads the environment when no settings are given."""
    chosen = settings or load(SchedulerSettings)
    service = Service(chosen, handlers(), migrations=Path(__file__).with_name("migrations"))

    async def send(check: CheckChannel) -> None:
        await service.bus.send_direct(check)

    async def report(crashed: WatchCrashed) -> None:
        work = service.work()
        try:
            at = await work.load(WATCH, crashed.streamer_id)
            await work.append(at, [crashed])
            await work.commit()
        finally:
            await work.rollback()
        service.committed()

    async def watched() -> list[Watched]:
        async with service.pool.acquire() as connection:
            return await store.watched(connection)

    def make(one: Watched) -> Actor:
        return Actor(one, send, jitter=chosen.jitter, first_within_s=chosen.first_check_within_s)

    supervisor = Supervisor(watched, make, report, partitions=chosen.partitions, refresh_s=chosen.refresh_s)

    async def prepare() -> None:
        async with service.pool.acquire() as connection:
            for number in range(chosen.partitions):
                await leases.offer(connection, PARTITION, f"{PARTITION}:{number}")
        service.add_runner(PARTITION, supervisor.hold, concurrency=chosen.partitions)

    service.on_start(prepare)
    service.on_commit(supervisor.wake)
    service.add(supervisor)
    service.resources.provide(supervisor)
    return service
