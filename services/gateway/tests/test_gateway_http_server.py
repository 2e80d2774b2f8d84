"""The server in front of the application: who says nothing does not keep a connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.responses import PlainTextResponse

from services.gateway.api import server as module
from services.gateway.api.server import HttpServer
from tests.deadline import DEADLINE_S


@pytest.fixture
async def server() -> AsyncIterator[HttpServer]:
    one = HttpServer(lambda: PlainTextResponse("here"), host="127.0.0.1", port=0)
    await one.start()
    yield one
    await one.stop()


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_a_connection_without_a_request_is_closed(
    server: HttpServer, said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEAD_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(said)
    async with asyncio.timeout(DEADLINE_S):
        assert await reader.read() == b""
    writer.close()


async def test_so_is_one_that_stops_within_its_second_request(
    server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEAD_S", DEADLINE_S)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(DEADLINE_S):
        answer = await reader.readuntil(b"here")
        monkeypatch.setattr(module, "HEAD_S", 0.2)
        writer.write(b"GET / HT")
        assert answer.startswith(b"HTTP/1.1 200")
        assert await reader.read() == b""
    writer.close()


async def test_an_answer_may_take_longer_than_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEAD_S", DEADLINE_S)
    loop = asyncio.get_running_loop()
    schedule, patience = loop.call_later, []

    def noted(delay: float, *what: Any, **how: Any) -> asyncio.TimerHandle:
        timer = schedule(delay, *what, **how)
        patience.extend([timer] if delay == DEADLINE_S else [])
        return timer

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        over = [timer.cancelled() for timer in patience]
        await PlainTextResponse(f"late {over}")(scope, receive, send)

    one = HttpServer(lambda: slow, host="127.0.0.1", port=0)
    await one.start()
    try:
        with monkeypatch.context() as patched:
            patched.setattr(loop, "call_later", noted)
            reader, writer = await asyncio.open_connection("127.0.0.1", one.port)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            # The time for its head began with the connection, and while it is answered no time runs any more.
            assert (await reader.read()).endswith(b"late [True]")
        writer.close()
    finally:
        await one.stop()
