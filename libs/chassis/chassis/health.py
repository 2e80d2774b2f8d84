"""``/livez``, ``/readyz`` and ``/metrics`` on a port of their own.

Liveness never asks a dependency: a database outage must not restart everything. Readiness asks all of them.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from chassis import telemetry

Check = Callable[[], Awaitable[None]]
_METHODS = ("GET", "HEAD")
_STUCK_S = 10.0
_CHECK_S = 3.0
log = structlog.get_logger(__name__)


class Health:
    """The probes of one process. ``checks`` raise when something is not ready; ``ready`` is off while starting and stopping."""

    def __init__(self, service: str, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.service, self.host, self.port = service, host, port
        self.ready = False
        self.checks: dict[str, Check] = {}
        self.refresh: list[Check] = []
        self._beat = time.monotonic()
        self._runner: web.ServerRunner | None = None
        self._pulse: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen; ``port`` becomes the real one when it was 0."""
        # A server without an application: three fixed paths need no router, and its half a megabyte would be there once per process.
        self._runner = web.ServerRunner(web.Server(self._answer, access_log=None))
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self._pulse = asyncio.create_task(self._measure_lag())

    async def stop(self) -> None:
        """Stop answering."""
        if self._pulse is not None:
            self._pulse.cancel()
        if self._runner is not None:
            await self._runner.cleanup()

    async def failures(self) -> dict[str, str]:
        """What is not ready, by check, with the reason."""
        found = {} if self.ready else {"state": "starting or stopping"}
        for name, check in self.checks.items():
            try:
                async with asyncio.timeout(_CHECK_S):
                    await check()
            except Exception as error:
                found[name] = repr(error)[:200]
        return found

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        probes = {"/livez": self._live, "/readyz": self._ready, "/metrics": self._metrics}
        probe = probes.get(request.path)
        if probe is None:
            return _json(404, {"status": "not found", "paths": sorted(probes)})
        if request.method not in _METHODS:
            return web.Response(status=405, headers={"Allow": ", ".join(_METHODS)})
        return await probe(request)

    async def _live(self, _: web.BaseRequest) -> web.Response:
        late = time.monotonic() - self._beat
        return _json(
            200 if late < _STUCK_S else 503,
            {"status": "alive" if late < _STUCK_S else "stuck", "late_s": round(late, 3)},
        )

    async def _ready(self, request: web.BaseRequest) -> web.Response:
        failures = await self.failures()
        body: dict[str, Any] = {"status": "ready" if not failures else "not ready", "service": self.service}
        if failures or "verbose" in request.query:
            body["failed"] = failures
            body["checks"] = sorted(self.checks)
        return _json(503 if failures else 200, body)

    async def _metrics(self, _: web.BaseRequest) -> web.Response:
        for refresh in self.refresh:
            try:
                async with asyncio.timeout(_CHECK_S):
                    await refresh()
            except Exception as error:
                # During an outage the other numbers are wanted most; these keep their last values.
                log.warning("metrics.not_refreshed", error=repr(error))
        return web.Response(body=generate_latest(telemetry.REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _measure_lag(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(2.0)
            self._beat = time.monotonic()
            telemetry.LOOP_LAG.labels(self.service).set(max(0.0, self._beat - before - 2.0))


def _json(status: int, body: dict[str, Any]) -> web.Response:
    return web.Response(status=status, text=json.dumps(body), content_type="application/json")
