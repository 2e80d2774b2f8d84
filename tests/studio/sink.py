"""A webhook sink: stores what it is sent, and fails when it is told to."""

from __future__ import annotations

import json
import time
from collections import defaultdict, deque
from typing import Any

from aiohttp import web

from .changes import Changes
from .options import SinkFailure

MAX_STORED = 10_000


class Sink:
    """The requests of one name, oldest first, with the status each was answered with."""

    def __init__(self) -> None:
        self.requests: deque[dict[str, Any]] = deque(maxlen=MAX_STORED)
        self.failing = SinkFailure(times=0)

    def accepted(self) -> list[dict[str, Any]]:
        """The requests that were answered 2xx."""
        return [one for one in self.requests if one["status"] < 300]

    def next_status(self) -> int:
        """200, or the failure's status while there is any left."""
        if self.failing.times == 0:
            return 200
        self.failing = self.failing.model_copy(update={"times": self.failing.times - 1})
        return self.failing.status


class Sinks:
    """All sinks; each comes into being with its first use."""

    def __init__(self, changes: Changes) -> None:
        self._sinks: defaultdict[str, Sink] = defaultdict(Sink)
        self._changes = changes

    def __getitem__(self, name: str) -> Sink:
        return self._sinks[name]

    def forget(self, name: str) -> None:
        """Empty a sink and let it succeed again."""
        self._sinks.pop(name, None)

    async def receive(self, request: web.Request) -> web.Response:
        """Store the request and answer it."""
        sink = self._sinks[request.match_info["name"]]
        body = await request.read()
        status = sink.next_status()
        sink.requests.append(
            {
                "time_ms": time.time_ns() // 1_000_000,
                "method": request.method,
                "path": request.path_qs,
                "headers": {name.lower(): value for name, value in request.headers.items()},
                "body": body.decode(errors="replace"),
                "json": _parsed(body),
                "status": status,
            }
        )
        self._changes.notify()
        return web.json_response({"stored": len(sink.requests)}, status=status)

    async def wait_for(self, name: str, n: int, timeout: float) -> list[dict[str, Any]]:
        """The accepted requests as soon as there are `n`; TimeoutError says how many there were."""
        sink = self._sinks[name]
        try:
            await self._changes.wait_until(lambda: len(sink.accepted()) >= n, timeout)
        except TimeoutError:
            raise TimeoutError(f"sink {name} has {len(sink.accepted())} of {n} requests after {timeout} s") from None
        return sink.accepted()


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
