"""Joins the chat of a Bigo Live broadcast as the visitor that the site makes of everybody.

Facts: ``studio/getInternalStudioInfo?siteId=`` names the broadcast's room, ``studio/getWebSocketLink`` gives the account for a made-up
device (open-source recorders and clients of the platform). The first wants a token that the page computes where the stream's address
is asked for too; for the room it is asked without. The monitor names the room as ``live_id`` where it has it already.
"""

from __future__ import annotations

import random
import re
import secrets
import string
from collections.abc import Mapping, Sequence
from typing import Any, Final

import aiohttp
from yarl import URL

from services.danmu.adapters.bigo import BigoCodec, Visitor
from services.danmu.adapters.codec import now_ms
from services.danmu.adapters.driver import Access, AccessFailed, ChatDriver, Pace
from services.danmu.adapters.links import Frame, Server
from services.danmu.adapters.registry import InvalidDescriptor, source
from services.danmu.adapters.web import USER_AGENT, fetch_json

SERVERS: Final = "wss://wss.bigolive.tv/live/official/web"
API: Final = "https://ta.bigo.tv"
PAGE: Final = "https://www.bigo.tv"
HEARTBEAT_S: Final = 10.0
SILENCE_S: Final = 60.0

_SITE: Final = re.compile(r"[0-9A-Za-z_.-]{1,64}")
_ROOM: Final = re.compile(r"[1-9][0-9]{0,19}")
_TOKEN: Final = re.compile(r"[!-~]{1,4096}")
_VERSION_MARK: Final = "###VER2"


@source("bigo")
class BigoSource(ChatDriver):
    """The chat of one Bigo broadcaster. Descriptor: ``room_id``, the name in the address; ``live_id``, the room, where it is known."""

    def __init__(
        self,
        descriptor: Mapping[str, object],
        session: aiohttp.ClientSession,
        *,
        servers: str = SERVERS,
        api: str = API,
        pace: Pace | None = None,
    ) -> None:
        """`servers`: comma separated ``ws(s)://``; `api`: the site's HTTP API. Raises InvalidDescriptor."""
        super().__init__(session, pace or Pace(HEARTBEAT_S, SILENCE_S))
        site, room = str(descriptor.get("room_id", "")), str(descriptor.get("live_id", ""))
        if not _SITE.fullmatch(site):
            raise InvalidDescriptor("bigo chat needs a room_id, the broadcaster's name in the address")
        self._site, self._known = site, room if _ROOM.fullmatch(room) else ""
        self._servers = tuple(
            Server(URL(one.strip()), {"Origin": PAGE, "User-Agent": USER_AGENT})
            for one in servers.split(",")
            if one.strip()
        )
        self._api = URL(api) / "official_website/studio"

    async def access(self) -> Access:
        """See ChatDriver. A room the monitor named is tried once; each connection is a new visitor's."""
        room, self._known = self._known or await self._room(), ""
        visitor = await self._visitor()

        def join() -> tuple[BigoCodec, Sequence[Frame]]:
            return BigoCodec(room, visitor), []  # the server speaks first

        return Access(self._servers, join)

    async def _room(self) -> str:
        data = _data(
            await fetch_json(
                self.session, self._api / "getInternalStudioInfo", form={"siteId": self._site, "verify": ""}
            ),
            "getInternalStudioInfo",
        )
        room = str(data.get("roomId") or "")
        if not _ROOM.fullmatch(room):
            raise AccessFailed("the broadcaster is not on air")
        return room

    async def _visitor(self) -> Visitor:
        device = _device()
        answer = await fetch_json(self.session, self._api / "getWebSocketLink", form={"deviceId": device})
        data = _data(answer, "getWebSocketLink")
        uid, token = str(data.get("userId", "")), str(data.get("uidToken", "")).replace(_VERSION_MARK, "")
        if not _ROOM.fullmatch(uid) or not _TOKEN.fullmatch(token):
            raise AccessFailed("getWebSocketLink: no visitor in the answer")
        return Visitor(uid, token, device)


def _data(answer: dict[str, Any], name: str) -> dict[str, Any]:
    data = answer.get("data")
    if answer.get("code") != 0 or not isinstance(data, dict):
        raise AccessFailed(f"{name}: code {str(answer.get('code'))[:20]}")
    return data


def _device() -> str:
    """As the page names a browser: a fingerprint, six characters, the time."""
    tag = "".join(random.choices(string.ascii_letters + string.digits, k=6))
    return f"web_{secrets.token_hex(16)}_{tag}_{now_ms()}"
