"""A connection that is taken over from aiohttp: not a byte of the body lost, every ending told as aiohttp tells it, nothing left behind."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop
from chassis.egress import EgressPolicy
from contracts.values import Source

from services.downloader.adapters.engine import SourceFailed
from services.downloader.adapters.framing import UntilClosed
from services.downloader.adapters.http import HttpFeed
from services.downloader.adapters.live_body import BOUND, LiveBody
from services.downloader.adapters.network import Access
from services.downloader.adapters.scratch import SIZE
from services.downloader.adapters.take_over import Gate, LiveResponse
from tests.deadline import DEADLINE_S

BODY = b"FLV" + bytes(range(256)) * 40
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
EITHER_LOOP = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
Run = Callable[[Coroutine[Any, Any, None]], None]


@asynccontextmanager
async def served(script: Script) -> AsyncIterator[str]:
    """A server that does with each connection what the script says."""
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await script(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x.flv"
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def answering(*pieces: bytes, end: str = "close") -> Script:
    """Answer with these pieces, each in a packet of its own, and then `close`, `reset` or `hang`."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.002)
        if end == "reset":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        elif end == "hang":
            await reader.read()

    return script


async def read(url: str, *, live: bool = True, stall_s: float = DEADLINE_S) -> tuple[bytes, str, bool]:
    """The body, what ended it ("" for a good end), and whether it was taken over."""
    access = Access(EgressPolicy(allow_private=True), stall_s=stall_s)
    session = access.open_live_session() if live else access.open_session()
    body, taken = b"", False
    async with session:
        try:
            async with (
                asyncio.timeout(DEADLINE_S),
                HttpFeed(session, access).open(Source(url=url, protocol="flv")) as chunks,
            ):
                taken = isinstance(chunks, LiveBody)
                async for chunk in chunks:
                    body += chunk
        except SourceFailed as error:
            return body, str(error), taken
    return body, "", taken


def head(*lines: str, status: str = "200 OK", version: str = "1.1") -> bytes:
    return "\r\n".join([f"HTTP/{version} {status}", *lines, "", ""]).encode()


CHUNKS = b"%x\r\n" % len(BODY) + BODY + b"\r\n3;x=y\r\nabc\r\n"
LENGTH, CHUNKED = f"Content-Length: {len(BODY)}", "Transfer-Encoding: chunked"
BROKE, QUIET = "connection broke (ClientPayloadError)", "no data in time"
QUIET_S = 1.0
"""Longer than this loop is kept from the server of the test, which sends the body after the head."""
ENDINGS = {
    "closed": ([head("Connection: close"), BODY], "close", BODY, ""),
    "closed in the head's packet": ([head() + BODY], "close", BODY, ""),
    "closed, HTTP/1.0": ([head(version="1.0"), BODY], "close", BODY, ""),
    "whole length": ([head(LENGTH), BODY], "hang", BODY, ""),
    "whole length in the head's packet": ([head(LENGTH) + BODY], "close", BODY, ""),
    "more than the length": ([head(LENGTH) + BODY[:9], BODY[9:] + b"more"], "close", BODY, ""),
    "no bytes": ([head("Content-Length: 0")], "hang", b"", ""),
    "no bytes, closed": ([head()], "close", b"", ""),
    "less than the length": ([head(LENGTH), BODY[:-1]], "close", BODY[:-1], BROKE),
    "reset before the length": ([head(LENGTH), BODY[:-1]], "reset", None, BROKE),
    "reset, no length": ([head(), BODY], "reset", None, BROKE),
    "whole chunks": ([head(CHUNKED), CHUNKS + b"0\r\n\r\n"], "hang", BODY + b"abc", ""),
    "chunks in the head's packet": ([head(CHUNKED) + CHUNKS + b"0\r\n\r\n"], "close", BODY + b"abc", ""),
    "torn chunks": ([head(CHUNKED) + CHUNKS[:5], CHUNKS[5:9], CHUNKS[9:] + b"0", b"\r\n\r\n"], "hang", BODY + b"abc", ""),
    "chunks with trailers": ([head(CHUNKED), CHUNKS + b"0\r\nX: y\r\n\r\n"], "hang", BODY + b"abc", ""),
    "no last chunk": ([head(CHUNKED), CHUNKS], "close", BODY + b"abc", BROKE),
    "half a chunk": ([head(CHUNKED), CHUNKS[:-4]], "close", BODY + b"a", BROKE),
    "garbled chunks": ([head(CHUNKED), CHUNKS, b"garbled\r\n"], "hang", BODY + b"abc", BROKE),
    "stalled": ([head(), BODY], "hang", BODY, QUIET),
    "stalled in the head": ([head()[:-2]], "hang", b"", QUIET),
    "closed in the head": ([head()[:-2]], "close", b"", "connection broke (ServerDisconnectedError)"),
    "interim answers first": (
        [head(status="103 Early Hints") + head(status="100 Continue")[:-1], b"\n" + head(LENGTH)[:7], head(LENGTH)[7:] + BODY],
        "hang",
        BODY,
        "",
    ),
}  # fmt: skip


