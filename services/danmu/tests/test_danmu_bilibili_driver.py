"""The Bilibili driver against a small live room: a web API and chat servers on this machine.

Facts it plays back: nav gives the signing key to guests too (code -101); getDanmuInfo wants a WBI signature and answers
token and host_list; the chat server answers operation 7 with 8 and 2 with 3 ("bilibili-API-collect", pages
"misc/sign/wbi" and "live/message_stream").
"""

from __future__ import annotations

import asyncio
import json
import socket
import zlib
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import brotli
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from chassis.accounts import AccountUnavailable, Login, NoSuchAccount
from chassis.wbi import sign
from structlog.testing import capture_logs

from services.danmu.adapters import InvalidDescriptor, UnknownChatKind, kinds, open_source, source
from services.danmu.adapters.accounts import LoginOf, RoomAccount
from services.danmu.adapters.bilibili import HEADER, pack
from services.danmu.adapters.bilibili_api import LIVE_API, ApiError, BilibiliApi
from services.danmu.adapters.bilibili_driver import BilibiliSource
from services.danmu.adapters.driver import backoff_delay
from services.danmu.adapters.messages import ChatMessage
from services.danmu.adapters.source import ConnectionChange, ConnectionState
from services.danmu.tests.chat_driving import items_of
from tests.deadline import DEADLINE_S

KEYS = (
    ("7cd084941338484aae1ad9425b84077c", "4932caff0ff746eab6f01bf08b70ac45", "ea1db124af3c7062474693fa704f4ff8"),
    ("4932caff0ff746eab6f01bf08b70ac45", "7cd084941338484aae1ad9425b84077c", ""),
)
CUT = b"cut"


def chat(text: str) -> bytes:
    return pack(5, json.dumps({"cmd": "DANMU_MSG", "info": [[], text, [7, "Bob"]]}).encode(), 0)


class Comet:
    """One chat server: authenticates whoever comes, sends what is put into `outbox`, cuts where it says CUT."""

    def __init__(self) -> None:
        self.port = 0
        self.accepts = True
        self.answers_heartbeats = True
        self.greetings: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.heartbeats: asyncio.Queue[bytes] = asyncio.Queue()
        self.outbox: asyncio.Queue[bytes | str] = asyncio.Queue()
        self.headers: list[dict[str, str]] = []
        self.gone: asyncio.Queue[int] = asyncio.Queue()

    async def sub(self, request: web.Request) -> web.WebSocketResponse:
        self.headers.append(dict(request.headers))
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        writers: list[asyncio.Task[None]] = []
        try:
            async for frame in ws:
                await self._answer(ws, frame.data, writers)
        finally:
            self.gone.put_nowait(ws.close_code or 0)
            for writer in writers:
                writer.cancel()
        return ws

    async def _answer(self, ws: web.WebSocketResponse, frame: bytes, writers: list[asyncio.Task[None]]) -> None:
        operation = HEADER.unpack_from(frame)[3]
        if operation == 7:
            self.greetings.put_nowait(json.loads(frame[16:]))
            await ws.send_bytes(pack(8, b'{"code":0}' if self.accepts else b'{"code":-101}'))
            if self.accepts:
                writers.append(asyncio.create_task(self._write(ws)))
        elif operation == 2:
            if self.answers_heartbeats:
                await ws.send_bytes(pack(3, (2466).to_bytes(4, "big")) + frame[16:])
            self.heartbeats.put_nowait(frame[16:])

    async def _write(self, ws: web.WebSocketResponse) -> None:
        while True:
            frame = await self.outbox.get()
            if frame == CUT:
                await ws.close()
                return
            await (ws.send_str(frame) if isinstance(frame, str) else ws.send_bytes(frame))


