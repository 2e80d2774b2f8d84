"""Douyu on the studio's own URL, and its TCP chat on a port of its own: room information, gifts, and the chat in STT.

Source of the shapes: Douyu's "third-party access protocol of the barrage server" and packets captured by its open-source clients.
"""

from __future__ import annotations

import asyncio
import struct
import time
from typing import Any

from aiohttp import web

from .audience import Audience, Frame, Viewer
from .changes import Changes

SERVER = 690
_MARKS = {"@": "@A", "/": "@S"}


def stt(value: Any) -> str:
    """An object or list as STT, at any depth; anything else as its text."""
    if isinstance(value, dict):
        return "".join(f"{_escaped(key)}@={_escaped(stt(one))}/" for key, one in value.items())
    if isinstance(value, list):
        return "".join(f"{_escaped(stt(one))}/" for one in value)
    return str(value)


def packet(message: dict[str, Any]) -> bytes:
    """One packet of the server."""
    body = stt(message).encode("utf-8")
    size = 4 + 2 + 1 + 1 + len(body) + 1
    return struct.pack("<ii", size, size) + struct.pack("<hbb", SERVER, 0, 0) + body + b"\x00"


def texts(data: bytes) -> list[str]:
    """What a client said, packet by packet; ValueError for what is no packet of a client."""
    found = []
    while data:
        first, second, kind = struct.unpack_from("<iih", data)
        if first != second or kind != 689 or len(data) < first + 4 or data[first + 3]:
            raise ValueError("not a packet of a client")
        found.append(data[12 : first + 3].decode())
        data = data[first + 4 :]
    return found


def _escaped(text: str) -> str:
    return "".join(_MARKS.get(sign, sign) for sign in text)


class TcpViewer:
    """A connection to the TCP port, with what `Audience` asks of a viewer."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.socket = self
        self.joined = False
        self._writer = writer

    async def send(self, frame: Frame) -> None:
        """One packet, in two pieces: a stream knows no frames."""
        data = frame.encode() if isinstance(frame, str) else frame
        for piece in (data[:7], data[7:]):
            self._writer.write(piece)
            await self._writer.drain()

    def cut(self) -> None:
        """Break the connection."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Close it in an orderly way."""
        self._writer.close()


class DouyuRoom(Audience):
    """One room; `alias` is what its address may say instead of the number."""

    def __init__(self, number: int, changes: Changes, alias: str = "") -> None:
        super().__init__(changes)
        self.number, self.alias, self.sent = number, alias, 0
        self.gifts = [
            {"id": 824, "name": "粉丝荧光棒", "priceInfo": {"price": 1}},
            {"id": 20004, "name": "飞机", "priceInfo": {"price": 1000}},
        ]

    async def say(self, text: str, **fields: Any) -> int:
        """chatmsg."""
        self.sent += 1
        known = {"uid": 7, "nn": "viewer", "txt": text, "cid": f"{self.sent:032x}", "cst": time.time_ns() // 1_000_000}
        return await self.tell("chatmsg", **{**known, "level": 12, "bnn": "", "bl": 0, **fields})

    async def tell(self, kind: str, **fields: Any) -> int:
        """Any message about this room."""
        return await self.send(packet({"type": kind, "rid": self.number, **fields}))

    async def answer(self, viewer: Viewer | TcpViewer, data: bytes) -> None:
        """What the server does with what a client sent: it must log in to this room before it joins a group."""
        for text in texts(data):
            if text == f"type@=loginreq/roomid@={self.number}/":
                await viewer.send(packet({"type": "loginres", "userid": 0, "roomgroup": 0, "pg": 0, "live_stat": 0}))
                self.greeted.add(id(viewer))
            elif id(viewer) not in self.greeted:
                await viewer.send(packet({"type": "error", "code": 51}))
            elif text == f"type@=joingroup/rid@={self.number}/gid@=-9999/":
                self.admit(viewer)  # type: ignore[arg-type]
            elif text == "type@=mrkl/":
                self.beat()
                await viewer.send(packet({"type": "mrkl"}))

    @property
    def greeted(self) -> set[int]:
        """The connections that have logged in."""
        return self.__dict__.setdefault("_greeted", set())  # type: ignore[no-any-return]


class DouyuPlatform:
    """The endpoints; rooms are made with `room`."""

    def __init__(self, changes: Changes) -> None:
        self.rooms: dict[int, DouyuRoom] = {}
        self.tcp = ""
        self._changes = changes
        self._server: asyncio.Server | None = None

    def room(self, number: int, alias: str = "") -> DouyuRoom:
        """The room, made when it is new."""
        return self.rooms.setdefault(number, DouyuRoom(number, self._changes, alias))

    def routes(self) -> list[web.RouteDef]:
        """The routes of this module."""
        return [
            web.get("/betard/{room}", self.betard),
            web.get("/api/gift/v2/web/list", self.gift_list),
            web.get("/douyu-chat/{number}", self.chat),
        ]

    async def start(self) -> None:
        """Open the TCP port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.tcp = f"tcp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        for room in self.rooms.values():
            await room.close()

    async def betard(self, request: web.Request) -> web.Response:
        """Room information, by number or alias."""
        name = request.match_info["room"]
        for room in self.rooms.values():
            if name in (str(room.number), room.alias):
                return web.json_response({"room": {"room_id": room.number, "show_status": 1, "videoLoop": 0}})
        return web.Response(status=404)

    async def gift_list(self, request: web.Request) -> web.Response:
        """The gifts of a room."""
        room = self.rooms.get(int(request.query["rid"]))
        return web.json_response({"error": "0", "data": {"giftList": room.gifts}} if room else {"error": 1})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """The chat over a WebSocket."""
        room = self.rooms[int(request.match_info["number"])]

        async def answer(viewer: Viewer, frame: Frame) -> None:
            if isinstance(frame, bytes):
                await room.answer(viewer, frame)

        return await room.serve(request, answer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The chat over TCP: the room is the one that the first packet logs in to."""
        viewer = TcpViewer(writer)
        room: DouyuRoom | None = None
        try:
            while True:
                header = await reader.readexactly(12)
                data = header + await reader.readexactly(struct.unpack("<i", header[:4])[0] - 8)
                if room is None:
                    room = self.rooms[int(texts(data)[0].partition("roomid@=")[2].rstrip("/"))]
                    room.viewers.add(viewer)  # type: ignore[arg-type]
                room.heard.append(data)
                await room.answer(viewer, data)
                self._changes.notify()
        except (OSError, EOFError, ValueError, KeyError, asyncio.CancelledError):
            pass
        finally:
            if room is not None:
                room.viewers.discard(viewer)  # type: ignore[arg-type]
            writer.close()
            self._changes.notify()
