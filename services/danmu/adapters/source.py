"""What a chat connection is to the rest of the service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from services.danmu.adapters.messages import ChatMessage


class ConnectionState(StrEnum):
    """Whether messages can arrive: `LOST` once when a standing connection breaks, `FAILED` for each attempt after it."""

    CONNECTED = "connected"
    LOST = "lost"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ConnectionChange:
    """The connection came to stand (the first time too), was lost, or could not be made.

    `at`: unix milliseconds. `attempt`: how many attempts of this outage have failed so far. `reason` names no secret.
    """

    state: ConnectionState
    at: int
    host: str = ""
    reason: str = ""
    attempt: int = 0


Heard = ConnectionChange | Sequence[ChatMessage]
"""A change of the connection, or the messages that came together, at least one."""


class ChatSource(Protocol):
    """The chat of one room. It reconnects by itself for as long as it is not closed."""

    def heard(self) -> AsyncIterator[Heard]:
        """Messages and connection changes in order of arrival; ends after `close` only. To be iterated once."""

    async def close(self) -> None:
        """Leave the room; `heard` ends. May be called more than once and from any task."""
