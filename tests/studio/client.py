"""Directing a studio that runs elsewhere: the studio's methods over its control API, and starting it as a process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

from tests.deadline import DEADLINE_S

from .urls import StudioUrls

_REPOSITORY = Path(__file__).parents[2]
_ERRORS: dict[int, type[Exception]] = {404: KeyError, 408: TimeoutError, 422: ValueError}


class StudioClient(StudioUrls):
    """Use as `async with StudioClient(url) as studio:`; the methods, results and exceptions are those of Studio."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> StudioClient:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def create_room(self, room: str, **options: Any) -> dict[str, Any]:
        """See Studio.create_room."""
        return await self._call("POST", f"/api/rooms/{room}", options)

    async def remove_room(self, room: str) -> None:
        """See Studio.remove_room."""
        await self._call("DELETE", f"/api/rooms/{room}")

    async def put_on_air(self, room: str, title: str | None = None, **options: Any) -> dict[str, Any]:
        """See Studio.put_on_air."""
        return await self._call("POST", f"/api/rooms/{room}/on-air", {"title": title, **options})

    async def put_off_air(self, room: str) -> dict[str, Any]:
        """See Studio.put_off_air."""
        return await self._call("POST", f"/api/rooms/{room}/off-air")

    async def room(self, room: str) -> dict[str, Any]:
        """See Studio.room."""
        return await self._call("GET", f"/api/rooms/{room}")

    async def rooms(self) -> list[dict[str, Any]]:
        """See Studio.rooms."""
        return await self._call("GET", "/api/rooms")

    async def say(self, room: str, text: str = "hello", **message: Any) -> dict[str, Any]:
        """See Studio.say."""
        return await self._call("POST", f"/api/rooms/{room}/chat", {"text": text, **message})

    async def say_many(self, room: str, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """See Studio.say_many."""
        return await self._call("POST", f"/api/rooms/{room}/chat", {"messages": messages})

    async def chat_log(self, room: str) -> list[dict[str, Any]]:
        """See Studio.chat_log."""
        return await self._call("GET", f"/api/rooms/{room}/chat")

    async def retitle(
        self, room: str, title: str | None = None, category: str | None = None, parent_category: str | None = None
    ) -> dict[str, Any]:
        """See Studio.retitle."""
        body = {"title": title, "category": category, "parent_category": parent_category}
        return await self._call("POST", f"/api/rooms/{room}/title", body)

    async def fault(self, room: str, kind: str, **parameters: Any) -> dict[str, Any]:
        """See Studio.fault."""
        return await self._call("POST", f"/api/rooms/{room}/faults", {"kind": kind, **parameters})

    async def clear_faults(self, room: str, kind: str | None = None) -> None:
        """See Studio.clear_faults."""
        await self._call("DELETE", f"/api/rooms/{room}/faults", query={"kind": kind})

    async def wait_for_room(
        self,
        room: str,
        *,
        viewers: int | None = None,
        chatters: int | None = None,
        on_air: bool | None = None,
        timeout: float = DEADLINE_S,
    ) -> dict[str, Any]:
        """See Studio.wait_for_room."""
        query = {"viewers": viewers, "chatters": chatters, "on_air": on_air, "timeout": timeout}
        return await self._call("GET", f"/api/rooms/{room}/wait", query=query)

    async def sink(self, name: str) -> list[dict[str, Any]]:
        """See Studio.sink."""
        return await self._call("GET", f"/sink/{name}")

    async def fail_sink(self, name: str, times: int, status: int = 500) -> None:
        """See Studio.fail_sink."""
        await self._call("POST", f"/sink/{name}/fail", {"times": times, "status": status})

    async def clear_sink(self, name: str) -> None:
        """See Studio.clear_sink."""
        await self._call("DELETE", f"/sink/{name}")

    async def wait_for_sink(self, name: str, n: int = 1, timeout: float = DEADLINE_S) -> list[dict[str, Any]]:
        """See Studio.wait_for_sink."""
        return await self._call("GET", f"/sink/{name}/wait", query={"n": n, "timeout": timeout})

    async def rotate_wbi_keys(self) -> None:
        """See Studio.rotate_wbi_keys."""
        await self._call("POST", "/api/wbi/rotate")

    async def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, query: dict[str, Any] | None = None
    ) -> Any:
        if self._session is None:
            raise RuntimeError("use the client inside its `async with` block")
        given = {name: str(value).lower() for name, value in (query or {}).items() if value is not None}
        async with self._session.request(method, self.url + path, json=body, params=given) as response:
            answer = await response.json(content_type=None)
            if response.status >= 400:
                raise _ERRORS.get(response.status, RuntimeError)(answer["detail"])
            return answer


class StudioProcess(StudioClient):
    """Use as `async with StudioProcess() as studio:`; a studio in a process of its own, which ends with the block.

    It also ends when the starter is killed: its standard input closes then. `within`: a command that runs another one in its place,
    as in another network namespace.
    """

    def __init__(self, *arguments: str, within: Sequence[str] = ()) -> None:
        super().__init__("")
        self._arguments, self._within = arguments, within
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process id of the studio."""
        if self._process is None:
            raise RuntimeError("use the studio inside its `async with` block")
        return self._process.pid

    async def __aenter__(self) -> StudioProcess:
        self._process = await asyncio.create_subprocess_exec(
            *(*self._within, sys.executable),
            *("-m", "tests.studio", "--json", "--until-stdin-closes", *self._arguments),
            cwd=_REPOSITORY,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(DEADLINE_S):
                line = await self._process.stdout.readline()
            self.url = json.loads(line)["url"]
        except BaseException:
            await self._end()
            raise
        await super().__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await super().__aexit__()
        await self._end()

    async def _end(self) -> None:
        self._process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(DEADLINE_S):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
