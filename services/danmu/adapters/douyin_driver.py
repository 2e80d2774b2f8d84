"""Joins the chat of a Douyin broadcast: a visitor's cookie, the number of the broadcast's room, a signed address.

Facts: the site gives every visitor the cookie ``ttwid``; the live page holds the room's number as ``roomId``, and wants any
``__ac_nonce`` cookie for it; three hosts serve the chat, with a query that describes a browser and ends in the signature of it
(`douyin_sign`; open-source readers of the platform). The monitor names the room as ``live_id`` where it has it already.

Where the site has changed its signature, `sign_url` names a service of the operator's own: ``GET <sign_url>?stub=…&room_id=…&
user_unique_id=…&user_agent=…`` answers JSON {``signature``}.
"""

from __future__ import annotations

import random
import re
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import Final

import aiohttp
from yarl import URL

from services.danmu.adapters import douyin_sign
from services.danmu.adapters.codec import now_ms
from services.danmu.adapters.combos import Combos
from services.danmu.adapters.douyin import DouyinCodec, in_yuan
from services.danmu.adapters.driver import Access, AccessFailed, ChatDriver, Pace
from services.danmu.adapters.links import Frame, Server
from services.danmu.adapters.registry import InvalidDescriptor, source
from services.danmu.adapters.source import Heard
from services.danmu.adapters.web import USER_AGENT, cookie_of, fetch, fetch_json

PAGES: Final = "https://live.douyin.com"
SERVERS: Final = ",".join(f"wss://webcast100-ws-web-{host}.douyin.com" for host in ("lq", "hl", "lf"))
HEARTBEAT_S: Final = 10.0
SILENCE_S: Final = 45.0

_NAME: Final = re.compile(r"[0-9A-Za-z_.-]{1,64}")
_ROOM: Final = re.compile(r"[1-9][0-9]{0,18}")
_ROOM_IN_PAGE: Final = re.compile(rb'roomId\\*"\s*:\s*\\*"([1-9][0-9]{0,18})\\*"')
_SIGNATURE: Final = re.compile(r"[0-9A-Za-z+/=_-]{1,256}")
_BROWSER: Final = {
    "app_name": "douyin_web",
    "version_code": douyin_sign.VERSION,
    "webcast_sdk_version": douyin_sign.SDK_VERSION,
    "update_version_code": douyin_sign.SDK_VERSION,
    "compress": "gzip",
    "device_platform": "web",
    "cookie_enabled": "true",
    "screen_width": "1920",
    "screen_height": "1080",
    "browser_language": "zh-CN",
    "browser_platform": "Win32",
    "browser_name": "Mozilla",
    "browser_version": USER_AGENT.partition("/")[2],
    "browser_online": "true",
    "tz_name": "Asia/Shanghai",
    "host": PAGES,
    "aid": douyin_sign.APP_ID,
    "live_id": "1",
    "did_rule": "3",
    "endpoint": "live_pc",
    "support_wrds": "1",
    "im_path": "/webcast/im/fetch/",
    "identity": "audience",
    "need_persist_msg_count": "15",
    "insert_task_id": "",
    "live_reason": "",
    "heartbeatDuration": "0",
}


@source("douyin")
class DouyinSource(ChatDriver):
    """The chat of one Douyin broadcaster. Descriptor: ``room_id``, the name in the page's address; ``live_id``, the broadcast's room."""

    def __init__(
        self,
        descriptor: Mapping[str, object],
        session: aiohttp.ClientSession,
        *,
        pages: str = PAGES,
        servers: str = SERVERS,
        sign_url: str = "",
        pace: Pace | None = None,
    ) -> None:
        """`pages`: the site; `servers`: comma separated ``ws(s)://``; `sign_url`: see the module. Raises InvalidDescriptor."""
        super().__init__(session, pace or Pace(HEARTBEAT_S, SILENCE_S))
        name, room = str(descriptor.get("room_id", "")), str(descriptor.get("live_id", ""))
        if not _NAME.fullmatch(name):
            raise InvalidDescriptor("douyin chat needs a room_id, the name in the page's address")
        self._name, self._known = name, room if _ROOM.fullmatch(room) else ""
        self._pages, self._sign = URL(pages), URL(sign_url) if sign_url else None
        self._hosts = tuple(URL(one.strip()) for one in servers.split(",") if one.strip())
        self._combos = Combos()

    async def heard(self) -> AsyncIterator[Heard]:
        """See ChatSource. Gifts of which more could have come are told at the end."""
        async with aclosing(super().heard()) as items:  # type: ignore[type-var]
            async for item in items:
                yield item
        if last := [in_yuan(message) for message in self._combos.finish()]:
            yield last

    async def access(self) -> Access:
        """See ChatDriver. A room the monitor named is tried once; each connection is a new visitor's, with a new signature."""
        cookie = f"ttwid={await cookie_of(self.session, self._pages / '', 'ttwid')}"
        room, self._known = self._known or await self._room(cookie), ""
        visitor = str(random.randrange(7 * 10**18, 8 * 10**18))
        query = {**_BROWSER, **_place(room, visitor), "signature": await self._signature(room, visitor)}
        headers = {
            "User-Agent": USER_AGENT,
            "Origin": PAGES,
            "Referer": f"{PAGES}/{self._name}",
            "Cookie": cookie,
        }
        urls = ((host / "webcast/im/push/v2/").with_query(query) for host in self._hosts)

        def join() -> tuple[DouyinCodec, Sequence[Frame]]:
            codec = DouyinCodec(int(room), self._combos)
            return codec, [codec.heartbeat()]

        return Access(tuple(Server(url, headers) for url in urls), join)

    async def _room(self, cookie: str) -> str:
        headers = {"Cookie": f"__ac_nonce={secrets.token_hex(11)[:21]}; {cookie}"}
        found = _ROOM_IN_PAGE.search(await fetch(self.session, self._pages / self._name, headers=headers))
        if found is None:
            raise AccessFailed("the broadcaster's page names no room")
        return found[1].decode()

    async def _signature(self, room: str, visitor: str) -> str:
        stub = douyin_sign.stub(room, visitor)
        if self._sign is None:
            return douyin_sign.sign(stub, random.randrange(256), random.randrange(255))
        asked = {"stub": stub, "room_id": room, "user_unique_id": visitor, "user_agent": USER_AGENT}
        signature = (await fetch_json(self.session, self._sign, params=asked)).get("signature")
        if not isinstance(signature, str) or not _SIGNATURE.fullmatch(signature):
            raise AccessFailed("the signing service gave no signature")
        return signature


def _place(room: str, visitor: str) -> dict[str, str]:
    """Where in the conversation a visitor begins who has heard nothing yet."""
    now = now_ms()
    ext = {
        "internal_src": "dim",
        "wss_push_room_id": room,
        "wss_push_did": visitor,
        "first_req_ms": now,
        "fetch_time": now,
        "seq": 1,
        "wss_info": f"0-{now}-0-0",
    }
    return {
        "room_id": room,
        "user_unique_id": visitor,
        "cursor": f"h-1_t-{now}_r-1_d-1_u-1",
        "internal_ext": "|".join(f"{name}:{value}" for name, value in ext.items()),
    }
