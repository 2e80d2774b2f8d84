"""Joins the chat of a TwitCasting broadcast: asks for the running movie, then for its event stream.

Facts: ``GET frontendapi.twitcasting.tv/users/<user>/latest-movie`` answers ``movie.id`` and ``movie.is_on_live``; ``POST
twitcasting.tv/eventpubsuburl.php`` with ``movie_id`` answers ``url``, a WebSocket with a token of its own. Source:
"Twicasのチャット取得" (qiita.com, pasta04).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import aiohttp
from yarl import URL

from services.danmu.adapters.driver import Access, AccessFailed, ChatDriver, Pace
from services.danmu.adapters.json_fields import count_at, dig, text_at
from services.danmu.adapters.links import Frame, Server
from services.danmu.adapters.recent import Backlog
from services.danmu.adapters.registry import InvalidDescriptor, source
from services.danmu.adapters.twitcasting import TwitcastingCodec
from services.danmu.adapters.web import fetch_json

SITE: Final = "https://twitcasting.tv"
FRONTEND: Final = "https://frontendapi.twitcasting.tv"
PACE: Final = Pace(heartbeat_s=30.0, pings=True)
MAX_URL: Final = 4096
_USER: Final = re.compile(r"(?:[a-z]:)?[A-Za-z0-9_-]{1,64}")


@source("twitcasting")
class TwitcastingSource(ChatDriver):
    """The chat of one TwitCasting user. Descriptor: ``user``, as in the address of the page (``name``, ``c:name``, …)."""

    awaits_welcome = False

    def __init__(
        self,
        descriptor: Mapping[str, object],
        session: aiohttp.ClientSession,
        *,
        site: str = SITE,
        frontend: str = FRONTEND,
        pace: Pace = PACE,
    ) -> None:
        """`site` hands out the event stream's address, `frontend` knows the movies. Raises InvalidDescriptor."""
        super().__init__(session, pace)
        self._user = str(descriptor.get("user", ""))
        if not _USER.fullmatch(self._user):
            raise InvalidDescriptor("twitcasting chat needs the user")
        self._site, self._frontend = URL(site), URL(frontend)
        self._seen = Backlog()

    async def access(self) -> Access:
        """See ChatDriver. Asked each time: a new broadcast is a new movie."""
        answer = await fetch_json(self.session, self._frontend / "users" / self._user / "latest-movie")
        movie = count_at(answer, "movie", "id")
        if not movie or dig(answer, "movie", "is_on_live") is not True:
            raise AccessFailed("the user is not on air")
        form = {"movie_id": str(movie), "password": ""}
        headers = {"Origin": str(self._site.origin()), "Referer": str(self._site / self._user)}
        events = await fetch_json(self.session, self._site / "eventpubsuburl.php", form=form, headers=headers)
        url = text_at(events, "url", limit=MAX_URL)
        if not url.startswith(("wss://", "ws://")):
            raise AccessFailed("the broadcast has no event stream, or it asks for a password")
        return Access((Server(URL(url, encoded=True)),), self._join_movie)

    def _join_movie(self) -> tuple[TwitcastingCodec, Sequence[Frame]]:
        return TwitcastingCodec(self._seen), []
