"""Where in the video a message belongs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from media.chat.message import ChatMessage
from media.repair.alignment import Alignment, Move


class Timed(NamedTuple):
    """A message and its place in the video, in milliseconds from the start of the file; never negative."""

    offset_ms: int
    message: ChatMessage


@dataclass(frozen=True, slots=True)
class Timing:
    """Places messages by their time of receipt: a message belongs to the media that was being received when it came.

    ``start_ms``: unix milliseconds at which the file's first media was received. ``breaks``: (place in the file, milliseconds of real time
    that the file has no media for), in order; what was said during a break belongs to the place where the media goes on.
    """

    start_ms: int
    breaks: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of_segment(cls, started_ms: int, start_ms: int, repairs: Iterable[Mapping[str, object]]) -> Timing:
        """The timing of a segment that began at ``started_ms`` (unix) and ``start_ms`` of its recording, from the repairs told of it."""
        moves = Alignment.of(repairs, start_ms=start_ms).moves
        return cls(
            started_ms, tuple((move.at_ms, move.lost_ms) for move in moves if move.at_ms > 0 and move.lost_ms > 0)
        )

    @property
    def lost_ms(self) -> int:
        """Real time that passed while the file was recorded and that it has no media for."""
        return sum(lost for _, lost in self.breaks)

    def offset_ms(self, received_at: int) -> int:
        """The place in the video of what was received at a moment (unix milliseconds); never negative."""
        elapsed = received_at - self.start_ms
        if self.breaks:
            return self.elapsed_to_offset(elapsed)
        return max(elapsed, 0)

    def elapsed_to_offset(self, elapsed_ms: int) -> int:
        """The place in the video of what a stopwatch, started with it, measured."""
        return Alignment(tuple(Move(at, None, lost) for at, lost in self.breaks)).from_receive(elapsed_ms)

    def to_json(self) -> dict[str, Any]:
        """As it is kept with a file; see :meth:`from_json`."""
        return {"start_ms": self.start_ms, "breaks": self.breaks}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Timing:
        """What :meth:`to_json` gave. Raises ValueError, TypeError, KeyError."""
        return cls(int(data["start_ms"]), tuple((int(at), int(lost)) for at, lost in data.get("breaks", ())))

    def of(self, message: ChatMessage) -> Timed:
        """A message with its place."""
        return Timed(self.offset_ms(message.received_at), message)
