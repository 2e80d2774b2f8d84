"""The driver that all protocols share, over each transport, against small servers on this machine.

The protocol is made for the test: "hello" is answered "welcome" or "no", "beat" keeps alive, anything else is chat.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from chassis.egress import EgressPolicy
from yarl import URL

from services.danmu.adapters.codec import ChatCodec, CodecCounters, Decoded
from services.danmu.adapters.driver import Access, AccessFailed, ChatDriver, Pace
from services.danmu.adapters.links import Frame, Framing, Link, PollingLink, Server
from services.danmu.adapters.messages import ChatMessage, MessageKind
from services.danmu.adapters.source import ConnectionChange
from services.danmu.tests.chat_driving import items_of
from tests.deadline import DEADLINE_S

QUICK = Pace(heartbeat_s=30, connect_timeout_s=DEADLINE_S, backoff_initial_s=0.01, backoff_max_s=0.01)
HOME = EgressPolicy(allow_private=True)


class WordCodec:
    """One word is one frame."""

    def __init__(self) -> None:
        self.counters = CodecCounters()

    def heartbeat(self) -> Frame | None:
        return "beat"

    def feed(self, frame: bytes) -> Decoded:
        word = frame.decode().strip()
        if word == "welcome":
            return Decoded(authenticated=True)
        if word == "no":
            return Decoded(authenticated=False)
        if word == "move":
            return Decoded(messages=[ChatMessage(MessageKind.CHAT, 1, text="moving")], reconnect="told to move")
        if word.startswith("ask"):
            return Decoded(messages=[ChatMessage(MessageKind.CHAT, 1, text=word)], replies=[b"ack " + frame])
        if word == "faster":
            return Decoded(beat_s=1.0)
        return Decoded(messages=[ChatMessage(MessageKind.CHAT, 1, text=word)])


class PingingCodec(WordCodec):
    def heartbeat(self) -> Frame | None:
        return None


class WordDriver(ChatDriver):
    """Joins with a token that is asked for anew each time."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        servers: Sequence[str],
        pace: Pace = QUICK,
        codec: Callable[[], ChatCodec] = WordCodec,
    ) -> None:
        super().__init__(session, pace, egress=HOME)
        self.servers, self.codec = tuple(Server(URL(server)) for server in servers), codec
        self.tokens = 0
        self.fails: list[Exception] = []

    async def access(self) -> Access:
        self.tokens += 1
        if self.fails:
            raise self.fails.pop(0)
        token = self.tokens
        return Access(self.servers, lambda: (self.codec(), [f"hello {token}"]))


class LineDriver(WordDriver):
    """Frames are a length byte and text."""

    framing = Framing(1, lambda header: header[0])

    async def open_link(self, server: Server, codec: ChatCodec) -> Link:
        return _Lengths(await super().open_link(server, codec))


