"""An incremental FLV parser: any chunks in, items out, without copying payloads that lie inside one chunk.

One `struct` call per tag: the call that reads the size behind a tag also reads the header of the next one. A tag is accepted when the
size behind it agrees with its header, or when a plausible header follows (some servers write zeros there); else the parser looks for
the next place where a whole tag is confirmed by the size behind it.
"""

from __future__ import annotations

import re
import struct
from typing import Final

from media.flv.errors import FlvError
from media.flv.tag import (
    KINDS,
    PREVIOUS_TAG_SIZE,
    TAG_HEADER_SIZE,
    TAG_TYPES,
    FlvHeader,
    Item,
    Junk,
    Tag,
    kind_of,
)

SIGNATURE: Final = b"FLV"
_HEADER_SIZE: Final = 9
MAX_HEADER_SIZE: Final = 1024
_READ_AHEAD: Final = 13  # tag header and the two bytes that classify the tag
_SMALLEST_TAG: Final = TAG_HEADER_SIZE + PREVIOUS_TAG_SIZE
_read_words = struct.Struct(">II").unpack_from
_read_tag = struct.Struct(">II3xH").unpack_from
_read_size_and_tag = struct.Struct(">III3xH").unpack_from
_read_size = struct.Struct(">I").unpack_from
# A file header, or a known tag type whose stream id is zero, as the specification demands.
_CANDIDATE = re.compile(rb"(?s:FLV\x01|[\x08\x09\x12](?=.{7}\x00\x00\x00))")

Buffer = bytes | bytearray | memoryview


