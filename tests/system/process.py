"""``aircheck up`` as a child process, and the gateway's API as its client sees it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import aiohttp

READY_S = 120.0
STOP_S = 60.0


class SystemFailed(RuntimeError):
    """The system ended or did not become ready; the message holds what it printed and the tails of its logs."""


class Gateway:
    """The API with one login. Answers are JSON; anything but 2xx raises aiohttp.ClientResponseError."""

    def __init__(self, url: str, password: str) -> None:
        self.url, self._password = url, password
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))
        answer = await self.call("POST", "/api/login", {"username": "admin", "password": self._password})
        self._session.headers["Authorization"] = f"Bearer {answer['access_token']}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def call(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        """One request; returns the decoded body, ``None`` when empty."""
        assert self._session is not None
        async with self._session.request(method, self.url + path, json=body, params=params) as response:
            text = await response.text()
            if response.status >= 400:
                raise aiohttp.ClientResponseError(
                    response.request_info,
                    response.history,
                    status=response.status,
                    message=f"{method} {path}: {text[:500]}",
                )
            return json.loads(text) if text else None

    async def follow(self, after: int = 0) -> AsyncIterator[dict[str, Any]]:
        """Every event from a position on, as it happens."""
        assert self._session is not None
        timeout = aiohttp.ClientTimeout(total=None)
        headers = {"Last-Event-ID": str(after)}
        async with self._session.get(f"{self.url}/api/events/stream", headers=headers, timeout=timeout) as response:
            response.raise_for_status()
            async for line in response.content:
                if line.startswith(b"data:") and b'"specversion"' in line:
                    yield json.loads(line[5:])


class SystemProcess:
    """Start it with ``async with``; it is stopped by SIGTERM, as by Ctrl-C, at the end."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.recordings = folder / "recordings"
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._begun_at = 0
        self.output = folder / "output.txt"
        self.url = ""

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def password(self) -> str:
        """The password made for ``admin`` at the first start."""
        return self._environment.get("AIRCHECK_ADMIN_PASSWORD") or (self.data / "admin-password").read_text().strip()

    def gateway(self) -> Gateway:
        """A client that logs in as ``admin``."""
        return Gateway(self.url, self.password)

    def log(self, service: str) -> str:
        """What a service has logged."""
        path = self.data / "logs" / f"{service}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start and wait until the gateway is ready; raises SystemFailed."""
        environment = {
            **os.environ,
            "AIRCHECK_PORT": "0",
            **self._environment,
            "AIRCHECK_DATA": str(self.data),
            "AIRCHECK_RECORDINGS": str(self.recordings),
            "PYTHONUNBUFFERED": "1",
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.output.open("ab") as output:
            self._begun_at = output.tell()
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "aircheck",
                "up",
                env=environment,
                stdout=output,
                stderr=output,
                stdin=asyncio.subprocess.DEVNULL,
            )
        try:
            async with asyncio.timeout(READY_S):
                await self._until_ready()
        except (TimeoutError, SystemFailed):
            await self.stop()
            raise SystemFailed(self._evidence()) from None

    async def stop(self) -> int:
        """SIGTERM, wait, SIGKILL if it takes too long; returns the exit code."""
        if self._process is None:
            return 0
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_S):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        return self._process.returncode or 0

    async def _until_ready(self) -> None:
        remembered = self.data / "gateway-port.json"
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            while True:
                assert self._process is not None
                if self._process.returncode is not None:
                    raise SystemFailed
                with contextlib.suppress(OSError, aiohttp.ClientError, TimeoutError, ValueError):
                    self.url = f"http://127.0.0.1:{int(remembered.read_text())}"
                    async with session.get(f"{self.url}/api/health/ready") as response:
                        if response.status == 200 and b"Aircheck is running" in self._said():
                            return
                await asyncio.sleep(0.1)

    def _said(self) -> bytes:
        """What it has printed since this start, not before it."""
        return self.output.read_bytes()[self._begun_at :]

    def _evidence(self) -> str:
        output = self.output.read_text(errors="replace")[-3000:]
        logs = "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-1500:]}"
            for path in sorted((self.data / "logs").glob("*.log"))
        )
        return f"the system did not become ready\n{output}\n{logs}"
