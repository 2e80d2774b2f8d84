"""Which segments are stitched advertising (Twitch server-side ad insertion)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from media.hls.playlist import DateRange

AD_CLASS = "twitch-stitched-ad"
AD_ID_PREFIX = "stitched-ad-"
AD_TITLE = "Amazon"

_FOR_EVER = datetime.max.replace(tzinfo=UTC)

AdRange = tuple[datetime, datetime]
"""Begin and end."""


def ad_ranges(date_ranges: Iterable[DateRange]) -> list[AdRange]:
    """The periods that EXT-X-DATERANGE marks as advertising, by class or id: in order, and none overlaps another.

    A period without an end goes on for ever.
    """
    marked_ranges = sorted(
        (marked.start, _end(marked, marked.start))
        for marked in date_ranges
        if marked.start is not None and (marked.class_name == AD_CLASS or marked.id.startswith(AD_ID_PREFIX))
    )
    merged: list[AdRange] = []
    for begin, end in marked_ranges:
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


def is_ad(title: str, date: datetime | None, ranges: Sequence[AdRange]) -> bool:
    """Whether a segment with this title that begins at this date is advertising."""
    if AD_TITLE in title:
        return True
    if date is None:
        return False
    before = bisect_right(ranges, date, key=lambda each: each[0])
    return before > 0 and date < ranges[before - 1][1]


def _end(marked: DateRange, start: datetime) -> datetime:
    if marked.end is not None:
        return marked.end
    try:
        return start + timedelta(seconds=marked.duration) if marked.duration is not None else _FOR_EVER
    except OverflowError:
        return _FOR_EVER