class FlvParser:
    """Turns chunks of an FLV stream into items; keeps at most one incomplete tag (16 MiB) between calls.

    Raises FlvError when nothing that looks like FLV is found in the first `max_junk` bytes.
    """

    def __init__(self, *, max_junk: int = 1 << 20) -> None:
        self._max_junk = max_junk
        self._pending: list[memoryview] = []
        self._pending_size = 0
        self._need = _READ_AHEAD
        self._lost = True  # not aligned to a tag: true before the first item and after junk
        self._skipped = 0
        self._found_any = False
        self.torn = 0  # bytes of an incomplete tag that the last `finish` dropped

    @property
    def buffered(self) -> int:
        """Bytes of the incomplete tag that wait for more input."""
        return self._pending_size

    def pending(self) -> bytes:
        """Those bytes: with them and what follows another parser goes on."""
        return b"".join(self._pending)

    def feed(self, data: Buffer) -> list[Item]:
        """Return the items that `data` completes; a mutable buffer is copied, since payloads are views of it."""
        view = memoryview(data) if isinstance(data, bytes) else _frozen(data)
        items: list[Item] = []
        start = 0
        while self._pending_size:
            missing = self._need - self._pending_size
            if missing > len(view) - start:
                self._keep(view[start:])
                return items
            # Only the tag that straddles two chunks is copied, never the chunk; a search is worth more than one byte at a time.
            taken = len(view) - start if self._lost else missing
            block = memoryview(b"".join([*self._pending, view[start : start + taken]]))
            start += taken
            self._clear()
            self._keep(block[self._scan(block, 0, items) :])
        self._keep(view[self._scan(view, start, items) :])
        return items

    def finish(self) -> list[Item]:
        """Return what the end of the input makes certain, drop a torn last tag, and be ready for another stream.

        A last tag that lacks only the size behind it counts as whole. A header that announced more than came may have been junk: what
        follows it is searched for tags.
        """
        block = memoryview(b"".join(self._pending))
        self._clear()
        self._found_any = True  # too late to refuse the stream
        items: list[Item] = []
        position, torn = 0, False
        while position < len(block):
            before = len(items)
            position = self._scan(block, position, items)
            torn &= len(items) == before
            if position == len(block):
                break
            if not self._lost and (tag := _last_tag(block, position)) is not None:
                items.append(tag)
                break
            torn |= not self._lost
            self._lost = True
            self._skipped += 1
            position += 1
        self.torn = self._skipped if torn else 0
        if self._skipped and not torn:
            items.append(Junk(self._skipped))
        self._lost, self._skipped, self._need, self._found_any = True, 0, _READ_AHEAD, False
        return items

    def _keep(self, rest: memoryview) -> None:
        if len(rest):
            self._pending.append(rest)
            self._pending_size += len(rest)

    def _clear(self) -> None:
        self._pending.clear()
        self._pending_size = 0

    def _scan(self, buffer: memoryview, position: int, items: list[Item]) -> int:
        """Parse from `position`; return where the incomplete rest begins and set how many bytes it needs."""
        limit = len(buffer)
        while position < limit:
            if self._lost:
                position, found = self._resync(buffer, position, items)
            else:
                position, found = self._scan_tags(buffer, position, items)
                self._lost = found  # the run ended at bytes that are no tag, not at the end of the buffer
            if not found:
                return position
        self._need = _READ_AHEAD
        return position

    def _scan_tags(self, buffer: memoryview, position: int, items: list[Item]) -> tuple[int, bool]:
        """Parse a run of good tags; the flag tells whether it ended at bytes that are no tag."""
        limit = len(buffer)
        append, kinds, read_next = items.append, KINDS, _read_size_and_tag
        if position + _READ_AHEAD > limit:
            self._need = _READ_AHEAD
            return position, False
        tag_word, time_word, lead = _read_tag(buffer, position)
        while True:
            tag_type = tag_word >> 24
            kind = kinds[tag_type << 16 | lead]
            if kind < 0:
                return position, True
            size = tag_word & 0xFFFFFF
            end = position + TAG_HEADER_SIZE + size
            after = end + PREVIOUS_TAG_SIZE
            if after > limit:
                self._need = after - position
                return position, False
            payload = buffer[position + TAG_HEADER_SIZE : end]
            more = after + _READ_AHEAD <= limit
            if more:
                size_behind, tag_word, next_time_word, lead = read_next(buffer, end)
            else:
                (size_behind,) = _read_size(buffer, end)
            if size_behind != size + TAG_HEADER_SIZE and (verdict := self._doubt(buffer, position, after)) is not None:
                return position, verdict
            if size < 2:
                kind = kind_of(tag_type, payload)
            append(Tag(tag_type, time_word >> 8 | (time_word & 255) << 24, payload, kind))
            position = after
            if not more:
                self._need = _READ_AHEAD
                return position, False
            time_word = next_time_word

    def _doubt(self, buffer: memoryview, position: int, after: int) -> bool | None:
        """The size behind a tag is wrong: None = accept it (a header follows), False = wait for more, True = it is junk."""
        if after + TAG_HEADER_SIZE > len(buffer):
            self._need = after + TAG_HEADER_SIZE - position
            return False
        return None if _CANDIDATE.match(buffer, after) else True

    def _resync(self, buffer: memoryview, position: int, items: list[Item]) -> tuple[int, bool]:
        """Look for the next header or confirmed tag; the flag is False when more input is needed."""
        start = position
        while (match := _CANDIDATE.search(buffer, position)) is not None:
            position = match.start()
            confirmed = self._confirm(buffer, position)
            if confirmed is None:  # cannot tell yet
                self._skip(position - start)
                return position, False
            if confirmed:
                self._skip(position - start)
                return self._align(buffer, position, items), True
            position += 1
        # A candidate may begin in the last bytes.
        position = max(start, len(buffer) - TAG_HEADER_SIZE + 1)
        self._skip(position - start)
        self._need = TAG_HEADER_SIZE
        return position, False

    def _confirm(self, buffer: memoryview, position: int) -> bool | None:
        available = len(buffer) - position
        if available < TAG_HEADER_SIZE:
            self._need = TAG_HEADER_SIZE
            return None
        if buffer[position] == SIGNATURE[0]:
            size = _read_size(buffer, position + 5)[0]
            needed = size + PREVIOUS_TAG_SIZE
            plausible = _HEADER_SIZE <= size <= MAX_HEADER_SIZE
        else:
            size = _read_size(buffer, position)[0] & 0xFFFFFF
            needed = size + _SMALLEST_TAG
            plausible = True
        if not plausible:
            return False
        if available < needed:
            self._need = needed
            return None
        if buffer[position] == SIGNATURE[0]:
            return True
        return bool(_read_size(buffer, position + needed - PREVIOUS_TAG_SIZE)[0] == size + TAG_HEADER_SIZE)

    def _align(self, buffer: memoryview, position: int, items: list[Item]) -> int:
        """Leave the lost state at `position`, reporting the junk before it and the file header if that is what was found."""
        if self._skipped:
            items.append(Junk(self._skipped))
        self._lost, self._skipped, self._found_any = False, 0, True
        if buffer[position] != SIGNATURE[0]:
            return position
        items.append(FlvHeader(version=buffer[position + 3], flags=buffer[position + 4]))
        return int(position + _read_size(buffer, position + 5)[0]) + PREVIOUS_TAG_SIZE

    def _skip(self, count: int) -> None:
        self._skipped += count
        if not self._found_any and self._skipped > self._max_junk:
            raise FlvError(f"no FLV header or tag in the first {self._max_junk} bytes")


def _last_tag(block: memoryview, position: int) -> Tag | None:
    """The tag at `position` if all its payload is there."""
    if position + TAG_HEADER_SIZE > len(block):
        return None
    tag_word, time_word = _read_words(block, position)
    end = position + TAG_HEADER_SIZE + (tag_word & 0xFFFFFF)
    if end > len(block) or tag_word >> 24 not in TAG_TYPES:
        return None
    payload = block[position + TAG_HEADER_SIZE : end]
    return Tag(tag_word >> 24, _timestamp(time_word), payload, kind_of(tag_word >> 24, payload))


def _timestamp(word: int) -> int:
    return word >> 8 | (word & 255) << 24


def _frozen(data: Buffer) -> memoryview:
    view = memoryview(data)
    return view if view.readonly and view.contiguous and view.format == "B" else memoryview(bytes(view))
