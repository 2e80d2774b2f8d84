"""The WebSockets of one chat room on another platform than Bilibili: who is in it, what they send, and cutting them off."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from aiohttp import WSMsgType, web

from tests.deadline import DEADLINE_S

from .changes import Changes

MAX_KEPT = 10_000
Frame = bytes | str
OnFrame = Callable[["Viewer", Frame], Awaitable[None]]


class Viewer:
    """One connection; `joined` once the platform has admitted it."""

    def __init__(self, socket: web.WebSocketResponse, request: web.Request) -> None:
        self.socket, self.request, self.joined = socket, request, False

    async def send(self, frame: Frame) -> None:
        """One frame, text as a text frame."""
        await (self.socket.send_str(frame) if isinstance(frame, str) else self.socket.send_bytes(frame))

    def cut(self) -> None:
        """Break the connection without a closing handshake."""
        if self.request.transport is not None:
            self.request.transport.abort()


class Audience:
    """Everybody in one room. `heard` are the frames that viewers sent, `visits` how many were ever admitted, `beats` heartbeats."""

    def __init__(self, changes: Changes) -> None:
        self.viewers: set[Viewer] = set()
        self.heard: deque[Frame] = deque(maxlen=MAX_KEPT)
        self.visits = self.beats = 0
        self._changes = changes

    async def serve(
        self, request: web.Request, on_frame: OnFrame, protocols: tuple[str, ...] = (), greeting: Frame = b""
    ) -> web.WebSocketResponse:
        """One connection from handshake to end; `greeting`: where the server speaks first."""
        socket = web.WebSocketResponse(max_msg_size=1 << 16, timeout=1.0, compress=False, protocols=protocols)
        await socket.prepare(request)
        viewer = Viewer(socket, request)
        self.viewers.add(viewer)
        try:
            if greeting:
                await viewer.send(greeting)
            async for message in socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    self.heard.append(message.data)
                    await on_frame(viewer, message.data)
                    self._changes.notify()
        finally:
            self.viewers.discard(viewer)
            self._changes.notify()
        return socket

    def admit(self, viewer: Viewer) -> None:
        """The viewer gets everything from now on."""
        viewer.joined = True
        self.visits += 1
        self._changes.notify()

    def beat(self) -> None:
        """A heartbeat came."""
        self.beats += 1
        self._changes.notify()

    async def send(self, frame: Frame) -> int:
        """To everybody who was admitted; how many that are."""
        there = [viewer for viewer in self.viewers if viewer.joined]
        await asyncio.gather(*(viewer.send(frame) for viewer in there))
        return len(there)

    def cut(self) -> int:
        """Break every connection; how many there were."""
        viewers = tuple(self.viewers)
        for viewer in viewers:
            viewer.cut()
        return len(viewers)

    async def close(self) -> None:
        """Close with the closing handshake."""
        await asyncio.gather(*(viewer.socket.close() for viewer in tuple(self.viewers)))

    async def wait(self, *, visits: int = 0, beats: int = 0) -> None:
        """Return when so many were admitted and so many heartbeats came. Raises TimeoutError."""
        await self.until(lambda: self.visits >= visits and self.beats >= beats)

    async def until(self, predicate: Callable[[], bool], timeout: float = DEADLINE_S) -> None:
        """Return as soon as `predicate()` holds. Raises TimeoutError."""
        await self._changes.wait_until(predicate, timeout)
