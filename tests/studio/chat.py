"""A room's chat: the log of everything said, and the sockets it goes to."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import time
from collections import deque
from typing import Any

from aiohttp import WSMsgType, web

from . import danmaku
from .changes import Changes
from .options import ChatMessage

MAX_LOG = 1_000_000
_MAX_QUEUED_PACKETS = 10_000
_MAX_TOKENS = 10_000
_BATCH_S = 0.05
_WORDS = (
    "233",
    "6666",
    "哈哈哈",
    "hello from the chat",
    "前排",
    "主播好",
    "nice shot",
    "awsl",
    "来了来了",
    "打call",
    "晚安",
)


class ChatSocket:
    """One authenticated viewer of the chat: packets leave in order, through a bounded queue."""

    def __init__(
        self, socket: web.WebSocketResponse, transport: asyncio.Transport | None, protover: int, *, member: bool
    ) -> None:
        self._socket = socket
        self._transport = transport
        self.protover = protover
        self.member = member
        """Joined with the number of an account."""
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(_MAX_QUEUED_PACKETS)

    def send(self, packet: bytes) -> None:
        """Queue one packet; a reader that is 10,000 packets behind is cut."""
        try:
            self._queue.put_nowait(packet)
        except asyncio.QueueFull:
            self.cut()

    async def drain(self) -> None:
        """Send what is queued, for ever."""
        while True:
            await self._socket.send_bytes(await self._queue.get())

    def cut(self) -> None:
        """Break the connection without a closing handshake."""
        if self._transport is not None:
            self._transport.abort()


class ChatRoom:
    """Messages of one room: numbered, logged, and sent to everybody who is connected."""

    def __init__(self, number: int, changes: Changes) -> None:
        self.number = number
        self.sockets: set[ChatSocket] = set()
        self.log: deque[dict[str, Any]] = deque(maxlen=MAX_LOG)
        self.sent = 0
        self._changes = changes
        self._flow: asyncio.Task[None] | None = None

    def say(self, messages: list[ChatMessage]) -> list[dict[str, Any]]:
        """Log the messages and send them all in one packet; returns the log's entries."""
        now_ms = time.time_ns() // 1_000_000
        entries: list[dict[str, Any]] = []
        bodies: list[dict[str, Any]] = []
        for message in messages:
            self.sent += 1
            bodies.append(danmaku.message_of(message, self.number, self.sent, now_ms))
            known = message.model_dump(exclude_none=True)
            entries.append({"seq": self.sent, "time_ms": now_ms, **known, "delivered_to": len(self.sockets)})
        self.broadcast(bodies)
        self.log.extend(entries)
        self._changes.notify()
        return entries

    def broadcast(self, bodies: list[dict[str, Any]]) -> None:
        """Send whole JSON messages in one packet, each socket in the compression it asked for; not logged."""
        packets: dict[int, bytes] = {}
        for socket in tuple(self.sockets):
            if socket.protover not in packets:
                packets[socket.protover] = danmaku.packet_of(bodies, socket.protover)
            socket.send(packets[socket.protover])

    def join(self, socket: ChatSocket) -> None:
        """An authenticated socket gets everything from now on."""
        self.sockets.add(socket)
        self._changes.notify()

    def leave(self, socket: ChatSocket) -> None:
        """The socket is gone."""
        self.sockets.discard(socket)
        self._changes.notify()

    def cut(self) -> int:
        """Break all chat connections; returns how many."""
        sockets = tuple(self.sockets)
        for socket in sockets:
            socket.cut()
        return len(sockets)

    def start_flow(self, per_second: float) -> None:
        """Let a made-up audience chat at this rate until the broadcast ends."""
        if per_second > 0:
            self._flow = asyncio.create_task(self._audience(per_second), name=f"studio-chat-{self.number}")

    async def stop_flow(self) -> None:
        """Silence the made-up audience."""
        if self._flow is not None:
            self._flow.cancel()
            await asyncio.wait({self._flow})
            self._flow = None

    async def _audience(self, per_second: float) -> None:
        dice = random.Random(self.number)
        loop = asyncio.get_running_loop()
        started, said = loop.time(), 0
        while True:
            await asyncio.sleep(max(_BATCH_S, 1 / per_second))
            due = int((loop.time() - started) * per_second) - said
            if due > 0:
                self.say([_made_up(dice) for _ in range(due)])
                said += due


