"""Cuts a run of media tags into groups that begin with a keyframe (GOPs)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from media.flv.tag import AUDIO, KEYFRAME, Tag
from media.repair.model import Group, RepairOptions, wrapped


class Grouper:
    """Collects media tags until the next keyframe; bounded in tags, bytes and time so that a stream without keyframes flows as well.

    Audio-only streams are grouped by time. Audio between two keyframes belongs to the group of the first.

    A group that begins with a keyframe is handed on in pieces while it comes if `flows(first tag, first of a connection)` says so. Pieces
    are measured in media time, so that they do not depend on how the input was chunked.
    """

    def __init__(self, options: RepairOptions, flows: Callable[[Tag, bool], bool] = lambda *_: False) -> None:
        self._options = options
        self._flows = flows
        self._flowed = 0
        self._flowing = False
        self._fresh = True
        self._piece_ms = 0
        self._begun_at = 0
        self._total_bytes = 0
        self.longest_ms = 0
        """Of the groups so far."""
        self.largest_bytes = 0
        """Of the groups so far."""
        self._group = Group([])
        self._bytes = 0
        self._reconnected = False
        self._full = False

    @property
    def is_empty(self) -> bool:
        return not self._group.tags

    @property
    def is_flowing(self) -> bool:
        """A part of the group in hand was handed on already."""
        return self._flowed > 0

    def begin_connection(self) -> None:
        """The next tag is the first of a new connection."""
        self._reconnected = self._fresh = True

    def process(self, tags: list[Tag], received_at: float | None) -> Iterator[Group]:
        """Add media tags; yield the groups they complete, each before the next one is looked at, because `flows` may depend on it."""
        start = 0
        for index in [index for index, tag in enumerate(tags) if tag.kind == KEYFRAME]:
            yield from self._extend(tags, start, index, received_at)
            yield from self._close()
            start = index
        yield from self._extend(tags, start, len(tags), received_at)

    def flush(self) -> Iterator[Group]:
        """Yield the incomplete group: a header change, an end marker or the end of the connection closes it."""
        return self._close()

    def _extend(self, tags: list[Tag], start: int, end: int, received_at: float | None) -> Iterator[Group]:
        while start < end:
            group = self._group
            if not group.tags:
                group.received_at = received_at
                if not self._flowed:
                    self._begin(group, tags[start])
            held = len(group.tags)
            start = self._flow(tags, start, end) if self._flowing else self._fill(tags, start, end)
            if len(group.tags) > held:
                group.completed_at = received_at
            if self._full or (start < end and not self._flowing):
                yield from self._close()
            elif start < end:
                yield self._hand_on(end - start)

    def _begin(self, group: Group, first: Tag) -> None:
        self._begun_at = first.timestamp
        self._flowing = (
            bool(self._options.piece_ms) and first.kind == KEYFRAME and self._flows(first, self._reconnected)
        )
        first_piece_ms = self._options.first_piece_ms if self._fresh else 0
        self._piece_ms = first_piece_ms or self._options.piece_ms
        group.reconnected, self._reconnected, self._fresh = self._reconnected, False, False

    def _flow(self, tags: list[Tag], start: int, end: int) -> int:
        """Add tags up to the one that begins another piece; the last tag always stays here, so that a group ends with media."""
        group, limit = self._group, self._piece_ms
        begun = (group.tags[0] if group.tags else tags[start]).timestamp
        stop = start
        while stop < end:
            step = tags[stop].timestamp - begun
            if not 0 <= step < limit and wrapped(step) >= limit:
                break
            stop += 1
        added = tags[start:stop]
        group.tags += added
        self._bytes += sum([len(tag.payload) for tag in added])
        self._full = self._flowed + len(group.tags) >= self._options.max_group_tags
        return stop

    def _hand_on(self, following: int) -> Group:
        group = self._group
        group.following = following
        group.begins, group.ends = not self._flowed, False
        self._flowed += len(group.tags)
        self._total_bytes += self._bytes
        self._group, self._bytes = Group([]), 0
        return group

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

    def _close(self) -> Iterator[Group]:
        group = self._group
        self._full = False
        if not group.tags:
            return
        group.begins = not self._flowed
        self.longest_ms = max(self.longest_ms, wrapped(group.tags[-1].timestamp - self._begun_at))
        self.largest_bytes = max(self.largest_bytes, self._total_bytes + self._bytes)
        self._group = Group([])
        self._bytes = self._total_bytes = self._flowed = 0
        self._flowing = False
        yield group
