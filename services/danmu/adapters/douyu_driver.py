"""Joins a Douyu room's chat as a guest, over plain TCP or a WebSocket.

Facts: danmuproxy.douyu.com speaks TCP on ports 8601 and 8602 and WebSocket with an old TLS on 8501 to 8506, which today's
OpenSSL refuses by default: TCP comes first. ``betard/<room>`` gives the real number of a room's alias, ``gift/v2/web/list`` the
room's gifts with prices in tenths of a yuan (what open-source recorders of the platform use).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiohttp
from chassis.egress import EgressPolicy
from yarl import URL

from services.danmu.adapters import douyu_stt
from services.danmu.adapters.douyu import MAX_NAME, DouyuCodec, Gift
from services.danmu.adapters.driver import Access, AccessFailed, ChatDriver, Pace
from services.danmu.adapters.links import Frame, Framing, Server
from services.danmu.adapters.registry import InvalidDescriptor, source
from services.danmu.adapters.web import fetch_json

SERVERS: Final = "tcp://danmuproxy.douyu.com:8601,tcp://danmuproxy.douyu.com:8602,wss://danmuproxy.douyu.com:8506/"
PAGES: Final = "https://www.douyu.com"
GIFTS: Final = "https://gift.douyucdn.cn"
HEARTBEAT_S: Final = 45.0
PRICE_UNIT: Final = 100
"""A tenth of a yuan, in thousandths."""
MAX_GIFTS: Final = 4096
MAX_PRICE: Final = 10**9

_ROOM: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")


@source("douyu")
class DouyuSource(ChatDriver):
    """The chat of one Douyu room. Descriptor: ``room_id``, the number or the name in the room's address."""

    framing = Framing(douyu_stt.HEADER_BYTES, douyu_stt.body_length)

    def __init__(
        self,
        descriptor: Mapping[str, object],
        session: aiohttp.ClientSession,
        *,
        servers: str = SERVERS,
        pages: str = PAGES,
        gifts: str = GIFTS,
        pace: Pace | None = None,
        egress: EgressPolicy | None = None,
    ) -> None:
        """`servers`: comma separated ``tcp://``, ``ws://`` or ``wss://``; `pages` and `gifts`: HTTP APIs.

        Raises InvalidDescriptor, ValueError for a server that is no address.
        """
        super().__init__(session, pace or Pace(HEARTBEAT_S), egress=egress)
        room = descriptor.get("room_id")
        if not isinstance(room, (str, int)) or isinstance(room, bool) or not _ROOM.fullmatch(str(room)):
            raise InvalidDescriptor("douyu chat needs a room_id, the number or name in the room's address")
        self._room = str(room)
        self._servers = tuple(Server(URL(one.strip())) for one in servers.split(",") if one.strip())
        self._pages, self._gift_api = URL(pages), URL(gifts)
        self._real = ""
        self._gifts: dict[str, Gift] | None = None

    async def access(self) -> Access:
        """See ChatDriver. The real number is asked once; without a list of gifts they have no price."""
        if not self._real:
            self._real = await self._real_room()
        if self._gifts is None:
            self._gifts = await self._gift_list(self._real)
        room, gifts = self._real, self._gifts or {}

        def join() -> tuple[DouyuCodec, Sequence[Frame]]:
            codec = DouyuCodec(room, gifts)
            return codec, codec.hello()

        return Access(self._servers, join)

    async def _real_room(self) -> str:
        try:
            answer = await fetch_json(self.session, self._pages / "betard" / self._room)
            room = answer.get("room")
            number = str(room.get("room_id", "")) if isinstance(room, dict) else ""
            if number.isascii() and number.isdigit() and len(number) <= 18:
                return number
            raise AccessFailed("betard: no room number in the answer")
        except AccessFailed:
            if self._room.isdigit():
                return self._room
            raise

    async def _gift_list(self, room: str) -> dict[str, Gift] | None:
        try:
            answer = await fetch_json(self.session, self._gift_api / "api/gift/v2/web/list", params={"rid": room})
        except AccessFailed:
            return None
        data = answer.get("data")
        entries = data.get("giftList") if isinstance(data, dict) else None
        listed = entries[:MAX_GIFTS] if isinstance(entries, list) else []
        return {str(entry.get("id"))[:32]: _gift(entry) for entry in listed if isinstance(entry, dict)}


def _gift(entry: dict[str, Any]) -> Gift:
    info = entry.get("priceInfo")
    price = info.get("price") if isinstance(info, dict) else 0
    known = price if isinstance(price, int) and 0 <= price <= MAX_PRICE else 0
    return Gift(str(entry.get("name", ""))[:MAX_NAME], known * PRICE_UNIT)
