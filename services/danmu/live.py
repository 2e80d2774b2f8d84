"""Chat lines to browsers as they come: what may be lost is published directly, and no room can flood the bus."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from contracts.danmu import ChatPulse

from services.danmu.metrics import LIVE


@dataclass(frozen=True, slots=True)
class Audience:
    """Where what happens now goes: lines of a session and how many they are, and what its chat is like so far."""

    lines: Callable[[str, bytes, int], None]
    pulse: Callable[[ChatPulse], Awaitable[None]]


Put = Callable[[bytes, int], None]
DROPPED: Final = LIVE.labels("dropped")
MESSAGE_BYTES: Final = 256 << 10
"""A server takes messages of 1 MiB."""
BURST_S: Final = 4.0
"""How many seconds' worth of lines may come at once after a quiet time."""


class LiveFeed:
    """Passes on at most ``per_second`` lines. What came together goes as one message on the bus: lines of ``encode_line``, each with its end."""

    def __init__(self, put: Put, per_second: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._put, self._per_second, self._clock = put, per_second, clock
        self._tokens = self._most = per_second * BURST_S
        self._at = clock()

    def send(self, lines: Sequence[bytes]) -> None:
        """Pass lines on, or drop those that are too many."""
        allowed = self._allowed(len(lines))
        if allowed < len(lines):
            DROPPED.inc(len(lines) - allowed)
        for message, count in _together(lines[:allowed]):
            self._put(message, count)

    def _allowed(self, wanted: int) -> int:
        now = self._clock()
        self._tokens = min(self._most, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        allowed = min(wanted, int(self._tokens))
        self._tokens -= allowed
        return allowed


def _together(lines: Sequence[bytes]) -> Iterator[tuple[bytes, int]]:
    """Lines joined to messages of at most ``MESSAGE_BYTES``, or of one longer line, with how many are in each."""
    joined = b"".join(lines)
    if lines and len(joined) <= MESSAGE_BYTES:
        yield joined, len(lines)
        return
    begin = size = 0
    for at, line in enumerate(lines):
        if size and size + len(line) > MESSAGE_BYTES:
            yield b"".join(lines[begin:at]), at - begin
            begin, size = at, 0
        size += len(line)
    if begin < len(lines):
        yield b"".join(lines[begin:]), len(lines) - begin
