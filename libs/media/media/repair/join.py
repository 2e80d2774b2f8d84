"""Goes on exactly behind what another recorder wrote: the end of its media, told by content, and the search for it in a new connection."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from media.flv.tag import AUDIO, KEYFRAME, VIDEO, Tag
from media.repair.model import Group, wrapped
from media.repair.replay import mark

KEPT_TAGS: Final = 4096
"""About 40 s at 60 frames per second with sound."""
_ANCHOR_TAGS: Final = 8
_SLACK_MS: Final = 500
_SETTLED_MS: Final = 2000
_LATE_S: Final = 10.0
_MAX_HELD_BYTES: Final = 64 << 20
_MAX_HELD_GROUPS: Final = 64


@dataclass(frozen=True, slots=True)
class Written:
    """One tag as it stands in a file; ``time`` in ms on the recording's timeline."""

    type: int
    key: bool
    time: int
    mark: int


class Tail:
    """The last tags a recording wrote. ``ended_at``: when the last of them was received (wall clock, seconds), 0 when unknown.

    ``ahead``: tags that came next and are not in the file any more, because somebody else has their group of pictures whole. They tell
    where that one's media belongs, which may begin with them, and are written anew.
    """

    def __init__(self, tags: Iterable[Written] = (), ended_at: float = 0.0, ahead: Iterable[Written] = ()) -> None:
        self.tags: deque[Written] = deque(tags, maxlen=KEPT_TAGS)
        self.ended_at = ended_at
        self.ahead = tuple(ahead)

    def add(self, tags: Sequence[Tag], received_at: float | None) -> None:
        """Note media that was written, times already on the timeline."""
        self.tags.extend(Written(tag.type, tag.kind == KEYFRAME, tag.timestamp, mark(tag)) for tag in tags)
        if received_at is not None:
            self.ended_at = received_at

    def copy(self) -> Tail:
        """As it is now."""
        return Tail(self.tags, self.ended_at, self.ahead)

    def ends(self) -> dict[int, int]:
        """The last time of each channel."""
        return {one.type: one.time for one in self.tags}

    def channel(self, type: int) -> list[Written]:
        """The tags of one channel in order, those ahead included."""
        return [one for one in (*self.tags, *self.ahead) if one.type == type]

    def to_json(self) -> dict[str, object]:
        """Plain values; :meth:`from_json` reads them."""
        return {"ended_at": self.ended_at, "tags": _to_json(self.tags), "ahead": _to_json(self.ahead)}

    @classmethod
    def from_json(cls, value: object) -> Tail | None:
        """A tail that :meth:`to_json` wrote; ``None`` for anything else."""
        if not isinstance(value, dict) or not isinstance(value.get("tags"), list):
            return None
        try:
            tags, ahead = _from_json(value["tags"][-KEPT_TAGS:]), _from_json(value.get("ahead", [])[:KEPT_TAGS])
            return cls(tags, float(value.get("ended_at", 0.0)), ahead)
        except (TypeError, ValueError, IndexError):
            return None


def _to_json(tags: Iterable[Written]) -> list[list[int]]:
    return [[one.type, int(one.key), one.time, one.mark] for one in tags]


def _from_json(values: list[Any]) -> list[Written]:
    return [Written(int(one[0]), bool(one[1]), int(one[2]), int(one[3])) for one in values]


