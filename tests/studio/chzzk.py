"""CHZZK on the studio's own URL: live status, the visitor's token, and the chat in the platform's JSON.

Source of the shapes: the open-source clients of the platform (commands 100, 10100, 0, 10000, 93101, 93102, 94008; ``profile``
and ``extras`` are JSON text inside the JSON; the times are unix milliseconds) and frames captured by them.
"""

from __future__ import annotations

import json
import secrets
import time
from typing import Any

from aiohttp import web

from .audience import Audience, Frame, Viewer
from .changes import Changes


class ChzzkRoom(Audience):
    """One channel; its chat channel is another name, as on the platform. `used`: the tokens that were joined with."""

    def __init__(self, channel: str, changes: Changes) -> None:
        super().__init__(changes)
        self.channel, self.chat_channel = channel, f"N{secrets.token_hex(2)}"
        self.on_air, self.pings, self.pongs = True, 0, 0
        self.tokens: set[str] = set()
        self.used: list[str] = []

    async def say(self, text: str, **entry: Any) -> int:
        """93101 with one message."""
        return await self.send(self.frame(93101, [self.entry(text, **entry)]))

    async def donate(self, amount: int, text: str = "", kind: str = "CHAT", **entry: Any) -> int:
        """93102: a donation of so many won."""
        extras = {"payType": "CURRENCY", "payAmount": amount, "donationType": kind, "isAnonymous": False}
        return await self.send(self.frame(93102, [self.entry(text, code=10, extras=extras, **entry)]))

    async def ping(self) -> int:
        """The server asks; every client has to answer."""
        self.pings += 1
        return await self.send(json.dumps({"ver": "2", "cmd": 0}))

    def entry(
        self,
        text: str,
        *,
        user: str = "viewer",
        uid: str = "a" * 32,
        code: int = 1,
        time_ms: int = 0,
        extras: dict[str, Any] | None = None,
        profile: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """One message of a list."""
        at = time_ms or time.time_ns() // 1_000_000
        shown = {"userIdHash": uid, "nickname": user, "userRoleCode": "common_user", **(profile or {})}
        more = {"chatType": "STREAMING", "osType": "PC", "emojis": "", **(extras or {})}
        return {
            "svcid": "game",
            "cid": self.chat_channel,
            "mbrCnt": len(self.viewers),
            "uid": uid,
            "profile": json.dumps(shown),
            "msg": text,
            "msgTypeCode": code,
            "msgStatusType": "NORMAL",
            "extras": json.dumps(more),
            "ctime": at,
            "utime": at,
            "msgTid": None,
            "msgTime": at,
        }

    def frame(self, command: int, body: Any) -> str:
        """One frame."""
        return json.dumps(
            {"svcid": "game", "ver": "1", "bdy": body, "cmd": command, "tid": None, "cid": self.chat_channel},
            ensure_ascii=False,
        )


class ChzzkPlatform:
    """The endpoints; rooms are made with `room`."""

    def __init__(self, changes: Changes) -> None:
        self.url = ""
        self.rooms: dict[str, ChzzkRoom] = {}
        self._changes = changes

    def room(self, channel: str) -> ChzzkRoom:
        """The channel, made and put on air when it is new."""
        return self.rooms.setdefault(channel, ChzzkRoom(channel, self._changes))

    def routes(self) -> list[web.RouteDef]:
        """The routes of this module."""
        return [
            web.get("/polling/v2/channels/{channel}/live-status", self.live_status),
            web.get("/nng_main/v1/chats/access-token", self.access_token),
            web.get("/kr-ss{server}/chat", self.chat),
        ]

    async def live_status(self, request: web.Request) -> web.Response:
        """OPEN with a chat channel, or CLOSE."""
        room = self.rooms.get(request.match_info["channel"])
        if room is None:
            return web.json_response({"code": 404, "message": "not found", "content": None}, status=404)
        content = {
            "liveTitle": "studio",
            "status": "OPEN" if room.on_air else "CLOSE",
            "chatChannelId": room.chat_channel if room.on_air else None,
            "concurrentUserCount": len(room.viewers),
        }
        return web.json_response({"code": 200, "message": None, "content": content})

    async def access_token(self, request: web.Request) -> web.Response:
        """A token for a visitor."""
        room = self._by_chat(request.query.get("channelId", ""))
        if room is None or request.query.get("chatType") != "STREAMING":
            return web.json_response({"code": 400, "content": None}, status=400)
        token = secrets.token_urlsafe(32)
        room.tokens.add(token)
        return web.json_response(
            {"code": 200, "content": {"accessToken": token, "extraToken": "", "realNameAuth": False}}
        )

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """One of the nine servers: the room is chosen by the greeting, and must belong to this server."""
        rooms: list[ChzzkRoom] = []

        async def answer(viewer: Viewer, frame: Frame) -> None:
            message = json.loads(frame) if isinstance(frame, str) else {}
            command, body = message.get("cmd"), message.get("bdy") or {}
            if command == 100:
                room = self._by_chat(str(message.get("cid")))
                if room is None or body.get("accTkn") not in room.tokens or body.get("auth") != "READ":
                    await viewer.send(json.dumps({"ver": "1", "cmd": 10100, "retCode": 401, "bdy": {}}))
                    await viewer.socket.close()
                    return
                server = sum(ord(one) for one in room.chat_channel) % 9 + 1
                if request.match_info["server"] != str(server):
                    await viewer.socket.close()
                    return
                rooms.append(room)
                room.viewers.add(viewer)
                await viewer.send(
                    json.dumps({"ver": "1", "cmd": 10100, "retCode": 0, "retMsg": "SUCCESS", "bdy": {"sid": "s"}})
                )
                room.used.append(body["accTkn"])
                room.admit(viewer)
            elif command == 0 and rooms:
                rooms[0].beat()
                await viewer.send(json.dumps({"ver": "2", "cmd": 10000}))
            elif command == 10000 and rooms:
                rooms[0].pongs += 1
            else:
                await viewer.socket.close()

        entrance = Audience(self._changes)
        try:
            return await entrance.serve(request, answer)
        finally:
            for room in rooms:
                room.viewers = {viewer for viewer in room.viewers if viewer.request is not request}

    async def close(self) -> None:
        """Close all sockets."""
        for room in self.rooms.values():
            await room.close()

    def _by_chat(self, chat_channel: str) -> ChzzkRoom | None:
        return next((room for room in self.rooms.values() if room.chat_channel == chat_channel), None)
