"""What people ask of the recordings in hand: stops, cuts and new settings are handled by any replica, so the owner looks, once for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import structlog
from chassis.database import UNREACHABLE
from chassis.waiting import wait_for_event

from services.downloader.store import Asked

Load = Callable[[list[str]], Awaitable[dict[str, Asked]]]
Listener = Callable[[Asked], None]
log = structlog.get_logger(__name__)


class Requests:
    """One query each ``every_s`` for everything in hand, and one at once when this process commits something."""

    def __init__(self, load: Load, *, every_s: float) -> None:
        self._load, self._every_s = load, every_s
        self._listeners: dict[str, Listener] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def follow(self, recording_id: str, listener: Listener) -> Iterator[None]:
        """Tell ``listener`` what is asked of a recording, now and then, as long as the block runs."""
        self._listeners[recording_id] = listener
        self.wake()
        try:
            yield
        finally:
            del self._listeners[recording_id]

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    async def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run(), name="requests")

    async def stop(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                if self._listeners:
                    await self._look()
            except Exception:
                # Without this loop nobody could stop a recording any more.
                log.exception("requests.failed")
            await wait_for_event(self._wake, self._every_s)

    async def _look(self) -> None:
        try:
            asked = await self._load(list(self._listeners))
        except UNREACHABLE as error:
            log.warning("requests.unreadable", error=repr(error)[:200])
            return
        for recording_id, one in asked.items():
            listener = self._listeners.get(recording_id)
            if listener is not None:
                listener(one)
