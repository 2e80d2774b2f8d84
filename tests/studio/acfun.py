"""AcFun on the studio's own URL: visitors, the broadcast and its tickets, gifts, and the encrypted chat.

Source of the shapes: the schema that the open-source clients of the platform share, and frames recorded by them. The padding and the
packets are made here by hand; AES itself is the library's.
"""

from __future__ import annotations

import base64
import gzip
import secrets
import time
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from .audience import Audience, Frame, Viewer
from .changes import Changes
from .tiktok import decode, encode


def seal(plain: bytes, key: bytes) -> bytes:
    """IV and ciphertext."""
    iv, missing = secrets.token_bytes(16), 16 - len(plain) % 16
    cipher = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    return iv + cipher.update(plain + bytes([missing]) * missing) + cipher.finalize()


def unseal(data: bytes, key: bytes) -> bytes:
    """The plain text."""
    cipher = Cipher(algorithms.AES(key), modes.CBC(data[:16])).decryptor()
    plain = cipher.update(data[16:]) + cipher.finalize()
    return plain[: -plain[-1]]


def packet(header: dict[int, Any], body: bytes) -> bytes:
    """One packet, the body sealed already."""
    head = encode(header)
    return b"\xab\xcd\x00\x01" + len(head).to_bytes(4, "big") + len(body).to_bytes(4, "big") + head + body


def opened(data: bytes, keys: dict[int, bytes]) -> tuple[dict[int, Any], dict[int, Any]]:
    """Header and body of a client's packet."""
    assert data[:4] == b"\xab\xcd\x00\x01"
    head, body = int.from_bytes(data[4:8], "big"), int.from_bytes(data[8:12], "big")
    assert len(data) == 12 + head + body
    header = decode(data[12 : 12 + head])
    plain = unseal(data[12 + head :], keys[int(header[8])])
    assert len(plain) == header[7]
    return header, decode(plain)


class AcfunViewer:
    """The keys and numbers of one connection; `acks` are the sequences of the pushes that were acknowledged."""

    def __init__(self, viewer: Viewer, keys: dict[int, bytes]) -> None:
        self.viewer, self.keys = viewer, keys
        self.sequence = 0
        self.acks: list[int] = []

    async def tell(self, command: str, payload: dict[int, Any] | bytes, *, mode: int = 2, error: int = 0) -> None:
        """One packet to this client."""
        self.sequence += 1
        data = payload if isinstance(payload, bytes) else encode(payload)
        body = encode({1: command, 2: self.sequence, 3: error, 4: data, 7: "mainApp"})
        header = {1: 13, 3: 7, 7: len(body), 8: mode, 10: 5000 + self.sequence, 12: "ACFUN_APP"}
        await self.viewer.send(packet(header, seal(body, self.keys[mode])))


