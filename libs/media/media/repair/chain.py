"""The repair chain in order: items of a source in, runs of media in file order out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from media.flv.amf0 import AmfValue
from media.flv.metadata import carried_fields, read_metadata
from media.flv.tag import AUDIO, END_OF_SEQUENCE, KEYFRAME, SEQUENCE_HEADER, VIDEO, FlvHeader, Item, Junk, Tag
from media.repair.damage import DamageWatch
from media.repair.defragment import Defragment
from media.repair.filler import USUAL_LENGTH_SIZE, FillerFilter
from media.repair.grouping import Grouper
from media.repair.headers import HeaderSet, HeaderTracker
from media.repair.interleave import Interleaver
from media.repair.join import Joiner, Tail
from media.repair.log import RepairLog
from media.repair.model import Group, RepairKind, RepairOptions
from media.repair.replay import ReplayFilter
from media.repair.timeline import Timeline
from media.repair.timestamps import TimestampRepair


@dataclass(frozen=True, slots=True)
class MediaRun:
    """Media tags in file order, timestamps on the recording's timeline; `held` = tags that will follow and end the last group.

    `following`: tags that are known to come behind those, in the same file.
    """

    tags: list[Tag]
    held: list[Tag] = field(default_factory=list)
    following: int = 0


@dataclass(frozen=True, slots=True)
class NewHeaders:
    """These sequence headers are in force from here on; `changed` = media before it needs the old ones."""

    headers: HeaderSet


@dataclass(frozen=True, slots=True)
class NewMetadata:
    """The source's own `onMetaData` fields for the files from here on."""

    fields: dict[str, AmfValue]


@dataclass(frozen=True, slots=True)
class EndMarker:
    """The source said that its sequence ends here; meaningful only if it stays the last thing of a file."""

    tag: Tag


@dataclass(frozen=True, slots=True)
class Seam:
    """The first new media after a reconnect: `gap_ms` lost (0 = seamless, None = unknown), overlap dropped."""

    gap_ms: int | None
    overlap_ms: int
    overlap_tags: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Hole:
    """Media was lost inside a connection because `size` bytes could not be read: `lost_ms` are missing before `at_ms`."""

    size: int
    lost_ms: int
    at_ms: int


Output = MediaRun | NewHeaders | NewMetadata | EndMarker | Seam | Hole


