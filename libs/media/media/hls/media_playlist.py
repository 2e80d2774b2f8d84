"""Builds a MediaPlaylist from its lines: the state that tags carry over to the segments after them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from media.hls import attributes as lex
from media.hls.advertising import ad_ranges, is_ad
from media.hls.playlist import (
    ByteRange,
    DateRange,
    KeyTag,
    MapTag,
    MediaPlaylist,
    Part,
    PlaylistError,
    PlaylistLimits,
    PreloadHint,
    Segment,
    ServerControl,
)

PREFETCH_DURATION = 2.002
"""Seconds. EXT-X-TWITCH-PREFETCH carries no duration; Twitch segments are 60 frames at 29.97 Hz."""

_DATE_RANGE_FIELDS = frozenset({"ID", "CLASS", "START-DATE", "END-DATE", "DURATION", "PLANNED-DURATION"})


@dataclass(slots=True)
class _Carried:
    """What the tags since the last URI line say about the next segment."""

    duration: float | None = None
    title: str = ""
    range_text: str | None = None
    discontinuity: bool = False
    gap: bool = False
    date: datetime | None = None


class MediaPlaylistBuilder:
    """Feed it the lines after #EXTM3U in order, then build; raises PlaylistError."""

    def __init__(self, url: str, limits: PlaylistLimits, previous_ranges: Mapping[int, tuple[str, ByteRange]]) -> None:
        self._url = url
        self._limits = limits
        self._previous_ranges = previous_ranges
        self._media_sequence = 0
        self._skipped = 0
        self._discontinuity_sequence = 0
        self._discontinuities = 0
        self._target_duration: float | None = None
        self._version = 1
        self._ended = False
        self._playlist_type = ""
        self._server_control = ServerControl()
        self._part_target: float | None = None
        self._keys: dict[str, KeyTag] = {}
        self._init: MapTag | None = None
        self._next = _Carried()
        self._segments: list[Segment] = []
        self._parts: list[Part] = []
        self._part_count = 0
        self._last_part: Part | None = None
        self._hints: list[PreloadHint] = []
        self._date_ranges: list[DateRange] = []
        self._tags: dict[str, Callable[[str], None]] = {
            "#EXTINF": self._extinf,
            "#EXT-X-BYTERANGE": self._byte_range,
            "#EXT-X-DISCONTINUITY": self._discontinuity,
            "#EXT-X-GAP": self._gap,
            "#EXT-X-PROGRAM-DATE-TIME": self._program_date_time,
            "#EXT-X-KEY": self._key,
            "#EXT-X-MAP": self._map,
            "#EXT-X-DATERANGE": self._date_range,
            "#EXT-X-PART": self._part,
            "#EXT-X-PRELOAD-HINT": self._preload_hint,
            "#EXT-X-TWITCH-PREFETCH": self._prefetch,
            "#EXT-X-MEDIA-SEQUENCE": self._sequence,
            "#EXT-X-DISCONTINUITY-SEQUENCE": self._discontinuity_number,
            "#EXT-X-TARGETDURATION": self._target,
            "#EXT-X-VERSION": self._version_number,
            "#EXT-X-ENDLIST": self._endlist,
            "#EXT-X-PLAYLIST-TYPE": self._type,
            "#EXT-X-SERVER-CONTROL": self._control,
            "#EXT-X-PART-INF": self._part_information,
            "#EXT-X-SKIP": self._skip,
        }

    def feed(self, line: str) -> None:
        """Take one stripped, non-empty line."""
        if line[0] != "#":
            self._uri(line)
            return
        tag, _, value = line.partition(":")
        handler = self._tags.get(tag)
        if handler is not None:
            handler(value.strip())

    def build(self) -> MediaPlaylist:
        """The playlist; raises PlaylistError when nothing marked the text as a media playlist."""
        if self._target_duration is None and not self._segments:
            raise PlaylistError("neither a master nor a media playlist")
        ranges = ad_ranges(self._date_ranges)
        segments = tuple(
            replace(segment, ad=True) if is_ad(segment.title, segment.program_date_time, ranges) else segment
            for segment in self._segments
        )
        trailing = self._segment("", self._part_duration(), None) if self._parts else None
        return MediaPlaylist(
            url=self._url,
            target_duration=self._target_duration or max((segment.duration for segment in self._segments), default=0.0),
            media_sequence=self._media_sequence,
            discontinuity_sequence=self._discontinuity_sequence,
            version=self._version,
            segments=segments,
            ended=self._ended,
            playlist_type=self._playlist_type,
            server_control=self._server_control,
            part_target=self._part_target,
            trailing_parts=tuple(self._parts),
            trailing=trailing,
            preload_hints=tuple(self._hints),
            date_ranges=tuple(self._date_ranges),
        )

    # Segments

    def _uri(self, line: str) -> None:
        if self._next.duration is None:
            return  # RFC 8216 §4.3.2.1: every segment has an EXTINF; a bare URI is noise.
        uri = lex.absolute_url(self._url, line)
        text = self._next.range_text
        chosen = lex.byte_range(text, self._range_start(uri)) if text is not None else None
        self._append(self._segment(uri, self._next.duration, chosen))

    def _append(self, segment: Segment) -> None:
        if len(self._segments) >= self._limits.max_segments:
            raise PlaylistError("the playlist has too many segments")
        self._segments.append(segment)
        self._next = _Carried()
        self._parts = []

    def _segment(self, uri: str, duration: float, chosen: ByteRange | None) -> Segment:
        return Segment(
            sequence=self._next_sequence(),
            uri=uri,
            duration=duration,
            title=self._next.title,
            byte_range=chosen,
            key=self._current_key(),
            init=self._init,
            discontinuity=self._next.discontinuity,
            discontinuity_sequence=self._discontinuity_sequence + self._discontinuities,
            program_date_time=self._next.date or self._extrapolated_date(),
            gap=self._next.gap,
            parts=tuple(self._parts),
        )

    def _next_sequence(self) -> int:
        return self._media_sequence + self._skipped + len(self._segments)

    def _range_start(self, uri: str) -> int | None:
        if self._segments:
            last = self._segments[-1]
            return last.byte_range.end if last.uri == uri and last.byte_range else None
        known_uri, known = self._previous_ranges.get(self._next_sequence() - 1, ("", None))
        return known.end if known and known_uri == uri else self._known_start(uri)

    def _known_start(self, uri: str) -> int | None:
        known_uri, known = self._previous_ranges.get(self._next_sequence(), ("", None))
        return known.offset if known and known_uri == uri else None

    def _extrapolated_date(self) -> datetime | None:
        if not self._segments or self._next.discontinuity:
            return None
        last = self._segments[-1]
        try:
            return last.program_date_time and last.program_date_time + timedelta(seconds=last.duration)
        except OverflowError:
            return None

    def _current_key(self) -> KeyTag | None:
        if not self._keys:
            return None
        return self._keys.get("identity") or next(iter(self._keys.values()))

    # Tags of the next segment

    def _extinf(self, value: str) -> None:
        duration, _, title = value.partition(",")
        self._next.duration = lex.seconds(duration) or 0.0
        self._next.title = title.strip()

    def _byte_range(self, value: str) -> None:
        self._next.range_text = value

    def _discontinuity(self, _value: str) -> None:
        if not self._next.discontinuity:
            self._discontinuities += 1
        self._next.discontinuity = True

    def _gap(self, _value: str) -> None:
        self._next.gap = True

    def _program_date_time(self, value: str) -> None:
        self._next.date = lex.moment(value)

    def _prefetch(self, value: str) -> None:
        duration = self._segments[-1].duration if self._segments else PREFETCH_DURATION
        uri = lex.absolute_url(self._url, value)
        self._append(replace(self._segment(uri, duration, None), prefetch=True))

    # Tags that stay in force

    def _key(self, value: str) -> None:
        found = lex.attribute_list(value)
        method = found.get("METHOD", "NONE")
        if method == "NONE":
            self._keys = {}
            return
        keyformat = found.get("KEYFORMAT", "identity")
        uri = found.get("URI")
        if uri and keyformat == "identity":
            uri = lex.absolute_url(self._url, uri)
        if len(self._keys) < lex.MAX_ATTRIBUTES:
            self._keys[keyformat] = KeyTag(method, uri, lex.initialisation_vector(found.get("IV")), keyformat)

    def _map(self, value: str) -> None:
        found = lex.attribute_list(value)
        if "URI" not in found:
            raise PlaylistError("EXT-X-MAP has no URI")
        chosen = lex.byte_range(found["BYTERANGE"], 0) if "BYTERANGE" in found else None
        self._init = MapTag(lex.absolute_url(self._url, found["URI"]), chosen, self._current_key())

    def _date_range(self, value: str) -> None:
        if len(self._date_ranges) >= self._limits.max_date_ranges:
            raise PlaylistError("the playlist has too many date ranges")
        found = lex.attribute_list(value)
        duration = lex.seconds(found.get("DURATION"))
        self._date_ranges.append(
            DateRange(
                id=found.get("ID", ""),
                class_name=found.get("CLASS", ""),
                start=lex.moment(found.get("START-DATE")),
                end=lex.moment(found.get("END-DATE")),
                duration=duration if duration is not None else lex.seconds(found.get("PLANNED-DURATION")),
                attributes=tuple((name, text) for name, text in found.items() if name not in _DATE_RANGE_FIELDS),
            )
        )

    # Low latency

    def _part(self, value: str) -> None:
        self._part_count += 1
        if self._part_count > self._limits.max_parts:
            raise PlaylistError("the playlist has too many parts")
        found = lex.attribute_list(value)
        if "URI" not in found:
            return
        uri = lex.absolute_url(self._url, found["URI"])
        chosen = lex.byte_range(found["BYTERANGE"], self._part_range_start(uri)) if "BYTERANGE" in found else None
        duration = lex.seconds(found.get("DURATION")) or 0.0
        part = Part(uri, duration, lex.yes(found.get("INDEPENDENT")), lex.yes(found.get("GAP")), chosen)
        self._parts.append(part)
        self._last_part = part

    def _part_range_start(self, uri: str) -> int | None:
        last = self._last_part
        return last.byte_range.end if last and last.uri == uri and last.byte_range else None

    def _part_duration(self) -> float:
        return min(sum(part.duration for part in self._parts), lex.MAX_DURATION)

    def _preload_hint(self, value: str) -> None:
        found = lex.attribute_list(value)
        if "URI" in found and len(self._hints) < lex.MAX_ATTRIBUTES:
            start = lex.integer(found.get("BYTERANGE-START")) or 0
            length = lex.integer(found.get("BYTERANGE-LENGTH"))
            uri = lex.absolute_url(self._url, found["URI"])
            self._hints.append(PreloadHint(found.get("TYPE", "PART"), uri, start, length))

    def _control(self, value: str) -> None:
        found = lex.attribute_list(value)
        self._server_control = ServerControl(
            can_block_reload=lex.yes(found.get("CAN-BLOCK-RELOAD")),
            hold_back=lex.seconds(found.get("HOLD-BACK")),
            part_hold_back=lex.seconds(found.get("PART-HOLD-BACK")),
            can_skip_until=lex.seconds(found.get("CAN-SKIP-UNTIL")),
        )

    def _part_information(self, value: str) -> None:
        self._part_target = lex.seconds(lex.attribute_list(value).get("PART-TARGET"))

    def _skip(self, value: str) -> None:
        if self._segments:
            return
        self._skipped = lex.integer(lex.attribute_list(value).get("SKIPPED-SEGMENTS")) or 0

    # Tags of the whole playlist

    def _sequence(self, value: str) -> None:
        if not self._segments:  # RFC 8216 §4.3.3.2: it comes before the first segment.
            self._media_sequence = lex.integer(value) or 0

    def _discontinuity_number(self, value: str) -> None:
        if not self._segments:
            self._discontinuity_sequence = lex.integer(value) or 0

    def _target(self, value: str) -> None:
        self._target_duration = lex.seconds(value)

    def _version_number(self, value: str) -> None:
        self._version = lex.integer(value) or 1

    def _endlist(self, _value: str) -> None:
        self._ended = True

    def _type(self, value: str) -> None:
        self._playlist_type = value.upper()[:16]
