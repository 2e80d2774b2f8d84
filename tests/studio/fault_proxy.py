"""A bad line on the loopback: a TCP proxy that is slow, goes silent, breaks or garbles when a test says so."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from urllib.parse import urlsplit, urlunsplit

from tests.deadline import DEADLINE_S

_READ_BYTES = 1 << 16
_SLICE_S = 0.05
_GARBLE_FROM = 1024
_GARBLE_MASK = 0x55
_ABORT = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time: closing sends RST in place of FIN and throws away what is unsent (socket(7))."""


class FaultProxy:
    """`async with FaultProxy(studio.url) as line`; `line.through(url)` is an address of the studio over this line.

    Switches take effect at once, for the connections there are and for those that come: `latency_s` and `bytes_per_s` (of each
    connection, towards the client), and the methods below. ``accepted`` counts connections.
    """

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._host, self._target_port = parts.hostname or "", parts.port or 80
        self._server: asyncio.Server | None = None
        self._held: socket.socket | None = None
        self._lines: set[_Line] = set()
        self._dead: list[_Line] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._close_after: int | None = None
        self._garble = 0
        self._changed = asyncio.Event()
        self.latency_s = 0.0
        self.bytes_per_s: int | None = None
        self.accepted = 0
        self.port = 0

    def through(self, url: str) -> str:
        """The same resource by way of this proxy."""
        return urlunsplit(urlsplit(url)._replace(netloc=f"127.0.0.1:{self.port}"))

    async def __aenter__(self) -> FaultProxy:
        if sys.platform == "linux":
            # A bound socket keeps the port, so that the system gives it to nobody else while connections are refused; another one
            # may listen on it beside that where both say SO_REUSEADDR (socket(7)).
            self._held = socket.socket()
            self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._held.bind(("127.0.0.1", 0))
            self.port = self._held.getsockname()[1]
        await self.admit()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.refuse()
        for line in (*self._lines, *self._dead):
            line.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._held is not None:
            self._held.close()

    def stall(self) -> None:
        """Nothing reaches a client any more, over no connection; what is sent meanwhile arrives after :meth:`resume`."""
        self._flowing.clear()

    def resume(self) -> None:
        """Let everything pass that was held back."""
        self._flowing.set()

    def half_open(self) -> int:
        """The connections die without a word, as behind a NAT that forgot them: no FIN, no RST, nothing read. New ones work.

        Returns how many.
        """
        lines = tuple(self._lines)
        for line in lines:
            line.silence()
        self._lines.difference_update(lines)
        self._dead += lines
        return len(lines)

    def reset(self) -> int:
        """Break all connections with RST; returns how many."""
        lines = tuple(self._lines)
        for line in lines:
            line.abort()
        return len(lines)

    def close_after(self, more: int) -> None:
        """End the next connection over which so many bytes more have come in good order (FIN), wherever in the media that is."""
        self._close_after = more

    def garble(self, count: int) -> None:
        """Change so many bytes in a row in the middle of the next piece that has a kilobyte more than that."""
        self._garble = count

    async def refuse(self) -> None:
        """Take no connection any more: who tries is refused by the system. Those that exist go on."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    async def admit(self) -> None:
        """Take connections again, on the same port."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def wait_accepted(self, count: int, timeout: float = DEADLINE_S) -> None:
        """Return once so many connections have been taken; TimeoutError when they are not."""
        async with asyncio.timeout(timeout):
            while self.accepted < count:
                self._changed.clear()
                await self._changed.wait()

    async def wait_ended(self, timeout: float = DEADLINE_S) -> None:
        """Return once the order of :meth:`close_after` or :meth:`garble` was carried out; TimeoutError when it is not."""
        async with asyncio.timeout(timeout):
            while self._close_after is not None or self._garble:
                self._changed.clear()
                await self._changed.wait()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.accepted += 1
        self._changed.set()
        try:
            there = await asyncio.open_connection(self._host, self._target_port)
            line = _Line((reader, writer), there)
            self._lines.add(line)
            try:
                await line.run(self)
            finally:
                self._lines.discard(line)
        except (OSError, asyncio.CancelledError):
            pass  # the server would report either as an error of its own
        finally:
            self._tasks.discard(task)
            writer.close()

    async def pass_on(self, data: bytes, writer: asyncio.StreamWriter) -> bool:
        """Send what came for a client as the switches say; False where the connection has to end behind it."""
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        await self._flowing.wait()
        data = self._garbled(data)
        last = self._close_after is not None and len(data) >= self._close_after
        if self._close_after is not None:
            data, self._close_after = data[: self._close_after], None if last else self._close_after - len(data)
        while data:
            size = len(data) if self.bytes_per_s is None else max(1, round(self.bytes_per_s * _SLICE_S))
            writer.write(data[:size])
            await writer.drain()
            data = data[size:]
            if self.bytes_per_s is not None:
                await asyncio.sleep(_SLICE_S)
        if last:
            self._changed.set()
        return not last

    def _garbled(self, data: bytes) -> bytes:
        if not self._garble or len(data) < _GARBLE_FROM + self._garble:
            return data
        at = (len(data) - self._garble) // 2
        end = at + self._garble
        self._garble = 0
        self._changed.set()
        return data[:at] + bytes(one ^ _GARBLE_MASK for one in data[at:end]) + data[end:]


class _Line:
    """One connection through the proxy: the client's side and the server's."""

    def __init__(
        self,
        here: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        there: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._here, self._there = here, there
        self._copies: list[asyncio.Task[None]] = []
        self._silent = asyncio.Event()

    async def run(self, proxy: FaultProxy) -> None:
        """Copy both ways until one side ends; a silenced line stays until it is aborted."""
        self._copies = [asyncio.create_task(self._ask()), asyncio.create_task(self._answer(proxy))]
        try:
            await asyncio.wait(self._copies, return_when=asyncio.FIRST_COMPLETED)
            if self._silent.is_set():
                await asyncio.Event().wait()
        finally:
            for copy in self._copies:
                copy.cancel()
            await asyncio.gather(*self._copies, return_exceptions=True)
            for _, writer in (self._here, self._there):
                writer.close()

    def silence(self) -> None:
        """Keep the client's socket, read and write nothing; the server's side goes."""
        self._silent.set()
        for copy in self._copies:
            copy.cancel()
        self._here[1].transport.pause_reading()  # type: ignore[attr-defined]
        self._there[1].close()

    def abort(self) -> None:
        """RST to both sides."""
        for _, writer in (self._here, self._there):
            raw = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
            writer.transport.abort()

    async def _ask(self) -> None:
        with contextlib.suppress(OSError):
            while data := await self._here[0].read(_READ_BYTES):
                self._there[1].write(data)
                await self._there[1].drain()

    async def _answer(self, proxy: FaultProxy) -> None:
        with contextlib.suppress(OSError):
            while data := await self._there[0].read(_READ_BYTES):
                if not await proxy.pass_on(data, self._here[1]):
                    return
