"""Drops media that was already written: the GOP cache a server sends after a reconnect, and loops of a stuck edge server."""

from __future__ import annotations

from array import array
from collections import deque
from dataclasses import dataclass
from zlib import crc32

from media.flv.tag import KEYFRAME, VIDEO, Tag
from media.repair.log import RepairLog
from media.repair.model import Group, RepairKind, RepairOptions, wrapped

_SAMPLE = 64
_ANCHOR_TAGS = 3


def mark(tag: Tag) -> int:
    """A fingerprint of one tag: its length and its last bytes, which differ for any two frames of entropy-coded media.

    The same in every process, so that a recorder can go on behind another one's media.
    """
    payload = tag.payload
    return len(payload) << 32 | crc32(payload[-_SAMPLE:])


def _marks(tags: list[Tag]) -> list[int]:
    """The `mark` of each: the call that every tag costs is worth saving."""
    return [len(tag.payload) << 32 | crc32(tag.payload[-_SAMPLE:]) for tag in tags]


@dataclass(slots=True)
class _Seen:
    """A group that was written: fingerprints and source times of its tags."""

    key: int
    marks: array[int]
    times: array[int]
    types: bytes
    starts_with_key: bool
    clock: int

    @classmethod
    def of(cls, tags: list[Tag], clock: int) -> _Seen:
        marks = array("q", _marks(tags))
        times = array("L", [tag.timestamp for tag in tags])
        types = bytes([tag.type for tag in tags])
        starts_with_key = bool(tags) and tags[0].kind == KEYFRAME
        return cls(hash((marks.tobytes(), types)), marks, times, types, starts_with_key, clock)

    def extend(self, tags: list[Tag]) -> None:
        """Add what else came of the group."""
        self.marks.extend(_marks(tags))
        self.times.extend([tag.timestamp for tag in tags])
        self.types += bytes([tag.type for tag in tags])

    def close(self) -> None:
        """The group is complete."""
        self.key = hash((self.marks.tobytes(), self.types))

    def channel(self, tag_type: int) -> list[tuple[int, int]]:
        """`(mark, source time)` of one channel's tags."""
        return [
            (found, time)
            for found, time, kind in zip(self.marks, self.times, self.types, strict=True)
            if kind == tag_type
        ]


