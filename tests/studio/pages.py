"""Pages as a site has them that no recorder was written for: yt-dlp's generic extractor reads them, and nobody else does.

``/page/{room}`` describes the room's broadcast as schema.org does (a `VideoObject` in JSON-LD) while it is on air, and shows nothing
off air; with ``?keeps`` it goes on naming the playlist of the broadcast that was. ``?player`` shows a video element instead of a description.
``/page/{room}/{behaviour}`` misbehaves: `garbage`, `hang`, `huge`, `away` (redirects to ``?to=``).
"""

from __future__ import annotations

import asyncio
import html
import json
from collections.abc import Callable

from aiohttp import web

from .room import Room

_HUGE_CHUNK = b"<p>" + b"x" * (1 << 20) + b"</p>"


class PageEndpoints:
    """Serves `/page/...`; ``url`` is the studio's own address, ``asked`` counts requests by path, ``hanging`` is set once one hangs.

    The pages of rooms in ``gone`` are 404, on air or off.
    """

    def __init__(self, find: Callable[[str], Room | None]) -> None:
        self.url = ""
        self.asked: dict[str, int] = {}
        self.hanging = asyncio.Event()
        self.gone: set[str] = set()
        self._find = find

    def routes(self) -> list[web.RouteDef]:
        """The routes of this module."""
        return [web.get("/page/{room}", self.page), web.get("/page/{room}/{behaviour}", self.misbehave)]

    async def page(self, request: web.Request) -> web.Response:
        """The page of a room; 404 for none."""
        room = self._find(request.match_info["room"])
        self._count(request)
        if room is None or room.id in self.gone:
            raise web.HTTPNotFound(text="no such page")
        shown = room.on_air or "keeps" in request.query
        body = _player(self.url, room) if "player" in request.query else _description(self.url, room)
        title = html.escape(room.title)
        text = f"<!DOCTYPE html><html><head><title>{title}</title></head><body>{body if shown else '<p>Off air</p>'}</body></html>"
        return web.Response(text=text, content_type="text/html")

    async def misbehave(self, request: web.Request) -> web.StreamResponse:
        """What no page should do."""
        self._count(request)
        match request.match_info["behaviour"]:
            case "garbage":
                return web.Response(body=b"<html>" + bytes(range(256)) * 64, content_type="text/html")
            case "hang":
                self.hanging.set()
                await asyncio.Event().wait()
            case "away":
                raise web.HTTPFound(request.query["to"])
            case "huge":
                return await _huge(request)
        raise web.HTTPNotFound(text="no such page")

    def _count(self, request: web.Request) -> None:
        self.asked[request.path] = self.asked.get(request.path, 0) + 1


def _description(url: str, room: Room) -> str:
    said = {
        "@context": "https://schema.org",
        "@type": "VideoObject",
        "name": room.title,
        "description": room.category,
        "thumbnailUrl": f"{url}/cover.jpg",
        "author": {"@type": "Person", "name": room.options.streamer},
        "contentUrl": f"{url}/live/{room.id}/ts/index.m3u8",
    }
    return f'<script type="application/ld+json">{json.dumps(said).replace("<", chr(92) + "u003c")}</script>'


def _player(url: str, room: Room) -> str:
    return f'<video><source src="{url}/live/{room.id}/ts/index.m3u8" type="application/x-mpegURL"></video>'


async def _huge(request: web.Request) -> web.StreamResponse:
    """Without an end: whoever reads it to its end never finishes."""
    response = web.StreamResponse(headers={"Content-Type": "text/html"})
    await response.prepare(request)
    await response.write(b"<!DOCTYPE html><html>")
    while True:
        await response.write(_HUGE_CHUNK)
