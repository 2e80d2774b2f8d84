"""The chat, as a hand-written client sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.studio import Studio

from .danmaku_client import DanmakuClient, Disconnected, packet
from .test_studio_bilibili import DANMU, Browser


@asynccontextmanager
async def chatting(
    studio: Studio, http: aiohttp.ClientSession, room: str = "1001", protover: int = 3
) -> AsyncIterator[DanmakuClient]:
    """A client that found its way from getDanmuInfo into the chat."""
    browser = Browser(http, studio.url)
    await browser.fetch_keys()
    info = (await browser.signed(DANMU, id=room, type=0))["data"]
    host = info["host_list"][0]
    async with DanmakuClient(http, f"ws://{host['host']}:{host['ws_port']}/sub") as client:
        assert await client.authenticate(int(room), info["token"], protover) == 0
        yield client


@pytest.mark.parametrize(("protover", "version"), [(3, 3), (2, 2), (1, 0)])
async def test_messages_arrive_in_the_compression_that_was_asked_for(
    studio: Studio, http: aiohttp.ClientSession, protover: int, version: int
) -> None:
    await studio.create_room("1001")
    async with chatting(studio, http, protover=protover) as client:
        # when several things are said at once
        entries = await studio.say_many("1001", [{"text": f"line {n}", "user": "ann", "uid": 5} for n in range(20)])
        # then they come in one packet, whole and in order
        messages = await client.messages()
        assert [message["info"][1] for message in messages] == [f"line {n}" for n in range(20)]
        assert set(client.outer_versions[1:]) == {version}
    assert {entry["delivered_to"] for entry in entries} == {1}


async def test_a_chat_line_has_the_fields_that_recorders_read(studio: Studio, http: aiohttp.ClientSession) -> None:
    await studio.create_room("1001")
    async with chatting(studio, http) as client:
        entry = await studio.say("1001", "你好 <world>", user="ann", uid=42, color=0x54EED8, mode=5)
        (message,) = await client.messages()
    assert message["cmd"] == "DANMU_MSG"
    info = message["info"]
    assert info[0][1:5] == [5, 25, 0x54EED8, entry["time_ms"]]
    assert info[1] == "你好 <world>"
    assert info[2][:2] == [42, "ann"]
    assert info[0][12] == 0
    assert info[0][15]["user"]["base"]["name"] == "ann"
    assert info[9]["ts"] == entry["time_ms"] // 1000


async def test_gifts_super_chats_guards_and_raw_messages(studio: Studio, http: aiohttp.ClientSession) -> None:
    await studio.create_room("1001")
    ann = {"user": "ann", "uid": 42}
    async with chatting(studio, http) as client:
        await studio.say_many(
            "1001",
            [
                {"kind": "gift", "gift_name": "小花花", "count": 3, "price": 100, **ann},
                {"kind": "super_chat", "text": "look", "price": 50, "seconds": 120, **ann},
                {"kind": "guard", "level": 2, **ann},
                {"kind": "raw", "message": {"cmd": "CUT_OFF", "msg": "no"}},
            ],
        )
        gift, super_chat, guard, raw = await client.messages()
    assert gift["cmd"] == "SEND_GIFT"
    assert (
        gift["data"] | {"giftName": "小花花", "num": 3, "price": 100, "total_coin": 300, "uname": "ann"} == gift["data"]
    )
    assert super_chat["cmd"] == "SUPER_CHAT_MESSAGE"
    data = super_chat["data"]
    assert (data["message"], data["price"], data["time"], data["user_info"]["uname"]) == ("look", 50, 120, "ann")
    assert data["end_time"] - data["start_time"] == 120
    assert guard["cmd"] == "GUARD_BUY"
    assert guard["data"] | {"username": "ann", "guard_level": 2, "price": 1_998_000, "num": 1} == guard["data"]
    assert raw == {"cmd": "CUT_OFF", "msg": "no"}


async def test_heartbeats_are_answered_with_popularity_and_echo(studio: Studio, http: aiohttp.ClientSession) -> None:
    await studio.create_room("1001")
    async with chatting(studio, http) as one, chatting(studio, http):
        assert await one.heartbeat() == b"\0\0\0\x02[object Object]"


async def test_the_broadcast_s_life_is_told(studio: Studio, http: aiohttp.ClientSession) -> None:
    await studio.create_room("1001", formats=["flv"])
    async with chatting(studio, http) as client:
        state = await studio.put_on_air("1001")
        (live,) = await client.messages()
        assert (live["cmd"], live["roomid"], live["live_time"]) == ("LIVE", 1001, int(state["live_since"]))
        await studio.retitle("1001", "New title", category="Go")
        (change,) = await client.messages()
        assert change["cmd"] == "ROOM_CHANGE"
        assert (change["data"]["title"], change["data"]["area_name"]) == ("New title", "Go")
        await studio.put_off_air("1001")
        (preparing,) = await client.messages()
        assert (preparing["cmd"], preparing["roomid"]) == ("PREPARING", "1001")
    assert (await studio.room("1001"))["title"] == "New title"


async def test_everything_said_is_logged_whoever_listened(studio: Studio, http: aiohttp.ClientSession) -> None:
    await studio.create_room("1001")
    await studio.say("1001", "to nobody")
    async with chatting(studio, http):
        await studio.say("1001", "to one", kind="super_chat", price=30)
    log = await studio.chat_log("1001")
    assert [(one["seq"], one["kind"], one["text"], one["delivered_to"]) for one in log] == [
        (1, "chat", "to nobody", 0),
        (2, "super_chat", "to one", 1),
    ]


@pytest.mark.parametrize("wrong", ["key", "room", "protover"])
async def test_a_wrong_introduction_is_refused_and_cut(studio: Studio, http: aiohttp.ClientSession, wrong: str) -> None:
    # given a token of room 1001
    await studio.create_room("1001")
    browser = Browser(http, studio.url)
    await browser.fetch_keys()
    key = (await browser.signed(DANMU, id=1001))["data"]["token"]
    async with DanmakuClient(http, f"{studio.url}/sub") as client:
        # when one thing is wrong
        code = await client.authenticate(
            roomid=1002 if wrong == "room" else 1001,
            key="nonsense" if wrong == "key" else key,
            protover=9 if wrong == "protover" else 3,
        )
        # then it is told so and cut
        assert code == -101
        with pytest.raises(Disconnected):
            await client.frames()


@pytest.mark.parametrize("opening", [packet(2, b""), b"junk", packet(7, b"{")[:-1], packet(5, b"{}")])
async def test_who_does_not_speak_the_protocol_is_cut(
    studio: Studio, http: aiohttp.ClientSession, opening: bytes
) -> None:
    async with DanmakuClient(http, f"{studio.url}/sub") as client:
        await client.socket.send_bytes(opening)
        with pytest.raises(Disconnected):
            await client.frames()


async def test_who_never_introduces_himself_is_cut(http: aiohttp.ClientSession) -> None:
    async with Studio(chat_auth_timeout=0.1) as studio, DanmakuClient(http, f"{studio.url}/sub") as client:
        with pytest.raises(Disconnected):
            await client.frames()


async def test_who_never_sends_a_heartbeat_is_cut_and_others_stay(http: aiohttp.ClientSession) -> None:
    # given a studio that waits for heartbeats much longer than this process ever stops, and two viewers
    async with Studio(chat_heartbeat_timeout=4.0) as studio:
        await studio.create_room("1001")
        async with chatting(studio, http) as silent, chatting(studio, http) as alive:

            async def outlive() -> None:
                # when one sends heartbeats until the other is cut
                with pytest.raises(Disconnected):
                    await silent.frames()

            cut = asyncio.create_task(outlive())
            while not cut.done():
                await alive.heartbeat()
                await asyncio.wait({cut}, timeout=0.1)
            await cut
            # then the living one still hears
            await studio.wait_for_room("1001", chatters=1)
            await studio.say("1001", "still there?")
            assert (await alive.messages())[0]["info"][1] == "still there?"


async def test_an_audience_chats_while_the_room_is_on_air(studio: Studio, http: aiohttp.ClientSession) -> None:
    await studio.create_room("1001", source="loop", chat_per_second=200)
    async with chatting(studio, http) as client:
        await studio.put_on_air("1001")
        assert (await client.messages())[0]["cmd"] == "LIVE"
        heard: list[dict] = []
        while len(heard) < 100:
            heard += await client.messages()
        await studio.put_off_air("1001")
        while heard[-1]["cmd"] != "PREPARING":
            heard += await client.messages()
    assert len(heard) - 1 == len(await studio.chat_log("1001"))
    assert {message["cmd"] for message in heard} >= {"DANMU_MSG", "SEND_GIFT", "PREPARING"}
