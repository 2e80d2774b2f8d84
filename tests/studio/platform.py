"""What the chats of all platforms share: who is connected where, sending to them, cutting them, waiting for them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable

from aiohttp import WSMsgType, web

from tests.deadline import DEADLINE_S


class Socket:
    """One viewer's connection; `got` is everything it said."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport | None) -> None:
        self.socket = socket
        self._transport = transport
        self.got: list[str] = []

    async def send(self, text: str) -> None:
        """Send a text frame; who is gone already needs none."""
        with contextlib.suppress(ConnectionError):
            await self.socket.send_str(text)

    async def texts(self) -> AsyncIterator[str]:
        """What the viewer says, until it goes."""
        async for frame in self.socket:
            if frame.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                text = frame.data if isinstance(frame.data, str) else frame.data.decode()
                self.got.append(text)
                yield text

    def cut(self) -> None:
        """Break the connection without a closing handshake."""
        if self._transport is not None:
            self._transport.abort()


class Platform:
    """One platform's chat. `url` is its base address once the studio runs; rooms are whatever the platform calls so."""

    def __init__(self) -> None:
        self.url = ""
        self.rooms: defaultdict[str, set[Socket]] = defaultdict(set)
        self._open: set[Socket] = set()
        self._news = asyncio.Condition()

    @property
    def ws_url(self) -> str:
        """The base address for WebSockets."""
        return self.url.replace("http", "ws", 1)

    def routes(self) -> list[web.RouteDef]:
        """What the studio serves for this platform."""
        raise NotImplementedError

    @contextlib.asynccontextmanager
    async def visitor(self, request: web.Request) -> AsyncIterator[Socket]:
        """Take a WebSocket, and at the end of the block let it go, from all rooms; also when its request was cancelled."""
        response = web.WebSocketResponse(max_msg_size=1 << 16, timeout=1.0, compress=False)
        await response.prepare(request)
        socket = Socket(response, request.transport)
        self._open.add(socket)
        try:
            yield socket
        finally:
            for sockets in self.rooms.values():
                sockets.discard(socket)
            self._open.discard(socket)
            await self.tell()
            await response.close()

    async def joined(self, room: str, socket: Socket) -> None:
        """The viewer hears the room from now on."""
        self.rooms[room].add(socket)
        await self.tell()

    async def send(self, room: str, text: str) -> int:
        """Send to all who are in the room; how many they are."""
        sockets = tuple(self.rooms[room])
        for socket in sockets:
            await socket.send(text)
        return len(sockets)

    async def cut(self, room: str) -> int:
        """Break all connections of a room, and wait until they are gone; how many there were."""
        sockets = tuple(self.rooms[room])
        for socket in sockets:
            socket.cut()
        await self.wait(lambda: not self.rooms[room].intersection(sockets))
        return len(sockets)

    async def wait_for(self, room: str, viewers: int = 1) -> None:
        """Return when at least so many are in the room (0: none). Raises TimeoutError."""
        await self.wait(lambda: len(self.rooms[room]) >= viewers if viewers else not self.rooms[room])

    async def wait(self, true: Callable[[], bool]) -> None:
        """Return when a condition holds, which is looked at whenever something happened. Raises TimeoutError."""
        async with asyncio.timeout(DEADLINE_S), self._news:
            await self._news.wait_for(true)

    async def tell(self) -> None:
        """Something happened."""
        async with self._news:
            self._news.notify_all()

    async def close(self) -> None:
        """Close all connections with the closing handshake."""
        for socket in tuple(self._open):
            await socket.socket.close()
