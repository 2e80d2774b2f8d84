"""What has to be asked of Bilibili's web API before its chat can be joined.

Sources: bilibili-API-collect, pages "live/message_stream" (getDanmuInfo: WBI signature, ``token``, ``host_list``),
"login/login_info" (nav: ``wbi_img``, ``mid``) and "live/info" (room_init: short room number to real one); the cookie
``buvid3`` of a visitor is made up by other recorders too, the service only wants one.
"""

from __future__ import annotations

import json
import random
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import structlog
from chassis import wbi
from chassis.accounts import Login
from chassis.egress import RefusedAddress, read_bounded
from yarl import URL

from services.danmu.adapters.driver import AccessFailed

log = structlog.get_logger(__name__)

LIVE_API: Final = "https://api.live.bilibili.com"
MAIN_API: Final = "https://api.bilibili.com"
WEB_LOCATION: Final = "444.8"
MAX_ANSWER_BYTES: Final = 1 << 20
MAX_HOSTS: Final = 16

_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)
BROWSER: Final = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Referer": "https://live.bilibili.com/",
    "Origin": "https://live.bilibili.com",
}
_SIGNATURE_REFUSED: Final = -352


class ApiError(AccessFailed):
    """The API could not be asked, or its answer is of no use."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class ChatServer:
    """One entry of ``host_list``."""

    host: str
    ws_port: int
    wss_port: int


FALLBACK_SERVER: Final = ChatServer("broadcastlv.chat.bilibili.com", 2244, 443)


@dataclass(frozen=True, slots=True)
class ChatAccess:
    """What joining a room takes. `uid` 0 = guest."""

    room_id: int
    uid: int
    token: str
    servers: tuple[ChatServer, ...]


@dataclass(frozen=True, slots=True)
class _Nav:
    key: str
    uid: int
    expires: float


def visitor_id() -> str:
    """A ``buvid3`` as browsers carry it: an upper-case UUID, five digits, "infoc"."""
    return f"{str(uuid.uuid4()).upper()}{random.randrange(100_000):05d}infoc"


class BilibiliApi:
    """The three calls, with one visitor's cookies or an account's. The signing key is kept for two hours."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        *,
        live_api: str = LIVE_API,
        main_api: str = MAIN_API,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._session = session
        self._live = URL(live_api)
        self._main = URL(main_api)
        self._clock = clock
        self._nav: _Nav | None = None
        self._room: tuple[int, int] | None = None
        self._visitor = visitor_id()
        self._login = Login()

    def sign_in(self, login: Login) -> None:
        """Ask with an account from now on, or without one again; its cookies go to its own domains and to nobody else."""
        if login != self._login:
            self._login, self._nav = login, None

    @property
    def visitor(self) -> str:
        """The ``buvid3`` that the API knows us by."""
        return self._cookies(self._main)["buvid3"]

    @property
    def secure(self) -> bool:
        """Whether chat servers are to be reached through TLS: an API on plain HTTP is a local one."""
        return self._live.scheme == "https"

    def _cookies(self, url: URL) -> dict[str, str]:
        return {"buvid3": self._visitor, **self._login.cookies_for(url.raw_host or "")}

    def _headers(self, url: URL) -> dict[str, str]:
        """What a browser on the room's page sends, with the cookies that a host may see."""
        return {**BROWSER, "Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies(url).items())}

    async def access(self, room_id: int) -> ChatAccess:
        """Ask where the chat of a room is and for a token. Raises ApiError."""
        room = await self._real_room(room_id)
        nav = await self._current_nav()
        try:
            data = await self._danmu_info(room, nav)
        except ApiError as error:
            if error.code != _SIGNATURE_REFUSED:
                raise
            # The site changed its key before ours had expired.
            self._nav = None
            nav = await self._current_nav()
            data = await self._danmu_info(room, nav)
        return ChatAccess(room, nav.uid, _token(data), _servers(data))

    def fallback(self, room_id: int) -> ChatAccess | None:
        """The well-known server without a token, for when the real API does not answer; None beside another API."""
        if self._live != URL(LIVE_API):
            return None
        return ChatAccess(self._room[1] if self._room else room_id, 0, "", (FALLBACK_SERVER,))

    async def _danmu_info(self, room_id: int, nav: _Nav) -> dict[str, Any]:
        params = wbi.sign({"id": room_id, "type": 0, "web_location": WEB_LOCATION}, nav.key, int(self._clock()))
        url = self._live / "xlive/web-room/v1/index/getDanmuInfo"
        return _data(await self._get(url, params), "getDanmuInfo")

    async def _real_room(self, room_id: int) -> int:
        """The number in a room's address may be a short one; a room that this call does not know keeps its number."""
        if self._room is None or self._room[0] != room_id:
            try:
                answer = await self._get(self._live / "room/v1/Room/room_init", {"id": str(room_id)})
                real = _data(answer, "room_init").get("room_id")
            except ApiError:
                return room_id
            self._room = (room_id, real if isinstance(real, int) and real > 0 else room_id)
        return self._room[1]

    async def _current_nav(self) -> _Nav:
        """The signing key and who is signed in; the key is in the answer to guests (code -101) too."""
        if self._nav is None or self._nav.expires <= self._clock():
            data: Any = (await self._get(self._main / "x/web-interface/nav", {})).get("data")
            try:
                key = wbi.mixin_key(data["wbi_img"]["img_url"], data["wbi_img"]["sub_url"])
            except (TypeError, KeyError, AttributeError, wbi.InvalidKey):
                raise ApiError("nav: no signing key in the answer") from None
            signed_in = "SESSDATA" in self._cookies(self._main)
            if signed_in and not data.get("isLogin"):
                log.warning(
                    "chat.login_not_accepted", kind="bilibili", next="a visitor until the credential is renewed"
                )
            uid = data.get("mid") if data.get("isLogin") and signed_in else 0
            self._nav = _Nav(key, uid if isinstance(uid, int) else 0, self._clock() + wbi.KEY_TTL_S)
        return self._nav

    async def _get(self, url: URL, params: Mapping[str, str]) -> dict[str, Any]:
        name = url.name
        try:
            async with self._session.get(
                url, params=params, headers=self._headers(url), timeout=_TIMEOUT, allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise ApiError(f"{name}: HTTP {response.status}")
                answer = json.loads(await read_bounded(response, MAX_ANSWER_BYTES))
        except (aiohttp.ClientError, OSError, ValueError, RecursionError) as error:
            refused = f": {error}" if isinstance(error, RefusedAddress) else ""
            raise ApiError(f"{name}: {type(error).__name__}{refused}") from error
        if not isinstance(answer, dict):
            raise ApiError(f"{name}: the answer is no JSON object")
        return answer


def _data(answer: dict[str, Any], name: str) -> dict[str, Any]:
    code = answer.get("code")
    data = answer.get("data")
    if code != 0 or not isinstance(data, dict):
        raise ApiError(f"{name}: code {code}", code if isinstance(code, int) else 0)
    return data


def _token(data: dict[str, Any]) -> str:
    """A refused signature also shows as code 0 with a ``v_voucher`` in place of the token."""
    token = data.get("token")
    if not isinstance(token, str):
        raise ApiError("getDanmuInfo: no token in the answer", _SIGNATURE_REFUSED)
    return token


def _servers(data: dict[str, Any]) -> tuple[ChatServer, ...]:
    entries = data.get("host_list")
    servers = [server for entry in (entries if isinstance(entries, list) else []) if (server := _server(entry))]
    if not servers:
        raise ApiError("getDanmuInfo: no chat server in the answer")
    return tuple(dict.fromkeys(servers))[:MAX_HOSTS]


def _server(entry: object) -> ChatServer | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("host"), str) or not entry["host"]:
        return None
    return ChatServer(entry["host"], _port(entry.get("ws_port")), _port(entry.get("wss_port"), 443))


def _port(value: object, default: int = 80) -> int:
    return value if isinstance(value, int) and 0 < value < 65_536 else default
