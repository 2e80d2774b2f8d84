"""Remembers the ids of the last messages: platforms repeat them when a chat is joined again."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

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
