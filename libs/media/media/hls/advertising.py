"""Which segments are stitched advertising (Twitch server-side ad insertion)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from media.hls.playlist import DateRange

AD_CLASS = "twitch-stitched-ad"
AD_ID_PREFIX = "stitched-ad-"
AD_TITLE = "Amazon"

AdRange = tuple[datetime, datetime | None]
"""Begin and end; without an end the advertising goes on."""


def ad_ranges(date_ranges: Iterable[DateRange]) -> list[AdRange]:
    """The periods that EXT-X-DATERANGE marks as advertising, by class or id."""
    return [
        (marked.start, _end(marked, marked.start))
        for marked in date_ranges
        if marked.start is not None and (marked.class_name == AD_CLASS or marked.id.startswith(AD_ID_PREFIX))
    ]


def is_ad(title: str, date: datetime | None, ranges: Sequence[AdRange]) -> bool:
    """Whether a segment with this title that begins at this date is advertising."""
    if AD_TITLE in title:
        return True
    if date is None:
        return False
    return any(begin <= date and (end is None or date < end) for begin, end in ranges)


def _end(marked: DateRange, start: datetime) -> datetime | None:
    if marked.end is not None or marked.duration is None:
        return marked.end
    try:
        return start + timedelta(seconds=marked.duration)
    except OverflowError:
        return None