class RepairChain:
    """Runs the operators: defragment, headers, grouping, replay, timestamps, filler, interleave.

    It takes over the tags it is given: their timestamps are rewritten in place. `sink` gets each output at once, so that the repairs
    logged so far are those of the media before it, however the input was chunked.
    """

    def __init__(
        self,
        options: RepairOptions,
        log: RepairLog,
        timeline: Timeline,
        sink: Callable[[Output], None],
        *,
        start_ms: int = 0,
        behind: Tail | None = None,
        flows: Callable[[int, int], bool] = lambda *_: True,
    ) -> None:
        """`flows(longest_ms, largest_bytes)`, of the groups so far: whether a group may be handed on before it is complete."""
        self._options = options
        self._sink = sink
        self._flows = flows
        self._announced = 0
        self._any_group = False
        self._log = log
        self._defragment = Defragment(options.min_fragment_tags, log)
        self._damage = DamageWatch()
        self._headers = HeaderTracker(log)
        self._grouper = Grouper(options, self._may_flow)
        self._replay = ReplayFilter(options, log)
        self._timestamps = TimestampRepair(options, log, timeline, start_ms=start_ms)
        self._filler = FillerFilter(log) if options.remove_filler else None
        self._interleaver = Interleaver(options.max_interleave_ms, log)
        self._late: HeaderSet | None = None
        self._connections = 0
        self._metadata: dict[str, AmfValue] | None = None
        self._joiner = Joiner(behind) if behind else None
        self._start_ms = start_ms
        self._leave_after: int | None = None
        self.left = False
        """The recording goes on elsewhere: what comes is not taken any more."""

    @property
    def consecutive_replays(self) -> int:
        """Groups in a row that were replays: above ten, the server is stuck."""
        return self._replay.consecutive

    def leave(self, mark: int | None) -> None:
        """Take nothing more from the first group boundary on behind which a tag with this mark was written; at once without a mark."""
        self._leave_after = mark
        self.left |= mark is None
        self._leave_if_met()

    def _leave_if_met(self) -> None:
        if self._leave_after is not None and self._replay.knows(self._leave_after):
            self.left = True

    def process(self, items: list[Item], received_at: float | None = None) -> None:
        """Add items of the source; hand on what they make certain."""
        if self.left:
            return
        self._process(self._defragment.process(items), received_at)

    def end_connection(self, offline_ms: int | None = None) -> None:
        """The source connection is over; the next item belongs to a new one."""
        self._defragment.end_connection()
        self._close_group()
        self._begin_connection(offline_ms)

    def finish(self) -> None:
        """No more input: hand on everything that is held."""
        self.end_connection()
        if self._joiner is not None and not self._joiner.over:
            self._take_on(self._joiner.finish())
        self._flush_interleaver()

    def _flush_interleaver(self) -> None:
        if tags := self._interleaver.flush():
            self._sink(MediaRun(tags))

    def _begin_connection(self, offline_ms: int | None) -> None:
        self._grouper.begin_connection()
        self._damage.begin_connection()
        self._timestamps.offline_ms = offline_ms

    def _process(self, items: list[Item], received_at: float | None) -> None:
        start = 0
        for index in [index for index, item in enumerate(items) if item.kind > KEYFRAME]:
            self._media(items[start:index], received_at)
            self._special(items[index])
            start = index + 1
        self._media(items[start:] if start else items, received_at)

    def _media(self, tags: list[Item], received_at: float | None) -> None:
        if not tags:
            return
        self._apply_headers()
        self._damage.media(tags)  # type: ignore[arg-type]
        # Every item that is no tag is special: what is left are media tags.
        for group in self._grouper.process(tags, received_at):  # type: ignore[arg-type]
            self._group(group)

    def _apply_headers(self) -> None:
        if not self._headers.has_new:
            return
        headers = self._headers.resolve()
        if headers is None:
            return
        if headers.changed or self._grouper.is_empty or self._grouper.is_flowing:
            self._close_group()
            self._emit_headers(headers)
        else:
            self._log.add(RepairKind.HEADER_LATE, None, detail=headers.detail)
            self._late = headers

    def _emit_headers(self, headers: HeaderSet) -> None:
        if self._filler:
            self._filler.nal_length_size = self._headers.nal_length_size or USUAL_LENGTH_SIZE
        self._flush_interleaver()
        if self._options.piece_ms:
            self._interleaver.expected = frozenset(tag.type for tag in headers.tags)
        self._sink(NewHeaders(headers))

    def _special(self, item: Item) -> None:
        if isinstance(item, Junk):
            self._log.add(RepairKind.JUNK, None, amount=item.size)
            self._damage.junk(item.size)
        elif isinstance(item, FlvHeader):
            self._stream_header(item)
        elif item.kind == SEQUENCE_HEADER:
            # It is kept as long as the recording: not as a view of all that came with it.
            item.payload = memoryview(bytes(item.payload))
            self._headers.offer(item)
        elif item.kind == END_OF_SEQUENCE:
            self._close_group()
            self._flush_interleaver()
            self._sink(EndMarker(item))
        else:
            self._script(item)

    def _stream_header(self, header: FlvHeader) -> None:
        """A second file header inside one connection: the server joined two streams."""
        self._announced = header.flags
        self._connections += 1
        if self._connections > 1:
            self._close_group()

    def _script(self, tag: Tag) -> None:
        fields = read_metadata(tag.payload)
        if fields is None:
            self._log.add(RepairKind.SCRIPT, tag.timestamp, detail="not a readable onMetaData")
            return
        carried = carried_fields(fields)
        if carried == self._metadata:
            self._log.add(RepairKind.SCRIPT, tag.timestamp, detail="repeated onMetaData")
            return
        self._metadata = carried
        self._sink(NewMetadata(carried))

    def _may_flow(self, first: Tag, reconnected: bool) -> bool:
        """Whether a group may be handed on while it comes: nothing that comes later in it can change what is written of it."""
        if self._joiner is not None or self._late is not None or not (self._any_group or self._headers_are_complete()):
            return False
        return self._replay.is_new(first, reconnected=reconnected) and self._flows(
            self._grouper.longest_ms, self._grouper.largest_bytes
        )

    def _headers_are_complete(self) -> bool:
        """Whether each channel that the source announced has its header: one that came later would begin another file."""
        known = {tag.type for tag in self._headers.tags()}
        return all(channel in known for channel, bit in ((AUDIO, 4), (VIDEO, 1)) if self._announced & bit)

    def _close_group(self) -> None:
        for group in self._grouper.flush():
            self._group(group)

    def _group(self, group: Group) -> None:
        if self.left:
            return
        self._any_group = True
        late, self._late = self._late, None
        if late is not None:
            self._emit_headers(late)
        if self._joiner is None:
            self._repair(group)
        else:
            self._join(group, self._joiner)
        if group.ends:
            self._leave_if_met()

    def _join(self, group: Group, joiner: Joiner) -> None:
        """Behind another recorder's media: marks are those of written tags, which have no filler."""
        if self._filler:
            self._filler.process(group.tags)
        shift = joiner.shift
        ready = joiner.process(group)
        if joiner.shift is not None and joiner.shift != shift:
            self._timestamps.go_on(joiner.shift, joiner.ends)
            self._sink(Seam(0, joiner.overlap_ms, joiner.overlap_tags, max(joiner.ends.values())))
        self._take_on(ready)

    def _take_on(self, groups: list[Group]) -> None:
        joiner = self._joiner
        if joiner is not None and joiner.over:
            self._joiner = None
            if joiner.shift is None and groups:
                self._sink(Seam(None, 0, 0, self._start_ms))
        for each in groups:
            self._repair(each)

    def _repair(self, group: Group) -> None:
        kept = self._replay.process(group)
        if kept is None:
            self._damage.take(group.tags)
            return
        reconnected = kept.reconnected
        self._timestamps.process(kept)
        if reconnected:
            replay, gap = self._replay, self._timestamps.gap_ms
            self._sink(Seam(gap, replay.overlap_ms, replay.overlap_tags, kept.tags[0].timestamp))
        self._tell_hole(kept)
        if self._filler:
            self._filler.process(kept.tags)
        ready = self._interleaver.process(kept.tags)
        if ready:
            self._sink(MediaRun(ready, self._interleaver.held, kept.following))

    def _tell_hole(self, group: Group) -> None:
        damage = self._damage.take(group.tags)
        if damage is None:
            return
        # Where the clock was too far away to fit, what counts is what it and the stopwatch say together.
        lost_ms = self._timestamps.lost_ms if self._timestamps.jumped else damage.lost_ms
        if lost_ms >= self._options.hole_ms:
            self._sink(Hole(damage.size, lost_ms, damage.first.timestamp))
