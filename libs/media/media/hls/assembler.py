"""Puts downloads back into order and decides how long a missing one is waited for. Pure; bounded in bytes and items."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from media.hls.items import Discontinuity, Init, Media, MissingMedia, StreamItem
from media.hls.tasks import GapTask, InitSection, PlanItem, SegmentTask
from media.segments import GapReason

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class GapPolicy:
    """When a missing segment is given up although its download still runs.

    None never gives up for that cause; with both, either is enough. The default suits a live stream; ``GapPolicy.wait()``
    suits a recording on demand.
    """

    skip_after_count: int | None = 10
    """As many later segments are here."""
    skip_after_seconds: float | None = 5.0
    """For so long a later segment has been here."""

    @classmethod
    def wait(cls) -> GapPolicy:
        """Wait for ever: only a failed download makes a gap."""
        return cls(None, None)


@dataclass(frozen=True, slots=True)
class AssemblerOptions:
    """Bounds of the reorder buffer; past them the oldest missing segment is given up, whatever the policy says."""

    gap_policy: GapPolicy = field(default_factory=GapPolicy)
    max_bytes: int = 100 * MEBIBYTE
    max_items: int = 512
    """Downloaded segments that wait for an earlier one."""
    max_inits: int = 8
    """Initialisation sections kept for later segments."""


@dataclass(slots=True)
class _Slot:
    """One planned item on its way; exactly one of data and lost is set once it is resolved."""

    item: PlanItem
    data: bytes | None = None
    lost: GapReason | None = None


class Assembler:
    """Feed it the plan and the downloads, write what it returns.

    Every planned segment comes out exactly once, as Media or inside a MissingMedia, in plan order. ``now`` is in
    monotonic seconds.
    """

    def __init__(self, options: AssemblerOptions | None = None) -> None:
        self._options = options or AssemblerOptions()
        self._queue: deque[_Slot] = deque()
        self._slots: dict[int, _Slot] = {}
        self._inits: OrderedDict[InitSection, bytes | None] = OrderedDict()
        self._current_init: InitSection | None = None
        self._waiting_since: float | None = None
        self._ready = 0
        self.buffered_bytes = 0

    @property
    def outstanding(self) -> int:
        """Planned segments that are neither here nor lost."""
        return sum(slot.data is None and slot.lost is None for slot in self._queue)

    @property
    def deadline(self) -> float | None:
        """When poll() will give up the oldest missing segment, in monotonic seconds; None while nothing runs out."""
        limit = self._options.gap_policy.skip_after_seconds
        return None if limit is None or self._waiting_since is None else self._waiting_since + limit

    def plan(self, items: Iterable[PlanItem], now: float) -> list[StreamItem]:
        """Take what the planner returned, in its order."""
        for item in items:
            slot = _Slot(item, lost=item.reason if isinstance(item, GapTask) else None)
            self._queue.append(slot)
            if isinstance(item, SegmentTask):
                self._slots[item.order] = slot
        return self._release(now)

    def completed(self, task: SegmentTask, data: bytes, now: float) -> list[StreamItem]:
        """Take the decrypted bytes of a segment; ignored when it was given up before."""
        slot = self._slots.get(task.order)
        if slot is None or slot.data is not None or slot.lost is not None:
            return []
        slot.data = data
        self._ready += 1
        self.buffered_bytes += len(data)
        return self._release(now)

    def failed(self, task: SegmentTask, now: float) -> list[StreamItem]:
        """Note that a segment cannot be had; ignored when it was given up before."""
        slot = self._slots.get(task.order)
        if slot is None or slot.data is not None:
            return []
        slot.lost = GapReason.FAILED
        return self._release(now)

    def wants(self, task: SegmentTask) -> bool:
        """Whether a planned segment is neither here nor given up."""
        slot = self._slots.get(task.order)
        return slot is not None and slot.data is None and slot.lost is None

    def needs_init(self, task: SegmentTask) -> InitSection | None:
        """The initialisation section to fetch for this segment, or None when there is none or it is here or lost."""
        return task.init if task.init is not None and task.init not in self._inits else None

    def init_completed(self, section: InitSection, data: bytes, now: float) -> list[StreamItem]:
        """Take the decrypted bytes of an initialisation section."""
        self._keep_init(section, data)
        return self._release(now)

    def init_failed(self, section: InitSection, now: float) -> list[StreamItem]:
        """Note that an initialisation section cannot be had: the segments that wait for it are lost."""
        self._keep_init(section, None)
        released = self._release(now)
        # A later segment may ask for it again: a server that was down comes back.
        self._inits.pop(section, None)
        return released

    def poll(self, now: float) -> list[StreamItem]:
        """Apply the gap policy by time; call it at ``deadline`` or a few times each second."""
        return self._release(now)

    def finish(self, now: float) -> list[StreamItem]:
        """No more downloads come: what is here comes out, and what is missing before it becomes a gap.

        What was still on its way behind it lies behind the end and is not missing.
        """
        released: list[StreamItem] = []
        while self._queue:
            released += self._release(now)
            if self._queue:
                self._give_up(GapReason.SKIPPED)
        while released and _was_on_its_way(released[-1]):
            released.pop()
        return released

    # In-order release

    def _release(self, now: float) -> list[StreamItem]:
        released: list[StreamItem] = []
        while self._queue:
            slot = self._queue[0]
            if not self._is_resolved(slot):
                reason = self._patience_ended(now)
                if reason is None:
                    break
                self._give_up(reason)
            self._queue.popleft()
            self._emit(slot, released)
            self._waiting_since = None
        self._waiting_since = self._waiting_clock(now)
        return released

    def _waiting_clock(self, now: float) -> float | None:
        """Since when a segment has been here that cannot be written yet."""
        if self._ready == 0:
            return None
        return now if self._waiting_since is None else self._waiting_since

    def _is_resolved(self, slot: _Slot) -> bool:
        if slot.lost is not None:
            return True
        if slot.data is None:
            return False
        section = slot.item.init if isinstance(slot.item, SegmentTask) else None
        if section is None:
            return True
        if section in self._inits and self._inits[section] is None:
            self._lose(slot, GapReason.FAILED)
            return True
        return section in self._inits

    def _patience_ended(self, now: float) -> GapReason | None:
        policy = self._options.gap_policy
        if self.buffered_bytes > self._options.max_bytes or self._ready > self._options.max_items:
            return GapReason.OVER_BUDGET
        if policy.skip_after_count is not None and self._ready >= policy.skip_after_count > 0:
            return GapReason.SKIPPED
        deadline = self.deadline
        return GapReason.SKIPPED if deadline is not None and now >= deadline else None

    def _give_up(self, reason: GapReason) -> None:
        self._lose(self._queue[0], reason)

    def _lose(self, slot: _Slot, reason: GapReason) -> None:
        if slot.data is not None:
            self._ready -= 1
            self.buffered_bytes -= len(slot.data)
            slot.data = None
        slot.lost = reason

    def _emit(self, slot: _Slot, released: list[StreamItem]) -> None:
        item = slot.item
        if isinstance(item, GapTask):
            released.append(_missing(item.first_sequence, item.last_sequence, item.duration, item.reason))
            return
        del self._slots[item.order]
        if item.discontinuity:
            released.append(Discontinuity())
        if slot.data is None:
            released.append(_missing(item.sequence, item.sequence, item.duration, slot.lost or GapReason.SKIPPED))
            return
        self._ready -= 1
        self.buffered_bytes -= len(slot.data)
        if item.init is not None and item.init != self._current_init:
            self._current_init = item.init
            released.append(Init(item.init, self._inits[item.init] or b""))
            self._inits.move_to_end(item.init)
        released.append(Media(item, slot.data))

    def _keep_init(self, section: InitSection, data: bytes | None) -> None:
        self._inits[section] = data
        self._inits.move_to_end(section)
        awaited = {slot.item.init for slot in self._queue if isinstance(slot.item, SegmentTask)}
        for old in list(self._inits):
            if len(self._inits) <= self._options.max_inits:
                return
            if old not in awaited and old != section:
                del self._inits[old]


def _was_on_its_way(last: StreamItem) -> bool:
    """Tell whether the last thing that finish() would give is a segment that nobody had, or a break in front of one."""
    return isinstance(last, Discontinuity) or (isinstance(last, MissingMedia) and last.reason is GapReason.SKIPPED)


def _missing(first: int, last: int, seconds: float, reason: GapReason) -> MissingMedia:
    return MissingMedia(first, last, round(seconds * 1000), reason)
