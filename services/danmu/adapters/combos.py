"""Gifts that are sent in a row, as TikTok and Douyin tell them: every step with the sum so far."""

from __future__ import annotations

from typing import Final

from services.danmu.adapters.messages import ChatMessage
from services.danmu.adapters.tiktok_messages import Gift

MAX_COMBOS: Final = 4096
COMBO_SILENCE_MS: Final = 15_000
"""A combination whose end was not heard is over when it did not grow for this long; the page ends it after a few seconds."""
COMBO_MEMORY_MS: Final = 120_000


class _Combo:
    """Gifts of one kind from one viewer in quick succession. `counted`: how many of them have been told."""

    __slots__ = ("at", "counted", "last")

    def __init__(self, last: Gift) -> None:
        self.last, self.at, self.counted = last, 0, 0

    def told(self) -> list[ChatMessage]:
        """What has not been told yet, as one gift."""
        fresh = self.last.total - self.counted
        if fresh <= 0:
            return []
        self.counted = self.last.total
        return [self.last.times(fresh)]


class Combos:
    """Makes one gift of those that are sent in a row: each step comes as a message with the sum so far.

    The gift is told when the row ends, or when nothing was added for a while, for the end is not always sent. One table may
    serve several connections to a room, so that a row which a reconnection interrupts is still one gift.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[str, int, int], _Combo] = {}

    def add(self, gift: Gift, now: int) -> list[ChatMessage]:
        """One step; the gift when this was the last."""
        if not gift.combines:
            return [gift.message]
        key = (gift.message.uid, gift.gift_id, gift.group_id)
        combo = self._open.pop(key, None) or _Combo(gift)
        if gift.total >= combo.last.total:
            combo.last = gift
        combo.at = now
        if gift.ends:
            return combo.told()
        self._open[key] = combo
        if len(self._open) > MAX_COMBOS:
            return self._open.pop(next(iter(self._open))).told()
        return []

    def silent(self, now: int) -> list[ChatMessage]:
        """The gifts whose row did not grow for a while; a late end adds only what came after this."""
        messages: list[ChatMessage] = []
        for key, combo in list(self._open.items()):  # in the order of their last growth
            if combo.at > now - COMBO_SILENCE_MS:
                break
            messages += combo.told()
            if combo.at <= now - COMBO_MEMORY_MS:
                del self._open[key]
        return messages

    def finish(self) -> list[ChatMessage]:
        """Nothing more will be heard: the gifts of every open row."""
        messages = [message for combo in self._open.values() for message in combo.told()]
        self._open.clear()
        return messages
