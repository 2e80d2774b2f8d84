"""A whole embedded system as a person starts it: ``aircheck up`` in a process of its own, on a folder that disappears with it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from chassis import bus
from chassis.bus import Bus

from deploy.embedded.keys import load_or_make

STARTED = b"Aircheck is running"
START_S, STOP_S = 120, 60


class System:
    """Starts and stops the system, and knows how to talk to it."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.recordings = folder / "recordings"
        self._process: Process | None = None

    @property
    def pid(self) -> int:
        """The supervisor, the root of everything the system runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def url(self) -> str:
        """Where the gateway answers."""
        return f"http://127.0.0.1:{json.loads((self.data / 'gateway-port.json').read_text())}"

    async def start(self, **settings: str) -> float:
        """Start with settings in the environment and wait until all is ready; returns the seconds from the command to that moment."""
        begun = time.perf_counter()
        command = (
            "-m",
            "aircheck",
            "up",
            "--port",
            "0",
            "--data",
            str(self.data),
            "--recordings",
            str(self.recordings),
        )
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            stdin=DEVNULL,
            stdout=PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **settings},
        )
        try:
            async with asyncio.timeout(START_S):
                await self._wait_for(STARTED)
        except BaseException:
            await self.stop()
            raise
        return time.perf_counter() - begun

    async def stop(self) -> None:
        """Stop it as an operator would, and by force when it does not stop."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S):
                await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise

    @asynccontextmanager
    async def http(self) -> AsyncIterator[aiohttp.ClientSession]:
        """A client of the API that is logged in as ``admin``."""
        password = (self.data / "admin-password").read_text().strip()
        async with aiohttp.ClientSession(self.url) as session:
            answer = await call(session, "POST", "/api/login", {"username": "admin", "password": password})
            session.headers["Authorization"] = f"Bearer {answer['access_token']}"
            yield session

    @asynccontextmanager
    async def bus(self, service: str) -> AsyncIterator[Bus]:
        """A connection with the credentials of one of its services."""
        found = re.search(r'"port": (\d+)', (self.data / "nats" / "nats.conf").read_text())
        assert found is not None
        password = load_or_make(self.data).nats[service]
        connected = await bus.connect(f"nats://127.0.0.1:{found[1]}", service, user=service, password=password)
        try:
            yield connected
        finally:
            await connected.close()

    async def _wait_for(self, text: bytes) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        seen = b""
        async for line in self._process.stdout:
            seen += line
            if text in line:
                return
        raise RuntimeError(f"the system did not start:\n{seen.decode()}")


@asynccontextmanager
async def embedded_system() -> AsyncIterator[System]:
    """A system that is not started yet; stopped and removed in the end."""
    folder = Path(tempfile.mkdtemp(prefix="aircheck-bench-"))
    system = System(folder)
    try:
        yield system
    finally:
        await system.stop()
        await asyncio.to_thread(shutil.rmtree, folder)


async def call(session: aiohttp.ClientSession, method: str, path: str, body: object = None) -> Any:
    """One request; raises RuntimeError with the problem when it is refused or not done at once."""
    async with session.request(method, path, json=body) as response:
        answer = await response.json()
        if response.status not in (200, 201):
            raise RuntimeError(f"{method} {path}: {response.status} {answer}")
        return answer
