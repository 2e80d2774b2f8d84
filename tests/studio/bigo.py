"""Bigo Live on the studio's own URL: the studio's information, visitors, and the chat as event numbers with JSON.

Source of the shapes: the scripts of www.bigo.tv and frames recorded by open-source clients.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
from typing import Any

from aiohttp import web

from .audience import Audience, Frame, Viewer
from .changes import Changes


def frame(event: int, body: dict[str, Any]) -> str:
    """What the server sends: a tab stands between the two."""
    return f"{event}\t{json.dumps(body, ensure_ascii=False)}"


class BigoRoom(Audience):
    """One broadcaster; every broadcast is another room."""

    def __init__(self, site: str, number: int, changes: Changes) -> None:
        super().__init__(changes)
        self.site, self.number, self.on_air, self.sent = site, number, True, 0

    async def say(self, text: str, user: str = "viewer", uid: int = 7, tag: int = 1) -> int:
        """A comment."""
        return await self.happen({"tag": str(tag), "uid": str(uid), "grade": "3", "content": _packed(n=user, m=text)})

    async def give(self, name: str, count: int = 1, user: str = "giver", uid: int = 8, *, line: bool = True) -> int:
        """A gift, and the line that names who gave it."""
        gift = {"vgift_typeid": "12", "vgift_name": name, "vgift_count": str(count), "from_uid": str(uid)}
        there = await self.happen({**gift, "room_id": str(self.number), "send_times": "1"}, oriUri="760969")
        if line:
            await self.happen({"tag": "6", "uid": str(uid), "content": _packed(n=user, m=name)})
        return there

    async def happen(self, payload: dict[str, Any], **more: Any) -> int:
        """2584."""
        self.sent += 1
        body = {
            "room_id": str(self.number),
            "seqId": str(self.sent),
            "from_uid": "0",
            "oriUri": "1",
            "payload": payload,
        }
        return await self.send(frame(2584, {**body, **more}))


class BigoPlatform:
    """The endpoints; rooms are made with `room`."""

    def __init__(self, changes: Changes) -> None:
        self.rooms: dict[str, BigoRoom] = {}
        self.visitors: dict[str, str] = {}
        self._changes = changes

    def room(self, site: str, number: int) -> BigoRoom:
        """The room, made when it is new."""
        return self.rooms.setdefault(site, BigoRoom(site, number, self._changes))

    def routes(self) -> list[web.RouteDef]:
        """The routes of this module."""
        return [
            web.post("/official_website/studio/getInternalStudioInfo", self.studio_info),
            web.post("/official_website/studio/getWebSocketLink", self.link),
            web.get("/live/official/web", self.chat),
        ]

    async def close(self) -> None:
        """Close all sockets."""
        for room in self.rooms.values():
            await room.close()

    async def studio_info(self, request: web.Request) -> web.Response:
        """The room of a broadcaster who is on air."""
        room = self.rooms.get(str((await request.post()).get("siteId")))
        number = str(room.number) if room and room.on_air else None
        data = {"roomId": number, "clientBigoId": "", "gameTitle": "", "roomTopic": ""}
        return web.json_response({"code": 0, "msg": "success", "data": data})

    async def link(self, request: web.Request) -> web.Response:
        """A visitor's account."""
        device = str((await request.post())["deviceId"])
        uid, token = str(10_000 + len(self.visitors)), secrets.token_urlsafe(48)
        self.visitors[uid] = token
        data = {"userId": uid, "uidToken": f"{token}###VER2", "userName": "0", "deviceId": device}
        return web.json_response({"code": 0, "data": data})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """The chat: challenge, login, entrance, in this order; anything else is refused."""
        challenge = secrets.token_hex(16)
        stage: list[Any] = []

        async def answer(viewer: Viewer, said: Frame) -> None:
            number, _, body = str(said).partition("{")
            message = json.loads("{" + body)
            if number == "79108" and not stage:
                signed = f"60#4#5#{message['timeStamp']}#1#1#1#1#{challenge[-8:]}"
                if message["sign"] == hashlib.md5(signed.encode()).hexdigest():
                    stage.append("signed")
            elif number == "512279" and stage == ["signed"]:
                known = self.visitors.get(message["uid"]) == message["cookie"]
                stage.append("in" if known else "out")
                await viewer.send(frame(512535, {"res": "200" if known else "415"}))
            elif number == "1304" and stage[-1:] == ["in"]:
                await self._enter(viewer, message["roomId"], stage)
            elif number == "791" and isinstance(stage[-1], BigoRoom):
                stage[-1].beat()
                await viewer.send(frame(791, {"res": "0", "seqid": message["seqid"]}))
            else:
                await viewer.send(frame(0, {"info": "unsigned", "errUri": number}))

        entrance = Audience(self._changes)
        try:
            return await entrance.serve(request, answer, greeting=frame(256, {"challenge": challenge}))
        finally:
            for room in stage[2:]:
                room.viewers = {viewer for viewer in room.viewers if viewer.request is not request}

    async def _enter(self, viewer: Viewer, number: str, stage: list[Any]) -> None:
        room = next((one for one in self.rooms.values() if str(one.number) == number and one.on_air), None)
        await viewer.send(frame(1560, {"resCode": "200", "sid": "77" if room else "0"}))
        if room is not None:
            stage.append(room)
            room.viewers.add(viewer)
            room.admit(viewer)


def _packed(**said: str) -> str:
    return base64.b64encode(json.dumps(said, ensure_ascii=False).encode()).decode()
