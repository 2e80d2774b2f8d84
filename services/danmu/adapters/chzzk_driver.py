"""Joins the chat of a CHZZK channel: asks which chat channel is on air, for a visitor's token, and connects.

Facts: ``/polling/v2/channels/<id>/live-status`` answers ``content`` {``status`` "OPEN" or "CLOSE", ``chatChannelId``};
``/nng_main/v1/chats/access-token`` gives a visitor ``content.accessToken``; the server is one of nine, chosen by the chat
channel ("kimcore/chzzk"). Broadcasts for adults have no chat channel for visitors.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import aiohttp
from yarl import URL

from services.danmu.adapters.chzzk import ChzzkCodec, chat_server
from services.danmu.adapters.driver import Access, AccessFailed, ChatDriver, Pace
from services.danmu.adapters.links import Frame, Server
from services.danmu.adapters.registry import InvalidDescriptor, source
from services.danmu.adapters.web import USER_AGENT, fetch_json

LIVE_API: Final = "https://api.chzzk.naver.com"
GAME_API: Final = "https://comm-api.game.naver.com"
CHAT_SERVERS: Final = "wss://kr-ss{server}.chat.naver.com/chat"
HEARTBEAT_S: Final = 20.0

_CHANNEL: Final = re.compile(r"[0-9a-f]{32}")
_CHAT_CHANNEL: Final = re.compile(r"[\x21-\x7e]{1,64}")
_BROWSER: Final = {"User-Agent": USER_AGENT, "Origin": "https://chzzk.naver.com"}


@source("chzzk")
class ChzzkSource(ChatDriver):
    """The chat of one CHZZK channel. Descriptor: ``room_id``, the 32 hexadecimal digits of the channel."""

    def __init__(  # noqa: PLR0913 - one keyword per thing a deployment or a test may set
        self,
        descriptor: Mapping[str, object],
        session: aiohttp.ClientSession,
        *,
        live_api: str = LIVE_API,
        game_api: str = GAME_API,
        chat_servers: str = CHAT_SERVERS,
        heartbeat_s: float = HEARTBEAT_S,
        backoff_initial_s: float = 1.0,
        backoff_max_s: float = 60.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`chat_servers` is an address in which ``{server}`` stands for the number. Raises InvalidDescriptor."""
        super().__init__(
            session,
            Pace(heartbeat_s, backoff_initial_s=backoff_initial_s, backoff_max_s=backoff_max_s, jitter=jitter),
        )
        channel = descriptor.get("room_id")
        if not isinstance(channel, str) or not _CHANNEL.fullmatch(channel):
            raise InvalidDescriptor("chzzk chat needs a room_id, the 32 hexadecimal digits of a channel")
        self._channel, self._live, self._game, self._servers = channel, URL(live_api), URL(game_api), chat_servers

    async def access(self) -> Access:
        """See ChatDriver."""
        status = await self._content(self._live / f"polling/v2/channels/{self._channel}/live-status")
        chat_channel = status.get("chatChannelId")
        if not isinstance(chat_channel, str) or not _CHAT_CHANNEL.fullmatch(chat_channel):
            raise AccessFailed(f"the channel has no chat now (status {str(status.get('status'))[:20]})")
        query = {"channelId": chat_channel, "chatType": "STREAMING"}
        token = (await self._content(self._game / "nng_main/v1/chats/access-token", query)).get("accessToken")
        if not isinstance(token, str) or not token:
            raise AccessFailed("access-token: no token in the answer")

        def join() -> tuple[ChzzkCodec, list[Frame]]:
            codec = ChzzkCodec(chat_channel, token)
            return codec, [codec.hello()]

        address = self._servers.replace("{server}", str(chat_server(chat_channel)))
        return Access((Server(URL(address), _BROWSER),), join)

    async def _content(self, url: URL, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        """What the platform's envelope holds. Raises AccessFailed."""
        content = (await fetch_json(self.session, url, params=params, headers=_BROWSER)).get("content")
        if not isinstance(content, dict):
            raise AccessFailed(f"{url.name}: no content in the answer")
        return content
