"""The engines made of other projects' libraries: Streamlink plays into a pipe, yt-dlp says where the media of a page is."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chassis.egress import RefusedAddress, check_url
from chassis.programs import open_program
from contracts.values import Json, Source
from pydantic import ValidationError

from services.downloader.adapters.engine import SourceFailed
from services.downloader.adapters.foreign.job import OFFLINE_EXIT, Job
from services.downloader.adapters.network import Access
from services.downloader.adapters.program_feed import bytes_of, spoken, workplace

START_S = 30.0
"""A page is asked, its scripts are read, its playlists are loaded, before the first byte comes."""
MAX_ANSWER_BYTES = 1 << 20


class StreamlinkFeed:
    """One process per connection. ``page`` is played where Streamlink knows the site, else the source itself."""

    def __init__(self, access: Access, options: Json, *, page: str, quality: str, ffmpeg: str) -> None:
        self._access, self._options, self._page = access, options, page
        self._quality, self._ffmpeg = quality, ffmpeg

    @asynccontextmanager
    async def open(self, source: Source) -> AsyncIterator[AsyncIterator[bytes]]:
        """See `Feed`."""
        url = source.url if source.protocol != "page" and not self._page else self._page or source.url
        protocol = "page" if url != source.url else source.protocol
        job = job_of(self._access, url, protocol, self._options, self._quality, source, ffmpeg=self._ffmpeg)
        with workplace() as folder:
            async with open_program(
                _program("streamlink"), folder=folder, given=_given(job), search_path=_path()
            ) as run:

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
    job = job_of(access, page, "page", options, quality, source)
    with workplace() as folder:
        async with open_program(_program("ytdlp"), folder=folder, given=_given(job), search_path=_path()) as run:
            answer = b""
            try:
                async with asyncio.timeout(2 * START_S):
                    while data := await run.output.read(1 << 16):
                        answer += data
                        if len(answer) > MAX_ANSWER_BYTES:
                            raise SourceFailed("yt-dlp says too much")
                    ended = await run.ended()
            except TimeoutError:
                raise SourceFailed("the page did not answer in time") from None
    if ended.code:
        raise SourceFailed(f"yt-dlp gave up: {spoken(ended.complaints)}", over=ended.code == OFFLINE_EXIT)
    try:
        found = Source.model_validate_json(answer)
        check_url(found.url, access.policy, ("http", "https", "rtmp", "rtmps"))
    except (ValidationError, RefusedAddress):
        raise SourceFailed("yt-dlp found an address that is not recorded from") from None
    return found


def job_of(
    access: Access, url: str, protocol: str, options: Json, quality: str, source: Source, *, ffmpeg: str = ""
) -> Job:
    """The job of a confined program; raises SourceFailed when the address is refused as it is written."""
    try:
        check_url(url, access.policy)
    except RefusedAddress as error:
        raise SourceFailed(f"address refused: {error}"[:200]) from None
    return Job(
        url=url,
        protocol=protocol,
        quality=quality,
        options=options,
        headers=access.headers(source),
        login_domains=access.login.domains,
        login_cookies=dict(access.login.cookies),
        login_headers=dict(access.login.headers),
        proxy=access.proxy,
        verify=not access.network.allow_invalid_certificate,
        ip_version=access.network.ip_version,
        connect_timeout_s=access.connect_timeout_s,
        stall_s=access.stall_s,
        ffmpeg=ffmpeg,
        allow_private=access.policy.allow_private,
        allowed_networks=access.policy.allowed_networks,
    )


def _program(name: str) -> list[str]:
    return [sys.executable, "-m", f"services.downloader.adapters.foreign.{name}"]


def _given(job: Job) -> bytes:
    return job.model_dump_json().encode()


def _path() -> str:
    return os.pathsep.join(entry for entry in sys.path if entry)