class Site:
    """The web API of the room 7734200, whose short number is 1017."""

    def __init__(self, comets: list[Comet]) -> None:
        self.comets = comets
        self.url = ""
        self.key = 0
        self.status = 200
        self.nav: dict[str, Any] = {"isLogin": False}
        self.nav_calls = 0
        self.info_calls: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self.cookies: dict[str, str] = {}
        self.hangs: asyncio.Event | None = None
        self.signature_ok = True

    async def get_nav(self, request: web.Request) -> web.Response:
        self.nav_calls += 1
        image, sub, _ = KEYS[self.key]
        pictures = {"img_url": f"https://i/bfs/wbi/{image}.png", "sub_url": f"https://i/bfs/wbi/{sub}.png"}
        return web.json_response({"code": -101, "data": {**self.nav, "wbi_img": pictures}})

    async def get_room(self, request: web.Request) -> web.Response:
        room = 7_734_200 if request.query["id"] == "1017" else int(request.query["id"])
        return web.json_response({"code": 0, "data": {"room_id": room}})

    async def get_info(self, request: web.Request) -> web.Response:
        query = dict(request.query)
        self.info_calls.put_nowait(query)
        self.cookies = dict(request.cookies)
        if self.hangs is not None:
            await self.hangs.wait()
        if self.status != 200:
            return web.Response(status=self.status)
        if not self.signature_ok:
            self.signature_ok, self.key = True, 1
            return web.json_response({"code": -352, "message": "-352", "data": None})
        hosts = [{"host": "127.0.0.1", "ws_port": comet.port, "wss_port": 1} for comet in self.comets]
        return web.json_response({"code": 0, "data": {"token": f"token-{query['id']}", "host_list": hosts}})


@asynccontextmanager
async def serving(routes: list[web.RouteDef]) -> AsyncIterator[TestServer]:
    app = web.Application()
    app.add_routes(routes)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server(shutdown_timeout=0.1)
    try:
        yield server
    finally:
        await server.close()


class Studio:
    """The site, its chat servers and one source, all on this machine."""

    def __init__(self, site: Site, session: aiohttp.ClientSession) -> None:
        self.site = site
        self.session = session

    def open(self, **options: Any) -> BilibiliSource:
        defaults = {"live_api": self.site.url, "main_api": self.site.url, "backoff_initial_s": 0.01}
        opened = open_source("bilibili", {"room_id": 1017}, self.session, **{**defaults, **options})
        assert isinstance(opened, BilibiliSource)
        return opened


@asynccontextmanager
async def studio(*comets: Comet) -> AsyncIterator[Studio]:
    site = Site(list(comets))
    routes = [
        web.get("/x/web-interface/nav", site.get_nav),
        web.get("/room/v1/Room/room_init", site.get_room),
        web.get("/xlive/web-room/v1/index/getDanmuInfo", site.get_info),
    ]
    async with asyncio.timeout(DEADLINE_S), serving(routes) as server, aiohttp.ClientSession() as session:
        site.url = str(server.make_url("/")).rstrip("/")
        servers = [serving([web.get("/sub", comet.sub)]) for comet in comets]
        for comet, context in zip(comets, servers, strict=True):
            comet.port = (await context.__aenter__()).port or 0
        try:
            yield Studio(site, session)
        finally:
            for context in servers:
                await context.__aexit__(None, None, None)


def signed_in(*domains: str, **cookies: str) -> LoginOf:
    async def login() -> Login:
        return Login(domains or ("127.0.0.1",), cookies)

    return login


def described(item: ChatMessage | ConnectionChange) -> str:
    return item.text if isinstance(item, ChatMessage) else item.state.value


async def take(items: AsyncIterator[ChatMessage | ConnectionChange], count: int) -> list[str]:
    return [described(await anext(items)) for _ in range(count)]


