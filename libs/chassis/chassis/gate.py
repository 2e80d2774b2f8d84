"""A door on the loopback for a program that opens its own connections: what passes it was judged, and goes where we say.

ffmpeg would resolve names again, know nothing of proxies and show its host in its arguments; it is given this door instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from python_socks import ProxyError
from python_socks.async_.asyncio import Proxy

from chassis.egress import RefusedAddress, resolve_checked
from chassis.network import FAMILIES, Reach, family_of

_READ_BYTES = 1 << 16
log = structlog.get_logger(__name__)


class Gate:
    """Forwards connections to one host; ``failure`` is what ended the last attempt, `reason_of` says it without addresses."""

    def __init__(self, reach: Reach, host: str, port: int, *, tls: bool) -> None:
        self._reach, self._host, self._port, self._tls = reach, host, port, tls
        self._connections: set[asyncio.Task[None]] = set()
        self.failure: Exception | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        """The port of the door, as long as the block runs; every connection through it ends with it."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        try:
            yield int(server.sockets[0].getsockname()[1])
        finally:
            server.close()
            for connection in list(self._connections):
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._forward(reader, writer)
        except (OSError, RefusedAddress, ProxyError, TimeoutError, ssl.SSLError) as error:
            self.failure = error
            log.debug("gate.refused", cause=reason_of(error))
        except asyncio.CancelledError:
            pass  # the server would report it as an error of its own
        finally:
            self._connections.discard(task)
            await _close(writer)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(self._reach.connect_timeout_s):
            there_reader, there_writer = await self._connect()
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

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        addresses = await resolve_checked(self._host, self._reach.policy, self._port)
        security = _tls(self._reach) if self._tls else None
        name = self._host if security else None
        if self._reach.proxy:
            proxy = Proxy.from_url(self._reach.proxy, rdns=True)
            through = await proxy.connect(self._host, self._port)
            return await asyncio.open_connection(sock=through, ssl=security, server_hostname=name)
        family = FAMILIES[self._reach.network.ip_version]
        failure: OSError = OSError("no address of the wanted family")
        for address in addresses:
            if family not in (socket.AF_UNSPEC, family_of(address)):
                continue
            try:
                return await asyncio.open_connection(address, self._port, ssl=security, server_hostname=name)
            except OSError as error:
                failure = error
        raise failure


def _tls(reach: Reach) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if reach.network.allow_invalid_certificate:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(_READ_BYTES):
            writer.write(data)
            await writer.drain()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def reason_of(error: Exception) -> str:
    """Why a connection failed, in words that name no secret."""
    if isinstance(error, RefusedAddress):
        return f"address refused: {error}"[:200]
    if isinstance(error, ProxyError):
        return "the proxy refuses"
    return "no connection in time" if isinstance(error, TimeoutError) else f"connection broke ({type(error).__name__})"