def _made_up(dice: random.Random) -> ChatMessage:
    uid = dice.randint(1, 500)
    text = " ".join(dice.choices(_WORDS, k=dice.randint(1, 4)))
    color = dice.choice((0xFFFFFF, 0xFFFFFF, 0xE33FFF, 0x54EED8, 0x58C1DE))
    kind = dice.choices(("chat", "gift", "super_chat", "guard"), weights=(93, 5, 1.5, 0.5))[0]
    return ChatMessage(kind=kind, user=f"viewer{uid}", uid=uid, text=text, color=color)


class ChatServer:
    """The WebSocket endpoint /sub: authenticates with a token of getDanmuInfo, answers heartbeats, cuts the silent."""

    def __init__(self, auth_timeout: float, heartbeat_timeout: float) -> None:
        self._auth_timeout = auth_timeout
        self._heartbeat_timeout = heartbeat_timeout
        self._tokens: dict[str, ChatRoom] = {}
        self._open: set[web.WebSocketResponse] = set()

    def issue_token(self, chat: ChatRoom) -> str:
        """A new key that opens this room's chat."""
        token = secrets.token_urlsafe(96)
        self._tokens[token] = chat
        if len(self._tokens) > _MAX_TOKENS:
            del self._tokens[next(iter(self._tokens))]
        return token

    def forget(self, chat: ChatRoom) -> None:
        """The room is removed: its tokens are void."""
        self._tokens = {token: room for token, room in self._tokens.items() if room is not chat}

    async def close(self) -> None:
        """Close all sockets with the closing handshake."""
        for socket in tuple(self._open):
            await socket.close()

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """One chat connection, from handshake to the end."""
        socket = web.WebSocketResponse(max_msg_size=1 << 16, timeout=1.0, compress=False)
        await socket.prepare(request)
        self._open.add(socket)
        try:
            joined = await self._authenticate(socket, request.transport)
            if joined is not None:
                await self._serve(socket, *joined)
        finally:
            self._open.discard(socket)
            await socket.close()
        return socket

    async def _authenticate(
        self, socket: web.WebSocketResponse, transport: asyncio.Transport | None
    ) -> tuple[ChatRoom, ChatSocket] | None:
        packets = await _receive(socket, self._auth_timeout)
        if not packets or packets[0][0] != danmaku.AUTH:
            return None
        hello = _hello_of(packets[0][2])
        chat = self._tokens.get(str(hello.get("key")))
        if chat is None or hello.get("roomid") != chat.number or hello.get("protover", 2) not in {0, 1, 2, 3}:
            await socket.send_bytes(danmaku.frame(danmaku.AUTH_REPLY, b'{"code":-101}'))
            return None
        await socket.send_bytes(danmaku.frame(danmaku.AUTH_REPLY, b'{"code":0}'))
        return chat, ChatSocket(socket, transport, hello.get("protover", 2), member=bool(hello.get("uid")))

    async def _serve(self, socket: web.WebSocketResponse, chat: ChatRoom, viewer: ChatSocket) -> None:
        chat.join(viewer)
        draining = asyncio.create_task(viewer.drain())
        try:
            await self._answer_heartbeats(socket, chat, viewer)
        finally:
            chat.leave(viewer)
            draining.cancel()
            await asyncio.wait({draining})
            if not draining.cancelled():
                draining.exception()  # the connection broke while sending: it is over either way

    async def _answer_heartbeats(self, socket: web.WebSocketResponse, chat: ChatRoom, viewer: ChatSocket) -> None:
        loop = asyncio.get_running_loop()
        last = loop.time()
        while (left := last + self._heartbeat_timeout - loop.time()) > 0:
            packets = await _receive(socket, left)
            if packets is None:
                return
            for operation, _, body in packets:
                if operation == danmaku.HEARTBEAT:
                    last = loop.time()
                    # The reply is the popularity and then the client's own words.
                    popularity = max(1, len(chat.sockets)).to_bytes(4, "big")
                    viewer.send(danmaku.frame(danmaku.HEARTBEAT_REPLY, popularity + body))


async def _receive(socket: web.WebSocketResponse, timeout: float) -> list[tuple[int, int, bytes]] | None:
    """The packets of the next binary message; None when the peer is gone, too slow, or does not speak the protocol."""
    try:
        message = await socket.receive(timeout=timeout)
        return danmaku.frames_of(message.data) if message.type is WSMsgType.BINARY else None
    except (TimeoutError, ValueError):
        return None


def _hello_of(body: bytes) -> dict[str, Any]:
    try:
        hello = json.loads(body)
    except ValueError:
        return {}
    return hello if isinstance(hello, dict) else {}