class AcfunRoom(Audience):
    """One broadcaster."""

    def __init__(self, author: int, changes: Changes) -> None:
        super().__init__(changes)
        self.author, self.on_air, self.keep_alives = author, True, 0
        self.live_id, self.ticket = secrets.token_urlsafe(9), secrets.token_urlsafe(24)
        self.inside: list[AcfunViewer] = []
        self.gifts = [
            {"giftId": 1, "giftName": "香蕉", "payWalletType": 2, "giftPrice": 1},
            {"giftId": 9, "giftName": "告白", "payWalletType": 1, "giftPrice": 29},
        ]

    async def say(self, text: str, user: str = "viewer", uid: int = 42, badge: str = "") -> int:
        """A comment."""
        sender = {1: uid, 2: user, 4: badge}
        return await self.act("CommonActionSignalComment", {1: text, 2: time.time_ns() // 1_000_000, 3: sender})

    async def act(self, signal: str, body: dict[int, Any]) -> int:
        """An action of somebody, packed."""
        return await self.push("ZtLiveScActionSignal", {1: [{1: signal, 2: [encode(body)]}]})

    async def push(self, kind: str, body: dict[int, Any], *, packed: bool = True) -> int:
        """A push to everybody inside."""
        plain = encode(body)
        message = {1: kind, 2: 2 if packed else 1, 3: gzip.compress(plain) if packed else plain, 4: self.live_id}
        there = [one for one in self.inside if one.viewer in self.viewers]
        for one in there:
            await one.tell("Push.ZtLiveInteractive.Message", message)
        return len(there)


class AcfunPlatform:
    """The endpoints; rooms are made with `room`."""

    def __init__(self, changes: Changes) -> None:
        self.rooms: dict[int, AcfunRoom] = {}
        self.visitors: dict[int, tuple[str, bytes, str]] = {}
        self._changes = changes

    def room(self, author: int) -> AcfunRoom:
        """The room, made when it is new."""
        return self.rooms.setdefault(author, AcfunRoom(author, self._changes))

    def routes(self) -> list[web.RouteDef]:
        """The routes of this module."""
        return [
            web.post("/rest/app/visitor/login", self.login),
            web.post("/rest/zt/live/web/startPlay", self.start_play),
            web.post("/rest/zt/live/web/gift/list", self.gift_list),
            web.get("/acfun-link", self.chat),
        ]

    async def close(self) -> None:
        """Close all sockets."""
        for room in self.rooms.values():
            await room.close()

    async def login(self, request: web.Request) -> web.Response:
        """A visitor's account, for a device that names itself."""
        device = request.cookies.get("_did", "")
        if not device.startswith("web_") or (await request.post()).get("sid") != "acfun.api.visitor":
            return web.json_response({"result": 100_001})
        uid, token, key = 1_000_000_000 + len(self.visitors), secrets.token_urlsafe(48), secrets.token_bytes(16)
        self.visitors[uid] = (token, key, device)
        security = base64.b64encode(key).decode()
        return web.json_response({"result": 0, "userId": uid, "acfun.api.visitor_st": token, "acSecurity": security})

    async def start_play(self, request: web.Request) -> web.Response:
        """The broadcast and tickets."""
        room = self.rooms.get(int(str((await request.post())["authorId"])))
        if not self._is_known(request):
            return web.json_response({"result": 2})
        if room is None or not room.on_air:
            return web.json_response({"result": 129_004, "error_msg": "直播已关播"})
        data = {"liveId": room.live_id, "availableTickets": [room.ticket, "spare"], "enterRoomAttach": "attach"}
        return web.json_response({"result": 1, "data": {**data, "videoPlayRes": "{}"}})

    async def gift_list(self, request: web.Request) -> web.Response:
        """The gifts of the broadcast."""
        live = (await request.post()).get("liveId")
        room = next((one for one in self.rooms.values() if one.live_id == live), None)
        return web.json_response({"result": 1, "data": {"giftList": room.gifts}} if room else {"result": 2})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """The chat: register, enter, beat; anything out of order ends the connection."""
        entrance = Audience(self._changes)
        stage: list[Any] = []

        async def answer(viewer: Viewer, frame: Frame) -> None:
            data = frame if isinstance(frame, bytes) else b""
            if not stage:
                stage.append(await self._register(viewer, data))
                return
            client: AcfunViewer = stage[0]
            header, body = opened(data, client.keys)
            command = bytes(body[1]).decode()
            if command.startswith("Push."):
                client.acks.append(int(header[10]))
            elif command == "Basic.KeepAlive":
                await client.tell(command, {2: 1})
                stage.append("alive")
            elif command == "Global.ZtLiveInteractive.CsCmd" and "alive" in stage:
                await self._command(client, decode(bytes(body[4])), stage)

        try:
            return await entrance.serve(request, answer)
        finally:
            for room in (one for one in stage if isinstance(one, AcfunRoom)):
                room.keep_alives += stage.count("alive")
                room.viewers = {viewer for viewer in room.viewers if viewer.request is not request}

    async def _register(self, viewer: Viewer, data: bytes) -> AcfunViewer:
        head = int.from_bytes(data[4:8], "big")
        uid = int(decode(data[12 : 12 + head])[2])
        token, key, device = self.visitors[uid]
        header, body = opened(data, {1: key})
        asked = decode(bytes(body[4]))
        assert decode(bytes(header[9])) == {1: 1, 2: token.encode()}
        assert body[1] == b"Basic.Register"
        assert decode(bytes(asked[2]))[5] == device.encode()
        client = AcfunViewer(viewer, {1: key, 2: secrets.token_bytes(16)})
        await client.tell("Basic.Register", {2: client.keys[2], 3: 7}, mode=1)
        return client

    async def _command(self, client: AcfunViewer, asked: dict[int, Any], stage: list[Any]) -> None:
        kind = bytes(asked[1]).decode()
        room = next((one for one in self.rooms.values() if one.live_id.encode() == asked[4]), None)
        error = 0 if room is not None and asked[3] == room.ticket.encode() else 2
        command = "Global.ZtLiveInteractive.CsCmd"
        if kind == "ZtLiveCsEnterRoom":
            await client.tell(command, {1: f"{kind}Ack", 2: error, 4: {1: 10_000}})
            if room is not None and not error:
                stage.append(room)
                room.inside.append(client)
                room.viewers.add(client.viewer)
                room.admit(client.viewer)
        elif kind == "ZtLiveCsHeartbeat" and room is not None:
            room.beat()
            await client.tell(command, {1: f"{kind}Ack", 4: {1: 1}})

    def _is_known(self, request: web.Request) -> bool:
        query = request.query
        token, _, device = self.visitors.get(int(query["userId"]), ("", b"", ""))
        return (query["acfun.api.visitor_st"], query["did"]) == (token, device) and query["kpn"] == "ACFUN_APP"
