"""Cuts a run of media tags into groups that begin with a keyframe (GOPs)."""

from __future__ import annotations

from media.flv.tag import AUDIO, KEYFRAME, Tag
from media.repair.model import Group, RepairOptions, wrapped


class Grouper:
    """Collects media tags until the next keyframe; bounded in tags, bytes and time so that a stream without keyframes flows as well.

    Audio-only streams are grouped by time. Audio between two keyframes belongs to the group of the first.
    """

    def __init__(self, options: RepairOptions) -> None:
        self._options = options
        self._group = Group([])
        self._bytes = 0
        self._reconnected = False
        self._full = False

    @property
    def is_empty(self) -> bool:
        return not self._group.tags

    def begin_connection(self) -> None:
        """The next tag is the first of a new connection."""
        self._reconnected = True

    def process(self, tags: list[Tag], received_at: float | None) -> list[Group]:
        """Add media tags; return the groups they complete."""
        groups: list[Group] = []
        start = 0
        for index in [index for index, tag in enumerate(tags) if tag.kind == KEYFRAME]:
            self._extend(tags, start, index, received_at, groups)
            self._close(groups)
            start = index
        self._extend(tags, start, len(tags), received_at, groups)
        return groups

    def flush(self) -> list[Group]:
        """Return the incomplete group: a header change, an end marker or the end of the connection closes it."""
        groups: list[Group] = []
        self._close(groups)
        return groups

    def _extend(self, tags: list[Tag], start: int, end: int, received_at: float | None, groups: list[Group]) -> None:
        while start < end:
            group = self._group
            if not group.tags:
                group.received_at = received_at
                group.reconnected, self._reconnected = self._reconnected, False
            group.completed_at = received_at
            stop = self._fill(tags, start, end)
            if stop < end or self._full:
                self._close(groups)
            start = stop

    def _fill(self, tags: list[Tag], start: int, end: int) -> int:
        """Add tags up to the one that fills the group; return the index behind it. Does not depend on how the input was chunked."""
        group, options = self._group.tags, self._options
        first = group[0] if group else tags[start]
        added = tags[start:end]
        size = sum([len(tag.payload) for tag in added])
        room = options.max_group_tags - len(group)
        if first.kind == KEYFRAME and len(added) < room and self._bytes + size < options.max_group_bytes:
            group += added
            self._bytes += size
            return end
        for index, tag in enumerate(added, start):
            if group and self._is_break(group[-1], tag):
                self._full = True
                return index
            group.append(tag)
            self._bytes += len(tag.payload)
            if self._is_full(first, tag):
                self._full = True
                return index + 1
        return end

    def _is_break(self, last: Tag, tag: Tag) -> bool:
        """Where a clock of audio without keyframes breaks a group ends: a server's cache, sent again, begins there."""
        step = wrapped(tag.timestamp - last.timestamp)
        return tag.type == last.type == AUDIO and abs(step) > self._options.jump_ms

    def _is_full(self, first: Tag, last: Tag) -> bool:
        options = self._options
        if len(self._group.tags) >= options.max_group_tags or self._bytes >= options.max_group_bytes:
            return True
        return first.kind != KEYFRAME and wrapped(last.timestamp - first.timestamp) >= options.max_group_ms

    def _close(self, groups: list[Group]) -> None:
        if self._group.tags:
            groups.append(self._group)
            self._group = Group([])
            self._bytes = 0
        self._full = False
