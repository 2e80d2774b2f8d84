"""The server in front of the application: who says nothing does not keep a connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.responses import PlainTextResponse

from services.gateway.api import server as module
from services.gateway.api.server import HttpServer


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HttpServer]:
    monkeypatch.setattr(module, "HEAD_S", 0.2)
    one = HttpServer(lambda: PlainTextResponse("here"), host="127.0.0.1", port=0)
    await one.start()
    yield one
    await one.stop()


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_a_connection_without_a_request_is_closed(server: HttpServer, said: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(said)
    async with asyncio.timeout(20):
        assert await reader.read() == b""
    writer.close()


async def test_so_is_one_that_stops_within_its_second_request(server: HttpServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(20):
        answer = await reader.readuntil(b"here")
        writer.write(b"GET / HT")
        assert answer.startswith(b"HTTP/1.1 200")
        assert await reader.read() == b""
    writer.close()


async def test_an_answer_may_take_longer_than_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEAD_S", 0.05)
    patience_is_over = asyncio.Event()

    async def slow(scope, receive, send) -> None:
        asyncio.get_running_loop().call_later(0.2, patience_is_over.set)
        await patience_is_over.wait()
        await PlainTextResponse("late")(scope, receive, send)

    one = HttpServer(lambda: slow, host="127.0.0.1", port=0)
    await one.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(20):
            assert (await reader.read()).endswith(b"late")
        writer.close()
    finally:
        await one.stop()
