"""Joins the comments of a Niconico live programme: finds the session in the watch page, takes a seat, reads the comments.

Facts: ``live.nicovideo.jp/watch/<lv…|ch…|user/…>`` shows a programme, or the one that a channel or user has on air now;
further see `niconico` and `ndgr`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import aiohttp
from yarl import URL

from services.danmu.adapters.codec import ChatCodec
from services.danmu.adapters.driver import Access, AccessFailed, ChatDriver, Pace
from services.danmu.adapters.links import Frame, Link, Server, WebSocketLink
from services.danmu.adapters.niconico import MAX_PAGE_BYTES, NiconicoCodec, watch_socket
from services.danmu.adapters.niconico_link import NiconicoLink
from services.danmu.adapters.recent import Backlog
from services.danmu.adapters.registry import InvalidDescriptor, source
from services.danmu.adapters.web import USER_AGENT, fetch

SITE: Final = "https://live.nicovideo.jp"
PACE: Final = Pace(heartbeat_s=30.0, silence_s=90.0)
_PROGRAMME: Final = re.compile(r"(?:lv|ch|co)\d{1,18}|user/\d{1,18}")


@source("niconico")
class NiconicoSource(ChatDriver):
    """The comments of one programme. Descriptor: ``programme``, as in the watch page's address (lv…, ch…, user/…)."""

    def __init__(
        self,
        descriptor: Mapping[str, object],
        session: aiohttp.ClientSession,
        *,
        site: str = SITE,
        pace: Pace = PACE,
    ) -> None:
        """`site` has the watch pages. Raises InvalidDescriptor."""
        super().__init__(session, pace)
        self._programme = str(descriptor.get("programme", ""))
        if not _PROGRAMME.fullmatch(self._programme):
            raise InvalidDescriptor("niconico chat needs the programme")
        self._site = URL(site)
        self._seen = Backlog()
        self._joined = False

    async def access(self) -> Access:
        """See ChatDriver. Asked each time: the address of a session is good for one visitor and a short time."""
        page = await fetch(self.session, self._site / "watch" / self._programme, redirects=True, limit=MAX_PAGE_BYTES)
        url = watch_socket(page)
        if not url.startswith(("wss://", "ws://")):
            raise AccessFailed("the programme is not on air, or not for guests")
        headers = {"User-Agent": USER_AGENT, "Origin": str(self._site.origin())}
        return Access((Server(URL(url, encoded=True), headers),), self._take_seat)

    async def open_link(self, server: Server, codec: ChatCodec) -> Link:
        """See ChatDriver."""
        if not isinstance(codec, NiconicoCodec):
            raise TypeError("the codec of another protocol")
        catch_up, self._joined = self._joined, True
        return NiconicoLink(await WebSocketLink.open(self.session, server), self.session, codec, catch_up=catch_up)

    def _take_seat(self) -> tuple[NiconicoCodec, Sequence[Frame]]:
        codec = NiconicoCodec(self._seen)
        return codec, codec.hello()
