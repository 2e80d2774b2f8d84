"""Real processes: started, watched through their log, killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.deadline import DEADLINE_S


class Program:
    """One process of a program below ``tests/chaos/programs`` and the JSON lines of its log so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log: list[dict[str, Any]] = []
        self.other: list[str] = []
        self._more = asyncio.Condition()
        self._reader = asyncio.create_task(self._read())

    async def said(self, event: str, deadline_s: float = DEADLINE_S) -> dict[str, Any]:
        """Wait until the log has an event and return the last of them."""
        assert await self.lived_to_say(event, deadline_s), f"ended without {event}: {self.story()}"
        return self._of(event)[-1]

    async def lived_to_say(self, event: str, deadline_s: float = DEADLINE_S) -> bool:
        """Wait until the log has an event; False when the process ended without it."""
        try:
            async with asyncio.timeout(deadline_s), self._more:
                await self._more.wait_for(lambda: self._of(event) or self._reader.done())
        except TimeoutError:
            raise AssertionError(f"no {event} within {deadline_s} s: {self.story()}") from None
        return bool(self._of(event))

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()

    def terminate(self) -> None:
        """SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    async def ended(self, deadline_s: float = DEADLINE_S) -> int:
        """Wait for its end; returns the exit code."""
        try:
            async with asyncio.timeout(deadline_s):
                await self._reader
                return await self.process.wait()
        except TimeoutError:
            raise AssertionError(f"still alive after {deadline_s} s: {self.story()}") from None

    def events(self) -> list[str]:
        """The events of its log in order."""
        return [line["event"] for line in self.log]

    def story(self) -> str:
        """What to show when a test fails."""
        return "\n".join([*(json.dumps(line) for line in self.log[-30:]), *self.other[-30:]])

    def _of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.log if line["event"] == event]

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            text = line.decode("utf-8", "replace").rstrip()
            async with self._more:
                # What a killed process had half written has no end.
                if text.startswith("{") and line.endswith(b"\n"):
                    self.log.append(json.loads(text))
                else:
                    self.other.append(text)
                self._more.notify_all()
        async with self._more:
            self._more.notify_all()


@asynccontextmanager
async def program(mode: str, *, ready: bool = True, **environment: str) -> AsyncIterator[Program]:
    """Run the config service in a mode until the block ends; then it is killed if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.chaos.programs.config_service",
        mode,
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
    )
    running = Program(process)
    try:
        if ready:
            await running.said("service.ready", DEADLINE_S)
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await running.ended()


def environment(postgres_dsn: str, nats_url: str, worker: str = "w1", **more: str) -> dict[str, str]:
    """Settings of the config service."""
    return {
        "CONFIG_DATABASE_DSN": postgres_dsn,
        "CONFIG_NATS_URL": nats_url,
        "CONFIG_WORKER": worker,
        "CONFIG_RETRY_BASE_S": "0.05",
        **more,
    }
