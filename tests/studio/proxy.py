"""A proxy on the loopback: HTTP (absolute form and CONNECT) and SOCKS5 on one port, with or without a login."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import struct
from urllib.parse import urlsplit

_READ_BYTES = 1 << 16


class Proxy:
    """`async with Proxy() as proxy`; ``targets`` lists where it was asked to connect to, ``refused`` counts wrong logins."""

    def __init__(self, user: str = "", password: str = "") -> None:
        self._user, self._password = user, password
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.targets: list[tuple[str, int]] = []
        self.refused = 0
        self.port = 0

    def url(self, scheme: str) -> str:
        """Its address without the login."""
        return f"{scheme}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            first = await reader.readexactly(1)
            await (self._socks(reader, writer) if first == b"\x05" else self._http(first, reader, writer))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            try:
                await _close(writer)
            finally:
                self._tasks.discard(task)

    async def _socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        methods = await reader.readexactly((await reader.readexactly(1))[0])
        wanted = 2 if self._user else 0
        if wanted not in methods:
            self.refused += 1
            writer.write(b"\x05\xff")
            return
        writer.write(bytes((5, wanted)))
        if wanted == 2 and not await self._socks_login(reader, writer):
            return
        _, _, _, kind = await reader.readexactly(4)
        if kind == 3:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        else:
            host = ".".join(str(part) for part in await reader.readexactly(4))
        (port,) = struct.unpack(">H", await reader.readexactly(2))
        there_reader, there_writer = await self._connect(host, port)
        writer.write(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
        await _both_ways(reader, writer, there_reader, there_writer)

    async def _socks_login(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await reader.readexactly(1)
        user = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        password = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        good = (user, password) == (self._user, self._password)
        self.refused += not good
        writer.write(b"\x01\x00" if good else b"\x01\x01")
        return good

    async def _http(self, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = first + await reader.readuntil(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        method, target, _ = lines[0].split(b" ", 2)
        login = base64.b64encode(f"{self._user}:{self._password}".encode())
        if self._user and not any(login in line for line in lines if line.lower().startswith(b"proxy-authorization")):
            self.refused += 1
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        if method == b"CONNECT":
            host, _, port = target.decode().rpartition(":")
            there_reader, there_writer = await self._connect(host, int(port))
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            url = urlsplit(target.decode())
            there_reader, there_writer = await self._connect(url.hostname or "", url.port or 80)
            path = url.path + (f"?{url.query}" if url.query else "")
            kept = [line for line in lines[1:] if not line.lower().startswith((b"proxy-", b"connection:"))]
            there_writer.write(b"\r\n".join([b"%s %s HTTP/1.1" % (method, path.encode()), b"Connection: close", *kept]))
        await _both_ways(reader, writer, there_reader, there_writer)

    async def _connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.targets.append((host, port))
        return await asyncio.open_connection(host, port)


async def _both_ways(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    there_reader: asyncio.StreamReader,
    there_writer: asyncio.StreamWriter,
) -> None:
    copies = [
        asyncio.create_task(_copy(reader, there_writer)),
        asyncio.create_task(_copy(there_reader, writer)),
    ]
    try:
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for copy in copies:
            copy.cancel()
        there_writer.close()  # before anything is awaited: that may be cancelled
        await asyncio.gather(*copies, return_exceptions=True)
        await _close(there_writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_READ_BYTES):
            writer.write(data)
            await writer.drain()
