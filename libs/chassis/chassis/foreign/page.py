"""What yt-dlp says of a page, as it crosses from its process to ours."""

from __future__ import annotations

from enum import StrEnum

from contracts.message import Value
from contracts.values import Source


class PageStatus(StrEnum):
    """What a page is at the moment, or why nobody can say."""

    LIVE = "live"
    OFFLINE = "offline"
    UPCOMING = "upcoming"
    ENDED = "ended"
    VIDEO = "video"
    LIST = "list"
    """Many videos, none of which is live and none of which was."""
    UNPLAYABLE = "unplayable"
    """Live, in no format that is recorded."""
    UNKNOWN_SITE = "unknown_site"
    NOT_FOUND = "not_found"
    REGION = "region"
    AGE = "age"
    LOGIN = "login"
    REFUSED = "refused"
    """It leads to an address that is not connected to."""
    FAILED = "failed"


SILENT = frozenset({PageStatus.OFFLINE, PageStatus.UPCOMING, PageStatus.ENDED, PageStatus.VIDEO})
"""A page that is in order and shows no broadcast."""


class Page(Value):
    """One look at a page. ``detail`` says more where there is nothing to play, without addresses.

    ``candidates``: the formats of a live page, the wanted one first, each with the address of the page itself (protocol ``page``).
    ``media``: where the wanted one is, told only to who is about to play it. ``started_at``: Unix seconds.
    """

    status: PageStatus
    detail: str = ""
    site: str = ""
    id: str = ""
    title: str = ""
    author: str = ""
    category: str = ""
    thumbnail: str = ""
    started_at: float | None = None
    candidates: tuple[Source, ...] = ()
    media: Source | None = None
