"""Drops connections that end before they carried anything worth a file."""

from __future__ import annotations

from media.flv.tag import KEYFRAME, Item
from media.repair.log import RepairLog
from media.repair.model import RepairKind


class Defragment:
    """Holds the first items of a connection until `min_tags` media tags have come; forgets them if it ends before.

    Edge servers that are about to move a stream accept a connection, send a header and a few tags, and close.
    """

    def __init__(self, min_tags: int, log: RepairLog) -> None:
        self._min_tags = min_tags
        self._log = log
        self._held: list[Item] = []
        self._media = 0
        self._open = False

    def process(self, items: list[Item]) -> list[Item]:
        """Pass items on, from the first one as soon as there are enough."""
        if self._open:
            return items
        self._held += items
        self._media += sum(item.kind <= KEYFRAME for item in items)
        if self._media < self._min_tags:
            return []
        self._open = True
        held, self._held = self._held, []
        return held

    def end_connection(self) -> None:
        """The connection is over: what is still held is a fragment."""
        if self._held:
            self._log.add(RepairKind.FRAGMENT, None, amount=self._media, detail="connection too short")
        self._held, self._media, self._open = [], 0, False
