"""TwitCasting below /twitcasting: the latest movie, the event stream's address, and the stream.

As the platform does: the address carries a token that is good for one connection, a new connection gets the last comments
again, and empty arrays keep it busy. Source: "Twicasのチャット取得" (qiita.com, pasta04) and gifts that viewers recorded.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from typing import Any

from aiohttp import web

from .platform import Platform, Socket

_REPEATED = 5


class TwitcastingChat(Platform):
    """Rooms are movies. `busy_s`: how often an empty array is sent."""

    def __init__(self, busy_s: float = 5.0) -> None:
        super().__init__()
        self.busy_s = busy_s
        self.movies: dict[str, int] = {}
        self.forms: list[dict[str, str]] = []
        self._tokens: dict[str, str] = {}
        self._said: dict[str, list[dict[str, Any]]] = {}

    @property
    def site(self) -> str:
        """The base address of the site, and of the API beside it."""
        return f"{self.url}/twitcasting"

    def routes(self) -> list[web.RouteDef]:
        """See Platform."""
        return [
            web.get("/twitcasting/users/{user}/latest-movie", self._latest),
            web.post("/twitcasting/eventpubsuburl.php", self._address),
            web.get("/twitcasting/event.pubsub/v1/streams/{movie}/events", self._serve),
        ]

    def put_on_air(self, user: str, movie: int) -> None:
        """The user's running movie; 0: none."""
        self.movies[user] = movie

    async def say(self, movie: int, text: str, *, user: str = "Ann", uid: str = "c:ann") -> int:
        """A comment; returns its id."""
        comment_id = secrets.randbelow(10**10)
        author = {"id": uid, "name": user, "screenName": uid, "profileImage": "https://i/p.png", "grade": 3}
        await self.emit(
            movie, {"type": "comment", "id": comment_id, "message": text, "author": author, "numComments": 1}
        )
        return comment_id

    async def give(self, movie: int, name: str, text: str = "") -> str:
        """A gift; returns its id."""
        gift_id = secrets.token_hex(8)
        item = {
            "name": name,
            "image": "https://i/tea.png",
            "detailImage": "",
            "effectCommand": "",
            "showsSenderInfo": True,
        }
        sender = {"id": "bob", "name": "Bob", "screenName": "bob", "profileImage": "", "grade": 1}
        gift = {"type": "gift", "id": gift_id, "message": "(+1)", "plainMessage": text, "item": item, "sender": sender}
        await self.emit(movie, gift | {"isForMovie": False, "isPaidGift": True})
        return gift_id

    async def emit(self, movie: int, event: dict[str, Any]) -> None:
        """Any event."""
        event = {"createdAt": time.time_ns() // 1_000_000, **event}
        self._said.setdefault(str(movie), []).append(event)
        await self.send(str(movie), json.dumps([event]))

    async def _latest(self, request: web.Request) -> web.Response:
        movie = self.movies.get(request.match_info["user"])
        if movie is None:
            return web.json_response({"error": {"code": 404}}, status=404)
        return web.json_response({"update_interval_sec": 4, "movie": {"id": movie or 1, "is_on_live": bool(movie)}})

    async def _address(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.forms.append(form)
        token = secrets.token_urlsafe(24)
        self._tokens[token] = form.get("movie_id", "")
        path = f"/twitcasting/event.pubsub/v1/streams/{form.get('movie_id')}/events?token={token}&n=5f%2B1"
        return web.json_response({"url": self.ws_url + path})

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        movie = request.match_info["movie"]
        if self._tokens.pop(request.query.get("token", ""), None) != movie:
            raise web.HTTPForbidden
        async with self.visitor(request) as socket:
            last = self._said.get(movie, [])[-_REPEATED:]
            await socket.send(json.dumps(last))
            busy = asyncio.create_task(self._keep_busy(socket))
            await self.joined(movie, socket)
            try:
                async for _ in socket.texts():
                    pass
            finally:
                busy.cancel()
        return socket.socket

    async def _keep_busy(self, socket: Socket) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await asyncio.sleep(self.busy_s)
                await socket.send("[]")
