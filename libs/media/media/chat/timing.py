"""Where in the video a message belongs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from media.chat.message import ChatMessage


class Timed(NamedTuple):
    """A message and its place in the video, in milliseconds from the start of the file; never negative."""

    offset_ms: int
    message: ChatMessage


@dataclass(frozen=True, slots=True)
class Timing:
    """Places messages by their time of receipt. ``start_ms``: unix milliseconds at which the file's first media was received."""

    start_ms: int

    def offset_ms(self, received_at: int) -> int:
        """The place in the video of what was received at a moment (unix milliseconds)."""
        return max(received_at - self.start_ms, 0)

    def to_json(self) -> dict[str, Any]:
        """As it is kept with a file; see :meth:`from_json`."""
        return {"start_ms": self.start_ms}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Timing:
        """What :meth:`to_json` gave. Raises ValueError, TypeError, KeyError."""
        return cls(int(data["start_ms"]))

    def of(self, message: ChatMessage) -> Timed:
        """A message with its place."""
        return Timed(self.offset_ms(message.received_at), message)
