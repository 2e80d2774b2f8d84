"""Reads a YouTube live chat: finds the video of a channel that is live, loads the chat's page, then polls.

Facts: ``/<channel>/live`` shows the channel's running broadcast, its ``link rel="canonical"`` names the video, and is the
channel's own address when there is none; the cookie ``SOCS=CAI`` (nothing accepted) keeps the consent page away. Source: the
documentation of yt-dlp and streamlink.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import aiohttp
from yarl import URL

from services.danmu.adapters.codec import ChatCodec, now_ms
from services.danmu.adapters.driver import Access, AccessFailed, ChatDriver, Pace
from services.danmu.adapters.links import Frame, Link, LinkBroken, PollingLink, Server
from services.danmu.adapters.recent import Backlog
from services.danmu.adapters.registry import InvalidDescriptor, source
from services.danmu.adapters.web import fetch
from services.danmu.adapters.youtube import MAX_FRAME_BYTES, YoutubeCodec

SITE: Final = "https://www.youtube.com"
PACE: Final = Pace(heartbeat_s=0.0, silence_s=30.0)
HISTORY_MS: Final = 10_000
"""The page shows what was said before; messages older than this when the source was made are not of this recording."""

_HEADERS: Final = {"Accept-Language": "en-US,en", "Cookie": "SOCS=CAI"}
_VIDEO: Final = re.compile(r"[A-Za-z0-9_-]{11}")
_CHANNEL: Final = re.compile(r"(?:@[^\s/?#@]{1,100}|channel/UC[A-Za-z0-9_-]{22}|(?:c|user)/[^\s/?#]{1,100})")
_CANONICAL: Final = re.compile(r'<link rel="canonical" href="[^"]{1,200}[?&]v=([A-Za-z0-9_-]{11})"')


@source("youtube")
class YoutubeSource(ChatDriver):
    """The chat of one live video. Descriptor: ``video_id``, or ``channel`` (``@name``, ``channel/UC…``, ``c/…``, ``user/…``)."""

    def __init__(
        self,
        descriptor: Mapping[str, object],
        session: aiohttp.ClientSession,
        *,
        site: str = SITE,
        pace: Pace = PACE,
    ) -> None:
        """`site` is where pages and answers come from. Raises InvalidDescriptor."""
        super().__init__(session, pace)
        self._video = str(descriptor.get("video_id", ""))
        self._channel = str(descriptor.get("channel", ""))
        if not _VIDEO.fullmatch(self._video) and not _CHANNEL.fullmatch(self._channel):
            raise InvalidDescriptor("youtube chat needs a video_id, or the channel")
        self._site = URL(site)
        self._since = now_ms() - HISTORY_MS
        self._seen = Backlog()

    async def access(self) -> Access:
        """See ChatDriver."""
        video = self._video or await self._live_video()
        return Access((Server(self._site / "live_chat" % {"is_popout": "1", "v": video}),), self._join_chat)

    async def open_link(self, server: Server, codec: ChatCodec) -> Link:
        """See ChatDriver: the first frame is the page, each other one the answer to a poll."""
        if not isinstance(codec, YoutubeCodec):
            raise TypeError("the codec of another protocol")

        async def poll() -> bytes:
            try:
                return await self._poll(server, codec)
            except AccessFailed as error:
                raise LinkBroken(str(error)) from error

        return PollingLink(poll, lambda: codec.wait_s)

    async def _poll(self, server: Server, codec: YoutubeCodec) -> bytes:
        if not codec.continuation:
            return await fetch(self.session, server.url, headers=_HEADERS, limit=MAX_FRAME_BYTES)
        url = self._site / "youtubei/v1/live_chat/get_live_chat" % {"prettyPrint": "false"}
        if codec.api_key:
            url = url.update_query(key=codec.api_key)
        headers = {**_HEADERS, "Content-Type": "application/json"}
        return await fetch(self.session, url, headers=headers, body=codec.poll(), limit=MAX_FRAME_BYTES)

    async def _live_video(self) -> str:
        page = await fetch(self.session, self._site / self._channel / "live", headers=_HEADERS, limit=MAX_FRAME_BYTES)
        match = _CANONICAL.search(page.decode("utf-8", "replace"))
        if match is None:
            raise AccessFailed("the channel shows no broadcast")
        return match[1]

    def _join_chat(self) -> tuple[YoutubeCodec, Sequence[Frame]]:
        return YoutubeCodec(self._since, self._seen), []
