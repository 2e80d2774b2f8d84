"""What every chat driver does: join somewhere, stay, beat, answer, and come back for as long as the session is open.

A protocol adds a codec (pure) and what `ChatDriver.access` answers: where to connect and how to greet.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import aiohttp
from chassis.egress import EgressPolicy, RefusedAddress

from services.danmu.adapters.codec import ChatCodec, CodecCounters, Decoded, now_ms
from services.danmu.adapters.links import Frame, Framing, Link, LinkBroken, Server, TcpLink, WebSocketLink
from services.danmu.adapters.messages import ChatMessage
from services.danmu.adapters.source import ConnectionChange, ConnectionState, Heard

ACCESS_TIMEOUT_S: Final = 30.0
SILENT_HEARTBEATS: Final = 2.5
"""Where every heartbeat is answered, a connection that is silent for longer than two of them is dead."""
STEADY_S: Final = 60.0
"""A connection that lasted this long ends an outage; one that breaks sooner continues it."""
BEAT_RANGE_S: Final = (1.0, 300.0)
"""What a server may ask for."""

Tap = Callable[[int, bool, bytes], None]
T = TypeVar("T")


class AccessFailed(RuntimeError):
    """The platform did not say how to join. The message is fit for an operator and names no secret."""


_BROKEN: Final = (aiohttp.ClientError, OSError, ValueError, LinkBroken, AccessFailed)
"""What a connection can fail with. OSError includes time-outs; ValueError is a server name that is no host, or refused."""


class _Closed(Exception):
    """`close` was called."""


@dataclass(frozen=True, slots=True)
class Pace:
    """The times of a driver, in seconds. `heartbeat_s` 0: the protocol has no heartbeat.

    `silence_s`: without a sign of life for that long a connection is dead; 0 = two and a half heartbeats.
    `pings`: with each heartbeat the transport is asked for a sign of life too, for servers that do not answer heartbeats.
    `jitter` gives numbers in [0, 1).
    """

    heartbeat_s: float = 30.0
    silence_s: float = 0.0
    pings: bool = False
    connect_timeout_s: float = 10.0
    backoff_initial_s: float = 1.0
    backoff_max_s: float = 60.0
    jitter: Callable[[], float] = random.random


@dataclass(frozen=True, slots=True)
class Access:
    """How to join now: the servers in order of preference, and `join`, which makes a connection's codec and its greeting."""

    servers: tuple[Server, ...]
    join: Callable[[], tuple[ChatCodec, Sequence[Frame]]]


@dataclass(slots=True)
class _Connection:
    """A connection that stands. `early`: messages that came before the answer to the greeting."""

    link: Link
    codec: ChatCodec
    host: str
    beat_s: float
    early: list[ChatMessage] = field(default_factory=list)