class Joiner:
    """Finds the end of a tail in the groups of a new connection, drops what is written already, and tells how the clocks differ.

    Groups that come before the two are known to meet are held, at most 64 MiB of them; where nothing meets within ten seconds of media
    after the tail's end, they are new media behind a gap.
    """

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self._ends = tail.ends()
        self._end = max(self._ends.values(), default=0)
        self._known = {one.mark for one in tail.tags}
        self._held: list[Group] = []
        self._held_bytes = 0
        self._any_new = False
        self.shift: int | None = None
        """Clock of the connection minus the recording's timeline, once known."""
        self.over = not tail.tags
        """Nothing more has to be looked at: joined for good, or nothing to join to."""
        self.overlap_tags = 0
        self.overlap_ms = 0

    def process(self, group: Group) -> list[Group]:
        """The groups that hold new media, trimmed to it; empty while nothing is certain or nothing is new."""
        if self.over:
            return [group]
        if group.reconnected and self.shift is not None:
            if self._any_new:
                self.over = True  # what the two connections share is the replay filter's business
                return [group]
            self.shift = None
        if self.shift is None:
            self.shift = self._shift(group)
            if self.shift is None:
                return self._hold(group)
            for held in self._held:
                self._note(held.tags)
            self._held = []
        return self._trimmed(group)

    def finish(self) -> list[Group]:
        """What is held, when no more input comes: it met nothing."""
        held, self._held = self._held, []
        self.over = True
        return held

    @property
    def ends(self) -> dict[int, int]:
        """The last time of each channel on the timeline."""
        return self._ends

    def _hold(self, group: Group) -> list[Group]:
        self._held.append(group)
        self._held_bytes += sum(len(tag.payload) for tag in group.tags)
        late = (
            group.received_at is not None and self._tail.ended_at and group.received_at > self._tail.ended_at + _LATE_S
        )
        if late or self._held_bytes > _MAX_HELD_BYTES or len(self._held) > _MAX_HELD_GROUPS:
            return self.finish()
        return []

    def _trimmed(self, group: Group) -> list[Group]:
        assert self.shift is not None
        first = wrapped(group.tags[0].timestamp - self.shift)
        kept = [tag for tag in group.tags if self._is_new(tag)]
        if len(kept) < len(group.tags):
            self._note(group.tags[: len(group.tags) - len(kept)])
        elif first > self._end + _SETTLED_MS:
            self.over = True
        if not kept:
            return []
        group.tags = kept
        self._any_new = True
        return [group]

    def _is_new(self, tag: Tag) -> bool:
        assert self.shift is not None
        behind = wrapped(tag.timestamp - self.shift - self._ends.get(tag.type, self._end))
        # A small step back was held at the time before it: such a tag is new although its time is not.
        return behind > 0 or (behind > -_SLACK_MS and mark(tag) not in self._known)

    def _note(self, tags: Sequence[Tag]) -> None:
        self.overlap_tags += len(tags)
        if tags:
            self.overlap_ms += max(0, wrapped(tags[-1].timestamp - tags[0].timestamp))

    def _shift(self, group: Group) -> int | None:
        if group.tags[0].kind == KEYFRAME:
            return self._shift_by_keyframe(group)
        return self._shift_by_anchor(group)

    def _shift_by_keyframe(self, group: Group) -> int | None:
        """Equal video frames from a keyframe on, as far as both go. Of several places (a loop) the one that the clock on the wall names."""
        written = self._tail.channel(VIDEO)
        frames = [(mark(tag), tag.timestamp) for tag in group.tags if tag.type == VIDEO]
        marks = [found for found, _ in frames]
        places = [
            at
            for at, one in enumerate(written)
            if one.key and one.mark == marks[0] and all(a.mark == b for a, b in zip(written[at:], marks, strict=False))
        ]
        if not places:
            return None
        nearest = min(places, key=lambda at: (abs(written[at].time - self._expected(group)), -at))
        return wrapped(frames[0][1] - written[nearest].time)

    def _expected(self, group: Group) -> float:
        """Where on the timeline a group belongs that arrived when it did."""
        if group.received_at is None or not self._tail.ended_at:
            return self._end
        return self._end - 1000 * (self._tail.ended_at - group.received_at)

    def _shift_by_anchor(self, group: Group) -> int | None:
        """Without keyframes: the last tags written, if they are not all alike and stand in one place only."""
        channel = VIDEO if VIDEO in self._ends else AUDIO
        anchor = self._tail.channel(channel)[-_ANCHOR_TAGS:]
        wanted = [one.mark for one in anchor]
        if len(set(wanted)) < 2:
            return None
        tags = [tag for one in (*self._held, group) for tag in one.tags if tag.type == channel]
        marks = [mark(tag) for tag in tags]
        size = len(wanted)
        places = [at for at in range(len(marks) - size + 1) if marks[at : at + size] == wanted]
        if len(places) != 1:
            return None
        return wrapped(tags[places[0] + size - 1].timestamp - anchor[-1].time)
