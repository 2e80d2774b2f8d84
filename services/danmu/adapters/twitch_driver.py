"""Joins a Twitch channel's chat as an anonymous visitor.

Facts: the server is ``irc-ws.chat.twitch.tv``, port 443, over TLS; without an account one may read with a nickname made of
``justinfan`` and digits (Twitch developer documentation, "Twitch IRC Concepts", and what every reader of it does).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Final

import aiohttp
from yarl import URL

from services.danmu.adapters.driver import Access, ChatDriver, Pace
from services.danmu.adapters.links import Frame, Server
from services.danmu.adapters.registry import InvalidDescriptor, source
from services.danmu.adapters.twitch import TwitchCodec, is_login

IRC: Final = "wss://irc-ws.chat.twitch.tv:443"
PACE: Final = Pace(heartbeat_s=60.0)
_VISITORS: Final = 80_000


@source("twitch")
class TwitchSource(ChatDriver):
    """The chat of one Twitch channel. Descriptor: ``channel``, its login name."""

    def __init__(
        self,
        descriptor: Mapping[str, object],
        session: aiohttp.ClientSession,
        *,
        irc: str = IRC,
        pace: Pace = PACE,
    ) -> None:
        """`irc` is the server's address. Raises InvalidDescriptor."""
        super().__init__(session, pace)
        channel = str(descriptor.get("channel", "")).lower()
        if not is_login(channel):
            raise InvalidDescriptor("twitch chat needs the channel's login name")
        self._channel = channel
        self._server = Server(URL(irc))

    async def access(self) -> Access:
        """See ChatDriver."""
        return Access((self._server,), self._join_as_visitor)

    def _join_as_visitor(self) -> tuple[TwitchCodec, Sequence[Frame]]:
        codec = TwitchCodec()
        return codec, codec.hello(self._channel, 1000 + random.randrange(_VISITORS))