class ChatDriver(ABC):
    """A `ChatSource` for any protocol. The session stays the caller's to close; `egress` guards what does not pass through it."""

    awaits_welcome = True
    """Whether the codec tells by `Decoded.authenticated` that the room was joined; else an open connection counts as joined."""

    framing: Framing | None = None
    """How a ``tcp://`` server's stream is cut."""

    def __init__(
        self, session: aiohttp.ClientSession, pace: Pace | None = None, *, egress: EgressPolicy | None = None
    ) -> None:
        self.session = session
        self.pace = pace or Pace()
        self.egress = egress or EgressPolicy()
        self.popularity = 0
        self.counters = CodecCounters()
        self.tap: Tap | None = None
        """Hears every frame, for whoever keeps them: which connection it was (counted from 1), whether it was sent, and its bytes."""
        self._connections = 0
        self._closed = asyncio.Event()
        self._link: Link | None = None
        self._rotation = 0

    @abstractmethod
    async def access(self) -> Access:
        """Ask where the chat is and for fresh credentials; called before each round over the servers.

        Raises AccessFailed, or what a request raises.
        """

    async def open_link(self, server: Server, codec: ChatCodec) -> Link:
        """Connect to one server by the scheme of its address; a protocol that polls overrides it."""
        if server.url.scheme == "tcp" and self.framing is not None:
            return await TcpLink.open(self.egress, server, self.framing)
        return await WebSocketLink.open(self.session, server)

    async def close(self) -> None:
        """See ChatSource."""
        self._closed.set()
        await self._hang_up()

    async def heard(self) -> AsyncIterator[Heard]:
        """See ChatSource."""
        failures = 0
        try:
            while True:
                try:
                    connection = await self._until_closed(self._connect())
                except LinkBroken as error:
                    failures += 1
                    yield ConnectionChange(ConnectionState.FAILED, now_ms(), reason=str(error), attempt=failures)
                else:
                    began = time.monotonic()
                    async with contextlib.aclosing(self._stay(connection)) as items:
                        async for item in items:
                            yield item
                    failures = 1 if time.monotonic() - began >= STEADY_S else failures + 1
                pace = self.pace
                delay = backoff_delay(failures, pace.backoff_initial_s, pace.backoff_max_s, pace.jitter())
                await self._until_closed(asyncio.sleep(delay))
        except _Closed:
            return
        finally:
            await self._hang_up()

    async def _until_closed(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work`, or give it up when `close` is called. Raises _Closed."""
        task = asyncio.ensure_future(work)
        closed = asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait({task, closed}, return_when=asyncio.FIRST_COMPLETED)
            if self._closed.is_set():
                raise _Closed
            return await task
        finally:
            task.cancel()
            closed.cancel()
            await asyncio.gather(task, closed, return_exceptions=True)

    async def _connect(self) -> _Connection:
        """One round over all servers, starting behind the one that failed last. Raises LinkBroken."""
        access = await self._ask()
        start = self._rotation % len(access.servers)
        reason = ""
        for server in access.servers[start:] + access.servers[:start]:
            try:
                async with asyncio.timeout(self.pace.connect_timeout_s):
                    return await self._join(server, access)
            except _BROKEN as error:
                reason = f"{server.host}: {describe(error)}"
                self._rotation += 1
                await self._hang_up()
        raise LinkBroken(reason)

    async def _ask(self) -> Access:
        try:
            async with asyncio.timeout(ACCESS_TIMEOUT_S):
                access = await self.access()
        except _BROKEN as error:
            raise LinkBroken(describe(error)) from error
        if not access.servers:
            raise LinkBroken("the platform named no chat server")
        return access

    async def _join(self, server: Server, access: Access) -> _Connection:
        codec, greeting = access.join()
        codec.counters = self.counters
        link = self._link = await self.open_link(server, codec)
        self._connections += 1
        for frame in greeting:
            await self._send(link, frame)
        connection = _Connection(link, codec, server.host, self.pace.heartbeat_s)
        while self.awaits_welcome:
            decoded = await self._receive(connection)
            connection.early += decoded.messages
            if decoded.reconnect:
                raise LinkBroken(decoded.reconnect)
            if decoded.authenticated:
                break
            if decoded.authenticated is False:
                raise LinkBroken("the authentication was refused")
        return connection

    async def _stay(self, connection: _Connection) -> AsyncGenerator[Heard, None]:
        """Everything from a joined room until the connection breaks, or until `close`."""
        heart = asyncio.create_task(self._beat(connection))
        try:
            yield ConnectionChange(ConnectionState.CONNECTED, now_ms(), connection.host)
            if connection.early:
                yield connection.early
            while True:
                decoded = await self._receive(connection)
                if decoded.messages:
                    yield decoded.messages
                if decoded.reconnect:
                    raise LinkBroken(decoded.reconnect)
        except _BROKEN as error:
            if not self._closed.is_set():
                self._rotation += 1
                yield ConnectionChange(ConnectionState.LOST, now_ms(), connection.host, describe(error))
        finally:
            heart.cancel()
            await asyncio.gather(heart, return_exceptions=True)
            await self._hang_up()

    async def _receive(self, connection: _Connection) -> Decoded:
        """One frame, with its replies sent: an acknowledgement must not wait for whoever takes the messages."""
        silence_s = self.pace.silence_s or (connection.beat_s or 30.0) * SILENT_HEARTBEATS
        frame = await connection.link.receive(silence_s)
        if self.tap is not None:
            self.tap(self._connections, False, frame)
        decoded = connection.codec.feed(frame)
        try:
            for reply in decoded.replies:
                await self._send(connection.link, reply)
        except _BROKEN as error:
            decoded.reconnect = describe(error)  # what came before the break is still handed on
        if decoded.popularity is not None:
            self.popularity = decoded.popularity
        if decoded.beat_s is not None:
            connection.beat_s = min(max(decoded.beat_s, BEAT_RANGE_S[0]), BEAT_RANGE_S[1])
        return decoded

    async def _send(self, link: Link, frame: Frame) -> None:
        if self.tap is not None:
            self.tap(self._connections, True, frame.encode() if isinstance(frame, str) else frame)
        await link.send(frame)

    async def _beat(self, connection: _Connection) -> None:
        """The first at once, as web pages do: its answer proves that the connection works both ways."""
        while connection.beat_s:
            if (frame := connection.codec.heartbeat()) is not None:
                await self._send(connection.link, frame)
            if self.pace.pings:
                await connection.link.ping()
            await asyncio.sleep(connection.beat_s)

    async def _hang_up(self) -> None:
        if self._link is not None:
            await self._link.close()


def backoff_delay(failures: int, initial_s: float, max_s: float, chance: float) -> float:
    """Seconds to wait after so many failures: doubles up to `max_s`, of which up to half is chance.

    Chance (in [0, 1)) spreads out the rooms that one outage cut off together.
    """
    delay = min(initial_s * 2.0 ** min(failures - 1, 32), max_s)
    return delay * (0.5 + chance / 2)


def describe(error: BaseException) -> str:
    """An error without the address it happened at, which may be signed."""
    if isinstance(error, aiohttp.ClientResponseError):
        return f"HTTP {error.status}"
    if isinstance(error, aiohttp.InvalidURL):
        return "not an address"
    if isinstance(error, ValueError) and not isinstance(error, RefusedAddress):
        return f"{type(error).__name__}: {str(error).partition('://')[0][:200]}"
    return str(error)[:500] or type(error).__name__
