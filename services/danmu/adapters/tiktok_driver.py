"""Joins the chat of a TikTok LIVE room: a visitor's cookie, the number of the room, then the WebSocket.

Facts: the web site gives every visitor the cookie ``ttwid``; ``/api-live/user/room/`` answers ``data`` {``user.roomId``,
``liveRoom.status`` 2 = on air}; the socket is ``/webcast/im/ws_proxy/ws_reuse_supplement/`` with the room and the description
of a browser in its query ("TikTokLive", "PirateTok").

The signature: a visitor's socket has been admitted without one (``ws_direct``), as "PirateTok" does; nothing here can compute
one. Where TikTok insists on it, `sign_url` names a service of the operator's own which is sent the unsigned address
(``GET <sign_url>?url=…&user_agent=…``) and answers with JSON {``url``, ``cookies`` (optional, an object)}.
"""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final

import aiohttp
from yarl import URL

from services.danmu.adapters.combos import Combos
from services.danmu.adapters.driver import Access, AccessFailed, ChatDriver, Pace
from services.danmu.adapters.links import Frame, Server
from services.danmu.adapters.registry import InvalidDescriptor, source
from services.danmu.adapters.source import Heard
from services.danmu.adapters.tiktok import TiktokCodec
from services.danmu.adapters.web import COOKIE, USER_AGENT, cookie_of, fetch_json

WEB_URL: Final = "https://www.tiktok.com"
SOCKET_URL: Final = "wss://webcast-ws.tiktok.com"
HEARTBEAT_S: Final = 10.0
SILENCE_S: Final = 60.0
ON_AIR: Final = 2

_NAME: Final = re.compile(r"[a-zA-Z0-9_.]{1,64}")
_APP: Final = {"aid": "1988", "app_name": "tiktok_web", "app_language": "en", "browser_language": "en-US"}
_ROOM_QUERY: Final = {**_APP, "device_platform": "web_pc", "user_is_login": "false", "sourceType": "54"}
_SOCKET_QUERY: Final = {
    **_APP,
    "version_code": "180800",
    "device_platform": "web",
    "cookie_enabled": "true",
    "screen_width": "1920",
    "screen_height": "1080",
    "browser_platform": "Win32",
    "browser_name": "Mozilla",
    "browser_version": USER_AGENT.partition("/")[2],
    "browser_online": "true",
    "tz_name": "UTC",
    "sup_ws_ds_opt": "1",
    "update_version_code": "2.0.0",
    "compress": "gzip",
    "webcast_language": "en",
    "ws_direct": "1",
    "live_id": "12",
    "client_enter": "1",
    "identity": "audience",
    "history_comment_count": "0",
    "last_rtt": "150",
    "heartbeat_duration": "10000",
    "resp_content_type": "protobuf",
    "did_rule": "3",
}


@source("tiktok")
class TiktokSource(ChatDriver):
    """The chat of one TikTok LIVE room. Descriptor: ``room_id``, the streamer's name without the @."""

    def __init__(  # noqa: PLR0913 - one keyword per thing a deployment or a test may set
        self,
        descriptor: Mapping[str, object],
        session: aiohttp.ClientSession,
        *,
        web_url: str = WEB_URL,
        socket_url: str = SOCKET_URL,
        sign_url: str = "",
        heartbeat_s: float = HEARTBEAT_S,
        silence_s: float = SILENCE_S,
        backoff_initial_s: float = 1.0,
        backoff_max_s: float = 60.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`sign_url`: see the module. Heartbeats are not always answered, so the transport is asked too.

        Raises InvalidDescriptor.
        """
        super().__init__(
            session,
            Pace(
                heartbeat_s,
                silence_s,
                pings=True,
                backoff_initial_s=backoff_initial_s,
                backoff_max_s=backoff_max_s,
                jitter=jitter,
            ),
        )
        name = descriptor.get("room_id")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidDescriptor("tiktok chat needs a room_id, the streamer's name without the @")
        self._name, self._web, self._socket_url = name, URL(web_url), URL(socket_url)
        self._sign = URL(sign_url) if sign_url else None
        self._combos = Combos()

    async def heard(self) -> AsyncIterator[Heard]:
        """See ChatSource. Gifts of which more could have come are told at the end."""
        async with aclosing(super().heard()) as items:  # type: ignore[type-var]
            async for item in items:
                yield item
        if last := list(self._combos.finish()):
            yield last

    async def access(self) -> Access:
        """See ChatDriver."""
        cookies = {"ttwid": await cookie_of(self.session, self._web / "", "ttwid")}
        room = await self._room(cookies)
        url = self._socket_url / "webcast/im/ws_proxy/ws_reuse_supplement/"
        url = url.with_query({**_SOCKET_QUERY, "room_id": str(room)})
        if self._sign is not None:
            url, more = await self._signed(url)
            cookies |= more
        server = Server(url, {"User-Agent": USER_AGENT, "Origin": WEB_URL, "Cookie": _header(cookies)})

        def join() -> tuple[TiktokCodec, list[Frame]]:
            codec = TiktokCodec(room, self._combos)
            return codec, [codec.hello()]

        return Access((server,), join)

    async def _room(self, cookies: Mapping[str, str]) -> int:
        """The number of the broadcast's room. Raises AccessFailed."""
        answer = await fetch_json(
            self.session,
            self._web / "api-live/user/room/",
            params={**_ROOM_QUERY, "uniqueId": self._name},
            headers={"Cookie": _header(cookies), "Referer": f"{WEB_URL}/@{self._name}/live"},
        )
        data = answer.get("data")
        user, live = (data.get("user"), data.get("liveRoom")) if isinstance(data, dict) else (None, None)
        room = str(user.get("roomId") or "") if isinstance(user, dict) else ""
        status = live.get("status") if isinstance(live, dict) else None
        if not (room.isascii() and room.isdecimal() and 0 < int(room[:20]) < 1 << 63) or status != ON_AIR:
            raise AccessFailed(f"the streamer is not on air (status {str(status)[:20]})")
        return int(room[:20])

    async def _signed(self, url: URL) -> tuple[URL, dict[str, str]]:
        """The address with its signature, and cookies that go with it. Raises AccessFailed."""
        assert self._sign is not None
        answer = await fetch_json(self.session, self._sign, params={"url": str(url), "user_agent": USER_AGENT})
        signed, more = answer.get("url"), answer.get("cookies") or {}
        if not isinstance(signed, str) or not isinstance(more, dict) or len(signed) > 16_384:
            raise AccessFailed("the signing service gave no address")
        parsed = URL(signed, encoded=True)
        if (parsed.scheme, parsed.host, parsed.port) != (url.scheme, url.host, url.port):
            raise AccessFailed("the signing service changed the server")
        return parsed, _checked(more)


def _checked(cookies: Mapping[Any, Any]) -> dict[str, str]:
    return {
        str(name)[:64]: value
        for name, value in cookies.items()
        if isinstance(value, str) and COOKIE.fullmatch(value) and _NAME.fullmatch(str(name))
    }


def _header(cookies: Mapping[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies.items())
