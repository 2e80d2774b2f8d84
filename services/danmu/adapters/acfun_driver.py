"""Joins the chat of an AcFun broadcast as a visitor.

Facts: ``rest/app/visitor/login`` (with a made-up ``_did`` cookie) gives a visitor's account and key, ``web/startPlay`` the broadcast and
tickets for its chat (129004: it is not on air), ``web/gift/list`` names and prices of gifts, in AC coins where they are paid from wallet
1; a room's number is its broadcaster's (the open-source clients of the platform).
"""

from __future__ import annotations

import base64
import binascii
import random
import string
from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiohttp
from yarl import URL

from services.danmu.adapters.acfun import MAX_NAME, AcfunCodec, Gift, Ticket
from services.danmu.adapters.acfun_link import BUSINESS, KEY_BYTES, PRODUCT
from services.danmu.adapters.driver import Access, AccessFailed, ChatDriver, Pace
from services.danmu.adapters.links import Frame, Server
from services.danmu.adapters.registry import InvalidDescriptor, source
from services.danmu.adapters.web import USER_AGENT, fetch_json

ACCOUNTS: Final = "https://id.app.acfun.cn"
API: Final = "https://api.kuaishouzt.com"
SERVERS: Final = "wss://link.xiatou.com/"
PAGE: Final = "https://live.acfun.cn"
HEARTBEAT_S: Final = 10.0
SILENCE_S: Final = 60.0
NOT_ON_AIR: Final = 129_004
COINS: Final = 1
"""The wallet of AC coins; 2 is that of bananas."""
MAX_GIFTS: Final = 4096
MAX_PRICE: Final = 10**9
MAX_SECRET: Final = 8192


@source("acfun")
class AcfunSource(ChatDriver):
    """The chat of one AcFun broadcaster. Descriptor: ``room_id``, the number in the room's address."""

    def __init__(
        self,
        descriptor: Mapping[str, object],
        session: aiohttp.ClientSession,
        *,
        accounts: str = ACCOUNTS,
        api: str = API,
        servers: str = SERVERS,
        pace: Pace | None = None,
    ) -> None:
        """`accounts`, `api`: the HTTP APIs; `servers`: comma separated ``ws(s)://``. Raises InvalidDescriptor."""
        super().__init__(session, pace or Pace(HEARTBEAT_S, SILENCE_S))
        room = str(descriptor.get("room_id", ""))
        if not (room.isascii() and room.isdigit() and len(room) <= 18 and int(room) > 0):
            raise InvalidDescriptor("acfun chat needs a room_id, a positive number")
        self._author = room
        self._accounts, self._api = URL(accounts), URL(api) / "rest/zt/live/web"
        headers = {"User-Agent": USER_AGENT, "Origin": PAGE}
        self._servers = tuple(Server(URL(one.strip()), headers) for one in servers.split(",") if one.strip())

    async def access(self) -> Access:
        """See ChatDriver. Each connection is a new visitor's; without a list of gifts they have numbers for names."""
        device = "web_" + "".join(random.choices(string.ascii_letters + string.digits, k=16))
        cookie = {"Cookie": f"_did={device}", "Referer": f"{PAGE}/"}
        login = await fetch_json(
            self.session,
            self._accounts / "rest/app/visitor/login",
            form={"sid": "acfun.api.visitor"},
            headers=cookie,
        )
        uid, token, key = _visitor(login)
        query = {
            "subBiz": BUSINESS,
            "kpn": PRODUCT,
            "kpf": "PC_WEB",
            "userId": str(uid),
            "did": device,
            "acfun.api.visitor_st": token,
        }
        asked = {"authorId": self._author, "pullStreamType": "FLV"}
        played = await fetch_json(self.session, self._api / "startPlay", params=query, form=asked, headers=cookie)
        live_id, ticket, attach = _broadcast(played)
        gifts = await self._gifts(query, cookie, {"visitorId": str(uid), "liveId": live_id})

        def join() -> tuple[AcfunCodec, Sequence[Frame]]:
            codec = AcfunCodec(Ticket(uid, token, key, device, live_id, ticket, attach), gifts)
            return codec, [codec.hello()]

        return Access(self._servers, join)

    async def _gifts(
        self, query: Mapping[str, str], headers: Mapping[str, str], form: Mapping[str, str]
    ) -> dict[int, Gift]:
        try:
            answer = await fetch_json(self.session, self._api / "gift/list", params=query, form=form, headers=headers)
        except AccessFailed:
            return {}
        data = answer.get("data")
        entries = data.get("giftList") if isinstance(data, dict) else None
        listed = entries[:MAX_GIFTS] if isinstance(entries, list) else []
        return {
            int(one["giftId"]): _gift(one) for one in listed if isinstance(one, dict) and _number(one.get("giftId"))
        }


def _visitor(login: Mapping[str, Any]) -> tuple[int, str, bytes]:
    """Raises AccessFailed."""
    uid, token, security = login.get("userId"), login.get("acfun.api.visitor_st"), login.get("acSecurity")
    if login.get("result") != 0 or not _number(uid):
        raise AccessFailed(f"visitor/login: result {str(login.get('result'))[:20]}")
    try:
        key = base64.b64decode(_secret(security), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise AccessFailed("visitor/login: no security key in the answer")
    return int(str(uid)), _secret(token), key


def _broadcast(played: Mapping[str, Any]) -> tuple[str, str, str]:
    """Raises AccessFailed."""
    if played.get("result") == NOT_ON_AIR:
        raise AccessFailed("the broadcaster is not on air")
    data = played.get("data")
    tickets = data.get("availableTickets") if isinstance(data, dict) else None
    if played.get("result") != 1 or not isinstance(data, dict) or not isinstance(tickets, list) or not tickets:
        raise AccessFailed(f"startPlay: result {str(played.get('result'))[:20]}")
    return _secret(data.get("liveId")), _secret(tickets[0]), _secret(data.get("enterRoomAttach"))


def _gift(entry: Mapping[str, Any]) -> Gift:
    price = entry.get("giftPrice")
    paid = entry.get("payWalletType") == COINS and isinstance(price, int) and 0 <= price <= MAX_PRICE
    return Gift(str(entry.get("giftName", ""))[:MAX_NAME], price * 1000 if paid and isinstance(price, int) else 0)


def _secret(value: object) -> str:
    """Raises AccessFailed."""
    if not isinstance(value, str) or not value or len(value) > MAX_SECRET:
        raise AccessFailed("the platform's answer lacks what joining takes")
    return value


def _number(value: object) -> bool:
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    return text.isascii() and text.isdigit() and len(text) <= 18
