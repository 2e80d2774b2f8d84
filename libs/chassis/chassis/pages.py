"""Pages that yt-dlp looks at: in processes of its own, started on demand, used again for a while, and killed when they take too long.

yt-dlp costs a second of processor time and 70 MB to be imported, so it is imported in none of our processes, and a process that has it
answers several questions, one at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final, Self

from pydantic import ValidationError

from chassis.foreign.job import Job
from chassis.foreign.page import Page
from chassis.foreign.process import command, search_path
from chassis.programs import Running, open_program, workplace

PROGRAM: Final = "chassis.foreign.ytdlp"
MAX_ANSWER_BYTES: Final = 1 << 18
START_S: Final = 60.0
"""To import yt-dlp takes a second, on a small machine with much to do several."""
MAX_LOOKS: Final = 64
"""After so many a process ends: what a library keeps for ever does not grow for ever."""
_READ_BYTES = 1 << 16


class PageFailed(Exception):
    """There is no answer: the process died, took too long or said something else. The message names no address."""


class Pages:
    """Use as ``async with Pages() as pages:``. A process without secrets waits ``keep_s`` for the next look; 0: each look has its own.

    How many look at the same time is up to the caller.
    """

    def __init__(self, *, keep_s: float = 0.0, time_limit_s: float = 60.0) -> None:
        self._keep_s, self._time_limit_s = keep_s, time_limit_s
        self._idle: list[_Process] = []
        self._ending: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def prepare(self) -> None:
        """See that a process waits, if any may: the next look then costs no start. Raises PageFailed."""
        if self._keep_s and not any(not process.exited for process in self._idle):
            self._keep(await _Process.start())

    async def look(self, job: Job) -> Page:
        """What a page is; raises PageFailed. Cancelled, the process is killed."""
        process = self._waiting(job) or await _Process.start()
        try:
            async with asyncio.timeout(self._time_limit_s):
                page = await process.ask(job)
        except TimeoutError:
            await process.end()
            raise PageFailed("the page did not answer in time") from None
        except BaseException:
            await process.end()
            raise
        if job.personal or not self._keep_s or process.looks >= MAX_LOOKS:
            await process.end()
        else:
            self._keep(process)
        return page

    async def close(self) -> None:
        """End the processes that wait."""
        idle, self._idle = self._idle, []
        for process in idle:
            # All of them before the first is waited for: the time of another may be over meanwhile.
            process.stop_waiting()
        for process in idle:
            await process.end()
        await asyncio.gather(*self._ending)

    def _waiting(self, job: Job) -> _Process | None:
        fitting = (None,) if job.personal else (None, job.bounds)
        # The one that was used last: the others reach the end of their time.
        for process in reversed(self._idle):
            if process.bounds in fitting and not process.exited:
                self._idle.remove(process)
                process.stop_waiting()
                return process
        return None

    def _keep(self, process: _Process) -> None:
        self._idle.append(process)
        process.wait(self._keep_s, lambda: self._drop(process))

    def _drop(self, process: _Process) -> None:
        self._idle.remove(process)
        ending = asyncio.create_task(process.end())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)


class _Process:
    """One yt-dlp, confined to the bounds of its first job; before it, it has none and does nothing."""

    def __init__(self, stack: AsyncExitStack, running: Running) -> None:
        self._stack, self._running = stack, running
        self.bounds: tuple[object, ...] | None = None
        self._waiting: asyncio.TimerHandle | None = None
        self.looks = 0

    @classmethod
    async def start(cls) -> _Process:
        """One that has imported yt-dlp; raises PageFailed."""
        async with AsyncExitStack() as stack:
            folder = stack.enter_context(workplace())
            program = open_program(command(PROGRAM), folder=folder, listens=True, search_path=search_path())
            try:
                running = await stack.enter_async_context(program)
                async with asyncio.timeout(START_S):
                    ready = await running.output.read(1)
            except (OSError, TimeoutError) as error:
                raise PageFailed(f"yt-dlp cannot be started ({type(error).__name__})") from None
            if ready != b"\n":
                raise PageFailed("yt-dlp cannot be started; is it installed?")
            return cls(stack.pop_all(), running)

    @property
    def exited(self) -> bool:
        return self._running.exited.is_set()

    async def ask(self, job: Job) -> Page:
        self.looks += 1
        self.bounds = job.bounds
        self._running.give(job.line)
        answer = bytearray()
        while not answer.endswith(b"\n"):
            data = await self._running.output.read(_READ_BYTES)
            answer += data
            if not data:
                raise PageFailed("yt-dlp died over this page")
            if len(answer) > MAX_ANSWER_BYTES:
                raise PageFailed("yt-dlp says too much of this page")
        try:
            return Page.model_validate_json(bytes(answer))
        except ValidationError:
            raise PageFailed("yt-dlp says something else than it was asked") from None

    def wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._waiting = asyncio.get_running_loop().call_later(seconds, then)

    def stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()

    async def end(self) -> None:
        self.stop_waiting()
        await self._stack.aclose()
