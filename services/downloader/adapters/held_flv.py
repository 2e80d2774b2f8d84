"""FLV that a standby receives before anybody knows where it joins the recording: whole groups of pictures with the headers they need."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from contracts.values import Json
from media.flv.codec_config import read_config
from media.flv.parser import FlvParser
from media.flv.tag import AUDIO, KEYFRAME, SCRIPT, VIDEO, FlvHeader, Item, Tag
from media.flv.writer import encode_header, encode_tag
from media.repair.filler import USUAL_LENGTH_SIZE, FillerFilter
from media.repair.log import RepairLog
from media.repair.replay import mark

from services.downloader.adapters.engine import Chunk
from services.downloader.adapters.spill import Ref, Spill

MAX_GROUP_BYTES = 4 << 20
_HEADER_KINDS = (SCRIPT, VIDEO, AUDIO)


@dataclass(frozen=True, slots=True)
class Group:
    """A stretch of one connection: ``prefix`` is what a connection that begins here would have sent first."""

    connection: int
    at: float
    prefix: bytes
    media: Ref


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes to feed to a recorder; ``begins``: they are the first of another connection. ``at`` is when they came (wall clock, seconds)."""

    data: bytes
    at: float
    begins: bool


class HeldFlv:
    """Holds the newest groups, at most ``max_bytes`` besides the one that grows; a group begins with its keyframe."""

    def __init__(self, spill: Spill, *, max_bytes: int) -> None:
        self._spill, self._max_bytes = spill, max_bytes
        self._groups: deque[Group] = deque()
        self._parser = FlvParser()
        self._headers: dict[int, bytes] = {}
        self._file_header = encode_header(FlvHeader(flags=5)) + bytes(4)
        self._prefix = self._file_header
        self._open = bytearray()
        self._open_at = self._last_at = 0.0
        self._connection = 0
        self._marks: deque[tuple[float, int]] = deque(maxlen=4096)
        self._whole: deque[tuple[float, int]] = deque(maxlen=4096)
        self._grows = False
        self._filler = FillerFilter(RepairLog())
        self.received = 0

    @property
    def first_mark(self) -> int | None:
        """The mark of the first keyframe that is held (of the first sound where there is no picture); ``None`` while nothing is."""
        return self._marks[0][1] if self._marks else None

    @property
    def holds(self) -> Json | None:
        """The mark of the newest keyframe, and from when to when (wall clock, seconds) the media came; ``None`` while there is none."""
        if not self._marks:
            return None
        since = self._groups[0].at if self._groups else self._open_at
        return {"protocol": "flv", "mark": self._marks[-1][1], "since": round(since), "until": round(self._last_at)}

    @property
    def size(self) -> int:
        """Bytes held."""
        return self._spill.size + len(self._open)

    def holds_group(self, mark: int) -> bool:
        """Whether the group of this keyframe is held from there to its end, or to now; ``mark`` as in files, which have no filler."""
        return any(found == mark for _, found in self._whole)

    def reconnected(self) -> None:
        """The next bytes come from a new connection: the group that grew stays torn."""
        if self._grows:
            self._whole.pop()
            self._grows = False
        self._close()
        self._take_items(self._parser.finish(), self._open_at)
        self._parser = FlvParser()
        self._connection += 1

    def feed(self, chunk: Chunk, at: float) -> None:
        """Take bytes of the connection; raises FlvError when they are no FLV."""
        self.received += len(chunk)
        self._last_at = at
        self._take_items(self._parser.feed(chunk), at)

    def forget_before(self, at: float) -> None:
        """Let go of groups behind which another one began before ``at``."""
        while len(self._groups) > 1 and self._groups[1].at < at:
            self._drop_oldest()

    def pieces(self) -> Iterator[Piece]:
        """Everything that is held, oldest first, each piece only once; what arrives meanwhile comes last."""
        connection, prefix = -1, b""
        while self._groups or self._open:
            if not self._groups:
                self._close()
            group = self._groups.popleft()
            data = self._spill.take(group.media)
            begins = group.connection != connection
            if begins or group.prefix is not prefix:
                data = group.prefix + data
            connection, prefix = group.connection, group.prefix
            yield Piece(data, group.at, begins)

    def rest(self) -> bytes:
        """The beginning of a tag that is not whole yet; after it the connection's next bytes follow. Ends the holding."""
        return self._parser.pending()

    def close(self) -> None:
        """Let go of everything."""
        while self._groups:
            self._spill.drop(self._groups.popleft().media)
        self._spill.close()

    def _take_items(self, items: list[Item], at: float) -> None:
        for item in items:
            if isinstance(item, Tag):
                self._take_tag(item, at)

    def _take_tag(self, tag: Tag, at: float) -> None:
        if tag.kind == KEYFRAME or len(self._open) > MAX_GROUP_BYTES:
            self._close()
        if tag.is_sequence_header or tag.type == SCRIPT:
            self._note_header(tag)
        elif tag.kind == KEYFRAME or (VIDEO not in self._headers and tag.type == AUDIO):
            self._marks.append((at, mark(tag)))
        if tag.kind == KEYFRAME:
            self._whole.append((at, mark(self._written(tag))))
            self._grows = True
        if not self._open:
            self._open_at = at
        self._open += encode_tag(tag)

    def _written(self, tag: Tag) -> Tag:
        written = Tag(tag.type, tag.timestamp, tag.payload, tag.kind)
        self._filler.process([written])
        return written

    def _note_header(self, tag: Tag) -> None:
        if tag.type == VIDEO:
            self._filler.nal_length_size = read_config(tag).nal_length_size or USUAL_LENGTH_SIZE
        encoded = encode_tag(tag)
        if self._headers.get(tag.type) != encoded:
            self._headers[tag.type] = encoded
            known = [self._headers[kind] for kind in _HEADER_KINDS if kind in self._headers]
            self._prefix = self._file_header + b"".join(known)

    def _close(self) -> None:
        if not self._open:
            return
        self._groups.append(Group(self._connection, self._open_at, self._prefix, self._spill.put(self._open)))
        self._open = bytearray()
        while len(self._groups) > 1 and self._spill.size > self._max_bytes:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        self._spill.drop(self._groups.popleft().media)
        oldest = self._groups[0].at
        for marks in (self._marks, self._whole):
            while marks and marks[0][0] < oldest:
                marks.popleft()
