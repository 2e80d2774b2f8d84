"""Huya on the studio's own URL: room information, and the chat in TARS.

Source of the shapes: the TARS classes in the scripts of Huya's web player and the TARS protocol's description. The encoder here
writes a value by its Python type: int, str, bytes, list, or a dict of tags as a struct.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from .audience import Audience, Frame, Viewer
from .changes import Changes


def field(tag: int, value: Any) -> bytes:
    """One field of a struct."""

    def head(kind: int) -> bytes:
        return bytes(((tag << 4) + kind,)) if tag < 15 else bytes((0xF0 + kind, tag))

    if isinstance(value, dict):
        return head(10) + struct(value) + b"\x0b"
    if isinstance(value, list):
        return head(9) + field(0, len(value)) + b"".join(field(0, one) for one in value)
    if isinstance(value, bytes):
        return head(13) + b"\x00" + field(0, len(value)) + value
    if isinstance(value, str):
        data = value.encode("utf-8", "surrogatepass")
        length = len(data).to_bytes(1, "big") if len(data) < 256 else len(data).to_bytes(4, "big")
        return head(6 if len(data) < 256 else 7) + length + data
    if value == 0:
        return head(12)
    size = next(power for power in range(4) if (value if value >= 0 else ~value).bit_length() < 8 << power)
    return head(size) + value.to_bytes(1 << size, "big", signed=True)


def struct(fields: dict[int, Any]) -> bytes:
    """The fields in the order of their tags."""
    return b"".join(field(tag, fields[tag]) for tag in sorted(fields))


class HuyaRoom(Audience):
    """One room; `name` is what its address may say instead of the number."""

    def __init__(self, number: int, uid: int, changes: Changes, name: str = "") -> None:
        super().__init__(changes)
        self.number, self.uid, self.name, self.sent = number, uid, name, 0

    async def say(self, text: str, *, user: str = "viewer", uid: int = 7, colour: int = -1, fan: str = "") -> int:
        """uri 1400."""
        prefix = [{0: 10400, 1: 1, 2: struct({0: uid, 2: "presenter", 3: fan, 4: 12})}] if fan else []
        notice = {0: {0: uid, 1: 0, 2: user, 3: 1}, 1: 1, 2: 1, 3: text, 6: {0: colour, 1: 4, 2: 0}, 8: prefix, 9: []}
        return await self.push(1400, notice)

    async def push(self, uri: int, message: dict[int, Any]) -> int:
        """Command 7 with one message."""
        self.sent += 1
        pushed = {0: 5, 1: uri, 2: struct(message), 3: 0, 4: f"chat:{self.uid}", 5: self.sent}
        return await self.send(struct({0: 7, 1: struct(pushed), 2: 0, 3: ""}))

    async def push_group(self, messages: list[tuple[int, dict[int, Any]]]) -> int:
        """Command 22 with several."""
        items = []
        for uri, message in messages:
            self.sent += 1
            items.append({0: uri, 1: struct(message), 2: self.sent})
        return await self.send(struct({0: 22, 1: struct({0: f"live:{self.uid}", 1: items})}))


class HuyaPlatform:
    """The endpoints; rooms are made with `room`."""

    def __init__(self, changes: Changes) -> None:
        self.rooms: dict[int, HuyaRoom] = {}
        self._changes = changes

    def room(self, number: int, uid: int, name: str = "") -> HuyaRoom:
        """The room, made when it is new."""
        return self.rooms.setdefault(number, HuyaRoom(number, uid, self._changes, name))

    def routes(self) -> list[web.RouteDef]:
        """The routes of this module."""
        return [
            web.get("/cache.php", self.profile),
            web.get("/huya/{name}", self.page),
            web.get("/huya-chat", self.chat),
        ]

    async def close(self) -> None:
        """Close all sockets."""
        for room in self.rooms.values():
            await room.close()

    async def profile(self, request: web.Request) -> web.Response:
        """profileRoom, by number."""
        room = self.rooms.get(int(request.query["roomid"]))
        if room is None or (request.query["m"], request.query["do"]) != ("Live", "profileRoom"):
            return web.json_response({"status": 422, "message": "不存在", "data": None})
        data = {"liveStatus": "ON", "profileInfo": {"uid": room.uid, "nick": "studio", "profileRoom": room.number}}
        return web.json_response({"status": 200, "message": "", "data": data})

    async def page(self, request: web.Request) -> web.Response:
        """A room's page, by name."""
        for room in self.rooms.values():
            if room.name == request.match_info["name"]:
                script = f'var TT_ROOM_DATA = {{"state":"ON","profileRoom":"{room.number}"}};'
                return web.Response(text=f"<html><script>{script}</script></html>", content_type="text/html")
        return web.Response(status=404)

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """The chat: the room is the one whose groups are registered for."""
        joined: list[HuyaRoom] = []

        async def answer(viewer: Viewer, frame: Frame) -> None:
            if frame == b"\x00\x14\x1d\x00\x0c" and joined:
                joined[0].beat()
                await viewer.send(struct({0: 21, 1: b""}))
                return
            for room in self.rooms.values():
                groups = struct({0: [f"live:{room.uid}", f"chat:{room.uid}"], 1: ""})
                if frame == struct({0: 16, 1: groups}):
                    joined.append(room)
                    room.viewers.add(viewer)
                    await viewer.send(struct({0: 17, 1: struct({0: 0, 1: [f"live:{room.uid}"]})}))
                    room.admit(viewer)
                    return
            await viewer.socket.close()

        try:
            return await Audience(self._changes).serve(request, answer)
        finally:
            for room in joined:
                room.viewers = {viewer for viewer in room.viewers if viewer.request is not request}
