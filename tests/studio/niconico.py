"""Niconico below /niconico: the watch page, a viewer's session, and the comment server's endless protobuf answers.

As the platform does: the page names a session good for one visitor, a seat has to be kept, the view names segment after segment
and then where to go on, a segment's answer stays open until the segment is over, and the last segments can be read again.
Sources: the public schema "n-air-app/nicolive-comment-protobuf" for the field numbers, and
"帰ってきたニコニコのニコ生コメントサーバーからのコメント取得備忘録" (qiita.com, DaisukeDaisuke) for the order of things.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import secrets
import time
from typing import Any

from aiohttp import web

from .platform import Platform, Socket

KEPT_SEGMENTS = 2
Proto = list[tuple[int, "int | str | bytes | Proto"]]


def encode(fields: Proto) -> bytes:
    """A protobuf message of (number, value): numbers as varints, texts, bytes, and messages."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += _varint(number << 3) + _varint(value & (1 << 64) - 1)
        else:
            data = encode(value) if isinstance(value, list) else value.encode() if isinstance(value, str) else value
            out += _varint(number << 3 | 2) + _varint(len(data)) + data
    return out


def delimited(message: bytes) -> bytes:
    """A message behind its length."""
    return _varint(len(message)) + message


class Programme:
    """One programme: its comments by segment; `segment` is the running one."""

    def __init__(self) -> None:
        self.segments: list[list[bytes]] = [[]]
        self.on_air = True
        self.kept = 0
        self.reading = 0
        self.transports: set[asyncio.Transport] = set()

    @property
    def segment(self) -> int:
        """The number of the running segment."""
        return len(self.segments) - 1


