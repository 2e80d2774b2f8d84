"""Chat lines to browsers as they come: what may be lost is published directly, and no room can flood the bus."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog
from contracts.danmu import ChatPulse
from media.chat.message import ChatMessage, encode_line

from services.danmu.metrics import LIVE

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Audience:
    """Where what happens now goes: a line of a session, and what its chat is like so far."""

    line: Callable[[str, bytes], Awaitable[None]]
    pulse: Callable[[ChatPulse], Awaitable[None]]


Publish = Callable[[bytes], Awaitable[None]]
SENT, DROPPED, FAILED = (LIVE.labels(outcome) for outcome in ("sent", "dropped", "failed"))
BURST_S: Final = 4.0
"""How many seconds' worth of lines may come at once after a quiet time."""


class LiveFeed:
    """Passes on at most ``per_second`` lines: one message on the bus per line, the compact JSON of ``encode_line``."""

    def __init__(self, publish: Publish, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._publish, self._per_second, self._clock = publish, per_second, clock
        self._tokens = self._most = per_second * BURST_S
        self._at = clock()
        self._failing = False

    async def send(self, message: ChatMessage) -> None:
        """Publish one line, or drop it; never raises for anything the bus does."""
        if not self._allowed():
            DROPPED.inc()
            return
        try:
            await self._publish(encode_line(message).rstrip(b"\n"))
        except Exception as error:  # the bus client has a dozen ways to say that it is reconnecting
            FAILED.inc()
            if not self._failing:
                log.warning("chat.live_failed", error=repr(error))
            self._failing = True
            return
        self._failing = False
        SENT.inc()

    def _allowed(self) -> bool:
        now = self._clock()
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
