"""What a source remembers from connection to connection, as platforms repeat the last messages when a chat is joined again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from services.danmu.adapters.codec import CodecCounters, now_ms

RECENT_IDS: Final = 8192
"""More than any platform repeats when a chat is joined."""


class RecentIds:
    """The last `size` ids."""

    def __init__(self, size: int = RECENT_IDS) -> None:
        self._size = size
        self._ids: OrderedDict[str, None] = OrderedDict()

    def add(self, message_id: str) -> bool:
        """Remember an id; whether it is new."""
        if message_id in self._ids:
            return False
        self._ids[message_id] = None
        if len(self._ids) > self._size:
            self._ids.popitem(last=False)
        return True


class Backlog(RecentIds):
    """The last ids, and where in time messages belong that come late: after an outage, or with the next poll.

    Such a message counts as received when it was sent, but neither before anything that was heard already nor in the future;
    where the platform's clock is wrong, that is when the backlog came, or when it began.
    """

    def __init__(self, size: int = RECENT_IDS) -> None:
        super().__init__(size)
        self._heard_at = self._floor = self._joined_at = 0

    def join(self, now: int) -> None:
        """A connection begins, or an answer to a poll has come: what was sent before comes late."""
        self._floor, self._joined_at = self._heard_at or now, now
        self._heard_at = now

    def received_at(self, sent_at: int, now: int) -> int:
        """When a message counts as received that comes now; unix milliseconds."""
        self._heard_at = now
        return max(sent_at, self._floor) if 0 < sent_at < self._joined_at else now


class BacklogCodec:
    """What a codec begins with whose platform repeats the last messages: `seen` goes from connection to connection."""

    def __init__(self, seen: Backlog | None = None, clock: Callable[[], int] = now_ms) -> None:
        self.counters = CodecCounters()
        self._seen = Backlog() if seen is None else seen
        self._clock = clock
        self._seen.join(clock())
