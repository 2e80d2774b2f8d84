"""The engines made of other projects' libraries: Streamlink plays into a pipe, yt-dlp says where the media of a page is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chassis.egress import RefusedAddress, check_url
from chassis.foreign.job import OFFLINE_EXIT, Job
from chassis.foreign.page import SILENT, PageStatus
from chassis.foreign.process import command, connected, search_path
from chassis.pages import PageFailed, Pages
from chassis.programs import open_program, workplace
from contracts.values import Json, Source

from services.downloader.adapters.engine import SourceFailed
from services.downloader.adapters.network import Access
from services.downloader.adapters.program_feed import bytes_of, spoken

STREAMLINK = "services.downloader.adapters.foreign.streamlink"
START_S = 30.0
"""A page is asked, its scripts are read, its playlists are loaded, before the first byte comes."""
FIND_S = 2 * START_S
GONE = SILENT | {PageStatus.UNKNOWN_SITE}
"""Many pages show their player only while something is on air."""


class StreamlinkFeed:
    """One process per connection. ``page`` is played where Streamlink knows the site, else the source itself."""

    def __init__(self, access: Access, options: Json, *, page: str, quality: str, ffmpeg: str) -> None:
        self._access, self._options, self._page = access, options, page
        self._quality, self._ffmpeg = quality, ffmpeg

    @asynccontextmanager
    async def open(self, source: Source) -> AsyncIterator[AsyncIterator[bytes]]:
        """See `Feed`."""
        url = self._page or source.url
        job = job_of(self._access, url, source.protocol, self._options, self._quality, source, ffmpeg=self._ffmpeg)
        with workplace() as folder:
            program = open_program(command(STREAMLINK), folder=folder, given=job.line, search_path=search_path())
            async with program as run:

                async def chunks() -> AsyncIterator[bytes]:
                    async for chunk in bytes_of(run, START_S + self._access.stall_s, self._access.stall_s):
                        yield chunk
                    ended = await run.ended()
                    if ended.code:
                        reason = f"Streamlink gave up: {spoken(ended.complaints)}"
                        raise SourceFailed(reason, over=ended.code == OFFLINE_EXIT)

                yield chunks()


async def find(access: Access, page: str, options: Json, *, quality: str, source: Source) -> Source:
    """What is to be played in place of a page, as yt-dlp finds it; raises SourceFailed."""
    # Which of its formats was chosen where the page is one of several candidates.
    wanted = source.quality if source.protocol == "page" and source.quality else quality
    job = job_of(access, page, "page", options, wanted, source)
    try:
        async with Pages(time_limit_s=FIND_S) as pages:
            found = await pages.look(job)
    except PageFailed as error:
        raise SourceFailed(str(error)) from None
    if found.status in GONE:
        raise SourceFailed(f"yt-dlp gave up: {found.detail}", over=True)
    if found.media is None:
        raise SourceFailed(f"yt-dlp gave up: {spoken(found.detail)}")
    try:
        check_url(found.media.url, access.policy, ("http", "https", "rtmp", "rtmps"))
    except RefusedAddress:
        raise SourceFailed("yt-dlp found an address that is not recorded from") from None
    return found.media


def job_of(
    access: Access, url: str, protocol: str, options: Json, quality: str, source: Source, *, ffmpeg: str = ""
) -> Job:
    """The job of a confined program; raises SourceFailed when an address is refused as it is written."""
    try:
        check_url(url, access.policy)
        if source.url != url:
            check_url(source.url, access.policy, ("http", "https", "rtmp", "rtmps", "srt"))
    except RefusedAddress as error:
        raise SourceFailed(f"address refused: {error}"[:200]) from None
    return Job(
        url=url,
        protocol=protocol,
        media=source.url,
        quality=quality,
        options=options,
        headers=access.headers(source),
        **connected(access.policy, access.network, access.login),
        connect_timeout_s=access.connect_timeout_s,
        stall_s=access.stall_s,
        ffmpeg=ffmpeg,
    )
