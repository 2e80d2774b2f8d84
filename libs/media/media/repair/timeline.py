"""Where a moment of the source, or of the wall clock, lies on the recording's timeline: how chat is aligned with a repaired video."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections import deque
from typing import Final

_WALL_SPACING_MS: Final = 1000
_MAX_POINTS: Final = 200_000
_ARRIVALS: Final = 256


class Timeline:
    """Two maps onto the recording's timeline (ms, continuous over all its files), filled while recording.

    Chat timed by a stopwatch drifts from a repaired video, since repairs remove time: these maps hold every offset.
    """

    def __init__(self) -> None:
        self._walls = array("d")
        self._wall_outputs = array("q")
        self._connections = array("q")
        self._sources = array("q")
        self._outputs = array("q")
        self._ahead: deque[float] = deque(maxlen=_ARRIVALS)

    def add_wall(self, received_at: float, output_ms: int) -> None:
        """Media that arrived at `received_at` (seconds) begins at `output_ms`."""
        if self._walls:
            elapsed = round(1000 * (received_at - self._walls[-1]))
            advanced = output_ms - self._wall_outputs[-1]
            # Samples lie a second apart, closer only around a break, where the two clocks part.
            if elapsed <= 0 or (advanced < _WALL_SPACING_MS and abs(elapsed - advanced) < _WALL_SPACING_MS):
                return
        if len(self._walls) >= _MAX_POINTS:
            del self._walls[1::2], self._wall_outputs[1::2]
        self._walls.append(received_at)
        self._wall_outputs.append(output_ms)

    def add_source(self, connection: int, source_ms: int, output_ms: int) -> None:
        """From `source_ms` of a connection on, the output runs at the same pace from `output_ms`."""
        if (
            self._connections
            and self._connections[-1] == connection
            and source_ms - self._sources[-1] == output_ms - self._outputs[-1]
        ):
            return
        if len(self._connections) >= _MAX_POINTS:
            return
        self._connections.append(connection)
        self._sources.append(source_ms)
        self._outputs.append(output_ms)

    def add_arrival(self, completed_at: float, output_ms: int) -> None:
        """Media up to `output_ms` had arrived at `completed_at` (seconds)."""
        self._ahead.append(1000 * completed_at - output_ms)

    def begin_connection(self) -> None:
        """What arrives from here on may come sooner or later after it was on air than what came before."""
        self._ahead.clear()

    def on_air(self, output_ms: int) -> float | None:
        """When (seconds) media was on air as this connection brings it; None before anything has arrived.

        A server begins with what it holds, seconds of media at once: the first byte says when somebody connected, and the newest
        media alone how far behind the broadcast this connection is. The quickest of the last arrivals counts.
        """
        return (min(self._ahead) + output_ms) / 1000 if self._ahead else None

    def at_wall(self, seconds: float) -> int | None:
        """The output time of media that arrived at a wall-clock time, interpolated; None before anything was recorded.

        Past the last sample time runs on at its own pace, since media arrives in real time.
        """
        if not self._walls:
            return None
        index = bisect_right(self._walls, seconds)
        if index == 0:
            return max(0, self._wall_outputs[0] - round(1000 * (self._walls[0] - seconds)))
        wall, output = self._walls[index - 1], self._wall_outputs[index - 1]
        elapsed = 1000 * (seconds - wall)
        if index == len(self._walls):
            return output + round(elapsed)
        # A break of the source removed time: the output never runs ahead of the next sample.
        return min(output + round(elapsed), self._wall_outputs[index])

    def at_source(self, connection: int, source_ms: int) -> int | None:
        """The output time of a source timestamp of a connection (counted from 0); None before the first one.

        Where the source's clock jumped back, a timestamp occurs twice: the later one counts.
        """
        for index in range(len(self._connections) - 1, -1, -1):
            if self._connections[index] == connection and self._sources[index] <= source_ms:
                return self._outputs[index] + source_ms - self._sources[index]
        return None

    def source_at(self, output_ms: int) -> int | None:
        """The source's timestamp of media at an output time (unsigned 32 bit); None before anything was recorded."""
        if not self._outputs:
            return None
        # Sound that lies before the first keyframe is sorted to the front: what came first begins behind the start.
        index = max(0, bisect_right(self._outputs, output_ms) - 1)
        return (self._sources[index] + output_ms - self._outputs[index]) & 0xFFFFFFFF
