"""Tells a real change of codec parameters from a repeated sequence header."""

from __future__ import annotations

from dataclasses import dataclass

from media.flv.codec_config import CodecConfig, is_empty, read_config
from media.flv.tag import VIDEO, Tag
from media.repair.log import RepairLog
from media.repair.model import RepairKind

Channel = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class HeaderSet:
    """The headers in force: the tags (video first) and what changed, in words; `changed` = an old one was replaced."""

    tags: tuple[Tag, ...]
    changed: bool
    detail: str


def channel_of(tag: Tag) -> Channel:
    """What a sequence header holds for: tag type, track, and 1 for the layout of channels, which enhanced audio tells in a tag of its own."""
    return (tag.type, tag.track, int(tag.is_channel_layout))


class HeaderTracker:
    """Keeps the sequence header in force per channel and compares the new ones by meaning."""

    def __init__(self, log: RepairLog) -> None:
        self._log = log
        self._active: dict[Channel, tuple[Tag, CodecConfig]] = {}
        self._new: dict[Channel, tuple[Tag, CodecConfig]] = {}

    @property
    def nal_length_size(self) -> int:
        """Bytes of a NAL unit's length in the video frames that follow; 0 when there are no NAL units."""
        active = self._active.get((VIDEO, 0, 0))
        return active[1].nal_length_size if active else 0

    @property
    def has_new(self) -> bool:
        """Headers were noted that are not in force yet."""
        return bool(self._new)

    def offer(self, tag: Tag) -> None:
        """Note a sequence header; it counts once media follows, so that only the last of a run matters.

        An empty one is none. ffmpeg begins with such a header for the AAC of a transport stream, whose parameters its muxer learns with the
        first frame, and sends the real one then, behind the first picture if that came earlier: no change of what was never told.
        """
        if is_empty(tag):
            return
        channel = channel_of(tag)
        config = read_config(tag)
        waiting = self._new.get(channel)
        if waiting is not None:
            equal = waiting[1].signature == config.signature
            kind = RepairKind.HEADER_REPEATED if equal else RepairKind.HEADER_REPLACED
            self._log.add(kind, tag.timestamp, detail=waiting[1].description)
        self._new[channel] = (tag, config)

    def resolve(self) -> HeaderSet | None:
        """Media follows: put the noted headers in force; return the new set, or None when nothing changed."""
        if not self._new:
            return None
        details = []
        changed = False
        for channel, (tag, config) in self._new.items():
            active = self._active.get(channel)
            if active is not None and active[1].signature == config.signature:
                self._log.add(RepairKind.HEADER_REPEATED, tag.timestamp, detail=config.description)
                continue
            if active is not None:
                changed = True
            details.append(f"{active[1].description if active else 'none'} -> {config.description}")
            self._active[channel] = (tag, config)
        self._new.clear()
        if not details:
            return None
        return HeaderSet(self.tags(), changed, "; ".join(details))

    def tags(self) -> tuple[Tag, ...]:
        """The headers in force, video before audio."""
        return tuple(
            self._active[channel][0]
            for channel in sorted(self._active, key=lambda channel: (-channel[0], *channel[1:]))
        )
