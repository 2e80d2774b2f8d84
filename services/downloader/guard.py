"""Watches the folder of this replica: nothing begins without room, and everything goes on by itself when there is some again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog
from chassis.leases import LeaseRunner

from services.downloader import metrics
from services.downloader.space import Disk, Level, Seen, Thresholds, level_of, refusal

ANSWER_S = 10.0
"""A folder that does not answer for this long (a network file system that hangs) counts as not usable."""
log = structlog.get_logger(__name__)

Tell = Callable[[Seen, Level], Awaitable[None]]
"""Appends what is news of the disk."""


class Guard:
    """One look each ``every_s``. Pauses ``runner`` while nothing may begin."""

    def __init__(self, look: Callable[[], Seen], thresholds: Thresholds, tell: Tell, *, every_s: float) -> None:
        self._look, self._thresholds, self._tell, self._every_s = look, thresholds, tell, every_s
        self.runner: LeaseRunner | None = None
        self._seen, self._level = Seen(), Disk().level
        self._looking: asyncio.Future[Seen] | None = None
        self._told = False
        self._task: asyncio.Task[None] | None = None

    @property
    def free(self) -> int:
        """Free bytes at the last look."""
        return self._seen.free

    @property
    def refusal(self) -> str:
        """Why nothing may begin here at the moment; empty when it may."""
        return refusal(self._seen, self._level)

    @property
    def too_low_to_go_on(self) -> bool:
        """Whether running recordings must end, so that their files can still be closed."""
        return not self._seen.reason and self._seen.free < self._thresholds.floor(self._seen.total)

    async def check(self) -> None:
        """For the readiness of the service; raises RuntimeError."""
        if self.refusal:
            raise RuntimeError(self.refusal)

    async def start(self) -> None:
        """Look once before anything begins, then again and again."""
        await self._step()
        self._task = asyncio.create_task(self._run(), name="disk-guard")

    async def stop(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self._step()

    async def _step(self) -> None:
        before, self._seen = self._level, await self._seen_now()
        self._level = level_of(self._seen, self._thresholds, before)
        metrics.FREE.set(self._seen.free)
        metrics.DISK.set(("ok", "warn", "stop", "unavailable").index(self._level))
        if self._level != before:
            log.warning(
                "disk.changed", level=self._level, before=before, free_bytes=self._seen.free, reason=self.refusal
            )
        if self.runner is not None and bool(self.refusal) != self.runner.paused:
            (self.runner.pause if self.refusal else self.runner.resume)()
        if self._level != before or not self._told:
            await self._try_to_tell()

    async def _try_to_tell(self) -> None:
        try:
            await self._tell(self._seen, self._level)
        except (
            Exception
        ) as error:  # the database is away, or another process of this name was faster: told at the next look
            self._told = False
            log.warning("disk.not_told", error=repr(error)[:200])
        else:
            self._told = True

    async def _seen_now(self) -> Seen:
        """A look that hangs is not begun again; meanwhile the folder counts as not usable."""
        looking = self._looking or asyncio.ensure_future(asyncio.to_thread(self._look))
        done, _ = await asyncio.wait([looking], timeout=ANSWER_S)
        self._looking = None if done else looking
        return (
            looking.result()
            if done
            else Seen(reason=f"the folder for recordings did not answer within {ANSWER_S:.0f} s")
        )
