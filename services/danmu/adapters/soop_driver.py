"""Joins the chat of a SOOP broadcast: asks the player's API where it is, logs in as a guest, enters the room.

Facts: ``player_live_api.php`` answers a form with ``CHANNEL`` {``RESULT`` 1 = on air, ``CHDOMAIN``, ``CHPT``, ``CHATNO``,
``FTK``}; the chat is at ``wss://<CHDOMAIN>:<CHPT + 1>/Websocket/<channel>`` with the subprotocol "chat", and at ``CHPT``
without TLS ("rust-srec" and the "afreeca" libraries agree). Rooms with a password, and those for adults, are not joined:
both want an account.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import aiohttp
from yarl import URL

from services.danmu.adapters.driver import Access, AccessFailed, ChatDriver, Pace
from services.danmu.adapters.links import Frame, Server
from services.danmu.adapters.registry import InvalidDescriptor, source
from services.danmu.adapters.soop import SoopCodec
from services.danmu.adapters.web import USER_AGENT, fetch_json

LIVE_API: Final = "https://live.sooplive.co.kr"
HEARTBEAT_S: Final = 60.0

_CHANNEL: Final = re.compile(r"[a-zA-Z0-9_]{1,64}")
_FORM: Final = {
    "type": "live",
    "confirm_adult": "false",
    "player_type": "html5",
    "mode": "landing",
    "from_api": "0",
    "pwd": "",
    "stream_type": "common",
    "quality": "HD",
}


@source("soop")
class SoopSource(ChatDriver):
    """The chat of one SOOP channel. Descriptor: ``room_id``, the streamer's account."""

    def __init__(
        self,
        descriptor: Mapping[str, object],
        session: aiohttp.ClientSession,
        *,
        live_api: str = LIVE_API,
        heartbeat_s: float = HEARTBEAT_S,
        backoff_initial_s: float = 1.0,
        backoff_max_s: float = 60.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Nobody says that heartbeats are answered, so the transport is asked with each. Raises InvalidDescriptor."""
        super().__init__(
            session,
            Pace(
                heartbeat_s,
                pings=True,
                backoff_initial_s=backoff_initial_s,
                backoff_max_s=backoff_max_s,
                jitter=jitter,
            ),
        )
        channel = descriptor.get("room_id")
        if not isinstance(channel, str) or not _CHANNEL.fullmatch(channel):
            raise InvalidDescriptor("soop chat needs a room_id, the streamer's account")
        self._channel, self._api = channel, URL(live_api)

    async def access(self) -> Access:
        """See ChatDriver."""
        url = self._api / "afreeca/player_live_api.php"
        form = {**_FORM, "bid": self._channel}
        answer = await fetch_json(self.session, url, params={"bjid": self._channel}, form=form)
        channel = answer.get("CHANNEL")
        if not isinstance(channel, dict) or str(channel.get("RESULT")) != "1":
            result = channel.get("RESULT") if isinstance(channel, dict) else None
            raise AccessFailed(f"the channel has no chat now (result {str(result)[:20]})")
        number, ticket = str(channel.get("CHATNO") or "")[:20], str(channel.get("FTK") or "")
        if not number:
            raise AccessFailed("no chat number in the answer")

        def join() -> tuple[SoopCodec, list[Frame]]:
            codec = SoopCodec(number, ticket)
            return codec, [codec.hello()]

        return Access((self._server(channel),), join)

    def _server(self, channel: Mapping[str, Any]) -> Server:
        host, port = str(channel.get("CHDOMAIN") or "").lower(), str(channel.get("CHPT"))
        if not host or len(host) > 253 or not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) < 65_535):
            raise AccessFailed("no chat server in the answer")
        secure = self._api.scheme == "https"
        url = URL.build(
            scheme="wss" if secure else "ws",
            host=host,
            port=int(port) + secure,
            path=f"/Websocket/{self._channel}",
        )
        return Server(url, {"User-Agent": USER_AGENT}, ("chat",))