async def test_it_joins_the_room_and_hands_on_what_is_said() -> None:
    comet = Comet()
    async with studio(comet) as room:
        comet.outbox.put_nowait(chat("plain"))
        comet.outbox.put_nowait(pack(5, zlib.compress(chat("zlib 1") + chat("zlib 2")), 2))
        comet.outbox.put_nowait("a text frame, which the protocol does not have")
        comet.outbox.put_nowait(pack(5, brotli.compress(chat("brotli")), 3))
        opened = room.open(account=signed_in(buvid3="B-1"))
        async with aclosing(items_of(opened)) as items:
            assert await take(items, 5) == ["connected", "plain", "zlib 1", "zlib 2", "brotli"]

        greeting = comet.greetings.get_nowait()
        assert greeting["roomid"] == 7_734_200  # the real number of the short one
        assert (greeting["key"], greeting["uid"], greeting["buvid"]) == ("token-7734200", 0, "B-1")
        assert (greeting["protover"], greeting["platform"], greeting["type"]) == (3, "web", 2)


async def test_the_request_is_signed_and_carries_the_visitor_s_cookie_but_the_chat_server_gets_none() -> None:
    comet = Comet()
    async with studio(comet) as room:
        opened = room.open(account=signed_in(SESSDATA="secret", buvid3="B-1"))
        async with aclosing(items_of(opened)) as items:
            await take(items, 1)

        query = room.site.info_calls.get_nowait()
        signature = query.pop("w_rid")
        wts = int(query.pop("wts"))
        assert signature == sign(query, KEYS[0][2], wts)["w_rid"]
        assert query == {"id": "7734200", "type": "0", "web_location": "444.8"}
        assert room.site.cookies == {"SESSDATA": "secret", "buvid3": "B-1"}
        assert "Cookie" not in comet.headers[0]


async def test_without_a_cookie_it_is_a_visitor_with_a_made_up_id() -> None:
    comet = Comet()
    async with studio(comet) as room:
        room.site.nav = {"isLogin": True, "mid": 42}
        async with aclosing(items_of(room.open())) as items:
            await take(items, 1)

        greeting = comet.greetings.get_nowait()
        assert greeting["uid"] == 0  # the answer of nav does not count without SESSDATA
        assert greeting["buvid"] == room.site.cookies["buvid3"]
        assert greeting["buvid"].endswith("infoc")


async def test_with_an_account_it_joins_as_that_account() -> None:
    comet = Comet()
    async with studio(comet) as room:
        room.site.nav = {"isLogin": True, "mid": 42}
        async with aclosing(items_of(room.open(account=signed_in(SESSDATA="secret")))) as items:
            await take(items, 1)

        assert comet.greetings.get_nowait()["uid"] == 42


async def test_a_login_of_another_site_stays_at_home() -> None:
    comet = Comet()
    async with studio(comet) as room:
        room.site.nav = {"isLogin": True, "mid": 42}
        async with aclosing(items_of(room.open(account=signed_in("bilibili.com", SESSDATA="secret")))) as items:
            await take(items, 1)

        assert room.site.cookies.keys() == {"buvid3"}
        assert comet.greetings.get_nowait()["uid"] == 0


async def test_each_joining_asks_for_the_login_anew() -> None:
    comet = Comet()
    logins = iter(
        [Login(), Login(("127.0.0.1",), {"SESSDATA": "first"}), Login(("127.0.0.1",), {"SESSDATA": "second"})]
    )

    async def login() -> Login:
        return next(logins)

    async with studio(comet) as room:
        room.site.nav = {"isLogin": True, "mid": 42}
        seen = []
        async with aclosing(items_of(room.open(account=login))) as items:
            for _ in range(3):
                await take(items, 1)
                seen.append((room.site.cookies.get("SESSDATA"), comet.greetings.get_nowait()["uid"]))
                comet.outbox.put_nowait(CUT)
                await take(items, 1)

    assert seen == [(None, 0), ("first", 42), ("second", 42)]


