"""Tells the runs of this replica when the rows of their session have changed: one query for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

import structlog
from chassis.database import UNREACHABLE
from chassis.waiting import wait_for_event

MIN_INTERVAL_S: Final = 0.05
"""Commits come in crowds; they share one look."""

Revisions = Callable[[Sequence[str]], Awaitable[dict[str, int]]]
log = structlog.get_logger(__name__)


class Follower:
    """Reads a number per followed session every ``poll_s``, and at once after a commit in this process."""

    def __init__(self, revisions: Revisions, poll_s: float) -> None:
        self._revisions, self._poll_s = revisions, poll_s
        self._wake = asyncio.Event()
        self._followed: dict[str, asyncio.Event] = {}
        self._seen: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Something was committed here."""
        self._wake.set()

    def follow(self, session_id: str) -> asyncio.Event:
        """An event that is set whenever the rows of a session have changed; the follower of it clears it."""
        return self._followed.setdefault(session_id, asyncio.Event())

    def leave(self, session_id: str) -> None:
        """Nobody here follows this session any more."""
        self._followed.pop(session_id, None)
        self._seen.pop(session_id, None)

    async def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run(), name="follower")

    async def stop(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            if self._followed:
                try:
                    self._tell(await self._revisions(tuple(self._followed)))
                except UNREACHABLE as error:
                    log.warning("chat.revisions_unreadable", error=repr(error))
            await asyncio.sleep(MIN_INTERVAL_S)
            await wait_for_event(self._wake, self._poll_s)

    def _tell(self, revisions: dict[str, int]) -> None:
        for session_id, revision in revisions.items():
            changed = self._followed.get(session_id)
            if changed is not None and self._seen.get(session_id) != revision:
                self._seen[session_id] = revision
                changed.set()
