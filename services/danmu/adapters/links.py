"""The transports that chat comes through, all alike: send a frame, receive a frame, hang up."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

import aiohttp
from chassis.egress import EgressPolicy, resolve_checked
from yarl import URL

MAX_FRAME_BYTES: Final = 16 << 20
"""What one frame may hold: a thousand times a busy room's largest one."""

Frame = bytes | str
"""What is sent. Text becomes a text frame where the transport has such, else UTF-8."""

_SOCKET_TIMEOUT: Final = aiohttp.ClientWSTimeout(ws_close=2.0)
_ENDS: Final = frozenset(
    {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}
)


class LinkBroken(Exception):
    """The connection is over; the message says how."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where chat can be joined: `url` is ``ws(s)://…`` or ``tcp://host:port``; `headers` and `protocols` of a WebSocket only."""

    url: URL
    headers: Mapping[str, str] = field(default_factory=dict)
    protocols: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        """What an operator is told; never the query, which may be signed."""
        return self.url.host or ""


class Link(Protocol):
    """One connection."""

    async def send(self, frame: Frame) -> None:
        """Send one frame. Raises LinkBroken, OSError or aiohttp.ClientError."""

    async def ping(self) -> None:
        """Ask the transport itself for a sign of life, where it has such."""

    async def receive(self, timeout_s: float) -> bytes:
        """The next frame; text comes as UTF-8. Raises LinkBroken, and TimeoutError after that long without a sign of life."""

    async def close(self) -> None:
        """Hang up; may be called more than once."""


class WebSocketLink:
    """A WebSocket. Pings are answered; a pong or a ping is a sign of life."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._silence = _Silence(self._give_up)
        self._giving_up: asyncio.Task[bool] | None = None

    @classmethod
    async def open(cls, session: aiohttp.ClientSession, server: Server) -> WebSocketLink:
        """Connect. Raises OSError, aiohttp.ClientError, ValueError (a refused address)."""
        socket = await session.ws_connect(
            server.url,
            headers=server.headers,
            protocols=server.protocols,
            max_msg_size=MAX_FRAME_BYTES,
            timeout=_SOCKET_TIMEOUT,
            autoping=False,
        )
        return cls(socket)

    async def send(self, frame: Frame) -> None:
        """See Link."""
        await (self._socket.send_str(frame) if isinstance(frame, str) else self._socket.send_bytes(frame))

    async def ping(self) -> None:
        """See Link."""
        await self._socket.ping()

    async def receive(self, timeout_s: float) -> bytes:
        """See Link."""
        try:
            while True:
                self._silence.begin(timeout_s)
                frame = await self._socket.receive()
                if frame.type in _ENDS:
                    raise self._ended()
                if frame.type is aiohttp.WSMsgType.BINARY:
                    return bytes(frame.data)
                if frame.type is aiohttp.WSMsgType.TEXT:
                    return str(frame.data).encode()
                if frame.type is aiohttp.WSMsgType.PING:
                    await self._socket.pong(frame.data)
        finally:
            self._silence.end()

    def _ended(self) -> Exception:
        return TimeoutError() if self._giving_up else LinkBroken(f"closed by the server ({self._socket.close_code})")

    def _give_up(self) -> None:
        self._giving_up = asyncio.create_task(self._socket.close())

    async def close(self) -> None:
        """See Link."""
        self._silence.stop()
        await (self._giving_up or self._socket.close())


class _Silence:
    """Calls `broken` once something that is waited for has not come for so long. One timer for all waits, for one per frame costs more."""

    def __init__(self, broken: Callable[[], None]) -> None:
        self._broken = broken
        self._loop = asyncio.get_running_loop()
        self._allowed_s = 0.0
        self._since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, allowed_s: float) -> None:
        """Waiting begins, or begins again after a sign of life."""
        self._since = self._loop.time()
        if allowed_s != self._allowed_s:
            self.stop()
            self._allowed_s = allowed_s
            self._timer = self._loop.call_later(allowed_s, self._look)

    def end(self) -> None:
        """What was waited for has come; how long it is worked on does not count."""
        self._since = None

    def stop(self) -> None:
        """Nothing is waited for any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._allowed_s = None, 0.0

    def _look(self) -> None:
        waited = 0.0 if self._since is None else self._loop.time() - self._since
        if waited < self._allowed_s:
            self._timer = self._loop.call_later(self._allowed_s - waited, self._look)
        else:
            self._timer = None
            self._broken()


@dataclass(frozen=True, slots=True)
class Framing:
    """How a byte stream is cut into frames: a header of a fixed size, from which follows how many bytes come after it."""

    header_bytes: int
    rest: Callable[[bytes], int]
    """The number of bytes behind this header; raises ValueError for a header that is none."""


class TcpLink:
    """A plain TCP connection whose byte stream is cut into frames by `framing`; a frame holds its header too."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, framing: Framing) -> None:
        self._reader, self._writer, self._framing = reader, writer, framing

    @classmethod
    async def open(cls, egress: EgressPolicy, server: Server, framing: Framing) -> TcpLink:
        """Connect to the first address that answers. Raises OSError, ValueError (a refused address)."""
        host, port = server.host, server.url.port
        if not host or not port:
            raise ValueError("a TCP server has a host and a port")
        failure: OSError = OSError("the name has no address")
        for address in await resolve_checked(host, egress, port):
            try:
                reader, writer = await asyncio.open_connection(address, port)
            except OSError as error:
                failure = error
            else:
                return cls(reader, writer, framing)
        raise failure

    async def send(self, frame: Frame) -> None:
        """See Link."""
        self._writer.write(frame.encode() if isinstance(frame, str) else frame)
        await self._writer.drain()

    async def ping(self) -> None:
        """See Link; TCP has none."""

    async def receive(self, timeout_s: float) -> bytes:
        """See Link."""
        try:
            async with asyncio.timeout(timeout_s):
                header = await self._reader.readexactly(self._framing.header_bytes)
                rest = self._framing.rest(header)
                if not 0 <= rest <= MAX_FRAME_BYTES:
                    raise LinkBroken(f"a frame of {rest} bytes")
                return header + await self._reader.readexactly(rest)
        except asyncio.IncompleteReadError as error:
            raise LinkBroken("closed by the server") from error

    async def close(self) -> None:
        """See Link."""
        self._writer.close()
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(2.0):
                await self._writer.wait_closed()


class PollingLink:
    """Chat that is fetched again and again: each answer is a frame. `wait_s` tells how long to wait before each request."""

    def __init__(self, poll: Callable[[], Awaitable[bytes]], wait_s: Callable[[], float]) -> None:
        self._poll, self._wait_s = poll, wait_s
        self._closed = asyncio.Event()

    async def send(self, frame: Frame) -> None:
        """See Link. What there is to say goes with the request."""
        raise LinkBroken("nothing can be sent to a chat that is polled")

    async def ping(self) -> None:
        """See Link; each request is one."""

    async def receive(self, timeout_s: float) -> bytes:
        """See Link. The time-out is that of the request, the wait before it does not count."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._wait_s()):
                await self._closed.wait()
        if self._closed.is_set():
            raise LinkBroken("closed")
        async with asyncio.timeout(timeout_s):
            return await self._poll()

    async def close(self) -> None:
        """See Link."""
        self._closed.set()