async def test_while_an_account_cannot_be_had_the_last_login_serves_until_it_is_removed() -> None:
    answers: list[Login | Exception] = [
        AccountUnavailable("nobody tells"),
        Login(("127.0.0.1",), {"SESSDATA": "secret"}),
        AccountUnavailable("nobody tells"),
        NoSuchAccount("there is none"),
        AccountUnavailable("nobody tells"),
    ]

    async def account_of(account: str) -> Login:
        assert account == "mine"
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    room = RoomAccount(account_of, "mine")
    assert [bool((await room.login()).cookies) for _ in range(5)] == [False, True, True, False, False]


async def test_a_login_that_has_expired_is_said_and_a_renewed_one_serves_at_the_next_joining() -> None:
    comet = Comet()
    logins = iter(
        [Login(("127.0.0.1",), {"SESSDATA": "0ld-s3cret"}), Login(("127.0.0.1",), {"SESSDATA": "n3w-s3cret"})]
    )

    async def login() -> Login:
        return next(logins)

    async with studio(comet) as room:
        with capture_logs() as logs:
            async with aclosing(items_of(room.open(account=login))) as items:
                await take(items, 1)
                room.site.nav = {"isLogin": True, "mid": 42}
                comet.outbox.put_nowait(CUT)
                await take(items, 2)

    assert [comet.greetings.get_nowait()["uid"] for _ in range(2)] == [0, 42]
    assert [one["event"] for one in logs].count("chat.login_not_accepted") == 1
    assert "s3cret" not in repr(logs)


async def test_it_beats_and_learns_the_popularity() -> None:
    comet = Comet()
    async with studio(comet) as room:
        opened = room.open(heartbeat_s=0.02)
        # Two and a half such heartbeats of silence would end the connection whenever the machine is busy.
        opened.pace = replace(opened.pace, silence_s=DEADLINE_S)
        async with aclosing(items_of(opened)) as items:
            await take(items, 1)
            listening = asyncio.create_task(take(items, 1))
            beats = [await comet.heartbeats.get() for _ in range(3)]
            comet.outbox.put_nowait(chat("after three beats"))
            assert await listening == ["after three beats"]

    assert beats == [b"[object Object]"] * 3
    assert opened.popularity == 2466


async def test_cut_off_it_says_so_and_comes_back() -> None:
    comet = Comet()
    async with studio(comet) as room:
        opened = room.open()
        async with aclosing(items_of(opened)) as items:
            comet.outbox.put_nowait(chat("before"))
            comet.outbox.put_nowait(CUT)
            before = await take(items, 2)
            lost = await anext(items)
            comet.outbox.put_nowait(chat("after"))
            after = await take(items, 2)

    assert before == ["connected", "before"]
    assert isinstance(lost, ConnectionChange)
    assert (lost.state, lost.host) == (ConnectionState.LOST, "127.0.0.1")
    assert lost.reason.startswith("closed by the server")
    assert after == ["connected", "after"]
    assert comet.greetings.qsize() == 2


async def test_a_silent_server_is_left() -> None:
    comet = Comet()
    comet.answers_heartbeats = False
    async with studio(comet) as room:
        opened = room.open(heartbeat_s=0.05)
        by_heartbeats = opened.pace
        opened.pace = replace(by_heartbeats, silence_s=DEADLINE_S)  # to join may take longer
        async with aclosing(items_of(opened)) as items:
            assert await take(items, 1) == ["connected"]
            opened.pace = by_heartbeats
            lost = await anext(items)
            assert isinstance(lost, ConnectionChange)
            assert (lost.state, lost.reason) == (ConnectionState.LOST, "TimeoutError")
            opened.pace = replace(by_heartbeats, silence_s=DEADLINE_S)
            assert await take(items, 1) == ["connected"]


async def test_an_endless_frame_costs_the_connection_and_not_the_memory() -> None:
    comet = Comet()
    async with studio(comet) as room:
        comet.outbox.put_nowait(bytes((16 << 20) + 1))
        async with aclosing(items_of(room.open())) as items:
            assert await take(items, 3) == ["connected", "lost", "connected"]


