"""Bigo Live's chat: the codec against frames that the studio makes, and the driver in the studio's rooms."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.danmu.adapters import InvalidDescriptor, open_source
from services.danmu.adapters.bigo import MAX_PENDING, BigoCodec, Visitor
from services.danmu.adapters.codec import Decoded
from services.danmu.adapters.driver import Pace
from services.danmu.adapters.messages import ChatMessage, MessageKind
from services.danmu.adapters.source import ConnectionChange
from services.danmu.tests.chat_driving import items_of
from tests.deadline import DEADLINE_S
from tests.studio.bigo import frame
from tests.studio.studio import Studio

ROOM = 6_597_447_910_794_533_486


class Clock:
    ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.ms


def codec(clock: Clock | None = None) -> BigoCodec:
    return BigoCodec(str(ROOM), Visitor("10000", "token", "web_x"), clock or Clock())


def happened(payload: dict[str, Any], **more: Any) -> bytes:
    return frame(2584, {"room_id": str(ROOM), "seqId": "5", "payload": payload, **more}).encode()


def content(**said: Any) -> str:
    return base64.b64encode(json.dumps(said).encode()).decode()


def gift(uid: int, name: str = "Flower") -> bytes:
    return happened({"vgift_name": name, "vgift_count": "3", "from_uid": str(uid)}, oriUri="760969")


def test_a_comment_keeps_everything_it_says() -> None:
    said = {"tag": "1", "uid": "7", "content": content(n=" 甲 ", m="  hi {there} ")}
    assert codec().feed(happened(said)).messages == [
        ChatMessage(MessageKind.CHAT, Clock.ms, id="7:5", user="甲", uid="7", text="hi {there}")
    ]
    assert [one.text for one in codec().feed(happened({**said, "tag": 2})).messages] == ["hi {there}"]


def test_the_challenge_is_answered_and_the_login_follows() -> None:
    answer, login = codec().feed(frame(256, {"challenge": "abcdefgh12345678"}).encode()).replies
    assert isinstance(answer, str)
    assert isinstance(login, str)
    body = json.loads(answer.removeprefix("79108"))
    signed = f"60#4#5#{Clock.ms // 1000}#1#1#1#1#12345678"
    assert body["sign"] == hashlib.md5(signed.encode()).hexdigest()
    assert json.loads(login.removeprefix("512279"))["cookie"] == "token"


@pytest.mark.parametrize(
    ("event", "body", "welcome"),
    [
        (512535, {"res": "415"}, False),
        (1560, {"resCode": "200", "sid": "77"}, True),
        (1560, {"resCode": "200", "sid": "0"}, False),
        (1560, {"resCode": "404", "sid": "77"}, False),
        (0, {"info": "unsigned", "errUri": "512279"}, False),
    ],
)
def test_the_server_lets_in_or_sends_away(event: int, body: dict[str, Any], welcome: bool) -> None:
    assert codec().feed(frame(event, body).encode()).authenticated is welcome


def test_a_gift_waits_for_the_name_of_its_giver() -> None:
    chat = codec()
    assert chat.feed(gift(7)).messages == []
    (message,) = chat.feed(happened({"tag": 6, "uid": 7, "content": content(n="甲", m="x")})).messages
    assert (message.kind, message.gift, message.quantity, message.user, message.uid) == ("gift", "Flower", 3, "甲", "7")


def test_a_gift_whose_giver_is_not_named_is_told_all_the_same() -> None:
    clock = Clock()
    chat = codec(clock)
    assert chat.feed(gift(7, "one")).messages == []
    assert [one.gift for one in chat.feed(gift(7, "two")).messages] == ["one"]
    clock.ms += 1000
    assert [one.gift for one in chat.feed(frame(791, {}).encode()).messages] == ["two"]


def test_gifts_that_wait_are_bounded() -> None:
    chat = codec()
    told = [one for uid in range(1, MAX_PENDING + 11) for one in chat.feed(gift(uid)).messages]
    assert [one.uid for one in told] == [str(uid) for uid in range(1, 11)]


def test_another_room_and_unknown_events_are_ignored() -> None:
    chat = codec()
    assert chat.feed(happened({"tag": 1, "content": content(m="x")}, room_id="1")).messages == []
    chat.feed(b"99\t{}")
    assert chat.counters.ignored == {"another room": 1, "99": 1}


def test_the_audience_is_the_popularity() -> None:
    assert codec().feed(frame(10264, {"gid": str(ROOM), "totalUserCount": 2472}).encode()).popularity == 2472
    assert codec().feed(frame(10264, {"gid": "1", "totalUserCount": 2472}).encode()).popularity is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(
    ["tag", "content", "uid", "from_uid", "vgift_name", "vgift_count", "seqId", "oriUri", "challenge", "res"]
)


@given(st.text(min_size=1, max_size=50).filter(str.strip), st.text(max_size=50))
def test_comments_round_trip(text: str, user: str) -> None:
    (message,) = codec().feed(happened({"tag": 1, "uid": "7", "content": content(n=user, m=text)})).messages
    assert (message.text, message.user) == (text.strip(), user.strip())


@given(st.binary(max_size=200))
def test_no_bytes_raise(data: bytes) -> None:
    assert isinstance(codec().feed(data), Decoded)
    codec().feed(b"2584\t{" + data)
    codec().feed(happened({"tag": 1, "content": base64.b64encode(data).decode()}))


@given(st.sampled_from([256, 512535, 1560, 2584, 10264]), st.dictionaries(KEYS, JSON), st.dictionaries(KEYS, JSON))
def test_no_fields_raise(event: int, body: dict[str, Any], payload: dict[str, Any]) -> None:
    codec().feed(frame(event, {"room_id": str(ROOM), "payload": payload, **body}).encode())


def open_room(studio: Studio, session: aiohttp.ClientSession, **descriptor: Any) -> Any:
    made = {"servers": f"{studio.url.replace('http', 'ws')}/live/official/web", "api": studio.url}
    pace = Pace(10, 60, connect_timeout_s=DEADLINE_S, backoff_initial_s=0.01, backoff_max_s=0.01)
    return open_source("bigo", {"room_id": "6400", **descriptor}, session, **made, pace=pace)


async def take(items: AsyncIterator[ChatMessage | ConnectionChange], count: int) -> list[str]:
    got = [await anext(items) for _ in range(count)]
    return [one.text or f"{one.user}: {one.gift}" if isinstance(one, ChatMessage) else one.state.value for one in got]


@pytest.mark.parametrize("known", [{}, {"live_id": str(ROOM)}, {"live_id": "1"}])
async def test_it_joins_a_room_beats_is_cut_off_and_comes_back(known: dict[str, str]) -> None:
    async with asyncio.timeout(DEADLINE_S), Studio() as studio, aiohttp.ClientSession() as session:
        room = studio.bigo.room("6400", ROOM)
        async with aclosing(items_of(open_room(studio, session, **known))) as items:
            if known.get("live_id") == "1":  # an old broadcast's room: the next one is asked for
                assert await take(items, 1) == ["failed"]
            assert await take(items, 1) == ["connected"]
            await room.wait(visits=1, beats=1)
            await room.say("大家好")
            await room.give("Flower", 3)
            assert await take(items, 2) == ["大家好", "giver: Flower"]
            assert room.cut() == 1
            assert await take(items, 2) == ["lost", "connected"]
            await room.wait(visits=2)
            await room.say("again")
            assert await take(items, 1) == ["again"]


async def test_a_broadcaster_who_is_off_air_is_tried_again() -> None:
    async with asyncio.timeout(DEADLINE_S), Studio() as studio, aiohttp.ClientSession() as session:
        room = studio.bigo.room("6400", ROOM)
        room.on_air = False
        async with aclosing(items_of(open_room(studio, session))) as items:
            failed = await anext(items)
            room.on_air = True
            states = await take(items, 1)
            while states[-1] == "failed":
                states += await take(items, 1)
    assert isinstance(failed, ConnectionChange)
    assert failed.reason == "the broadcaster is not on air"
    assert states[-1] == "connected"


@pytest.mark.parametrize(
    "descriptor", [{"room_id": ""}, {"room_id": "a/b"}, {"room_id": "x" * 65}, {"room_id": None, "live_id": 5}]
)
async def test_a_descriptor_without_a_room_is_refused(descriptor: dict[str, object]) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(InvalidDescriptor):
            open_source("bigo", {**descriptor, **({"room_id": " "} if descriptor["room_id"] is None else {})}, session)