@EITHER_LOOP
@pytest.mark.parametrize("name", ENDINGS)
def test_every_ending_is_told(run: Run, name: str) -> None:
    pieces, end, body, told = ENDINGS[name]

    async def scenario() -> None:
        async with served(answering(*pieces, end=end)) as url:
            found = await read(url, stall_s=QUIET_S if told == QUIET else DEADLINE_S)
        # A reset may overtake what was sent before it.
        assert found[0] == body if body is not None else BODY.startswith(found[0])
        assert found[1] == told
        assert found[2] == (name not in ("no bytes", "stalled in the head", "closed in the head"))

    run(scenario())


AS_BEFORE = [name for name in ENDINGS if name not in ("reset, no length", "garbled chunks")]
"""Aiohttp takes the reset of a body without a length for its end, and waits for ever for the reader of garbled chunks to notice."""


@pytest.mark.parametrize("name", AS_BEFORE)
async def test_aiohttp_tells_the_same_ending(name: str) -> None:
    pieces, end, _, told = ENDINGS[name]
    async with served(answering(*pieces, end=end)) as url:
        found = await read(url, live=False, stall_s=QUIET_S if told == QUIET else DEADLINE_S)
    assert found[1:] == (told, False)


@EITHER_LOOP
def test_what_is_not_plain_stays_with_aiohttp(run: Run) -> None:
    packed = gzip.compress(BODY)
    cases = [
        head("Content-Encoding: gzip", f"Content-Length: {len(packed)}") + packed,
        head("Content-Encoding: gzip", CHUNKED) + b"%x\r\n" % len(packed) + packed + b"\r\n0\r\n\r\n",
    ]

    async def scenario() -> None:
        for pieces in [[whole] for whole in cases] + [[whole[:300], whole[300:]] for whole in cases]:
            async with served(answering(*pieces)) as url:
                assert await read(url) == (BODY, "", False)

    run(scenario())


async def test_a_redirect_is_followed_on_the_same_connection() -> None:
    asked: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(head("Location: /there", "Content-Length: 4", status="302 Found") + b"away")
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(head(LENGTH) + BODY)
        await reader.read()

    async with served(script) as url:
        assert await read(url) == (BODY, "", True)
    assert [one.split()[1] for one in asked] == [b"/x.flv", b"/there"]


async def test_a_refusal_is_told_with_its_status() -> None:
    async with served(answering(head("Content-Length: 4", status="403 Forbidden") + b"away")) as url:
        assert await read(url) == (b"", "HTTP 403", False)


@EITHER_LOOP
def test_the_connection_is_closed_when_nobody_reads_on(run: Run) -> None:
    async def scenario() -> None:
        closed, reads = asyncio.Event(), asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head() + BODY)
            await reader.read()
            closed.set()

        async def read_on(url: str) -> None:
            access = Access(EgressPolicy(allow_private=True))
            source = Source(url=url, protocol="flv")
            async with access.open_live_session() as session, HttpFeed(session, access).open(source) as chunks:
                async for _ in chunks:
                    reads.set()

        async with served(script) as url, asyncio.timeout(DEADLINE_S):
            reading = asyncio.create_task(read_on(url))
            await reads.wait()
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            await closed.wait()

    run(scenario())


