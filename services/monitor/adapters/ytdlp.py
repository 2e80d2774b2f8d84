"""Every page that yt-dlp can read: what the engine yt-dlp records, and what nobody else knows.

Nothing of yt-dlp is imported here: it looks at pages in processes of its own (`chassis.pages`), which are started when the first page
is asked about and end soon after the last one. What they tell is whether a page is live and in which formats; where its media is, the
downloader finds out when it plays it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final, Self

import aiohttp
from chassis.egress import EgressPolicy, RefusedAddress, check_url
from chassis.foreign.job import Job
from chassis.foreign.page import SILENT, Page, PageStatus
from chassis.foreign.process import connected
from chassis.network import asking
from chassis.pages import PageFailed, Pages
from contracts.values import EngineName
from yarl import URL

from services.monitor.adapters.chats import chat_of
from services.monitor.adapters.platform import (
    ChannelNotFound,
    ChannelRef,
    ChannelRefused,
    Probe,
    ProbeFailed,
    Refusal,
    UnknownSite,
    UnsupportedUrl,
)
from services.monitor.adapters.registry import AdapterOptions, adapter
from services.monitor.adapters.turns import Turns

AT_ONCE: Final = 2
"""Processes, and so looks at the same time; each has 75 MB while it lives."""
KEEP_S: Final = 20.0
"""How long a process waits for the next page."""
CONNECT_S: Final = 10.0

_REFUSALS: Final = {
    PageStatus.REGION: Refusal.REGION,
    PageStatus.AGE: Refusal.AGE,
    PageStatus.LOGIN: Refusal.PRIVATE,
}


@adapter(order=95)
class YtDlpAdapter:
    """Asked about any page that no adapter before it knows, and about every page that is recorded with the engine yt-dlp."""

    name = "ytdlp"
    engine = EngineName.YT_DLP

    def __init__(
        self, policy: EgressPolicy, *, timeout_seconds: float = 20.0, at_once: int = AT_ONCE, keep_s: float = KEEP_S
    ) -> None:
        self._policy, self._timeout_s = policy, timeout_seconds
        self._turns = Turns(self.name, at_once, timeout_seconds)
        self._pages = Pages(keep_s=keep_s, time_limit_s=timeout_seconds)

    @classmethod
    def configured(cls, options: AdapterOptions) -> Self:
        """Make the adapter from the installation's options; raises ValueError for `at_once` and `keep_s` that are no positive numbers."""
        own = options.of(cls.name)
        at_once, keep_s = int(own.get("at_once", AT_ONCE)), float(own.get("keep_s", KEEP_S))
        if not 0 <= keep_s <= 3600:
            raise ValueError("ytdlp: keep_s is between 0 and 3600")
        return cls(options.policy, timeout_seconds=options.timeout_seconds, at_once=at_once, keep_s=keep_s)

    def matches(self, url: str) -> bool:
        """See `PlatformAdapter`: any http(s) address; what is behind it only yt-dlp can tell."""
        try:
            return bool(check_url(url, EgressPolicy(allow_private=True)))
        except RefusedAddress:
            return False

    def cookie_domains(self, url: str) -> tuple[str, ...]:
        """See `PlatformAdapter`: the host and, as sites keep their API beside it, the domain above `www.` or `m.`."""
        host = URL(url).raw_host or ""
        first, _, rest = host.partition(".")
        return (rest,) if first in ("www", "m", "live", "play") and "." in rest else (host,)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """See `Queueing`."""
        async with self._turns.one():
            try:
                await self._pages.prepare()
            except PageFailed as error:
                raise ProbeFailed(str(error)) from None
            yield

    async def probe(self, channel: ChannelRef, session: aiohttp.ClientSession) -> Probe:
        """See `PlatformAdapter`; `session` is unused, as yt-dlp brings its own client, in a process of its own."""
        try:
            check_url(channel.url, self._policy)
            page = await self._pages.look(self._job(channel))
        except RefusedAddress as error:
            raise UnsupportedUrl(str(error)) from error
        except PageFailed as error:
            raise ProbeFailed(str(error)) from None
        return _probe(channel, page)

    async def close(self) -> None:
        """End the processes that wait for pages."""
        await self._pages.close()

    def _job(self, channel: ChannelRef) -> Job:
        network = channel.network
        return Job(
            url=channel.url,
            purpose="watch",
            quality=channel.quality,
            headers=asking(network),
            connect_timeout_s=min(network.connect_timeout_s or CONNECT_S, self._timeout_s),
            **connected(self._policy, network, channel.login),
        )


def _probe(channel: ChannelRef, page: Page) -> Probe:
    """The answer in the terms of the monitor, or what stands in its way."""
    if page.status is not PageStatus.LIVE and page.status not in SILENT:
        raise _error(page)
    return Probe(
        live=page.status is PageStatus.LIVE,
        platform=page.site or EngineName.YT_DLP.value,
        room_id=page.id or URL(channel.url).path,
        canonical_url=channel.url,
        title=page.title,
        category=page.category,
        streamer_name=page.author or URL(channel.url).host or "",
        cover_url=page.thumbnail,
        started_at=datetime.fromtimestamp(page.started_at, UTC) if page.started_at else None,
        sources=page.candidates,
        chat=chat_of(channel.url, page.id),
    )


def _error(page: Page) -> Exception:
    if page.status in _REFUSALS:
        return ChannelRefused(_REFUSALS[page.status], page.detail)
    match page.status:
        case PageStatus.UNKNOWN_SITE:
            return UnknownSite(
                "unknown site: yt-dlp finds no video on this page; give the address of the channel's live page, "
                "or of the stream itself (.m3u8, .flv)"
            )
        case PageStatus.LIST:
            return UnsupportedUrl("not a live channel: the page is a list of videos; give the address of its live page")
        case PageStatus.UNPLAYABLE | PageStatus.REFUSED:
            return UnsupportedUrl(page.detail)
        case PageStatus.NOT_FOUND:
            return ChannelNotFound("the site has no such page")
    return ProbeFailed(page.detail)