async def test_a_dead_host_is_passed_over_without_waiting() -> None:
    dead, alive = Comet(), Comet()
    async with studio(dead, alive) as room:
        with socket.socket() as unlistened:
            unlistened.bind(("127.0.0.1", 0))
            dead.port = unlistened.getsockname()[1]
            async with aclosing(items_of(room.open(backoff_initial_s=3600))) as items:
                assert await take(items, 1) == ["connected"]

    assert alive.greetings.qsize() == 1


async def test_after_a_loss_the_next_host_is_tried_first() -> None:
    first, second = Comet(), Comet()
    async with studio(first, second) as room:
        first.outbox.put_nowait(CUT)
        async with aclosing(items_of(room.open())) as items:
            assert await take(items, 3) == ["connected", "lost", "connected"]

    assert (first.greetings.qsize(), second.greetings.qsize()) == (1, 1)


async def test_a_refused_authentication_is_reported_and_retried() -> None:
    comet = Comet()
    comet.accepts = False
    async with studio(comet) as room, aclosing(items_of(room.open())) as items:
        failed = [await anext(items), await anext(items)]
        comet.accepts = True
        states = [described(await anext(items))]
        while states[-1] == "failed":
            states.append(described(await anext(items)))

    assert [item.attempt for item in failed if isinstance(item, ConnectionChange)] == [1, 2]
    assert "authentication was refused" in failed[0].reason
    assert states[-1] == "connected"


async def test_an_api_that_is_down_is_reported_and_asked_again() -> None:
    comet = Comet()
    async with studio(comet) as room:
        room.site.status = 502
        async with aclosing(items_of(room.open())) as items:
            failed = await anext(items)
            room.site.status = 200
            states = [described(await anext(items))]
            while states[-1] == "failed":
                states.append(described(await anext(items)))

    assert isinstance(failed, ConnectionChange)
    assert (failed.state, failed.reason) == (ConnectionState.FAILED, "getDanmuInfo: HTTP 502")
    assert states[-1] == "connected"


async def test_a_changed_signing_key_is_fetched_again() -> None:
    comet = Comet()
    async with studio(comet) as room:
        room.site.signature_ok = False
        async with aclosing(items_of(room.open())) as items:
            assert await take(items, 1) == ["connected"]

        calls = [room.site.info_calls.get_nowait(), room.site.info_calls.get_nowait()]
        assert room.site.nav_calls == 2
        assert calls[0]["w_rid"] != calls[1]["w_rid"]


async def test_the_signing_key_is_kept_over_reconnections() -> None:
    comet = Comet()
    async with studio(comet) as room:
        comet.outbox.put_nowait(CUT)
        async with aclosing(items_of(room.open())) as items:
            assert await take(items, 3) == ["connected", "lost", "connected"]

        assert (room.site.nav_calls, room.site.info_calls.qsize()) == (1, 2)


async def test_closing_ends_the_messages_and_leaves_the_room() -> None:
    comet = Comet()
    async with studio(comet) as room:
        opened = room.open()
        items = items_of(opened)
        await take(items, 1)
        rest = asyncio.create_task(take(items, 1))
        await comet.heartbeats.get()

        await opened.close()
        await opened.close()

        with pytest.raises(StopAsyncIteration):
            await _unwrapped(rest)
        assert await comet.gone.get() == 1000


async def _unwrapped(task: asyncio.Task[list[str]]) -> None:
    """A StopAsyncIteration inside a coroutine becomes a RuntimeError (PEP 479)."""
    try:
        await task
    except RuntimeError as error:
        assert isinstance(error.__cause__, StopAsyncIteration)
        raise error.__cause__ from None


async def test_closing_ends_an_attempt_that_hangs() -> None:
    async with studio(Comet()) as room:
        room.site.hangs = asyncio.Event()
        opened = room.open()
        collected = asyncio.create_task(_all(opened))
        await room.site.info_calls.get()

        await opened.close()

        assert await collected == []
        room.site.hangs.set()


