"""The body of an endless answer as it comes off the transport: received into a shared buffer, unframed, handed to one reader."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

import aiohttp

from services.downloader.adapters.engine import Chunk
from services.downloader.adapters.framing import BadFraming, Framing
from services.downloader.adapters.scratch import Scratch

BOUND: Final = 1 << 20
"""Bytes that wait for their reader; beyond it the socket is not read until they are gone."""
scratch = Scratch()
"""Where every connection of a thread receives."""


class LiveBody(asyncio.BufferedProtocol):
    """The protocol of a connection whose answer is a body without end, and the iterator over its bytes.

    It fails as aiohttp's bodies do: `SocketTimeoutError` after ``stall_s`` without a byte (while we do not read, nobody stalls),
    `ClientPayloadError` for a body that breaks off, also by a reset, or is not framed as announced. What came before is read first.
    ``handler`` is aiohttp's own protocol, which learns what concerns its pool.
    """

    def __init__(self, handler: Any, transport: asyncio.Transport, framing: Framing, stall_s: float) -> None:
        self._handler, self._transport, self._framing, self._stall_s = handler, transport, framing, stall_s
        self._loop = asyncio.get_running_loop()
        self._ready: deque[Chunk] = deque()
        self._size = 0
        self._paused = self._ended = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._heard_at = self._loop.time()
        self._watch = self._loop.call_later(stall_s, self._look)

    # What the reader calls

    def __aiter__(self) -> LiveBody:
        return self

    async def __anext__(self) -> Chunk:
        while not self._ready:
            if self._error is not None:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        chunk = self._ready.popleft()
        self._size -= len(chunk)
        if self._paused and not self._ready:
            self._paused = False
            self._heard_at = self._loop.time()
            if not self._ended:
                self._transport.resume_reading()
        return chunk

    # What the transport calls

    def get_buffer(self, sizehint: int) -> memoryview:
        """See `asyncio.BufferedProtocol`."""
        return scratch.view

    def buffer_updated(self, nbytes: int) -> None:
        """See `asyncio.BufferedProtocol`."""
        parts = self._unframe(scratch.view[:nbytes])
        if parts:
            self._put(scratch.take(parts))

    def receive(self, data: bytes) -> None:
        """Bytes that came before this was the connection's protocol."""
        for part in self._unframe(memoryview(data)):
            self._put(part.toreadonly())

    def eof_received(self) -> None:
        """See `asyncio.BaseProtocol`: the transport closes itself, and `connection_lost` follows."""
        self._handler.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        self.end(exc)
        self._handler.connection_lost(exc)

    def end(self, exc: Exception | None) -> None:
        """The connection is over, in good order without an exception."""
        broke = exc is not None or not self._framing.may_end
        self._end(aiohttp.ClientPayloadError("the connection broke in the middle of the body") if broke else None)

    def pause_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        self._handler.resume_writing()

    def _unframe(self, data: memoryview) -> list[memoryview]:
        self._heard_at = self._loop.time()
        if self._ended:
            return []
        try:
            parts = self._framing.feed(data)
        except BadFraming as error:
            self._end(aiohttp.ClientPayloadError(str(error)))
            self._transport.close()
            return []
        if self._framing.done:
            self._end(None)
        return parts

    def _put(self, chunk: Chunk) -> None:
        self._ready.append(chunk)
        self._size += len(chunk)
        if self._size >= BOUND and not self._paused and not self._ended:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def _end(self, error: Exception | None) -> None:
        if self._ended:
            return
        self._ended, self._error = True, error
        self._watch.cancel()
        self._wake()

    def _look(self) -> None:
        """Has anything come lately? One timer that looks, in place of one that is set anew for every read."""
        silent_s = 0.0 if self._paused else self._loop.time() - self._heard_at
        if silent_s < self._stall_s:
            self._watch = self._loop.call_later(self._stall_s - silent_s, self._look)
        else:
            self._end(aiohttp.SocketTimeoutError("Timeout on reading data from socket"))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