class ReplayFilter:
    """Compares each group with the last `replay_window` written groups, by content.

    Content alone is no proof: a still picture with silence repeats itself. So a group is a replay only where the source's clock is
    broken too (new connection, jump, step back), and when its content is either unique in the window or carries its old timestamps.
    The first group that is new in part only (the connection broke inside a GOP) loses exactly the tags written before, and tells by how
    much the new connection's clock differs: the seam is then invisible.
    """

    def __init__(self, options: RepairOptions, log: RepairLog) -> None:
        self._options = options
        self._log = log
        self._window: deque[_Seen] = deque(maxlen=options.replay_window)
        self._last_time: int | None = None
        self._suspicious = False  # since a break of the clock, nothing new has come
        self._reconnected = False
        self._clock = 0  # grows with each break of the source clock: times compare within one clock only
        self._shift_of_dropped: int | None = None
        self._written = _Seen.of([], 0)  # the group that is coming in pieces
        self.consecutive = 0  # replayed groups in a row: above 10, another server is the better choice
        self.overlap_tags = 0
        self.overlap_ms = 0

    def knows(self, found: int) -> bool:
        """Whether a tag with this mark is in one of the last groups that were written."""
        return any(found in entry.marks for entry in self._window)

    def is_new(self, first: Tag, *, reconnected: bool) -> bool:
        """Whether the group that begins with this tag cannot be a replay, so that it needs not be held until it is complete."""
        if not self._window:
            return True
        if reconnected or self._reconnected or self._suspicious or self._last_time is None:
            return False
        if abs(wrapped(first.timestamp - self._last_time)) > self._options.jump_ms:
            return False
        found = mark(first)
        return all(entry.marks[0] != found for entry in self._window)

    def process(self, group: Group) -> Group | None:
        """Return the group, what is new of it, or None when nothing is. Of a group in pieces everything is new, see :meth:`is_new`."""
        if not self._window.maxlen:
            return group
        if group.is_piece:
            self._flow(group)
            return group
        tags = group.tags
        if group.reconnected:
            self._reconnected, self.overlap_tags, self.overlap_ms = True, 0, 0
        first = tags[0].timestamp
        step = 0 if self._last_time is None else wrapped(first - self._last_time)
        self._suspicious |= group.reconnected or abs(step) > self._options.jump_ms
        self._last_time = tags[-1].timestamp
        seen = _Seen.of(tags, self._clock)
        original = self._find(seen, step)
        if original is not None:
            self._shift_of_dropped = self._shift_to(original, seen)
            self._drop(tags)
            return None
        if self._suspicious and not self._trim(group, seen):
            self._drop(tags)
            return None
        self._keep(group, seen, broken=abs(step) > self._options.jump_ms)
        return group

    def _flow(self, piece: Group) -> None:
        if piece.begins:
            self.overlap_tags = self.overlap_ms = self.consecutive = 0
            self._suspicious, self._shift_of_dropped, self._reconnected = False, None, False
            self._written = _Seen.of(piece.tags, self._clock)
        else:
            self._written.extend(piece.tags)
        self._last_time = piece.tags[-1].timestamp
        if piece.ends:
            self._written.close()
            self._window.append(self._written)

    def _keep(self, group: Group, seen: _Seen, *, broken: bool) -> None:
        if group.source_shift is None:
            group.source_shift = self._shift_of_dropped
        if group.source_shift or (broken and self._suspicious):
            self._clock += 1
            seen.clock = self._clock
        trimmed = len(group.tags) < len(seen.marks)
        if trimmed:
            # The torn group and its rest are one group again, in the clock of the new connection.
            self._window[-1] = seen
        else:
            self._window.append(seen)
        self.consecutive = 0
        self._suspicious, self._shift_of_dropped = False, None
        group.reconnected, self._reconnected = self._reconnected, False

    def _find(self, seen: _Seen, step: int) -> _Seen | None:
        """The written group that this one repeats, if it is a replay."""
        same = [old for old in self._window if old.key == seen.key and old.marks == seen.marks]
        if not same:
            return None
        if self._options.replay == "content":
            return same[-1]
        if step < 0:
            for old in same:
                if old.times[0] == seen.times[0]:
                    return old
        return same[0] if self._suspicious and len(same) == 1 and self._is_distinct(seen) else None

    def _shift_to(self, original: _Seen, seen: _Seen) -> int | None:
        return wrapped(seen.times[0] - original.times[0]) if original.clock == self._clock else None

    def _is_distinct(self, seen: _Seen) -> bool:
        """Still pictures and silence are equal tags over and over; anything else is not."""
        return len(set(seen.marks)) > 1

    def _drop(self, tags: list[Tag]) -> None:
        self.consecutive += 1
        length = max(0, wrapped(tags[-1].timestamp - tags[0].timestamp))
        self.overlap_tags += len(tags)
        self.overlap_ms += length
        self._log.add(RepairKind.REPLAY, tags[0].timestamp, amount=length, detail=f"{len(tags)} tags")

    def _trim(self, group: Group, seen: _Seen) -> bool:
        """Remove from a group what the last written group holds of it and note the difference of the clocks; False if nothing is left."""
        if not self._window:
            return True
        last = self._window[-1]
        shift = self._shift(last, seen)
        if shift is None or (shift and not self._is_anchor(last)):
            return True
        known = {found for entry in self._window for found in entry.marks}
        ends = dict(zip(last.types, last.times, strict=True))  # the last time of each channel
        kept = [
            tag
            for tag, found in zip(group.tags, seen.marks, strict=True)
            if tag.type not in ends or found not in known or wrapped(tag.timestamp - shift - ends[tag.type]) > 0
        ]
        dropped = len(group.tags) - len(kept)
        if not dropped:
            return True
        if not kept:
            self._shift_of_dropped = shift
            return False
        first = group.tags[0].timestamp
        self._log.add(RepairKind.OVERLAP, first, amount=dropped)
        self.overlap_tags += dropped
        self.overlap_ms += max(0, wrapped(kept[0].timestamp - first))
        group.source_shift, group.tags = shift, kept
        return True

    def _is_anchor(self, last: _Seen) -> bool:
        """Nothing else in the window begins like this group; else equal bytes prove nothing without equal timestamps."""
        return sum(entry.marks[0] == last.marks[0] for entry in self._window) == 1

    def _shift(self, last: _Seen, seen: _Seen) -> int | None:
        """How far the new clock lies ahead of the old one, from media that both connections carried; None without overlap."""
        if last.starts_with_key and seen.starts_with_key:
            old, new = last.channel(VIDEO), seen.channel(VIDEO)
            common = min(len(old), len(new))
            if [found for found, _ in old[:common]] != [found for found, _ in new[:common]]:
                return None
            return wrapped(new[0][1] - old[0][1])
        return self._shift_by_tail(last, seen)

    def _shift_by_tail(self, last: _Seen, seen: _Seen) -> int | None:
        """Without keyframes: find the last three tags written, if they are not all alike."""
        tail = list(last.marks[-_ANCHOR_TAGS:])
        if len(tail) < _ANCHOR_TAGS or len(set(tail)) < _ANCHOR_TAGS:
            return None
        marks = list(seen.marks)
        places = [at for at in range(len(marks) - _ANCHOR_TAGS + 1) if marks[at : at + _ANCHOR_TAGS] == tail]
        if len(places) != 1:
            return None
        return wrapped(seen.times[places[0] + _ANCHOR_TAGS - 1] - last.times[-1])
