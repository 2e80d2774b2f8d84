"""YouTube's live chat below /youtube: a channel's live page, the chat's page, and the polls.

As the platform does: the page names a key, a client and a continuation for each of two views; each poll must repeat key and
client, takes a continuation once and gives the next. Source of the shapes: captured pages and answers in the test data of
open-source chat readers, and the class documentation of YouTube.js.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from typing import Any

from aiohttp import web

from .platform import Platform

KEY = "AIzaStudio-0123456789"
VERSION = "2.20261101.01.00"
_BADGES = {"owner": "OWNER", "moderator": "MODERATOR", "verified": "VERIFIED"}


class Broadcast:
    """One video's chat: its actions, and which continuations were handed out."""

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.actions: list[dict[str, Any]] = []
        self.open = True
        self.tokens: dict[str, int] = {}
        self.polls = 0
        self.bad_polls = 0


class YoutubeChat(Platform):
    """Rooms are video ids. `timeout_ms`: how long viewers are told to wait; `failing`: so many requests are answered with 503."""

    def __init__(self, timeout_ms: int = 300) -> None:
        super().__init__()
        self.timeout_ms = timeout_ms
        self.failing = 0
        self.broadcasts: dict[str, Broadcast] = {}

    @property
    def site(self) -> str:
        """The base address of pages and polls."""
        return f"{self.url}/youtube"

    def routes(self) -> list[web.RouteDef]:
        """See Platform."""
        return [
            web.get("/youtube/live_chat", self._page),
            web.post("/youtube/youtubei/v1/live_chat/get_live_chat", self._poll),
            web.get("/youtube/{channel:.+}/live", self._live),
        ]

    def put_on_air(self, video: str, channel: str = "@studio") -> None:
        """A broadcast with an empty chat."""
        self.broadcasts[video] = Broadcast(channel)

    async def end(self, video: str) -> None:
        """The broadcast ends: the next poll gets no continuation."""
        self.broadcasts[video].open = False
        await self.tell()

    async def say(self, video: str, text: str, **fields: Any) -> str:
        """A text message; returns its id."""
        return await self.add(video, "liveChatTextMessageRenderer", message={"runs": runs(text)}, **fields)

    async def add(
        self, video: str, renderer: str, *, author: str = "Ann", badges: tuple[str, ...] = (), **fields: Any
    ) -> str:
        """Any item of the chat; returns its id."""
        item_id = "Ch" + secrets.token_urlsafe(16)
        shown: dict[str, Any] = {
            "id": item_id,
            "timestampUsec": str(time.time_ns() // 1000),
            "authorName": {"simpleText": author},
            "authorExternalChannelId": f"UC{author}",
        }
        if badges:
            shown["authorBadges"] = [badge(one) for one in badges]
        await self.act(video, {"addChatItemAction": {"item": {renderer: shown | fields}, "clientId": "x"}})
        return item_id

    async def act(self, video: str, action: dict[str, Any]) -> None:
        """Any action."""
        self.broadcasts[video].actions.append({"clickTrackingParams": "CAEQ", **action})
        await self.tell()

    async def _live(self, request: web.Request) -> web.Response:
        channel = request.match_info["channel"]
        video = next((one for one, cast in self.broadcasts.items() if cast.channel == channel and cast.open), None)
        target = f"https://www.youtube.com/watch?v={video}" if video else f"https://www.youtube.com/{channel}"
        return _html(f'<html><head><link rel="canonical" href="{target}"></head></html>')

    async def _page(self, request: web.Request) -> web.Response:
        if self.failing:
            self.failing -= 1
            return web.Response(status=503)
        cast = self.broadcasts.get(request.query.get("v", ""))
        if "SOCS=" not in request.headers.get("Cookie", ""):
            raise web.HTTPFound("/youtube/consent")
        contents: dict[str, Any] = {"messageRenderer": {"text": {"runs": [{"text": "Chat is disabled."}]}}}
        if cast is not None and cast.open:
            at = max(len(cast.actions) - 20, 0)
            views = [{"continuation": {"reloadContinuationData": {"continuation": _token(cast, at)}}} for _ in range(2)]
            menu = {"sortFilterSubMenuRenderer": {"subMenuItems": views}}
            contents = {
                "liveChatRenderer": {
                    "continuations": [self._continuation(cast, len(cast.actions))],
                    "actions": cast.actions[at:],
                    "header": {"liveChatHeaderRenderer": {"viewSelector": menu}},
                }
            }
        client = {"clientName": "WEB", "clientVersion": VERSION, "visitorData": "CgtTdHVkaW8"}
        config = {"INNERTUBE_API_KEY": KEY, "INNERTUBE_CONTEXT": {"client": client, "user": {}}}
        return _html(
            '<html><script>ytcfg.set({"CLIENT_CANARY_STATE":"none"});</script>'
            f"<script>ytcfg.set({json.dumps(config)});</script>"
            f'<script>window["ytInitialData"] = {json.dumps({"contents": contents})};</script></html>'
        )

    async def _poll(self, request: web.Request) -> web.Response:
        if self.failing:
            self.failing -= 1
            return web.Response(status=503)
        body = await request.json()
        token = body.get("continuation")
        cast = next((one for one in self.broadcasts.values() if token in one.tokens), None)
        if cast is None:
            return web.json_response({"error": {"code": 400}}, status=400)
        client = body.get("context", {}).get("client", {})
        if request.query.get("key") != KEY or client.get("clientVersion") != VERSION:
            cast.bad_polls += 1
            return web.json_response({"error": {"code": 403}}, status=403)
        at = cast.tokens.pop(token)
        cast.polls += 1
        await self.tell()
        if not cast.open and at >= len(cast.actions):
            return web.json_response({"responseContext": {}})
        chat = {"continuations": [self._continuation(cast, len(cast.actions))], "actions": cast.actions[at:]}
        return web.json_response({"continuationContents": {"liveChatContinuation": chat}})

    def _continuation(self, cast: Broadcast, at: int) -> dict[str, Any]:
        data = {"continuation": _token(cast, at), "timeoutMs": self.timeout_ms}
        return {"timedContinuationData": data} if at % 2 else {"invalidationContinuationData": data}


def runs(text: str) -> list[dict[str, Any]]:
    """A text as runs: `:name:` between blanks is a picture of the channel's own."""
    found: list[dict[str, Any]] = []
    for word in text.split(" "):
        if len(word) > 2 and word[0] == word[-1] == ":":
            image = {"thumbnails": [{"url": "//yt3.ggpht.com/small"}, {"url": "//yt3.ggpht.com/large"}]}
            emoji = {"emojiId": f"UC/{word}", "shortcuts": [word], "isCustomEmoji": True, "image": image}
            found.append({"emoji": emoji})
        else:
            found.append({"text": word})
        found.append({"text": " "})
    return found[:-1]


def badge(name: str) -> dict[str, Any]:
    """An author's badge: one of the site's, or a member's with this tooltip."""
    look: dict[str, Any] = {"tooltip": name}
    look |= {"icon": {"iconType": _BADGES[name]}} if name in _BADGES else {"customThumbnail": {"thumbnails": []}}
    return {"liveChatAuthorBadgeRenderer": look}


def _token(cast: Broadcast, at: int) -> str:
    token = base64.urlsafe_b64encode(secrets.token_bytes(24) + at.to_bytes(4, "big")).decode()
    cast.tokens[token] = at
    return token


def _html(text: str) -> web.Response:
    return web.Response(text=text, content_type="text/html")