class NiconicoChat(Platform):
    """Rooms are programmes. `keep_s`: how often a seat is to be kept; who misses three is thrown out."""

    def __init__(self, keep_s: int = 30) -> None:
        super().__init__()
        self.keep_s = keep_s
        self.programmes: dict[str, Programme] = {}
        self._tokens: dict[str, str] = {}
        self._closing = False

    @property
    def site(self) -> str:
        """The base address of the watch pages."""
        return f"{self.url}/niconico"

    def routes(self) -> list[web.RouteDef]:
        """See Platform."""
        return [
            web.get("/niconico/watch/{programme:.+}", self._page),
            web.get("/niconico/session", self._session),
            web.get("/niconico/view/{programme}", self._view),
            web.get("/niconico/segment/{programme}/{number}", self._segment),
        ]

    def put_on_air(self, programme: str) -> None:
        """A programme without comments."""
        self.programmes[programme] = Programme()

    async def say(
        self, programme: str, text: str, *, user: str = "", uid: int = 42, modifier: Proto | None = None
    ) -> str:
        """A comment of a viewer; returns its id."""
        chat: Proto = [(1, text), (3, 1234), (4, 1), (5, uid), (8, 1)]
        return await self.emit(
            programme, [(2, [(1, chat + [(2, user)] * bool(user) + [(7, modifier)] * bool(modifier))])]
        )

    async def emit(self, programme: str, payload: Proto) -> str:
        """Any payload of a `ChunkedMessage`; returns its id."""
        message_id = secrets.token_hex(8)
        now = time.time_ns()
        meta: Proto = [(1, message_id), (2, [(1, now // 10**9), (2, now % 10**9)])]
        self.programmes[programme].segments[-1].append(encode([(1, meta), *payload]))
        await self.tell()
        return message_id

    async def turn(self, programme: str) -> None:
        """The running segment is over, the next one begins."""
        self.programmes[programme].segments.append([])
        await self.tell()

    async def end(self, programme: str) -> None:
        """The programme ends: the session is told, the page names none any more."""
        self.programmes[programme].on_air = False
        await self.send(programme, json.dumps({"type": "disconnect", "data": {"reason": "END_PROGRAM"}}))

    def cut_comments(self, programme: str) -> int:
        """Break the comment server's answers; how many."""
        transports = tuple(self.programmes[programme].transports)
        for transport in transports:
            transport.abort()
        return len(transports)

    async def wait_for_readers(self, programme: str, segments: int = 1) -> None:
        """Return when so many answers with segments are open."""
        await self.wait(lambda: self.programmes[programme].reading == segments)

    async def close(self) -> None:
        """See Platform."""
        self._closing = True
        await self.tell()
        await super().close()

    async def _page(self, request: web.Request) -> web.Response:
        name = request.match_info["programme"]
        programme = self.programmes.get(name)
        if programme is None:
            return web.Response(status=404)
        url = ""
        if programme.on_air:
            token = secrets.token_urlsafe(16)
            self._tokens[token] = name
            url = f"{self.ws_url}/niconico/session?audience_token={token}"
        props = {
            "program": {"status": "ON_AIR"},
            "site": {"relive": {"webSocketUrl": url}, "title": 'A "quoted" <title>'},
        }
        text = f'<script id="embedded-data" data-props="{html.escape(json.dumps(props))}"></script>'
        return web.Response(text=text, content_type="text/html")

    async def _session(self, request: web.Request) -> web.WebSocketResponse:
        name = self._tokens.pop(request.query.get("audience_token", ""), None)
        if name is None:
            raise web.HTTPForbidden
        async with self.visitor(request) as socket:
            watching = asyncio.create_task(self._watch(socket))
            try:
                async for text in socket.texts():
                    await self._answer(socket, name, json.loads(text))
            finally:
                watching.cancel()
        return socket.socket

    async def _answer(self, socket: Socket, name: str, packet: dict[str, Any]) -> None:
        if packet["type"] == "startWatching":
            await socket.send(json.dumps({"type": "ping"}))
            await socket.send(json.dumps({"type": "seat", "data": {"keepIntervalSec": self.keep_s}}))
            view = {"viewUri": f"{self.site}/view/{name}", "vposBaseTime": "2026-11-22T00:00:00+09:00"}
            await socket.send(json.dumps({"type": "messageServer", "data": view}))
            await socket.send(json.dumps({"type": "statistics", "data": {"viewers": 77, "comments": 5}}))
            await self.joined(name, socket)
        elif packet["type"] == "keepSeat":
            self.programmes[name].kept += 1
        await self.tell()

    async def _watch(self, socket: Socket) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                heard = len(socket.got)
                await asyncio.sleep(self.keep_s * 3)
                if not any("keepSeat" in text for text in socket.got[heard:]):
                    await socket.send(json.dumps({"type": "disconnect", "data": {"reason": "PING_TIMEOUT"}}))
                    await socket.socket.close()
                    return

    async def _view(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["programme"]
        programme = self.programmes[name]
        at = request.query.get("at", "")
        number = programme.segment if at == "now" else int(at)
        async with self._answering(request, programme) as response:
            if at == "now":
                await response.write(delimited(encode([(2, [(1, [(1, 1)])])])))  # the archive
                for past in range(max(number - KEPT_SEGMENTS, 0), number):
                    await response.write(delimited(self._entry(3, name, past)))
            await response.write(delimited(self._entry(1, name, number)))
            await self._while(lambda: programme.segment <= number)
            await response.write(delimited(encode([(4, [(1, number + 1)])])))
        return response

    async def _segment(self, request: web.Request) -> web.StreamResponse:
        programme = self.programmes[request.match_info["programme"]]
        number = int(request.match_info["number"])
        async with self._answering(request, programme) as response:
            programme.reading += 1
            try:
                await self._write_segment(response, programme, number)
            finally:
                programme.reading -= 1
                await self.tell()
        return response

    async def _write_segment(self, response: web.StreamResponse, programme: Programme, number: int) -> None:
        sent = 0
        await self.tell()
        while True:
            messages = programme.segments[number]
            data = b"".join(delimited(message) for message in messages[sent:])
            sent = len(messages)
            for half in (data[: len(data) // 2], data[len(data) // 2 :]):  # answers are cut anywhere
                if half:
                    await response.write(half)
            if programme.segment > number or self._closing:
                return
            await self._while(lambda seen=sent: len(programme.segments[number]) == seen and programme.segment == number)

    @contextlib.asynccontextmanager
    async def _answering(self, request: web.Request, programme: Programme):  # type: ignore[no-untyped-def]
        response = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        await response.prepare(request)
        transport = request.transport
        if transport is not None:
            programme.transports.add(transport)
        try:
            yield response
        finally:
            programme.transports.discard(transport)

    async def _while(self, true: Any) -> None:
        """Wait for as long as a condition holds and the studio runs."""
        async with self._news:
            await self._news.wait_for(lambda: self._closing or not true())

    def _entry(self, kind: int, name: str, number: int) -> bytes:
        start, until = [(1, number * 16)], [(1, number * 16 + 16)]
        return encode([(kind, [(1, start), (2, until), (3, f"{self.site}/segment/{name}/{number}")])])


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
