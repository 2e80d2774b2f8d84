"""One object runs a service: database, bus, relay, consumers, runners, probes; and stops them in the reverse order.

SIGTERM: readiness off → stop pulling → finish the messages in hand → hand over leases → flush the relay → drain → close.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Protocol

import structlog
from contracts.envelope import Metadata
from contracts.registry import load_vocabulary

from chassis import collector, logs, migrate, telemetry
from chassis.broker import Broker, consumers_of
from chassis.bus import Bus
from chassis.database import Pool, open_pool
from chassis.dispatcher import Dispatcher
from chassis.eventlog import QUERIES, Fence
from chassis.handlers import Handlers
from chassis.health import Health
from chassis.housekeeping import Housekeeping
from chassis.leases import LeaseRunner, Run
from chassis.maintenance import add_maintenance
from chassis.relay import Relay
from chassis.retries import Policy
from chassis.settings import ServiceSettings, redacted
from chassis.work import Resources, Work

log = structlog.get_logger(__name__)
EXIT_BUS_CLOSED = 70


class Part(Protocol):
    """Something with a life of its own beside the handlers: an actor supervisor, a web server, a projector."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Service:
    """A service as ``app.py`` wires it. Nothing happens before :meth:`run` or :meth:`start`."""

    def __init__(
        self,
        settings: ServiceSettings,
        handlers: Handlers,
        *,
        migrations: Path | None = None,
        direct_limit: int = 32,
        spare_collector: bool = False,
    ) -> None:
        """``spare_collector``: :meth:`run` lets the garbage collector look less often, see :mod:`chassis.collector`."""
        self.settings, self.handlers = settings, handlers
        self.name = settings.service
        self.resources = Resources()
        self.resources.provide(settings)
        self.health = Health(self.name, host=settings.health_host, port=settings.health_port)
        self._migrations = [migrate.CHASSIS, *([migrations] if migrations else [])]
        self._direct_limit = direct_limit
        self._spare_collector = spare_collector
        self._prepare: list[Callable[[], Awaitable[None]]] = []
        self._parts: list[Part] = []
        self._runners: list[LeaseRunner] = []
        self._wakes: list[Callable[[], None]] = []
        self._stack = AsyncExitStack()
        self._ended = asyncio.Event()
        self.ready: Callable[[int], None] = lambda _: None
        self.stopping = False
        """Whether the service has begun to stop."""
        self._exit_code = 0
        self.pool: Pool
        self.bus: Bus
        self.relay: Relay
        self.dispatcher: Dispatcher
        add_maintenance(handlers)

    def on_start(self, prepare: Callable[[], Awaitable[None]]) -> None:
        """Run something after the database and the bus are there and before messages flow: open sessions, build parts."""
        self._prepare.append(prepare)

    def add(self, part: Part) -> None:
        """Give the service a part: it starts before the runners, which may use it, and stops after them."""
        self._parts.append(part)

    def add_runner(
        self, kind: str, run: Run, *, concurrency: int = 8, extra_high: int = 0, rests: bool = False
    ) -> LeaseRunner:
        """Run offered work of one kind under leases; ``rests`` as in LeaseRunner. Call inside ``on_start``."""
        settings = self.settings
        runner = LeaseRunner(
            self.pool,
            kind,
            run,
            owner=settings.worker,
            concurrency=concurrency,
            finish_s=settings.stop_timeout_s,
        )
        runner.rests = rests
        runner.resize(concurrency, extra_high)
        self._runners.append(runner)
        return runner

    def on_commit(self, wake: Callable[[], None]) -> None:
        """Call something after each commit of a handler in this process: whoever follows the service's own tables."""
        self._wakes.append(wake)

    def work(self, metadata: Metadata | None = None) -> Work:
        """A unit of work that no message started: the scheduler's timers, a runner's progress."""
        return Work(self.name, metadata or telemetry.new_metadata(), self.resources, self.pool)

    @asynccontextmanager
    async def unit(self, metadata: Metadata | None = None, *, fence: Fence | None = None) -> AsyncIterator[Work]:
        """A unit of work that commits when the block ends and undoes everything when it raises; wakes the relay after the commit."""
        work = self.work(metadata)
        work.fence = fence
        try:
            yield work
            await work.commit()
        except BaseException:
            await work.rollback()
            raise
        self.committed()

    def committed(self) -> None:
        """Something was committed: wake the relay and whoever waits for offered work."""
        self.relay.wake()
        for runner in self._runners:
            runner.wake()
        self._handled()

    def _handled(self) -> None:
        for wake in self._wakes:
            wake()

    async def start(self) -> None:
        """Start everything; raises when a dependency does not come up or a handler is missing."""
        missing = self.handlers.missing()
        if missing:
            raise RuntimeError(f"{self.name} has no handler for: {', '.join(missing)}")
        load_vocabulary()
        await self.health.start()
        self._stack.push_async_callback(self.health.stop)
        await self._open()
        for prepare in self._prepare:
            await prepare()
        parts: list[Part] = [
            self.relay,
            Housekeeping(self.pool, self.settings.inbox_retention_s),
            *self._parts,
            *self._runners,
        ]
        for part in parts:
            await part.start()
            self._stack.push_async_callback(part.stop)
        for spec in consumers_of(self.name):
            self._broker.subscribe(spec, self.dispatcher)
        await self._broker.start()
        self._stack.push_async_callback(self._stop_consuming)
        self.health.ready = True
        log.info("service.ready", health_port=self.health.port, worker=self.settings.worker)

    async def stop(self) -> None:
        """Stop in the reverse order."""
        self.stopping = True
        self.health.ready = False
        log.info("service.stopping")
        await self._stack.aclose()
        log.info("service.stopped")

    def fail(self, code: int) -> None:
        """End the process with an exit code; the orchestrator starts it again."""
        self._exit_code = self._exit_code or code
        self._ended.set()

    async def run(self) -> int:
        """Start, wait for SIGTERM or SIGINT, stop; returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ended.set)
        try:
            async with asyncio.timeout(120):
                await self.start()
            if self._spare_collector:
                collector.settle()
            self.ready(self.health.port)
            await self._ended.wait()
        finally:
            await self.stop()
        return self._exit_code

    async def _open(self) -> None:
        settings = self.settings
        provider = telemetry.start_tracing(self.name)
        if provider is not None:
            self._stack.push_async_callback(asyncio.to_thread, telemetry.stop_tracing, provider)
        self.pool = await open_pool(
            settings.database_dsn.get_secret_value(), name=f"aircheck-{self.name}", max_size=settings.pool_size
        )
        self._stack.push_async_callback(self.pool.close)
        await migrate.migrate(self.pool, *self._migrations)
        self._broker = Broker(
            self.name,
            settings.nats_url,
            user=settings.nats_user,
            password=settings.nats_password.get_secret_value(),
            closed=self._bus_closed,
            finish_s=settings.stop_timeout_s,
        )
        self.bus = await self._broker.connect()
        self._stack.push_async_callback(self._close_bus)
        self.resources.provide(self.bus)
        self.relay = Relay(self.pool, self.bus, self.name)
        self.dispatcher = Dispatcher(
            self.handlers,
            self.pool,
            self.resources,
            committed=self.committed,
            handled=self._handled,
            announce=self.bus.signal,
            policy=Policy(
                base_s=settings.retry_base_s,
                max_deliveries=settings.max_deliveries,
                max_crashes=settings.max_crashes,
            ),
            direct_limit=self._direct_limit,
        )
        self._add_checks()

    def _add_checks(self) -> None:
        async def database() -> None:
            await self.pool.fetchval("select 1")

        async def migrations() -> None:
            waiting = await migrate.pending(self.pool, *self._migrations)
            if waiting:
                raise RuntimeError(f"not applied: {', '.join(waiting)}")

        async def outbox() -> None:
            row = (await self.pool.fetch(QUERIES["outbox_state"]))[0]
            telemetry.OUTBOX_PENDING.labels(self.name).set(row["pending"])
            telemetry.OUTBOX_OLDEST.labels(self.name).set(row["oldest_s"])
            for runner in self._runners:
                telemetry.LEASES_HELD.labels(self.name, runner.kind).set(len(runner.held))

        self.health.checks |= {"database": database, "migrations": migrations, "bus": self.bus.ping}
        self.health.refresh.append(outbox)

    async def _stop_consuming(self) -> None:
        await self.dispatcher.leave()
        await self._broker.stop_pulling()
        await self.dispatcher.drain()

    async def _close_bus(self) -> None:
        self._closing = True
        await self._broker.close()

    _closing = False

    def _bus_closed(self) -> None:
        if not self._closing:
            log.critical("bus.closed", next="the process ends so that it can be started again")
            self.fail(EXIT_BUS_CLOSED)


def main(build: Callable[[], Service], *, fast_loop: bool = False) -> None:
    """The whole of a service's ``__main__``: build, run, exit with its code.

    ``fast_loop`` chooses uvloop, for services that move media or hold hundreds of chats; it costs each process 2 MB that the others need not pay.
    """
    if "--help" in sys.argv[1:] or "-h" in sys.argv[1:]:
        sys.stdout.write(_USAGE)
        sys.exit(0)
    if "--print-config" in sys.argv[1:]:
        sys.stdout.write(json.dumps(redacted(build().settings), indent=2) + "\n")
        sys.exit(0)
    _run(build, ready=lambda _: None, fast_loop=fast_loop)


def forked(build: Callable[[], Service], *, ready_fd: int, fast_loop: bool = False) -> None:
    """Run in a child that was forked after the imports; writes its health port to ``ready_fd`` once ready. Never returns."""
    code = 1
    try:
        _run(build, ready=lambda port: _tell(ready_fd, port), fast_loop=fast_loop)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


_USAGE = """Run one service of Aircheck until SIGTERM.

Settings come from the environment with the service's prefix, e.g. MONITOR_DATABASE_DSN, MONITOR_NATS_URL; a name with _FILE
appended names a file that holds the value. The service's README lists them.

  --print-config   show the settings in force, secrets as stars, and end
"""


def _run(build: Callable[[], Service], *, ready: Callable[[int], None], fast_loop: bool) -> None:
    async def serve() -> int:
        service = build()
        logs.configure(service.name, level=service.settings.log_level)
        service.ready = ready
        return await service.run()

    if fast_loop:
        import uvloop

        sys.exit(uvloop.run(serve()))
    sys.exit(asyncio.run(serve()))


def _tell(descriptor: int, port: int) -> None:
    os.write(descriptor, str(port).encode())
    os.close(descriptor)
