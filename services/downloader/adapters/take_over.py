"""Takes the connection of an endless answer over from aiohttp, which has asked, judged and read the head: the body is ours, not one byte of it lost.

A `Gate` stands between transport and aiohttp from the moment the request is written. It passes the head on, byte for byte, and holds what
comes behind it until :func:`body_of` decides who reads the body.
"""

from __future__ import annotations

import asyncio
import re
from enum import Enum, auto
from typing import Any, Final

import aiohttp
from aiohttp.connector import Connection

from services.downloader.adapters.framing import Chunked, Framing, OfLength, UntilClosed
from services.downloader.adapters.live_body import BOUND, LiveBody, scratch

_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})")
_STATUS_BYTES: Final = 16
_LENGTH: Final = re.compile("0*[1-9][0-9]{0,15}")
_END_OF_HEAD: Final = re.compile(rb"\n\r?\n")
_OVERLAP: Final = 2
"""Bytes of the end of a head that may lie in the read before."""


class LiveResponse(aiohttp.ClientResponse):
    """An answer whose body may be taken over: the ``response_class`` of a session for endless streams."""

    gate: Gate | None = None

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:
        """See `aiohttp.ClientResponse`. The request has just been written: nothing of the answer can have been read."""
        handler, transport = connection.protocol, connection.transport
        if self.method == "GET" and handler is not None and transport is not None and not handler.should_close:
            self.gate = Gate(handler, transport)
            transport.set_protocol(self.gate)
        return await super().start(connection)


def body_of(response: aiohttp.ClientResponse, stall_s: float) -> LiveBody | None:
    """The body, taken over; ``None`` where aiohttp is to read it: with a content coding, or a framing that is not one of the usual three.

    The connection is of no use to anybody else afterwards: aiohttp closes it with the answer.
    """
    gate = response.gate if isinstance(response, LiveResponse) else None
    if gate is None or not gate.holds:
        return None
    framing = framing_of(response)
    if framing is None:
        gate.pass_on()
        return None
    return gate.hand_over(framing, stall_s)


def framing_of(response: aiohttp.ClientResponse) -> Framing | None:
    """How a body is framed (RFC 9112 §6.3); ``None`` where that is not plain."""
    headers, version = response.headers, response.version
    codings = [one.strip().lower() for one in headers.getall("Transfer-Encoding", ())]
    lengths = headers.getall("Content-Length", ())
    if headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
        return None
    if codings:
        plain = codings == ["chunked"] and not lengths and version is not None and version >= aiohttp.HttpVersion11
        return Chunked() if plain else None
    if not lengths:
        return UntilClosed()
    # With nothing to come the connection is in aiohttp's pool again.
    return OfLength(int(lengths[0])) if len(lengths) == 1 and _LENGTH.fullmatch(lengths[0]) else None


class _State(Enum):
    HEAD = auto()
    HELD = auto()
    PASSED = auto()


class Gate(asyncio.BufferedProtocol):
    """The protocol of a connection until the head of an answer is read; to aiohttp's own one (``handler``) it is as if it was not there."""

    def __init__(self, handler: Any, transport: asyncio.Transport) -> None:
        self._handler, self._transport = handler, transport
        self._state = _State.HEAD
        self._begin = self._before = b""
        self._held = bytearray()
        self._paused = False
        self._lost: tuple[Exception | None] | None = None

    @property
    def holds(self) -> bool:
        """Whether the head has come, and the body waits here."""
        return self._state is _State.HELD

    def hand_over(self, framing: Framing, stall_s: float) -> LiveBody:
        """Let the body go to a reader of ours."""
        self._state = _State.PASSED
        body = LiveBody(self._handler, self._transport, framing, stall_s)
        body.receive(bytes(self._held))
        self._held.clear()
        if self._lost is not None:
            body.end(*self._lost)
            return body
        self._transport.set_protocol(body)
        self._resume()
        return body

    def pass_on(self) -> None:
        """Let the body go to aiohttp."""
        self._state = _State.PASSED
        if self._lost is None and self._held:
            self._handler.data_received(bytes(self._held))
        self._held.clear()
        self._resume()

    # What the transport calls

    def get_buffer(self, sizehint: int) -> memoryview:
        """See `asyncio.BufferedProtocol`."""
        return scratch.view

    def buffer_updated(self, nbytes: int) -> None:
        """See `asyncio.BufferedProtocol`."""
        data = bytes(scratch.view[:nbytes])
        while data and self._state is _State.HEAD:
            data = self._read_head(data)
        if self._state is _State.HELD:
            self._hold(data)
        elif data:
            self._handler.data_received(data)

    def eof_received(self) -> None:
        """See `asyncio.BaseProtocol`: the transport closes itself, and `connection_lost` follows."""
        self._handler.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        if self._state is _State.HELD:
            self._lost = (exc,)
            # It goes to both: who will read it is not known yet.
            self._handler.data_received(bytes(self._held))
        self._handler.connection_lost(exc)

    def pause_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.BaseProtocol`."""
        self._handler.resume_writing()

    def _read_head(self, data: bytes) -> bytes:
        """Pass on what belongs to a head; returns what is behind it."""
        self._begin = (self._begin + data)[:_STATUS_BYTES]
        end = _END_OF_HEAD.search(self._before + data)
        if end is None:
            self._before = (self._before + data)[-_OVERLAP:]
            self._handler.data_received(data)
            return b""
        size = end.end() - len(self._before)
        status = _STATUS.match(self._begin)
        if status is None or status[1] not in (b"200", b"206"):
            # Another answer follows an interim one; anything else concerns only aiohttp.
            interim = status is not None and status[1].startswith(b"1") and status[1] != b"101"
            self._state = _State.HEAD if interim else _State.PASSED
        else:
            self._state = _State.HELD
        self._begin = self._before = b""
        self._handler.data_received(data[:size])
        return data[size:]

    def _hold(self, data: bytes) -> None:
        self._held += data
        if len(self._held) >= BOUND and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and self._lost is None:
            self._paused = False
            self._transport.resume_reading()
