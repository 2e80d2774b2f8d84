"""Douyin on the studio's own URL: the visitor's cookie, the live page, a signing service, and the chat in protobuf.

Source of the shapes: the schema that open-source readers of the platform share, and frames recorded by them. The signature is opened
here, not made: the sealed bytes must hold what belongs to the address's own query.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import secrets
import time
from typing import Any

from aiohttp import web

from .audience import Audience, Frame, Viewer
from .changes import Changes
from .tiktok import decode, encode

_LETTERS = "Dkdpgh4ZKsQB80/Mfvw36XI1R25+WUAlEi7NLboqYTOPuzmFjJnryx9HVGcaStCe"
_STANDARD = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def opened(signature: str) -> bytes:
    """The ten bytes that a signature seals."""
    sealed = base64.b64decode(signature.translate(str.maketrans(_LETTERS, _STANDARD)))
    key, data = sealed[1], sealed[2:]
    state, swap = bytearray(range(256)), 0
    for at in range(256):
        swap = (swap + state[at] + key) % 256
        state[at], state[swap] = state[swap], state[at]
    plain, swap = bytearray(), 0
    for at in range(1, len(data) + 1):
        swap = (swap + state[at]) % 256
        state[at], state[swap] = state[swap], state[at]
        plain.append(data[at - 1] ^ state[(state[at] + state[swap]) % 256])
    return bytes(plain)


class DouyinRoom(Audience):
    """One broadcaster. `acks` are the log ids that were acknowledged with the right internal ext."""

    def __init__(self, name: str, number: int, changes: Changes) -> None:
        super().__init__(changes)
        self.name, self.number, self.sent = name, number, 0
        self.acks: list[int] = []

    async def say(self, text: str, user: str = "viewer", uid: int = 42, club: str = "", **more: Any) -> int:
        """One chat message."""
        return await self.message("WebcastChatMessage", {2: self.user(user, uid, club), 3: text, **more})

    async def give(self, name: str, count: int, *, diamonds: int = 1, row: int = 99, ends: bool = True) -> int:
        """One step of a gift that can be sent in a row."""
        gift = {5: 463, 10: 1, 11: 1, 12: diamonds, 16: name}
        body = {2: 463, 5: count, 6: 1, 7: self.user("giver", 43), 9: int(ends), 11: row, 15: gift}
        return await self.message("WebcastGiftMessage", body)

    async def message(self, method: str, body: dict[int, Any], *, times: int = 1) -> int:
        """Any message, in one frame `times` over."""
        self.sent += 1
        common = {1: method, 2: 7_690_000_000_000_000_000 + self.sent, 3: self.number, 4: time.time_ns() // 1_000_000}
        entry = {1: method, 2: encode({1: common, **body}), 3: 1}
        return await self.send(self.frame([entry] * times))

    def user(self, name: str, uid: int, club: str = "") -> dict[int, Any]:
        """A user, with the badge of a fan club."""
        return {1: uid, 3: name, **({24: {1: {1: club, 2: 12}}} if club else {})}

    def frame(self, entries: list[dict[int, Any]]) -> bytes:
        """A push that wants to be acknowledged."""
        response = encode({1: entries, 2: "cursor", 5: f"ext-{self.sent}", 8: 10_000, 9: 1})
        return encode({1: 1, 2: 10_000 + self.sent, 6: "gzip", 7: "msg", 8: gzip.compress(response)})


class DouyinPlatform:
    """The endpoints; rooms are made with `room`. `signs` counts what was asked of the signing service."""

    def __init__(self, changes: Changes) -> None:
        self.rooms: dict[str, DouyinRoom] = {}
        self.visitors: set[str] = set()
        self.signs = 0
        self.changed_signature = False
        self._changes = changes

    def room(self, name: str, number: int) -> DouyinRoom:
        """The room, made when it is new."""
        return self.rooms.setdefault(name, DouyinRoom(name, number, self._changes))

    def routes(self) -> list[web.RouteDef]:
        """The routes of this module."""
        return [
            web.get("/douyin/", self.home),
            web.get("/douyin/{name}", self.page),
            web.get("/douyin-sign", self.sign),
            web.get("/webcast/im/push/v2/", self.chat),
        ]

    async def close(self) -> None:
        """Close all sockets."""
        for room in self.rooms.values():
            await room.close()

    async def home(self, _: web.Request) -> web.Response:
        """Every visitor gets a cookie."""
        value = secrets.token_urlsafe(24)
        self.visitors.add(value)
        response = web.Response(text="<html></html>", content_type="text/html")
        response.headers.add("Set-Cookie", "other=1; Path=/")
        response.headers.add("Set-Cookie", f"ttwid={value}; Path=/; HttpOnly")
        return response

    async def page(self, request: web.Request) -> web.Response:
        """The live page, for visitors with both cookies."""
        room = self.rooms.get(request.match_info["name"])
        known = request.cookies.get("ttwid") in self.visitors and request.cookies.get("__ac_nonce")
        state = f'\\"roomInfo\\":{{\\"roomId\\":\\"{room.number}\\"}}' if room and known else ""
        return web.Response(text=f'<script>self.__pace_f.push([1,"{state}"])</script>', content_type="text/html")

    async def sign(self, request: web.Request) -> web.Response:
        """An operator's own signing service, for a signature that nobody else knows yet."""
        self.signs += 1
        return web.json_response({"signature": f"new-{request.query['stub'][:16]}"})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """The chat, for visitors with a cookie and a signature that belongs to their query."""
        query = request.query
        room = next((one for one in self.rooms.values() if str(one.number) == query.get("room_id")), None)
        if room is None or request.cookies.get("ttwid") not in self.visitors or not self._is_signed(request):
            return web.Response(status=403)
        found = room

        async def answer(viewer: Viewer, frame: Frame) -> None:
            fields = decode(frame) if isinstance(frame, bytes) else {}
            if fields.get(7) == b"hb":
                if not viewer.joined:
                    found.admit(viewer)
                found.beat()
                await viewer.send(encode({2: 1, 7: "hb"}))
            elif fields.get(7) == b"ack":
                log = int(fields[2])
                if fields.get(8) == f"ext-{log - 10_000}".encode():
                    found.acks.append(log)

        return await room.serve(request, answer)

    def _is_signed(self, request: web.Request) -> bool:
        query, signature = request.query, request.query.get("signature", "")
        said = (
            f"live_id={query['live_id']},aid={query['aid']},version_code={query['version_code']},"
            f"webcast_sdk_version={query['webcast_sdk_version']},room_id={query['room_id']},sub_room_id=,sub_channel_id=,"
            f"did_rule={query['did_rule']},user_unique_id={query['user_unique_id']},"
            f"device_platform={query['device_platform']},device_type=,ac=,identity={query['identity']}"
        )
        stub = hashlib.md5(said.encode()).hexdigest()
        if self.changed_signature:
            return signature == f"new-{stub[:16]}"
        plain = opened(signature)
        mark = hashlib.md5(bytes.fromhex(stub)).digest()[14:]
        return plain[:8] == b"\x01\x00\x01\x0e\x45\x3f" + mark
