"""Turns successive loads of one media playlist into the downloads that are still missing. Pure and deterministic."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from media.hls.identity import DEFAULT_VOLATILE_QUERY, with_directives, without_directives
from media.hls.parser import parse_playlist
from media.hls.playlist import (
    KeyTag,
    MapTag,
    MasterPlaylist,
    MediaPlaylist,
    Part,
    PlaylistError,
    PlaylistLimits,
    Segment,
    UnsupportedPlaylistError,
)
from media.hls.tasks import GapTask, InitSection, KeyRef, PlanCursor, PlanItem, SegmentTask
from media.hls.window import Relation, WindowHistory
from media.segments import GapReason

MIN_LOST_SECONDS = 600.0
"""A jump of the numbering by less than this is always taken as lost segments, however little time has passed."""

PLACEHOLDERS = ("preloading",)
"""SOOP lists segments of this name before the picture of a broadcast is there, and shows a still picture in them."""

PART_TOLERANCE_SECONDS = 0.1
"""Parts that sum up to the segment's duration within this are the whole segment."""


@dataclass(frozen=True, slots=True)
class PlannerOptions:
    """How playlists are followed; refresh bounds in seconds."""

    low_latency: bool = False
    """Plan the parts of a segment as soon as they are announced, instead of whole segments."""
    prefetch: bool = True
    """Plan segments that EXT-X-TWITCH-PREFETCH announces."""
    skip_ads: bool = True
    initial_segments: int | None = None
    """At the first load of a live playlist take only this many of the newest segments; None takes the whole window."""
    max_regression: int = 10
    """A window that ends at most this many segments early is a lagging cache."""
    min_refresh: float = 0.5
    max_refresh: float = 30.0
    volatile_query: frozenset[str] = DEFAULT_VOLATILE_QUERY
    placeholders: tuple[str, ...] = PLACEHOLDERS
    """Segments whose file name contains one of these carry no programme."""
    limits: PlaylistLimits = field(default_factory=PlaylistLimits)


@dataclass(frozen=True, slots=True)
class PlaylistRequest:
    """The next load of the playlist: begin it in ``delay`` seconds; a blocking one is held by the server."""

    url: str
    delay: float
    blocking: bool = False


