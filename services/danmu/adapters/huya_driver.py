"""Joins a Huya room's chat as a guest.

Facts: the chat belongs to the broadcaster's uid. ``cache.php?m=Live&do=profileRoom&roomid=<number>`` answers it as
``data.profileInfo.uid``; the page of a room with a name holds its number as ``profileRoom`` (what open-source recorders use). Two
names lead to the same servers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import aiohttp
from yarl import URL

from services.danmu.adapters.driver import Access, AccessFailed, ChatDriver, Pace
from services.danmu.adapters.huya import HuyaCodec
from services.danmu.adapters.links import Frame, Server
from services.danmu.adapters.registry import InvalidDescriptor, source
from services.danmu.adapters.web import fetch, fetch_json

SERVERS: Final = "wss://cdnws.api.huya.com/,wss://wsapi.huya.com/"
PAGES: Final = "https://www.huya.com"
API: Final = "https://mp.huya.com"
HEARTBEAT_S: Final = 60.0

_ROOM: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")
_NUMBER_IN_PAGE: Final = re.compile(rb'"profileRoom"\s*:\s*"?([0-9]{1,18})')


@source("huya")
class HuyaSource(ChatDriver):
    """The chat of one Huya room. Descriptor: ``room_id``, the number or the name in the room's address."""

    def __init__(
        self,
        descriptor: Mapping[str, object],
        session: aiohttp.ClientSession,
        *,
        servers: str = SERVERS,
        pages: str = PAGES,
        api: str = API,
        pace: Pace | None = None,
    ) -> None:
        """`servers`: comma separated ``ws(s)://``; `pages` and `api`: the site and its mobile API. Raises InvalidDescriptor."""
        super().__init__(session, pace or Pace(HEARTBEAT_S))
        room = descriptor.get("room_id")
        if not isinstance(room, (str, int)) or isinstance(room, bool) or not _ROOM.fullmatch(str(room)):
            raise InvalidDescriptor("huya chat needs a room_id, the number or name in the room's address")
        self._room = str(room)
        self._servers = tuple(Server(URL(one.strip())) for one in servers.split(",") if one.strip())
        self._pages, self._api = URL(pages), URL(api)
        self._uid = 0

    async def access(self) -> Access:
        """See ChatDriver. The broadcaster of a room does not change, and is asked for once."""
        if not self._uid:
            self._uid = await self._broadcaster()
        uid = self._uid

        def join() -> tuple[HuyaCodec, Sequence[Frame]]:
            codec = HuyaCodec(uid)
            return codec, [codec.hello()]

        return Access(self._servers, join)

    async def _broadcaster(self) -> int:
        number = self._room
        if not number.isdigit():
            found = _NUMBER_IN_PAGE.search(await fetch(self.session, self._pages / number))
            if found is None:
                raise AccessFailed("the room's page names no room number")
            number = found[1].decode()
        query = {"m": "Live", "do": "profileRoom", "roomid": number, "showSecret": "1"}
        answer = await fetch_json(self.session, self._api / "cache.php", params=query)
        data = answer.get("data")
        profile = data.get("profileInfo") if isinstance(data, dict) else None
        uid = str(profile.get("uid", "")) if isinstance(profile, dict) else ""
        if not (uid.isascii() and uid.isdigit() and len(uid) <= 18 and int(uid) > 0):
            raise AccessFailed("profileRoom: no broadcaster in the answer")
        return int(uid)