@EITHER_LOOP
def test_much_that_comes_at_once_is_read_whole_and_in_order(run: Run) -> None:
    parts = [bytes([number]) * 70_000 for number in range(200)]

    async def scenario() -> None:
        async with served(answering(head(), *(b"".join(parts[at : at + 50]) for at in range(0, 200, 50)))) as url:
            body, told, taken = await read(url)
        assert (body == b"".join(parts), told, taken) == (True, "", True)

    run(scenario())


class _Transport:
    """Counts how often reading was paused and resumed."""

    def __init__(self) -> None:
        self.paused = self.resumed = 0
        self.closed = False

    def pause_reading(self) -> None:
        self.paused += 1

    def resume_reading(self) -> None:
        self.resumed += 1

    def close(self) -> None:
        self.closed = True


class _Handler:
    """Notes what aiohttp would get."""

    def __init__(self) -> None:
        self.got = b""

    def data_received(self, data: bytes) -> None:
        self.got += data

    def eof_received(self) -> None: ...

    def connection_lost(self, exc: Exception | None) -> None: ...


def receive(protocol: asyncio.BufferedProtocol, data: bytes) -> None:
    """As a transport does."""
    while data:
        buffer = memoryview(protocol.get_buffer(-1))
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        protocol.buffer_updated(size)
        data = data[size:]


async def test_a_slow_reader_holds_the_socket_back_and_a_pause_of_ours_is_no_stall() -> None:
    transport: Any = _Transport()
    body = LiveBody(_Handler(), transport, UntilClosed(), 0.05)
    sent = 0
    while not transport.paused:
        receive(body, b"x" * SIZE)
        sent += SIZE
    assert sent <= BOUND + SIZE
    await asyncio.sleep(0.15)
    got = 0
    while got < sent:
        assert not transport.resumed
        got += len(await anext(body))
    assert (transport.paused, transport.resumed) == (1, 1)
    body.connection_lost(None)
    with pytest.raises(StopAsyncIteration):
        await anext(body)


async def test_a_gate_holds_a_bounded_part_of_the_body() -> None:
    transport: Any = _Transport()
    gate = Gate(_Handler(), transport)
    receive(gate, head())
    sent = 0
    while not transport.paused:
        receive(gate, b"x" * 100_000)
        sent += 100_000
    assert sent <= BOUND + 100_000
    transport.set_protocol = lambda _: None
    body = gate.hand_over(UntilClosed(), 30.0)
    assert len(await anext(body)) == sent
    assert transport.resumed >= 1
    body.connection_lost(None)


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("interim", [b"", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_a_head_is_cut_from_its_body_wherever_the_reads_end(line_end: bytes, interim: bytes) -> None:
    first = interim + line_end.join([b"HTTP/1.1 200 OK", b"Content-Type: video/x-flv", b"", b""])
    whole = first + b"\r\n\r\nFLV\n\n"
    for cut in range(len(whole) + 1):
        for size in (1, len(whole)):
            handler, transport = _Handler(), _Transport()
            gate = Gate(handler, transport)  # type: ignore[arg-type]
            receive(gate, whole[:cut])
            for at in range(cut, len(whole), size):
                receive(gate, whole[at : at + size])
            assert handler.got == first
            assert gate.holds
            gate.pass_on()
            receive(gate, b"more")
            assert handler.got == whole + b"more"


@pytest.mark.parametrize("status", [b"302 Found", b"404 Not Found", b"101 Switching Protocols", b"204 No Content"])
async def test_other_answers_are_none_of_its_business(status: bytes) -> None:
    handler, transport = _Handler(), _Transport()
    gate = Gate(handler, transport)  # type: ignore[arg-type]
    answer = b"HTTP/1.1 " + status + b"\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n\r\nbody"
    receive(gate, answer)
    assert handler.got == answer
    assert not gate.holds


async def test_what_is_no_answer_goes_to_aiohttp() -> None:
    handler, transport = _Handler(), _Transport()
    gate = Gate(handler, transport)  # type: ignore[arg-type]
    receive(gate, b"ICY 200 OK\r\n\r\nbody")
    assert handler.got == b"ICY 200 OK\r\n\r\nbody"


async def test_an_answer_without_a_connection_is_left_alone() -> None:
    assert LiveResponse.gate is None
    async with served(answering(head(LENGTH) + BODY)) as url:
        access = Access(EgressPolicy(allow_private=True))
        async with access.open_live_session() as session, session.post(url) as answer:
            assert await answer.read() == BODY