class HlsPlanner:
    """Follows one media playlist.

    Every segment is planned once. Numbers in tasks are those of the plan: they stay continuous when the server
    renumbers the same segments. ``now`` is in monotonic seconds and is the moment at which the request began.
    """

    def __init__(self, options: PlannerOptions | None = None, resume_after: PlanCursor | None = None) -> None:
        self._options = options or PlannerOptions()
        self._history = WindowHistory(self._options.volatile_query, self._options.max_regression)
        self._next: int | None = None
        self._next_part = 0
        self._planned_part_seconds = 0.0
        self._offset = 0
        self._order = 0
        self._epoch_order = 0
        self._discontinuity_pending = False
        self._discontinuity_sequence: int | None = None
        self._playlist: MediaPlaylist | None = None
        self._url = ""
        self._loaded_at: float | None = None
        self._changed = False
        self._last_new_at: float | None = None
        self.ended = False
        if resume_after is not None:
            self._resume(resume_after)

    # What the caller sees

    def update(self, text: str, url: str, now: float) -> list[PlanItem]:
        """Take a freshly loaded playlist and return what is new, in order.

        Raises PlaylistError when the text cannot be followed; the plan is then unchanged.
        """
        playlist = self._parse(text, url)
        segments = [each for each in playlist.segments if self._options.prefetch or not each.prefetch]
        _check_encryption([*segments, *([playlist.trailing] if playlist.trailing else [])])
        planned = self._follow(playlist, segments, now)
        self._url = without_directives(url)
        self._playlist = playlist
        self._loaded_at = now
        self._changed = bool(planned)
        if planned or self._last_new_at is None:
            self._last_new_at = now
        return planned

    def unchanged(self, now: float) -> None:
        """Note a load that brought nothing: not modified, timed out, or failed."""
        self._loaded_at = now
        self._changed = False
        if self._last_new_at is None:
            self._last_new_at = now

    def next_request(self, now: float) -> PlaylistRequest | None:
        """When and where to load next (RFC 8216 §6.3.4), or None after EXT-X-ENDLIST.

        Raises ValueError before the first update.
        """
        if self._playlist is None or self._loaded_at is None:
            raise ValueError("there is no playlist to load again")
        if self.ended:
            return None
        if self._playlist.server_control.can_block_reload and self._changed:
            part = len(self._playlist.trailing_parts) if self._playlist.part_target else None
            return PlaylistRequest(with_directives(self._url, self._playlist.next_sequence, part), 0.0, blocking=True)
        return PlaylistRequest(self._url, max(0.0, self._loaded_at + self._interval(self._playlist) - now))

    def idle_for(self, now: float) -> float:
        """Seconds since the playlist last brought something new; 0 before the first load."""
        return 0.0 if self._last_new_at is None else max(0.0, now - self._last_new_at)

    @property
    def target_duration(self) -> float | None:
        """Seconds, as the playlist says; None before the first load."""
        return self._playlist.target_duration if self._playlist else None

    def refreshed(self, task: SegmentTask) -> SegmentTask:
        """The same task with the newest URL, key and init that a playlist showed for it (tokens expire)."""
        segment = self._history.latest(task.sequence) if task.order >= self._epoch_order else None
        if segment is None or (task.part is not None and task.part >= len(segment.parts)):
            return task
        source: Segment | Part = segment if task.part is None else segment.parts[task.part]
        if not source.uri:
            return task
        return replace(
            task,
            url=source.uri,
            byte_range=source.byte_range,
            init=_init(segment.init),
            key=_key(segment.key, segment.sequence),
        )

    # Following the window

    def _parse(self, text: str, url: str) -> MediaPlaylist:
        ranges = self._history.ranges(self._offset)
        playlist = parse_playlist(text, url, limits=self._options.limits, previous_ranges=ranges)
        if isinstance(playlist, MasterPlaylist):
            raise PlaylistError("a master playlist where a media playlist was expected")
        return playlist

    def _resume(self, cursor: PlanCursor) -> None:
        self._history.seed(cursor.sequence, cursor.identity)
        self._next = cursor.sequence + 1
        if cursor.part is not None:
            self._next = cursor.sequence
            self._next_part = cursor.part + 1

    def _follow(self, playlist: MediaPlaylist, segments: list[Segment], now: float) -> list[PlanItem]:
        planned: list[PlanItem] = []
        first = segments[0].sequence if segments else playlist.media_sequence
        if self._next is None:
            self._next = self._starting_point(playlist, segments, first)
        elif not self._relate(playlist, segments, first, now):
            self.ended = playlist.ended  # RFC 8216 §4.3.3.4: final, even where announced segments were withdrawn.
            return planned
        self._skip_to(first + self._offset, playlist, planned)
        for segment in segments:
            if segment.sequence + self._offset >= self._next:
                self._plan_segment(segment, planned)
        self._history.remember(segments, self._offset)
        # Cipher blocks are chained over the whole segment: an encrypted part cannot be decrypted by itself.
        if playlist.trailing is not None and self._options.low_latency and playlist.trailing.key is None:
            self._plan_parts(playlist.trailing, planned)
            self._history.remember([playlist.trailing], self._offset)
        self.ended = playlist.ended
        return planned

    def _starting_point(self, playlist: MediaPlaylist, segments: list[Segment], first: int) -> int:
        wanted = self._options.initial_segments
        whole = playlist.ended or playlist.playlist_type == "VOD"
        if wanted is None or whole or len(segments) <= wanted:
            return first
        return segments[-wanted].sequence if wanted > 0 else playlist.next_sequence

    def _relate(self, playlist: MediaPlaylist, segments: list[Segment], first: int, now: float) -> bool:
        """Bring the plan's numbering in line with the window; False when the window is stale."""
        assert self._next is not None
        verdict = self._history.judge(
            segments, first + self._offset, self._offset, self._next, self._plausible_loss(playlist, segments, now)
        )
        if verdict.relation is Relation.RESET:
            self._history.clear()
            self._offset = 0
            self._next, self._next_part, self._planned_part_seconds = first, 0, 0.0
            self._epoch_order = self._order
            self._discontinuity_pending = True
            self._discontinuity_sequence = None
        elif verdict.relation is Relation.RENUMBERED:
            self._offset = verdict.offset
        return verdict.relation is not Relation.STALE

    def _plausible_loss(self, playlist: MediaPlaylist, segments: list[Segment], now: float) -> int:
        """How many segments can have passed unseen since the last load; more is another numbering, not a loss."""
        elapsed = now - self._loaded_at if self._loaded_at is not None else 0.0
        shortest = min((each.duration for each in segments if each.duration > 0), default=playlist.target_duration)
        return int(max(MIN_LOST_SECONDS, 4 * elapsed) / max(shortest, 0.1))

    # Planning

    def _skip_to(self, first: int, playlist: MediaPlaylist, planned: list[PlanItem]) -> None:
        """Make the segments that left the window unseen an explicit gap."""
        assert self._next is not None
        if first <= self._next:
            return
        lost = (first - self._next) * _typical_duration(playlist) - self._planned_part_seconds
        self._gap(self._next, first - 1, max(lost, 0.0), GapReason.SLID_OUT, planned)
        self._advance(first)

    def _plan_segment(self, segment: Segment, planned: list[PlanItem]) -> None:
        sequence = segment.sequence + self._offset
        self._note_discontinuity(segment)
        reason = self._reason_to_skip(segment)
        if self._next_part > 0:
            self._plan_parts(segment, planned)
            self._close_parts(segment, planned)
        elif reason is not None:
            self._gap(sequence, sequence, segment.duration, reason, planned)
        else:
            self._task(segment, None, segment.uri, segment.duration, planned)
        self._advance(sequence + 1)

    def _plan_parts(self, segment: Segment, planned: list[PlanItem]) -> None:
        sequence = segment.sequence + self._offset
        if sequence != self._next:
            return
        if self._next_part == 0:
            self._note_discontinuity(segment)
        skip = self._reason_to_skip(segment)
        for number, part in enumerate(segment.parts[self._next_part :], start=self._next_part):
            if part.gap or skip is not None:
                self._gap(sequence, sequence, part.duration, skip or GapReason.SOURCE, planned)
            else:
                self._task(segment, number, part.uri, part.duration, planned)
            self._next_part = number + 1
            self._planned_part_seconds += part.duration

    def _close_parts(self, segment: Segment, planned: list[PlanItem]) -> None:
        """The segment is whole: parts that were never listed are lost, because a part cannot be cut out of it."""
        missing = segment.duration - self._planned_part_seconds
        if missing > PART_TOLERANCE_SECONDS and len(segment.parts) < self._next_part:
            sequence = segment.sequence + self._offset
            self._gap(sequence, sequence, missing, GapReason.SLID_OUT, planned)

    def _task(self, segment: Segment, part: int | None, url: str, duration: float, planned: list[PlanItem]) -> None:
        source = segment if part is None else segment.parts[part]
        planned.append(
            SegmentTask(
                order=self._take_order(),
                sequence=segment.sequence + self._offset,
                url=url,
                duration=duration,
                cursor=PlanCursor(segment.sequence, self._history.identity(segment), part),
                part=part,
                byte_range=source.byte_range,
                init=_init(segment.init),
                key=_key(segment.key, segment.sequence),
                discontinuity=self._discontinuity_pending,
                program_date_time=segment.program_date_time if not part else None,
                title=segment.title,
            )
        )
        self._discontinuity_pending = False

    def _gap(self, first: int, last: int, duration: float, reason: GapReason, planned: list[PlanItem]) -> None:
        previous = planned[-1] if planned else None
        if isinstance(previous, GapTask) and previous.reason is reason:
            planned[-1] = replace(previous, last_sequence=last, duration=previous.duration + duration)
            return
        planned.append(GapTask(self._take_order(), first, last, duration, reason))

    def _take_order(self) -> int:
        self._order += 1
        return self._order - 1

    def _advance(self, sequence: int) -> None:
        self._next, self._next_part, self._planned_part_seconds = sequence, 0, 0.0

    def _note_discontinuity(self, segment: Segment) -> None:
        previous = self._discontinuity_sequence
        # A tag that slid out unseen still shows in the discontinuity sequence number.
        if segment.discontinuity or (previous is not None and segment.discontinuity_sequence > previous):
            self._discontinuity_pending = True
        self._discontinuity_sequence = segment.discontinuity_sequence

    def _reason_to_skip(self, segment: Segment) -> GapReason | None:
        if segment.ad and self._options.skip_ads:
            self._discontinuity_pending = True
            return GapReason.AD
        name = urlsplit(segment.uri).path.rpartition("/")[2]
        placeholder = any(mark in name for mark in self._options.placeholders)
        return GapReason.SOURCE if segment.gap or placeholder else None

    def _interval(self, playlist: MediaPlaylist) -> float:
        """Seconds between loads: the target duration, half of it when nothing changed (RFC 8216 §6.3.4).

        A window shorter than the RFC's three target durations would slide out in between, so half its length caps it.
        """
        target = playlist.target_duration
        if self._options.low_latency and playlist.part_target:
            target = playlist.part_target
        window = sum(segment.duration for segment in playlist.segments)
        wanted = min(target, window / 2) if window > 0 else target
        wanted = wanted if self._changed else wanted / 2
        return min(max(wanted, self._options.min_refresh), self._options.max_refresh)


def _typical_duration(playlist: MediaPlaylist) -> float:
    durations = [segment.duration for segment in playlist.segments if segment.duration > 0]
    return sum(durations) / len(durations) if durations else playlist.target_duration


def _check_encryption(segments: list[Segment]) -> None:
    """Raise UnsupportedPlaylistError for encryption that cannot be undone: better no file than a file of noise."""
    for segment in segments:
        _key(segment.key, segment.sequence)
        _init(segment.init)


def _key(tag: KeyTag | None, sequence: int | None) -> KeyRef | None:
    if tag is None:
        return None
    if tag.method != "AES-128" or tag.keyformat != "identity" or not tag.uri:
        raise UnsupportedPlaylistError(f"segments are encrypted with {tag.method[:32]} ({tag.keyformat[:64]})")
    if tag.iv is not None:
        return KeyRef(tag.uri, tag.iv)
    if sequence is None:
        raise UnsupportedPlaylistError("an encrypted initialisation section needs an explicit IV")
    return KeyRef(tag.uri, sequence.to_bytes(16, "big"))


def _init(tag: MapTag | None) -> InitSection | None:
    return InitSection(tag.uri, tag.byte_range, _key(tag.key, None)) if tag else None
