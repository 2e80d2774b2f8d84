"""TikTok LIVE on the studio's own URL: the visitor's cookie, the room's number, a signing service, and the chat in protobuf.

Source of the shapes: the published schemas of the webcast protocol: PushFrame {2 log id, 6 "pb", 7 type, 8 payload}, Response
{1 messages {1 method, 2 payload, 3 id}, 5 internal ext, 9 needs ack}, gzip; ``im_enter_room`` before anything is said.
"""

from __future__ import annotations

import gzip
import itertools
import secrets
import time
from typing import Any
from urllib.parse import quote

from aiohttp import web

from .audience import Audience, Frame, Viewer
from .changes import Changes

Value = int | str | bytes | dict[int, Any] | list[Any]


def encode(fields: dict[int, Any]) -> bytes:
    """A protobuf message from field numbers and values: int, str, bytes, a nested dict, or a list of those (repeated)."""
    return b"".join(_field(number, value) for number, value in fields.items())


def _field(number: int, value: Value) -> bytes:
    if isinstance(value, list):
        return b"".join(_field(number, one) for one in value)
    if isinstance(value, int):
        return _varint(number * 8) + _varint(value % (1 << 64))
    if isinstance(value, dict):
        value = encode(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number * 8 + 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = b""
    while True:
        value, low = divmod(value, 128)
        out += bytes([low + 128 if value else low])
        if not value:
            return out


def decode(data: bytes) -> dict[int, int | bytes]:
    """The fields of a client's message, the last of each number."""
    fields: dict[int, int | bytes] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        tag = varint()
        if tag % 8 == 0:
            fields[tag // 8] = varint()
        else:
            size = varint()
            fields[tag // 8] = data[at : at + size]
            at += size
    return fields


class TiktokRoom(Audience):
    """One streamer. `acks` are the log ids that were acknowledged with the right internal ext."""

    def __init__(self, name: str, number: int, changes: Changes) -> None:
        super().__init__(changes)
        self.name, self.number = name, number
        self.on_air, self.needs_signature = True, False
        self.acks: list[int] = []
        self.logs: dict[int, bytes] = {}
        self._ids = itertools.count(7_000_000_000_000_000_001)
        self._logs = itertools.count(1)

    async def say(self, text: str, user: str = "viewer", uid: int = 42) -> int:
        """One chat message."""
        return await self.message("WebcastChatMessage", {2: self.user(user, uid), 3: text, 14: "en"})

    async def give(
        self, name: str, count: int, *, coins: int = 1, ends: bool = True, row: int = 99, uid: int = 42
    ) -> int:
        """One step of a gift that can be sent in a row."""
        body = {
            2: 5655,
            5: count,
            6: 1,
            7: self.user("giver", uid),
            9: int(ends),
            11: row,
            15: {1: {1: ["https://gift.test/rose.png"]}, 5: 5655, 10: 1, 11: 1, 12: coins, 16: name},
        }
        return await self.message("WebcastGiftMessage", body)

    async def message(self, method: str, body: dict[int, Any], *, history: bool = False, ack: bool = True) -> int:
        """Any message; the common part is added."""
        number = next(self._ids)
        common = {1: method, 2: number, 3: self.number, 4: time.time_ns() // 1_000_000}
        entry: dict[int, Any] = {1: method, 2: encode({1: common, **body}), 3: number}
        if history:
            entry[6] = 1
        return await self.send(self.frame([entry], ack=ack))

    def user(self, name: str, uid: int, badges: list[dict[int, Any]] | None = None) -> dict[int, Any]:
        """A user."""
        return {1: uid, 3: name, 38: name.lower(), 64: badges or []}

    def frame(self, entries: list[dict[int, Any]], *, ack: bool = True) -> bytes:
        """One frame with these messages, gzipped."""
        log = next(self._logs)
        ext = f"internal_ext-{log}".encode()
        self.logs[log] = ext
        response = {1: entries, 2: "cursor", 4: 1, 5: ext, 8: 10_000, 9: int(ack)}
        return encode({2: log, 6: "pb", 7: "msg", 8: gzip.compress(encode(response))})


class TiktokPlatform:
    """The endpoints; rooms are made with `room`. `signed` counts the addresses that the signing service has signed."""

    def __init__(self, changes: Changes) -> None:
        self.url = ""
        self.rooms: dict[str, TiktokRoom] = {}
        self.signed = 0
        self._visitors: set[str] = set()
        self._changes = changes

    def room(self, name: str) -> TiktokRoom:
        """The streamer, made and put on air when it is new."""
        number = 7_100_000_000_000_000_000 + len(self.rooms)
        return self.rooms.setdefault(name, TiktokRoom(name, number, self._changes))

    def routes(self) -> list[web.RouteDef]:
        """The routes of this module; the visitor's page is under /tiktok/, for the studio has one of its own at /."""
        return [
            web.get("/tiktok/", self.page),
            web.get("/tiktok/api-live/user/room/", self.user_room),
            web.get("/tiktok/sign", self.sign),
            web.get("/webcast/im/ws_proxy/ws_reuse_supplement/", self.chat),
        ]

    async def page(self, _: web.Request) -> web.Response:
        """A visitor's first page."""
        visitor = f"1|{secrets.token_urlsafe(24)}|{int(time.time())}|{secrets.token_hex(16)}"
        self._visitors.add(quote(visitor, safe=""))
        response = web.Response(text="<html></html>", content_type="text/html")
        response.headers.add("Set-Cookie", "tt_csrf_token=abc; Path=/; Secure")
        response.headers.add(
            "Set-Cookie", f"ttwid={quote(visitor, safe='')}; Path=/; Max-Age=31536000; HttpOnly; Secure"
        )
        return response

    async def user_room(self, request: web.Request) -> web.Response:
        """The number of the room and whether it is on air; a visitor without the cookie gets an empty page."""
        room = self.rooms.get(request.query.get("uniqueId", ""))
        if request.cookies.get("ttwid") not in self._visitors:
            return web.Response(text="")
        if room is None:
            return web.json_response({"statusCode": 19881007, "message": "user_not_found", "data": {}})
        data = {
            "user": {"roomId": str(room.number)},
            "liveRoom": {"status": 2 if room.on_air else 4, "title": "studio"},
        }
        return web.json_response({"statusCode": 0, "message": "", "data": data})

    async def sign(self, request: web.Request) -> web.Response:
        """An operator's signing service."""
        self.signed += 1
        return web.json_response({"url": request.query["url"] + "&X-Bogus=studio", "cookies": {"msToken": "token"}})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """The WebSocket; the cookie is wanted in the handshake, the signature where the room says so."""
        room = next((one for one in self.rooms.values() if str(one.number) == request.query.get("room_id")), None)
        unsigned = room is not None and room.needs_signature and request.query.get("X-Bogus") != "studio"
        if room is None or unsigned or request.cookies.get("ttwid") not in self._visitors:
            return web.Response(status=200, headers={"Handshake-Msg": "DEVICE_BLOCKED", "Handshake-Status": "415"})

        async def answer(viewer: Viewer, frame: Frame) -> None:
            push = decode(frame) if isinstance(frame, bytes) else {}
            kind, payload = push.get(7), push.get(8)
            inner = decode(payload) if isinstance(payload, bytes) and kind != b"ack" else {}
            if kind == b"im_enter_room" and inner.get(1) == room.number and inner.get(5) == b"audience":
                await viewer.send(encode({6: "pb", 7: "im_enter_room_resp", 8: b""}))
                room.admit(viewer)
            elif kind == b"hb" and inner.get(1) == room.number:
                room.beat()
            elif kind == b"ack" and room.logs.get(log := int(push.get(2, 0))) == payload:  # type: ignore[arg-type]
                room.acks.append(log)
            elif kind not in (b"hb", b"ack"):
                await viewer.socket.close()

        return await room.serve(request, answer)

    async def close(self) -> None:
        """Close all sockets."""
        for room in self.rooms.values():
            await room.close()