class TimedDriver(WordDriver):
    """Notes how long each frame was waited for at most."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.allowed_s: list[float] = []

    async def open_link(self, server: Server, codec: ChatCodec) -> Link:
        link = await super().open_link(server, codec)
        receive = link.receive

        async def timed(timeout_s: float) -> bytes:
            self.allowed_s.append(timeout_s)
            return await receive(timeout_s)

        link.receive = timed  # type: ignore[method-assign]
        return link


class _Lengths:
    def __init__(self, link: Link) -> None:
        self._link = link
        self.ping, self.close = link.ping, link.close

    async def send(self, frame: Frame) -> None:
        data = frame.encode() if isinstance(frame, str) else frame
        await self._link.send(bytes([len(data)]) + data)

    async def receive(self, timeout_s: float) -> bytes:
        return (await self._link.receive(timeout_s))[1:]


class Talk:
    """A WebSocket server: greets, notes what it hears, says what is in `outbox`."""

    def __init__(self, *, welcome: str = "welcome", autoping: bool = True) -> None:
        self.heard: asyncio.Queue[str] = asyncio.Queue()
        self.outbox: asyncio.Queue[str | None] = asyncio.Queue()
        self.pings: asyncio.Queue[bytes] = asyncio.Queue()
        self.welcome, self.autoping = welcome, autoping

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(autoping=False)
        await ws.prepare(request)
        speaking: list[asyncio.Task[None]] = []
        try:
            async for frame in ws:
                if frame.type is aiohttp.WSMsgType.PING:
                    self.pings.put_nowait(frame.data)
                    if self.autoping:
                        await ws.pong(frame.data)
                elif frame.type is aiohttp.WSMsgType.TEXT:
                    self.heard.put_nowait(frame.data)
                    if frame.data.startswith("hello"):
                        await ws.send_str(self.welcome)
                        speaking.append(asyncio.create_task(self._speak(ws)))
                elif frame.type is aiohttp.WSMsgType.BINARY:
                    self.heard.put_nowait(frame.data.decode())
        finally:
            for task in speaking:
                task.cancel()
        return ws

    async def _speak(self, ws: web.WebSocketResponse) -> None:
        while (word := await self.outbox.get()) is not None:
            await ws.send_str(word)
        await ws.close()


@asynccontextmanager
async def talking(*talks: Talk) -> AsyncIterator[tuple[aiohttp.ClientSession, list[str]]]:
    app = web.Application()
    for number, talk in enumerate(talks):
        app.router.add_get(f"/{number}", talk.serve)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server(shutdown_timeout=0.1)
    async with asyncio.timeout(DEADLINE_S), aiohttp.ClientSession() as session:
        try:
            yield session, [f"ws://127.0.0.1:{server.port}/{number}" for number in range(len(talks))]
        finally:
            await server.close()


def said(item: ChatMessage | ConnectionChange) -> str:
    return item.text if isinstance(item, ChatMessage) else item.state.value


async def take(items: AsyncIterator[ChatMessage | ConnectionChange], count: int) -> list[str]:
    return [said(await anext(items)) for _ in range(count)]


async def test_fresh_credentials_for_each_connection() -> None:
    talk = Talk()
    async with talking(talk) as (session, urls):
        driver = WordDriver(session, urls)
        for word in ("one", None):
            talk.outbox.put_nowait(word)
        async with aclosing(items_of(driver)) as items:
            assert await take(items, 4) == ["connected", "one", "lost", "connected"]
        heard = [talk.heard.get_nowait() for _ in range(talk.heard.qsize())]
        assert [word for word in heard if word.startswith("hello")] == ["hello 1", "hello 2"]


async def test_replies_are_sent_before_their_message_is_handed_on() -> None:
    talk = Talk()
    async with talking(talk) as (session, urls):
        talk.outbox.put_nowait("ask me")
        async with aclosing(items_of(WordDriver(session, urls))) as items:
            assert await take(items, 2) == ["connected", "ask me"]
            # Nobody takes another item, and the reply still arrives.
            heard = [await talk.heard.get() for _ in range(3)]
    assert sorted(heard) == ["ack ask me", "beat", "hello 1"]


async def test_a_server_that_sends_us_away_is_left_for_the_next_one() -> None:
    first, second = Talk(), Talk()
    async with talking(first, second) as (session, urls):
        first.outbox.put_nowait("move")
        async with aclosing(items_of(WordDriver(session, urls))) as items:
            assert await take(items, 2) == ["connected", "moving"]
            lost = await anext(items)
            assert isinstance(lost, ConnectionChange)
            assert (lost.state, lost.reason) == ("lost", "told to move")
            assert await take(items, 1) == ["connected"]
    assert second.heard.get_nowait() == "hello 2"


async def test_a_refused_greeting_tries_the_other_server_at_once() -> None:
    first, second = Talk(welcome="no"), Talk()
    async with talking(first, second) as (session, urls):
        driver = WordDriver(session, urls, Pace(backoff_initial_s=3600))
        async with aclosing(items_of(driver)) as items:
            assert await take(items, 1) == ["connected"]


async def test_a_platform_that_does_not_say_where_is_asked_again() -> None:
    talk = Talk()
    async with talking(talk) as (session, urls):
        driver = WordDriver(session, urls)
        driver.fails = [AccessFailed("HTTP 502"), ValueError("odd https://h/?signature=secret"), TimeoutError()]
        async with aclosing(items_of(driver)) as items:
            failed = [await anext(items) for _ in range(3)]
            assert await take(items, 1) == ["connected"]
    assert [(one.attempt, one.reason) for one in failed if isinstance(one, ConnectionChange)] == [
        (1, "HTTP 502"),
        (2, "ValueError: odd https"),
        (3, "TimeoutError"),
    ]


async def test_a_refused_handshake_does_not_tell_the_signed_address() -> None:
    async with (
        talking(Talk()) as (session, urls),
        aclosing(items_of(WordDriver(session, [f"{urls[0]}/nowhere?signature=secret"]))) as items,
    ):
        failed = await anext(items)
    assert isinstance(failed, ConnectionChange)
    assert failed.reason == "127.0.0.1: HTTP 404"


async def test_pongs_keep_a_quiet_room_alive_and_their_absence_ends_it() -> None:
    # Silence of two and a half heartbeats ends a connection: of so long ones, because a busy machine is silent at times, too.
    pace = Pace(heartbeat_s=1.0, pings=True, backoff_initial_s=0.01, backoff_max_s=0.01)
    quiet = Talk()
    async with (
        talking(quiet) as (session, urls),
        aclosing(items_of(WordDriver(session, urls, pace, PingingCodec))) as items,
    ):
        assert await take(items, 1) == ["connected"]
        listening = asyncio.create_task(take(items, 1))
        for _ in range(4):  # longer than a connection may be silent
            await quiet.pings.get()
        quiet.outbox.put_nowait("still here")
        assert await listening == ["still here"]
    dead, pace = Talk(autoping=False), replace(pace, heartbeat_s=0.05)
    async with talking(dead) as (session, urls):
        driver = WordDriver(session, urls, replace(pace, silence_s=DEADLINE_S), PingingCodec)
        async with aclosing(items_of(driver)) as items:
            assert await take(items, 1) == ["connected"]
            driver.pace = pace
            assert await take(items, 1) == ["lost"]


async def test_the_server_sets_the_interval_of_heartbeats() -> None:
    talk = Talk()
    async with talking(talk) as (session, urls):
        driver = TimedDriver(session, urls, Pace(heartbeat_s=40))
        for word in ("faster", "next"):
            talk.outbox.put_nowait(word)
        async with aclosing(items_of(driver)) as items:
            assert await take(items, 2) == ["connected", "next"]
    # The silence that is allowed follows it; the welcome and the word itself came before.
    assert driver.allowed_s == [100.0, 100.0, 2.5]


@asynccontextmanager
async def tcp(handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[str]:
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_tcp_frames_are_cut_out_of_the_stream_and_a_cut_connection_comes_back() -> None:
    greetings: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greetings.append(await reader.readexactly(8))
        for piece in (b"\x07wel", b"come\x03one\x0a", b"ha"):  # the last frame is never finished
            writer.write(piece)
            await writer.drain()
        writer.close()

    async with (
        tcp(handle) as url,
        aiohttp.ClientSession() as session,
        aclosing(items_of(LineDriver(session, [url]))) as items,
    ):
        assert await take(items, 5) == ["connected", "one", "lost", "connected", "one"]
    assert greetings == [b"\x07hello 1", b"\x07hello 2"]


async def test_tcp_refuses_what_the_policy_refuses() -> None:
    async with aiohttp.ClientSession() as session:
        driver = LineDriver(session, ["tcp://127.0.0.1:9"])
        driver.egress = EgressPolicy()
        async with aclosing(items_of(driver)) as items:
            failed = await anext(items)
    assert isinstance(failed, ConnectionChange)
    assert "loopback" in failed.reason


class PolledDriver(WordDriver):
    awaits_welcome = False
    answers: list[bytes]
    waits: list[float]

    async def open_link(self, server: Server, codec: ChatCodec) -> Link:
        async def poll() -> bytes:
            if not self.answers:
                raise AccessFailed("HTTP 503")
            return self.answers.pop(0)

        return PollingLink(poll, lambda: self.waits.pop(0) if self.waits else 0.0)

    async def access(self) -> Access:
        return Access((Server(URL("https://h/poll")),), lambda: (WordCodec(), []))


async def test_polled_chat() -> None:
    async with asyncio.timeout(DEADLINE_S), aiohttp.ClientSession() as session:
        driver = PolledDriver(session, [], Pace(heartbeat_s=0, backoff_initial_s=0.01, backoff_max_s=0.01))
        driver.answers, driver.waits = [b"one", b"two"], [0.0, 0.01]
        async with aclosing(items_of(driver)) as items:
            assert await take(items, 3) == ["connected", "one", "two"]
            lost = await anext(items)
            driver.answers = [b"three"]
            assert await take(items, 2) == ["connected", "three"]
    assert isinstance(lost, ConnectionChange)
    assert lost.reason == "HTTP 503"


async def test_closing_ends_the_wait_between_two_polls() -> None:
    async with asyncio.timeout(DEADLINE_S), aiohttp.ClientSession() as session:
        driver = PolledDriver(session, [], Pace(heartbeat_s=0))
        driver.answers, driver.waits = [b"one"], [0.0, 3600.0]
        seen: list[str] = []
        one = asyncio.Event()

        async def listen() -> None:
            async for item in items_of(driver):
                seen.append(said(item))
                if seen[-1] == "one":
                    one.set()

        listening = asyncio.create_task(listen())
        await one.wait()
        await driver.close()
        await listening
    assert seen == ["connected", "one"]


@pytest.mark.parametrize("url", ["tcp://127.0.0.1", "tcp:///"])
async def test_a_tcp_server_without_a_port_is_a_failed_attempt(url: str) -> None:
    async with aiohttp.ClientSession() as session, aclosing(items_of(LineDriver(session, [url]))) as items:
        assert await take(items, 1) == ["failed"]
