"""Bilibili's public web endpoints: signed requests, their answers as checked JSON, their error codes as typed errors.

Source of paths, parameters and codes: the public web client, documented in the bilibili-API-collect project (docs/live).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
from chassis.egress import RefusedAddress, ResponseTooLarge, read_bounded
from chassis.wbi import mixin_key, signed_query
from yarl import URL

from services.monitor.adapters.platform import ChannelNotFound, ProbeFailed, UnsupportedUrl, limited

Json = dict[str, Any]

USER_AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"
)
HEADERS = {"User-Agent": USER_AGENT, "Referer": "https://live.bilibili.com/"}
ANSWER_LIMIT = 2 * 1024 * 1024
KEY_SECONDS = 2 * 3600
"""The key changes about daily; recorders renew it every two hours."""

_NO_SUCH_ROOM = {1, 60004, 19002000, 19002003}
_KEY_OR_DEVICE_REJECTED = {-352, -403}
_TOO_MANY_REQUESTS = {-412, -509, -799}


class BilibiliApi:
    """`api` serves live rooms, `nav` the account endpoints that hand out the signing key and a device id."""

    def __init__(
        self, api: str, nav: str, *, timeout_seconds: float = 20.0, clock: Callable[[], float] = time.time
    ) -> None:
        self.api = api.rstrip("/")
        self._nav = nav.rstrip("/")
        self._timeout_s = timeout_seconds
        self._clock = clock
        self._key = ""
        self._key_expires = 0.0
        self._device: dict[str, str] = {}
        self._renewal = asyncio.Lock()

    async def room_init(self, session: aiohttp.ClientSession, room: str) -> Json:
        """The real room behind a number that may be a short one: `room_id`, `is_locked`, `encrypted`, …"""
        return await self._data(session, URL(f"{self.api}/room/v1/Room/room_init").with_query(id=room))

    async def room_info(self, session: aiohttp.ClientSession, room_id: int) -> Json:
        """`room_info` and `anchor_info` of a real room."""
        return await self._signed(
            session,
            f"{self.api}/xlive/web-room/v1/index/getInfoByRoom",
            {"room_id": str(room_id), "web_location": "444.8"},
        )

    async def play_info(self, session: aiohttp.ClientSession, room_id: int, quality: int) -> Json:
        """`playurl_info` of a real room at the best quality up to the wanted one: FLV and HLS, AVC and HEVC."""
        params = {
            "room_id": str(room_id),
            "protocol": "0,1",
            "format": "0,1,2",
            "codec": "0,1",
            "qn": str(quality),
            "platform": "html5",
            "dolby": "5",
            "web_location": "444.8",
        }
        return await self._signed(session, f"{self.api}/xlive/web-room/v2/index/getRoomPlayInfo", params)

    async def redirect_target(self, session: aiohttp.ClientSession, url: str) -> str:
        """Where a short link leads."""
        try:
            async with session.get(url, headers=HEADERS, timeout=limited(session, self._timeout_s)) as response:
                return str(response.url)
        except RefusedAddress as error:
            raise UnsupportedUrl(str(error)) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ProbeFailed(f"the short link could not be followed: {type(error).__name__}") from error

    async def _signed(self, session: aiohttp.ClientSession, endpoint: str, params: Mapping[str, str]) -> Json:
        for attempt in (1, 2):
            key = await self._current_key(session)
            url = URL(f"{endpoint}?{signed_query(params, key, int(self._clock()))}", encoded=True)
            answer = await self._get(session, url)
            if answer["code"] in _KEY_OR_DEVICE_REJECTED and attempt == 1:
                self._key_expires = 0.0  # the platform renewed its key before we did
                continue
            break
        return _data_of(answer)

    async def _current_key(self, session: aiohttp.ClientSession) -> str:
        async with self._renewal:
            if self._clock() >= self._key_expires:
                # Answers -101 without a login, and carries the key all the same.
                nav = await self._get(session, URL(f"{self._nav}/x/web-interface/nav"))
                try:
                    images = nav["data"]["wbi_img"]
                    self._key = mixin_key(images["img_url"], images["sub_url"])
                except (KeyError, TypeError, ValueError, AttributeError) as error:
                    raise ProbeFailed(f"Bilibili handed out no signing key (code {nav['code']})") from error
                self._device = await self._new_device(session)
                self._key_expires = self._clock() + KEY_SECONDS
            return self._key

    async def _new_device(self, session: aiohttp.ClientSession) -> dict[str, str]:
        """The cookie by which the web client tells browsers apart; without it anonymous requests meet -352."""
        try:
            answer = await self._get(session, URL(f"{self._nav}/x/frontend/finger/spi"))
            return {"buvid3": str(_data_of(answer)["b_3"])}
        except (ProbeFailed, ChannelNotFound, KeyError):
            return {}  # only an improvement: the request itself will tell

    async def _data(self, session: aiohttp.ClientSession, url: URL) -> Json:
        return _data_of(await self._get(session, url))

    async def _get(self, session: aiohttp.ClientSession, url: URL) -> Json:
        own = session.cookie_jar.filter_cookies(url)
        device = {name: value for name, value in self._device.items() if name not in own}
        timeout = limited(session, self._timeout_s)
        try:
            async with session.get(url, headers=HEADERS, cookies=device, timeout=timeout) as response:
                if response.status in (412, 429):
                    raise ProbeFailed(f"Bilibili asks us to slow down (HTTP {response.status})", retry_after=60.0)
                if response.status != 200:
                    raise ProbeFailed(f"Bilibili answered with HTTP {response.status}")
                answer = json.loads(await read_bounded(response, ANSWER_LIMIT))
        except RefusedAddress as error:
            raise UnsupportedUrl(str(error)) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ProbeFailed(f"Bilibili could not be reached: {type(error).__name__}") from error
        except (ResponseTooLarge, ValueError, RecursionError) as error:
            raise ProbeFailed("Bilibili answered with something that is not its JSON") from error
        if not isinstance(answer, dict) or not isinstance(answer.get("code"), int):
            raise ProbeFailed("Bilibili answered without a code")
        return answer


def _data_of(answer: Json) -> Json:
    code = answer["code"]
    if code in _NO_SUCH_ROOM:
        raise ChannelNotFound("Bilibili has no such room")
    if code in _TOO_MANY_REQUESTS:
        raise ProbeFailed(f"Bilibili asks us to slow down (code {code})", retry_after=60.0)
    if code != 0 or not isinstance(answer.get("data"), dict):
        raise ProbeFailed(f"Bilibili refused the request: code {code} {str(answer.get('message', ''))[:100]}")
    data: Json = answer["data"]
    return data
