"""The end of a file that this recorder wrote, so that another one goes on behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final

from media.flv.metadata import read_metadata
from media.flv.parser import FlvParser
from media.flv.tag import (
    KEYFRAME,
    PREVIOUS_TAG_SIZE,
    SCRIPT,
    TAG_HEADER_SIZE,
    TAG_TYPES,
    VIDEO,
    FlvHeader,
    Item,
    Tag,
    classify,
)
from media.flv.writer import FILE_HEADER_SIZE, encode_header
from media.repair.join import Tail, Written

_FIRST_TAG: Final = FILE_HEADER_SIZE + PREVIOUS_TAG_SIZE
_LAST_S: Final = 40.0
_BLOCK: Final = 1 << 20
_HEAD: Final = 1 << 20


def read_tail(file: BinaryIO, *, start_ms: int, ended_at: float) -> Tail:
    """The last forty seconds of a finished or recovered file as a `Tail`; ``start_ms`` is its place on the recording's timeline.

    Its index says where to begin to read; a file without one is read whole.
    """
    file.seek(_place(file))
    parser, tail = FlvParser(max_junk=1 << 30), Tail()
    while block := file.read(_BLOCK):
        _add(tail, parser.feed(block), start_ms)
    _add(tail, parser.finish(), start_ms)
    tail.ended_at = ended_at
    return tail


@dataclass(frozen=True, slots=True)
class LastGroup:
    """Where in a file its last group of pictures begins, and the tags from there on, with times of the file."""

    position: int
    tags: tuple[Written, ...]

    @property
    def mark(self) -> int:
        """Of its keyframe."""
        return self.tags[0].mark


def last_group(file: BinaryIO) -> LastGroup | None:
    """The last group of pictures; ``None`` when it is the only one, or the file has no index."""
    position = _last_keyframe(file)
    if position is None:
        return None
    file.seek(position)
    # As behind a file header: a parser begins with one.
    tail, parser = Tail(), FlvParser()
    parser.feed(encode_header(FlvHeader(flags=5)) + bytes(PREVIOUS_TAG_SIZE))
    while block := file.read(_BLOCK):
        _add(tail, parser.feed(block), 0)
    _add(tail, parser.finish(), 0)
    return LastGroup(position, tuple(tail.tags)) if tail.tags and tail.tags[0].key else None


def _last_keyframe(file: BinaryIO) -> int | None:
    """Where the keyframe stands that is not the first one."""
    position = _place(file)
    length = file.seek(0, 2)
    groups: list[int] = []
    while position + TAG_HEADER_SIZE + 2 <= length:
        file.seek(position)
        head = file.read(TAG_HEADER_SIZE + 2)
        if head[0] not in TAG_TYPES:
            return None
        if head[0] == VIDEO and classify(VIDEO, head[-2], head[-1]) == KEYFRAME:
            groups.append(position)
        position += TAG_HEADER_SIZE + int.from_bytes(head[1:4]) + PREVIOUS_TAG_SIZE
    return groups[-1] if len(groups) > 1 else None


def _add(tail: Tail, items: list[Item], start_ms: int) -> None:
    tags = [item for item in items if isinstance(item, Tag) and item.is_media]
    for tag in tags:
        tag.timestamp += start_ms
    tail.add(tags, None)


def _place(file: BinaryIO) -> int:
    file.seek(0)
    first = next((item for item in FlvParser().feed(file.read(_HEAD)) if isinstance(item, Tag)), None)
    fields = read_metadata(first.payload) if first is not None and first.type == SCRIPT else None
    index = fields.get("keyframes") if fields else None
    if not isinstance(index, Mapping):
        return FILE_HEADER_SIZE
    times, places = index.get("times"), index.get("filepositions")
    if not isinstance(times, list) or not isinstance(places, list) or not times:
        return FILE_HEADER_SIZE
    known = [
        (time, place) for time, place in zip(times, places, strict=False) if _is_number(time) and _is_number(place)
    ]
    recent = [int(place) for time, place in known if time >= known[-1][0] - _LAST_S]
    return min(recent, default=FILE_HEADER_SIZE)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and value >= 0
