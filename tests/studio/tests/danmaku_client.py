"""A hand-written chat client: the oracle for the studio's frames, it shares no code with them."""

from __future__ import annotations

import asyncio
import json
import struct
import zlib
from typing import Any

import aiohttp
import brotli

from tests.deadline import DEADLINE_S


def packet(operation: int, body: bytes) -> bytes:
    return struct.pack("!IHHII", 16 + len(body), 16, 1, operation, 1) + body


class Disconnected(Exception):
    """The studio ended the connection."""


class DanmakuClient:
    """Connects, authenticates, and unpacks what comes."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url
        self.socket: aiohttp.ClientWebSocketResponse | None = None
        self.outer_versions: list[int] = []

    async def __aenter__(self) -> DanmakuClient:
        self.socket = await self._http.ws_connect(self._url)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.socket.close()

    async def authenticate(self, roomid: Any, key: str, protover: int = 3) -> int:
        hello = {"uid": 0, "roomid": roomid, "protover": protover, "platform": "web", "type": 2, "key": key}
        await self.socket.send_bytes(packet(7, json.dumps(hello).encode()))
        operation, body = (await self.frames())[0]
        assert operation == 8
        return json.loads(body)["code"]

    async def heartbeat(self, words: bytes = b"[object Object]") -> bytes:
        await self.socket.send_bytes(packet(2, words))
        operation, body = (await self.frames())[0]
        assert operation == 3
        return body

    async def frames(self) -> list[tuple[int, bytes]]:
        """The frames of the next WebSocket message, unpacked to (operation, body)."""
        message = await asyncio.wait_for(self.socket.receive(), DEADLINE_S)
        if message.type is not aiohttp.WSMsgType.BINARY:
            raise Disconnected(message.type)
        return list(self._unpacked(message.data, outer=True))

    async def messages(self) -> list[dict[str, Any]]:
        """The JSON messages of the next packet of operation 5."""
        return [json.loads(body) for operation, body in await self.frames() if operation == 5]

    def _unpacked(self, data: bytes, *, outer: bool) -> Any:
        while data:
            length, header_length, version, operation, _ = struct.unpack("!IHHII", data[:16])
            assert header_length == 16
            assert len(data) >= length
            body, data = data[16:length], data[length:]
            if outer:
                self.outer_versions.append(version)
            if version == 2:
                yield from self._unpacked(zlib.decompress(body), outer=False)
            elif version == 3:
                yield from self._unpacked(brotli.decompress(body), outer=False)
            else:
                yield operation, body
