"""Joins a Kick channel's chat: asks for the numbers of channel and chatroom, then subscribes at Pusher.

Facts: ``/api/v2/channels/<slug>`` answers ``id`` (the channel) and ``chatroom.id``; the site's key and cluster at Pusher stand
in its pages and have been the same for years. Source: the "Kick WebSocket Channel Guide".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import aiohttp
from yarl import URL

from services.danmu.adapters.driver import Access, AccessFailed, ChatDriver, Pace
from services.danmu.adapters.json_fields import count_at
from services.danmu.adapters.kick import KickCodec
from services.danmu.adapters.links import Frame, Server
from services.danmu.adapters.recent import RecentIds
from services.danmu.adapters.registry import InvalidDescriptor, source
from services.danmu.adapters.web import fetch_json

SITE: Final = "https://kick.com"
PUSHER: Final = "wss://ws-us2.pusher.com/app/32cbd69e4b950bf97679"
PACE: Final = Pace(heartbeat_s=60.0)
_PROTOCOL: Final = {"protocol": "7", "client": "js", "version": "8.4.0", "flash": "false"}
_SLUG: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


@source("kick")
class KickSource(ChatDriver):
    """The chat of one Kick channel. Descriptor: ``slug``; or, known already, ``chatroom_id`` and ``channel_id``."""

    def __init__(
        self,
        descriptor: Mapping[str, object],
        session: aiohttp.ClientSession,
        *,
        site: str = SITE,
        pusher: str = PUSHER,
        pace: Pace = PACE,
    ) -> None:
        """`site` has the channel's numbers, `pusher` is the application's address. Raises InvalidDescriptor."""
        super().__init__(session, pace)
        self._slug = str(descriptor.get("slug", ""))
        self._chatroom, self._channel = (
            count_at(dict(descriptor), "chatroom_id"),
            count_at(dict(descriptor), "channel_id"),
        )
        if not self._chatroom and not _SLUG.fullmatch(self._slug):
            raise InvalidDescriptor("kick chat needs the channel's slug")
        self._site = URL(site)
        self._server = Server(URL(pusher) % _PROTOCOL)
        self._seen = RecentIds()

    async def access(self) -> Access:
        """See ChatDriver. The numbers of a channel never change."""
        if not self._chatroom:
            headers = {"Accept": "application/json"}
            answer = await fetch_json(self.session, self._site / "api/v2/channels" / self._slug, headers=headers)
            self._chatroom, self._channel = count_at(answer, "chatroom", "id"), count_at(answer, "id")
        if not self._chatroom:
            raise AccessFailed("the channel has no chatroom")
        return Access((self._server,), self._join_chatroom)

    def _join_chatroom(self) -> tuple[KickCodec, Sequence[Frame]]:
        """The greeting waits for the server's."""
        return KickCodec(self._chatroom, self._channel, self._seen), []
