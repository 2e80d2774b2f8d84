"""Why yt-dlp found nothing to play, read off its errors: by their class, an HTTP status, and last by what they say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chassis.egress import RefusedAddress
from chassis.foreign.job import Unplayable, without_addresses
from chassis.foreign.page import Page, PageStatus

_BY_CLASS = {
    "UnsupportedError": PageStatus.UNKNOWN_SITE,
    "GeoRestrictedError": PageStatus.REGION,
    "UserNotLive": PageStatus.OFFLINE,
}
_BY_HTTP = {
    401: PageStatus.LOGIN,
    404: PageStatus.NOT_FOUND,
    410: PageStatus.NOT_FOUND,
    451: PageStatus.REGION,
}
_BY_WORDS = (
    (PageStatus.UPCOMING, ("will begin", "premieres in", "has not started", "hasn't started", "not yet started")),
    (
        PageStatus.OFFLINE,
        ("not currently live", "is offline", "is not live", "not streaming", "has ended", "isn't live"),
    ),
    (PageStatus.AGE, ("confirm your age", "age-restricted", "age restricted", "adult")),
    (PageStatus.REGION, ("geo restriction", "geo-restricted", "your location", "your country", "your region")),
    (PageStatus.LOGIN, ("--cookies", "log in", "login", "logged-in", "sign in", "registered users")),
    (PageStatus.LOGIN, ("private", "password", "members", "subscribers", "subscription", "premium")),
    (PageStatus.UNPLAYABLE, ("drm",)),
)
"""Extractors have no classes of their own for these; they say them in messages that are meant for people."""


def explained(error: BaseException) -> Page:
    """What an error comes to; FAILED when asking again may help."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, RefusedAddress):
            return Page(status=PageStatus.REFUSED, detail=without_addresses(str(cause)))
        if isinstance(cause, Unplayable):
            return Page(status=PageStatus.FAILED, detail=str(cause))
        if isinstance(cause, MemoryError):
            return Page(status=PageStatus.FAILED, detail="the page takes too much memory")
        if (status := _BY_CLASS.get(type(cause).__name__)) is not None:
            return Page(status=status, detail=_said(cause))
    for cause in causes:
        code = getattr(cause, "status", None)
        if isinstance(code, int) and type(cause).__name__ == "HTTPError":
            return Page(status=_BY_HTTP.get(code, PageStatus.FAILED), detail=f"the site answers HTTP {code}")
    return _read(causes)


def _read(causes: list[BaseException]) -> Page:
    """Only of errors that an extractor expects: others quote what they stumbled over."""
    for cause in causes:
        if getattr(cause, "expected", False):
            said = str(getattr(cause, "orig_msg", cause)).lower()
            for status, words in _BY_WORDS:
                if any(word in said for word in words):
                    return Page(status=status, detail=_said(cause))
    return Page(status=PageStatus.FAILED, detail=_said(_telling(causes)))


def _telling(causes: list[BaseException]) -> BaseException:
    """The error of the extractor rather than yt-dlp's around it, which repeats it in other words."""
    return next((cause for cause in causes if hasattr(cause, "orig_msg")), causes[-1])


def _said(error: BaseException) -> str:
    said: Any = getattr(error, "orig_msg", None) or str(error)
    return without_addresses(str(said)) or type(error).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what caused it, outermost first. yt-dlp keeps causes in ``exc_info`` and ``cause`` besides Python's own."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting and len(seen) < 32:
        one = waiting.pop(0)
        if one is None or not isinstance(one, BaseException) or one in seen:
            continue
        seen.append(one)
        info = getattr(one, "exc_info", None) or (None, None, None)
        waiting += [info[1], getattr(one, "cause", None), one.__cause__, one.__context__]
        yield one
