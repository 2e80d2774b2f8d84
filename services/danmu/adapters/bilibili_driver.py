"""Joins a Bilibili room's chat: asks where it is and for a token, and authenticates.

Facts: the authentication is due within 5 s of connecting, a heartbeat every 30 s, each of which the server answers
(bilibili-API-collect, page "live/message_stream"); chat servers are listed in order of preference.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import aiohttp
from yarl import URL

from services.danmu.adapters.accounts import LoginOf
from services.danmu.adapters.bilibili import BilibiliCodec
from services.danmu.adapters.bilibili_api import (
    BROWSER,
    LIVE_API,
    MAIN_API,
    ApiError,
    BilibiliApi,
    ChatAccess,
    ChatServer,
)
from services.danmu.adapters.driver import Access, ChatDriver, Pace
from services.danmu.adapters.links import Frame, Server
from services.danmu.adapters.registry import InvalidDescriptor, source

HEARTBEAT_S: Final = 30.0
MAX_API: Final = 2000
"""Characters of an address."""


@source("bilibili")
class BilibiliSource(ChatDriver):
    """The chat of one Bilibili room. Descriptor: ``room_id``, a positive number or its digits, short ones are fine; ``api``."""

    def __init__(  # noqa: PLR0913 - one keyword per thing a deployment or a test may set
        self,
        descriptor: Mapping[str, object],
        session: aiohttp.ClientSession,
        *,
        live_api: str = "",
        main_api: str = MAIN_API,
        account: LoginOf | None = None,
        heartbeat_s: float = HEARTBEAT_S,
        backoff_initial_s: float = 1.0,
        backoff_max_s: float = 60.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`live_api` is by default the one that the monitor asked, which the descriptor names as ``api``.

        `account` gives the login to join with, of which the cookies count (SESSDATA, buvid3); visitors may see masked names.
        `jitter` gives numbers in [0, 1).

        Raises InvalidDescriptor.
        """
        pace = Pace(heartbeat_s, backoff_initial_s=backoff_initial_s, backoff_max_s=backoff_max_s, jitter=jitter)
        super().__init__(session, pace)
        self._room_id = _room_id(descriptor)
        self._api = BilibiliApi(session, live_api=live_api or _api_of(descriptor), main_api=main_api)
        self._account = account

    async def access(self) -> Access:
        """See ChatDriver."""
        if self._account is not None:
            self._api.sign_in(await self._account())
        try:
            access = await self._api.access(self._room_id)
        except ApiError:
            fallback = self._api.fallback(self._room_id)
            if fallback is None:
                raise
            access = fallback

        def join() -> tuple[BilibiliCodec, Sequence[Frame]]:
            codec = BilibiliCodec()
            buvid = self._api.visitor
            return codec, [codec.hello(access.room_id, uid=access.uid, token=access.token, buvid=buvid)]

        return Access(self._servers(access), join)

    def _servers(self, access: ChatAccess) -> tuple[Server, ...]:
        """No cookie goes there: the token stands for the visitor, and the servers' names come out of an answer."""
        return tuple(Server(self._url(server), BROWSER) for server in access.servers)

    def _url(self, server: ChatServer) -> URL:
        secure = self._api.secure
        port = server.wss_port if secure else server.ws_port
        return URL.build(scheme="wss" if secure else "ws", host=server.host, port=port, path="/sub")


def _room_id(descriptor: Mapping[str, object]) -> int:
    value = descriptor.get("room_id")
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and int(text) > 0):
        raise InvalidDescriptor("bilibili chat needs a room_id, a positive number")
    return int(text)


def _api_of(descriptor: Mapping[str, object]) -> str:
    value = descriptor.get("api") or LIVE_API
    if not isinstance(value, str) or len(value) > MAX_API or not value.startswith(("http://", "https://")):
        raise InvalidDescriptor("the api of a bilibili chat is an http(s) address")
    return value
