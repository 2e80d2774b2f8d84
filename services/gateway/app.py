"""The composition root of the gateway."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

import structlog
from chassis.database import UNREACHABLE, Pool
from chassis.egress import EgressPolicy
from chassis.secrets import SystemKey
from chassis.service import Part, Service
from chassis.settings import load
from contracts.gateway import Projected

from services.gateway.accounts import Accounts
from services.gateway.adapters.chat_logs import ChatLogs
from services.gateway.adapters.passwords import Passwords
from services.gateway.adapters.tokens import Tokens
from services.gateway.api.application import application
from services.gateway.api.context import Gateway
from services.gateway.api.server import HttpServer
from services.gateway.handlers import handlers
from services.gateway.projections import MODELS
from services.gateway.projections.ingest import Ingest
from services.gateway.projections.projector import Pace, Projector
from services.gateway.projections.rebuild import Rebuilt, ensure, rebuild
from services.gateway.realtime.chat import Chat
from services.gateway.realtime.commands import Commands
from services.gateway.realtime.follower import Follower
from services.gateway.realtime.mailbox import Clients
from services.gateway.realtime.signals import Signals
from services.gateway.settings import GatewaySettings
from services.gateway.store import accounts, idempotency

PURGE_EVERY_S = 3600.0
log = structlog.get_logger(__name__)


def build(settings: GatewaySettings | None = None) -> Service:
    """Wire the service; reads the environment when no settings are given."""
    settings = settings or load(GatewaySettings)
    service = Service(settings, handlers(), migrations=Path(__file__).with_name("migrations"))

    async def prepare() -> None:
        await ensure(service.pool, MODELS)
        await _wire(service, settings)

    service.on_start(prepare)
    return service


async def _wire(service: Service, settings: GatewaySettings) -> None:
    keeper = Accounts(
        service.pool,
        service.work,
        service.committed,
        Passwords(memory_kib=settings.argon2_memory_kib, time_cost=settings.argon2_time_cost),
        Tokens(settings.secret_key.get_secret_value(), lifetime_s=settings.access_token_s),
        refresh_lifetime_s=settings.refresh_token_s,
    )
    await keeper.bootstrap(settings.admin_password.get_secret_value(), settings.password_file)
    follower = Follower(service.pool, ring=settings.ring_events)
    signals = Signals(service.bus, follower)
    chat_logs = ChatLogs(os.environ)
    clients = Clients(settings.max_clients, settings.client_queue)
    projector = _projector(service, settings)
    rebuilds = Rebuilds(service.pool, settings.command_wait_s)
    gateway = Gateway(
        settings=settings,
        pool=service.pool,
        accounts=keeper,
        commands=Commands(service.bus, follower, wait_s=settings.command_wait_s),
        follower=follower,
        signals=signals,
        chat=Chat(service.bus),
        chat_logs=chat_logs,
        clients=clients,
        health=service.health,
        egress=EgressPolicy(allow_private=settings.allow_private_sources),
        system_key=SystemKey(settings.secret_key.get_secret_value()),
        rebuild=rebuilds.run,
        projecting=lambda: projector.active,
    )
    server = HttpServer(
        lambda: application(gateway),
        host=settings.host,
        port=settings.port,
        trusted_proxies=settings.trusted_proxies,
        closing=clients.close,
    )
    service.resources.provide(server)
    service.resources.provide(projector)
    service.resources.provide(follower)
    if settings.project:
        service.add(projector)
    others: tuple[Part, ...] = (follower, signals, rebuilds, Purge(service.pool), chat_logs, server)
    for part in others:
        service.add(part)


def _projector(service: Service, settings: GatewaySettings) -> Projector:
    async def stored(position: int, pending: int) -> None:
        await service.bus.signal(Projected(name="read-models", position=position, pending=pending))

    ingest = Ingest(service.pool, MODELS, stored=stored, buried=service.committed, service=service.name)
    pace = Pace(batch=settings.projector_batch, heal_grace_s=settings.heal_grace_s)
    return Projector(service.pool, service.bus, ingest, owner=settings.worker, pace=pace)


class Rebuilds:
    """Rebuilds that were asked for over HTTP. They go on when the caller no longer waits."""

    def __init__(self, pool: Pool, wait_s: float) -> None:
        self.pool, self.wait_s = pool, wait_s
        self._tasks: set[asyncio.Task[Rebuilt]] = set()

    async def run(self, name: str) -> Rebuilt:
        """Rebuild and wait a while; raises what :func:`rebuild` raises, and TimeoutError when it goes on."""
        task = asyncio.create_task(rebuild(self.pool, name, MODELS), name=f"rebuild-{name}")
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        async with asyncio.timeout(self.wait_s):
            return await asyncio.shield(task)

    async def start(self) -> None:
        """Nothing to do before somebody asks."""

    async def stop(self) -> None:
        """Give up what is being built; the old tables are still in use."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _finished(self, task: asyncio.Task[Rebuilt]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("projection.rebuild_failed", task=task.get_name(), error=repr(task.exception())[:500])


class Purge:
    """Forgets expired logins and answers once an hour."""

    def __init__(self, pool: Pool, every_s: float = PURGE_EVERY_S) -> None:
        self.pool, self.every_s = pool, every_s
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin with what expired while nobody ran."""
        self._task = asyncio.create_task(self._run(), name="purge")

    async def stop(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            try:
                await accounts.purge(self.pool)
                await idempotency.purge(self.pool)
            except UNREACHABLE as error:
                log.warning("purge.failed", error=repr(error))
            await asyncio.sleep(self.every_s)
