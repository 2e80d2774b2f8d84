"""What a chat protocol is to its connection: bytes in, messages and replies out, no input or output of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final, Protocol

from services.danmu.adapters.messages import ChatMessage

MAX_IGNORED_NAMES: Final = 256
"""Distinct names that are counted apart; a peer that invents names cannot grow the table."""

OTHER_NAMES: Final = "other"


@dataclass(slots=True)
class Decoded:
    """What one frame held. `replies` are sent before the messages are handed on.

    `popularity` is the platform's viewer figure, `authenticated` its answer to the greeting, `beat_s` the interval it wants
    heartbeats at; None = not in this frame. `reconnect` says why the server wants this connection given up, else "".
    """

    messages: list[ChatMessage] = field(default_factory=list)
    replies: list[bytes | str] = field(default_factory=list)
    popularity: int | None = None
    authenticated: bool | None = None
    beat_s: float | None = None
    reconnect: str = ""


@dataclass(slots=True)
class CodecCounters:
    """What a codec did not turn into messages: commands by name, broken packets, and bodies over a limit."""

    ignored: dict[str, int] = field(default_factory=dict)
    malformed: int = 0
    oversized: int = 0

    def ignore(self, name: str) -> None:
        """Count a well-formed packet that is of no use here."""
        if name not in self.ignored and len(self.ignored) >= MAX_IGNORED_NAMES:
            name = OTHER_NAMES
        self.ignored[name] = self.ignored.get(name, 0) + 1


def now_ms() -> int:
    """Unix milliseconds: the clock of every codec that is given no other."""
    return time.time_ns() // 1_000_000


class ChatCodec(Protocol):
    """A chat protocol as pure code. `feed` never raises: what it does not understand is counted."""

    counters: CodecCounters

    def heartbeat(self) -> bytes | str | None:
        """The frame that keeps the connection alive; None where the transport's own sign of life does."""

    def feed(self, frame: bytes) -> Decoded:
        """Decode one received frame; text comes as UTF-8."""