async def test_closing_ends_the_wait_between_attempts() -> None:
    async with studio(Comet()) as room:
        room.site.status = 500
        opened = room.open(backoff_initial_s=3600, backoff_max_s=3600)
        items = items_of(opened)
        assert await take(items, 1) == ["failed"]
        rest = asyncio.create_task(take(items, 1))
        await asyncio.sleep(0)

        await opened.close()

        with pytest.raises(StopAsyncIteration):
            await _unwrapped(rest)


async def _all(opened: BilibiliSource) -> list[str]:
    return [described(item) async for item in items_of(opened)]


async def test_a_consumer_that_goes_away_leaves_no_connection_behind() -> None:
    comet = Comet()
    async with studio(comet) as room:
        opened = room.open()

        async def consume() -> None:
            async with aclosing(items_of(opened)) as items:
                async for _ in items:
                    pass

        consumer = asyncio.create_task(consume())
        await comet.heartbeats.get()
        consumer.cancel()

        with pytest.raises(asyncio.CancelledError):
            await consumer
        assert await comet.gone.get() == 1000


async def test_the_api_is_the_one_the_descriptor_names() -> None:
    async with studio(Comet()) as room:
        descriptor = {"room_id": 1017, "api": room.site.url}
        opened = open_source("bilibili", descriptor, room.session, main_api=room.site.url)
        async with aclosing(items_of(opened)) as items:
            assert await take(items, 1) == ["connected"]
        await opened.close()


@pytest.mark.parametrize("api", [17, "ftp://example.org", "https://" + "x" * 2000])
async def test_an_api_that_is_no_address_is_refused(api: object) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(InvalidDescriptor):
            open_source("bilibili", {"room_id": 1, "api": api}, session)


@pytest.mark.parametrize("descriptor", [{}, {"room_id": 0}, {"room_id": -5}, {"room_id": "x"}, {"room_id": True}])
async def test_a_descriptor_without_a_room_is_refused(descriptor: dict[str, object]) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(InvalidDescriptor):
            open_source("bilibili", descriptor, session)


async def test_a_kind_without_a_driver_is_refused() -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(UnknownChatKind):
            open_source("smoke signals", {}, session)

    assert "bilibili" in kinds()


def test_two_drivers_for_one_kind_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="two drivers"):
        source("bilibili")(BilibiliSource)


def test_the_delay_doubles_up_to_its_largest() -> None:
    delays = [backoff_delay(failures, 1.0, 60.0, 1.0) for failures in range(1, 9)]

    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]
    assert backoff_delay(10_000, 1.0, 60.0, 0.0) == 30


async def test_only_the_real_site_has_a_fallback_server() -> None:
    async with aiohttp.ClientSession() as session:
        real = BilibiliApi(session, live_api=LIVE_API).fallback(1017)
        local = BilibiliApi(session, live_api="http://127.0.0.1:1").fallback(1017)

    assert real is not None
    assert [server.host for server in real.servers] == ["broadcastlv.chat.bilibili.com"]
    assert local is None


@pytest.mark.parametrize(
    "data",
    [
        {"v_voucher": "voucher_x"},
        {"token": "t", "host_list": []},
        {"token": "t", "host_list": ["x", {}, {"host": ""}, {"host": 5}]},
        {"token": "t"},
        {"token": 5, "host_list": [{"host": "h"}]},
    ],
)
async def test_an_answer_without_token_or_servers_is_an_error(data: dict[str, Any]) -> None:
    async with studio(Comet()) as room:

        async def info(_: web.Request) -> web.Response:
            return web.json_response({"code": 0, "data": data})

        routes = [
            web.get("/x/web-interface/nav", room.site.get_nav),
            web.get("/xlive/web-room/v1/index/getDanmuInfo", info),
        ]
        async with serving(routes) as server:
            url = str(server.make_url("/")).rstrip("/")
            with pytest.raises(ApiError):
                await BilibiliApi(room.session, live_api=url, main_api=url).access(1017)
