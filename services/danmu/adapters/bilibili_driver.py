"""Joins a Bilibili room's chat and stays in it: asks where the chat is, authenticates, beats, reconnects.

Facts: the authentication is due within 5 s of connecting, a heartbeat every 30 s, each of which the server answers
(bilibili-API-collect, page "live/message_stream"); chat servers are listed in order of preference.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import aiohttp
from yarl import URL

from services.danmu.adapters.bilibili import MAX_FRAME_BYTES, BilibiliCodec
from services.danmu.adapters.bilibili_api import (
    BROWSER,
    LIVE_API,
    MAIN_API,
    ApiError,
    BilibiliApi,
    ChatAccess,
    ChatServer,
)
from services.danmu.adapters.codec import CodecCounters, Decoded
from services.danmu.adapters.messages import ChatMessage
from services.danmu.adapters.registry import InvalidDescriptor, source
from services.danmu.adapters.source import ConnectionChange, ConnectionState

HEARTBEAT_S: Final = 30.0
CONNECT_TIMEOUT_S: Final = 10.0
MAX_API: Final = 2000
"""Characters of an address."""
SILENT_HEARTBEATS: Final = 2.5
"""Every heartbeat is answered: a connection that is silent for longer than two of them is dead."""
STEADY_S: Final = 60.0
"""A connection that lasted this long ends an outage; one that breaks sooner continues it."""

_SOCKET_TIMEOUT: Final = aiohttp.ClientWSTimeout(ws_close=2.0)
_ENDS: Final = frozenset(
    {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR}
)
_BROKEN: Final = (aiohttp.ClientError, OSError, ValueError)
"""What a connection can fail with. OSError includes time-outs; ValueError is a server name that is no host, or refused."""

Item = ChatMessage | ConnectionChange
T = TypeVar("T")


class _ConnectionFailed(Exception):
    """One attempt failed, or an established connection broke; the message says how."""


class _Closed(Exception):
    """`close` was called."""


@dataclass(slots=True)
class _Connection:
    """An authenticated connection. `early`: messages that came before the answer to the authentication."""

    socket: aiohttp.ClientWebSocketResponse
    codec: BilibiliCodec
    host: str
    early: list[ChatMessage]


@source("bilibili")
class BilibiliSource:
    """The chat of one Bilibili room. Descriptor: ``room_id``, a positive number or its digits, short ones are fine; ``api``."""

    def __init__(  # noqa: PLR0913 - one keyword per thing a deployment or a test may set
        self,
        descriptor: Mapping[str, object],
        session: aiohttp.ClientSession,
        *,
        live_api: str = "",
        main_api: str = MAIN_API,
        cookies: Mapping[str, str] | None = None,
        heartbeat_s: float = HEARTBEAT_S,
        backoff_initial_s: float = 1.0,
        backoff_max_s: float = 60.0,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """`live_api` is by default the one that the monitor asked, which the descriptor names as ``api``.

        `cookies` are the account's (SESSDATA, buvid3) and secret; `jitter` gives numbers in [0, 1).

        Raises InvalidDescriptor.
        """
        self._room_id = _room_id(descriptor)
        self._session = session
        self._api = BilibiliApi(session, live_api=live_api or _api_of(descriptor), main_api=main_api, cookies=cookies)
        self._heartbeat_s = heartbeat_s
        self._backoff_initial_s = backoff_initial_s
        self._backoff_max_s = backoff_max_s
        self._jitter = jitter
        self._closed = asyncio.Event()
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._rotation = 0
        self.popularity = 0
        self.counters = CodecCounters()

    async def close(self) -> None:
        """See ChatSource."""
        self._closed.set()
        await self._hang_up()

    async def messages(self) -> AsyncIterator[Item]:
        """See ChatSource."""
        failures = 0
        try:
            while True:
                try:
                    connection = await self._until_closed(self._connect())
                except _ConnectionFailed as error:
                    failures += 1
                    yield ConnectionChange(ConnectionState.FAILED, _now_ms(), reason=str(error), attempt=failures)
                else:
                    began = time.monotonic()
                    async with contextlib.aclosing(self._stay(connection)) as items:
                        async for item in items:
                            yield item
                    failures = 1 if time.monotonic() - began >= STEADY_S else failures + 1
                delay = backoff_delay(failures, self._backoff_initial_s, self._backoff_max_s, self._jitter())
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
        """One round over all servers, starting behind the one that failed last. Raises _ConnectionFailed."""
        access = await self._access()
        start = self._rotation % len(access.servers)
        reason = ""
        for server in access.servers[start:] + access.servers[:start]:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    return await self._join(server, access)
            except (*_BROKEN, _ConnectionFailed) as error:
                reason = f"{server.host}: {_describe(error)}"
                self._rotation += 1
                await self._hang_up()
        raise _ConnectionFailed(reason)

    async def _access(self) -> ChatAccess:
        try:
            return await self._api.access(self._room_id)
        except ApiError as error:
            fallback = self._api.fallback(self._room_id)
            if fallback is None:
                raise _ConnectionFailed(str(error)) from error
            return fallback

    async def _join(self, server: ChatServer, access: ChatAccess) -> _Connection:
        codec = BilibiliCodec()
        codec.counters = self.counters
        # No cookie: the token stands for the visitor, and the servers' names come out of an answer.
        socket = self._socket = await self._session.ws_connect(
            self._url(server), headers=BROWSER, max_msg_size=MAX_FRAME_BYTES, timeout=_SOCKET_TIMEOUT
        )
        buvid = self._api.cookies["buvid3"]
        await socket.send_bytes(codec.hello(access.room_id, uid=access.uid, token=access.token, buvid=buvid))
        connection = _Connection(socket, codec, server.host, [])
        while True:
            decoded = await self._receive(connection)
            connection.early += decoded.messages
            if decoded.authenticated:
                return connection
            if decoded.authenticated is False:
                raise _ConnectionFailed("the authentication was refused")

    def _url(self, server: ChatServer) -> URL:
        secure = self._api.secure
        port = server.wss_port if secure else server.ws_port
        return URL.build(scheme="wss" if secure else "ws", host=server.host, port=port, path="/sub")

    async def _stay(self, connection: _Connection) -> AsyncGenerator[Item, None]:
        """Everything from an authenticated connection until it breaks, or until `close`."""
        heart = asyncio.create_task(self._beat(connection))
        try:
            yield ConnectionChange(ConnectionState.CONNECTED, _now_ms(), connection.host)
            for message in connection.early:
                yield message
            while True:
                decoded = await self._receive(connection)
                for message in decoded.messages:
                    yield message
        except (*_BROKEN, _ConnectionFailed) as error:
            if not self._closed.is_set():
                self._rotation += 1
                yield ConnectionChange(ConnectionState.LOST, _now_ms(), connection.host, _describe(error))
        finally:
            heart.cancel()
            await asyncio.gather(heart, return_exceptions=True)
            await self._hang_up()

    async def _receive(self, connection: _Connection) -> Decoded:
        frame = await connection.socket.receive(timeout=self._heartbeat_s * SILENT_HEARTBEATS)
        if frame.type in _ENDS:
            raise _ConnectionFailed(f"closed by the server ({connection.socket.close_code})")
        if frame.type is not aiohttp.WSMsgType.BINARY:
            return Decoded()
        decoded = connection.codec.feed(frame.data)
        for reply in decoded.replies:
            await connection.socket.send_bytes(reply)
        if decoded.popularity is not None:
            self.popularity = decoded.popularity
        return decoded

    async def _beat(self, connection: _Connection) -> None:
        """The first at once, as the web page does: its answer proves the connection works both ways."""
        while True:
            await connection.socket.send_bytes(connection.codec.heartbeat())
            await asyncio.sleep(self._heartbeat_s)

    async def _hang_up(self) -> None:
        if self._socket is not None:
            await self._socket.close()


def backoff_delay(failures: int, initial_s: float, max_s: float, chance: float) -> float:
    """Seconds to wait after so many failures: doubles up to `max_s`, of which up to half is chance.

    Chance (in [0, 1)) spreads out the rooms that one outage cut off together.
    """
    delay = min(initial_s * 2.0 ** min(failures - 1, 32), max_s)
    return delay * (0.5 + chance / 2)


def _room_id(descriptor: Mapping[str, object]) -> int:
    value = descriptor.get("room_id")
    text = str(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and int(text) > 0):
        raise InvalidDescriptor("bilibili chat needs a room_id, a positive number")
    return int(text)


def _api_of(descriptor: Mapping[str, object]) -> str:
    value = descriptor.get("api") or LIVE_API
    if not isinstance(value, str) or len(value) > MAX_API or not value.startswith(("http://", "https://")):
        raise InvalidDescriptor("the api of a bilibili chat is an http(s) address")
    return value


def _describe(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
