"""Bilibili's live API as far as an adapter asks it, with answers of the real shape; refuses wrong signatures."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

IMG, SUB = "7cd084941338484aae1ad9425b84077c", "4932caff0ff746eab6f01bf08b70ac45"
KEY = "ea1db124af3c7062474693fa704f4ff8"  # the documented result for these two


@dataclass
class Room:
    room_id: int = 7734200
    short_id: int = 6
    live_status: int = 1
    title: str = "英雄联盟 & more"
    locked: bool = False
    encrypted: bool = False
    streams: list[dict[str, Any]] = field(default_factory=list)


def stream(form: str, codec: str, qn: int, *hosts: str) -> dict[str, Any]:
    return {
        "protocol_name": "http_stream" if form == "flv" else "http_hls",
        "format": [
            {
                "format_name": form,
                "codec": [
                    {
                        "codec_name": codec,
                        "current_qn": qn,
                        "accept_qn": [10000, 400, 250],
                        "base_url": f"/live-bvc/1/live_{form}_{codec}.{'flv' if form == 'flv' else 'm3u8'}?",
                        "url_info": [
                            {"host": host, "extra": f"expires=1&cdn={index}", "stream_ttl": 3600}
                            for index, host in enumerate(hosts)
                        ],
                    }
                ],
            }
        ],
    }


class BilibiliServer:
    """`rooms` by any of their numbers; `codes` overrides the answer's code for a path, one use each."""

    def __init__(self) -> None:
        self.base = ""
        self.rooms: dict[str, Room] = {}
        self.key = KEY
        self.images = (IMG, SUB)
        self.codes: dict[str, list[int]] = {}
        self.status: dict[str, int] = {}
        self.raw: dict[str, bytes] = {}
        self.seen: list[web.Request] = []

    def add(self, room: Room) -> Room:
        self.rooms[str(room.room_id)] = self.rooms[str(room.short_id)] = room
        return room

    def count(self, ending: str) -> int:
        return sum(1 for request in self.seen if request.path.endswith(ending))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[BilibiliServer]:
        app = web.Application(middlewares=[self._before])
        app.router.add_get("/x/web-interface/nav", self._nav)
        app.router.add_get("/x/frontend/finger/spi", self._spi)
        app.router.add_get("/room/v1/Room/room_init", self._room_init)
        app.router.add_get("/xlive/web-room/v1/index/getInfoByRoom", self._info)
        app.router.add_get("/xlive/web-room/v2/index/getRoomPlayInfo", self._play)
        app.router.add_get("/short/{name}", self._short)
        app.router.add_get("/bili/{room}", self._page)
        app.router.add_get("/video/{id}", self._page)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    @web.middleware
    async def _before(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.seen.append(request)
        name = request.path.rpartition("/")[2]
        if name in self.status:
            return web.Response(status=self.status[name])
        if name in self.raw:
            return web.Response(body=self.raw[name])
        if self.codes.get(name):
            return web.json_response({"code": self.codes[name].pop(0), "message": "as asked", "ttl": 1, "data": None})
        response: web.StreamResponse = await handler(request)
        return response

    async def _nav(self, request: web.Request) -> web.Response:
        image = "https://i0.hdslb.com/bfs/wbi/{}.png"
        wbi = {"img_url": image.format(self.images[0]), "sub_url": image.format(self.images[1])}
        return web.json_response(
            {"code": -101, "message": "账号未登录", "ttl": 1, "data": {"isLogin": False, "wbi_img": wbi}}
        )

    async def _spi(self, request: web.Request) -> web.Response:
        return web.json_response({"code": 0, "data": {"b_3": "DEVICE-infoc", "b_4": "x"}, "message": "ok"})

    async def _room_init(self, request: web.Request) -> web.Response:
        room = self.rooms.get(request.query["id"])
        if room is None:
            return web.json_response({"code": 60004, "msg": "直播间不存在", "message": "直播间不存在", "data": []})
        data = {"room_id": room.room_id, "short_id": room.short_id, "uid": 50329118, "live_status": room.live_status}
        return web.json_response({"code": 0, "msg": "ok", "message": "ok", "data": data})

    async def _info(self, request: web.Request) -> web.Response:
        if not self._signed(request):
            return web.json_response({"code": -403, "message": "访问权限不足", "ttl": 1})
        room = self.rooms.get(request.query["room_id"])
        if room is None or request.query["room_id"] != str(room.room_id):
            return web.json_response({"code": 19002003, "message": "房间信息不存在", "data": None})
        room_info = {
            "room_id": room.room_id,
            "short_id": room.short_id,
            "uid": 50329118,
            "live_status": room.live_status,
            "live_start_time": 1702204169 if room.live_status == 1 else 0,
            "title": room.title,
            "cover": "http://i0.hdslb.com/bfs/live/cover.jpg",
            "area_name": "英雄联盟",
            "parent_area_name": "网游",
            "lock_status": int(room.locked),
        }
        anchor = {"base_info": {"uname": "官方频道", "face": "http://i2.hdslb.com/bfs/face/a.jpg", "gender": "保密"}}
        return web.json_response({"code": 0, "data": {"room_info": room_info, "anchor_info": anchor}, "message": "0"})

    async def _play(self, request: web.Request) -> web.Response:
        if not self._signed(request):
            return web.json_response({"code": -403, "message": "访问权限不足", "ttl": 1})
        room = self.rooms[request.query["room_id"]]
        playurl = {
            "cid": room.room_id,
            "g_qn_desc": [{"qn": 10000, "desc": "原画", "hdr_desc": ""}, {"qn": 400, "desc": "蓝光", "hdr_desc": ""}],
            "stream": room.streams,
        }
        data = {
            "room_id": room.room_id,
            "is_locked": room.locked,
            "encrypted": room.encrypted,
            "pwd_verified": False,
            "live_status": room.live_status,
            "playurl_info": {"conf_json": "{}", "playurl": playurl} if room.streams else None,
        }
        return web.json_response({"code": 0, "message": "0", "ttl": 1, "data": data})

    async def _short(self, request: web.Request) -> web.Response:
        raise web.HTTPFound({"room": "/bili/6?share=1", "video": "/video/BV1"}[request.match_info["name"]])

    async def _page(self, request: web.Request) -> web.Response:
        return web.Response(text="<html></html>")

    def _signed(self, request: web.Request) -> bool:
        raw = request.raw_path.partition("?")[2]
        query, _, signature = raw.partition("&w_rid=")
        names = [name for name, _ in parse_qsl(query)]
        expected = hashlib.md5((query + self.key).encode()).hexdigest()
        return names == sorted(names) and "wts" in names and signature == expected
