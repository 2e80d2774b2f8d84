"""Takes the live lines of all sessions to the bus together: with hundreds of rooms a write to the socket for each costs more than the lines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from services.danmu.live import DROPPED
from services.danmu.metrics import LIVE

COLLECT_S: Final = 0.05
MAX_WAITING_BYTES: Final = 8 << 20
"""What waits while the bus takes nothing; more is dropped."""

log = structlog.get_logger(__name__)
SENT, FAILED = LIVE.labels("sent"), LIVE.labels("failed")


class Post:
    """Publishes what was put in, `COLLECT_S` later and in order. ``publish`` takes a session's id and its lines."""

    def __init__(self, publish: Callable[[str, bytes], Awaitable[None]]) -> None:
        self._publish = publish
        self._waiting: list[tuple[str, bytes, int]] = []
        self._bytes = 0
        self._round: asyncio.Task[None] | None = None
        self._failing = False

    def put(self, session_id: str, message: bytes, lines: int) -> None:
        """Send a message of so many lines soon."""
        if self._bytes + len(message) > MAX_WAITING_BYTES:
            DROPPED.inc(lines)
            return
        self._waiting.append((session_id, message, lines))
        self._bytes += len(message)
        if self._round is None:
            self._round = asyncio.create_task(self._go_round(), name="post")

    async def _go_round(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(COLLECT_S)
                waiting, self._waiting, self._bytes = self._waiting, [], 0
                for session_id, message, lines in waiting:
                    await self._send(session_id, message, lines)
        finally:
            self._round = None

    async def _send(self, session_id: str, message: bytes, lines: int) -> None:
        """Never raises for anything the bus does."""
        try:
            await self._publish(session_id, message)
        except Exception as error:  # the bus client has a dozen ways to say that it is reconnecting
            FAILED.inc(lines)
            if not self._failing:
                log.warning("chat.live_failed", error=repr(error))
            self._failing = True
            return
        self._failing = False
        SENT.inc(lines)
