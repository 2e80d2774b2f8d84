"""Huya's chat: the codec against frames that the studio makes, and the driver in the studio's rooms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.danmu.adapters import InvalidDescriptor, open_source, tars
from services.danmu.adapters.driver import Pace
from services.danmu.adapters.huya import HuyaCodec
from services.danmu.adapters.messages import Badge, ChatMessage, MessageKind
from services.danmu.adapters.source import ConnectionChange
from services.danmu.tests.chat_driving import items_of
from tests.deadline import DEADLINE_S
from tests.studio.huya import field, struct
from tests.studio.studio import Studio

NOW = 1_700_000_000_000
UID = 1_199_512_323_145


def codec() -> HuyaCodec:
    return HuyaCodec(UID, lambda: NOW)


def pushed(uri: int, message: dict[int, Any], number: int = 0) -> bytes:
    return struct({0: 7, 1: struct({0: 5, 1: uri, 2: struct(message), 5: number})})


def feed(uri: int, message: dict[int, Any], number: int = 0) -> list[ChatMessage]:
    return codec().feed(pushed(uri, message, number)).messages


def test_a_chat_line_keeps_everything_it_says() -> None:
    badge = struct({0: 7, 1: 1, 2: "presenter", 3: "粉丝", 4: 12})
    said = {
        0: {0: 7, 2: "甲"},
        3: "大家好",
        6: {0: 0x66CCFF},
        8: [{0: 10150, 2: b""}, {0: 10400, 1: 1, 2: badge}, {0: 1}],
    }

    assert feed(1400, said, 42) == [
        ChatMessage(
            MessageKind.CHAT,
            NOW,
            id="42",
            user="甲",
            uid="7",
            text="大家好",
            colour=0x66CCFF,
            badges=(Badge("moderator"), Badge("fan", "粉丝", 12)),
        )
    ]


@pytest.mark.parametrize("colour", [-1, 0, 1 << 24, -(1 << 31)])
def test_a_colour_that_is_none_is_white(colour: int) -> None:
    assert [one.colour for one in feed(1400, {3: "x", 6: {0: colour}})] == [0xFFFFFF]


@pytest.mark.parametrize(
    ("uri", "message", "expected"),
    [
        (6501, {0: 12, 2: 3, 4: 7, 6: "甲", 20: "虎粮"}, ("gift", "甲", "7", "虎粮", 3, 0, "")),
        (6501, {0: 12, 4: 7, 6: "甲"}, ("gift", "甲", "7", "12", 1, 0, "")),
        (6110, {0: 7, 1: "甲"}, ("join", "甲", "7", "", 1, 0, "")),
        (1001, {0: {0: 7, 1: "甲", 2: 6, 3: "帝皇"}}, ("membership", "甲", "7", "帝皇", 1, 1, "")),
        (1001, {0: {0: 7, 1: "甲", 2: 1, 3: "剑士"}}, ("membership", "甲", "7", "剑士", 1, 6, "")),
        (8001, {0: UID, 1: 0}, ("stream_closed", "", "", "", 1, 0, "ended")),
    ],
)
def test_other_messages(uri: int, message: dict[int, Any], expected: tuple[object, ...]) -> None:
    (one,) = feed(uri, message)
    assert (one.kind, one.user, one.uid, one.gift, one.quantity, one.level, one.action) == expected


def test_messages_on_the_board_come_once() -> None:
    chat = codec()
    entry = {0: {1: "甲", 2: ""}, 1: "支持", 2: 30, 4: 60, 5: 50, 9: 5}
    panel = {0: {2: 0}, 1: [entry], 2: 0}

    (message,) = chat.feed(pushed(2_001_314, panel)).messages
    assert (message.kind, message.user, message.text, message.price, message.currency) == (
        "super_chat", "甲", "支持", 30_000, "CNY",
    )  # fmt: skip
    assert (message.duration_s, message.sent_at, message.id) == (60, NOW - 10_000, "board 5")
    assert chat.feed(pushed(2_001_314, panel)).messages == []


def test_the_end_of_another_broadcaster_is_not_this_one_s() -> None:
    assert feed(8001, {0: 5}) == []


def test_a_message_that_comes_alone_and_in_a_group_comes_once() -> None:
    chat = codec()
    said = {0: {2: "甲"}, 3: "hi"}
    group = struct(
        {0: 22, 1: struct({0: "live:1", 1: [{0: 1400, 1: struct(said), 2: 9}, {0: 1400, 1: struct(said), 2: 10}]})}
    )
    assert [one.id for one in chat.feed(pushed(1400, said, 9)).messages] == ["9"]
    assert [one.id for one in chat.feed(group).messages] == ["10"]


def test_a_broken_message_costs_itself_only() -> None:
    chat = codec()
    items = [{0: 1400, 1: b"\x0a"}, {0: 1400, 1: struct({3: "kept"})}, {0: 4, 1: b""}]
    assert [one.text for one in chat.feed(struct({0: 22, 1: struct({1: items})})).messages] == ["kept"]
    assert (chat.counters.malformed, chat.counters.ignored) == (1, {"uri 4": 1})


def test_attendees_are_the_popularity() -> None:
    assert codec().feed(pushed(8006, {0: 4_440_000})).popularity == 4_440_000


def test_a_deep_or_endless_message_is_refused() -> None:
    for data in (b"\x0a" * 10_000, b"\x09\x02\x7f\xff\xff\xff", (b"\x09\x01\x7f\xff" + b"\x0c" * 0x7FFF) * 3, b"\xff"):
        with pytest.raises(tars.InvalidTars):
            tars.parse(data)


VALUES = st.recursive(
    st.integers(-(1 << 63), (1 << 63) - 1) | st.text(max_size=300) | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.integers(0, 255), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.integers(0, 255), VALUES, max_size=6))
def test_tars_round_trip_against_the_studio(fields: dict[int, Any]) -> None:
    assert tars.parse(struct(fields)) == fields


@given(
    st.integers(0, 14), st.integers(-(1 << 63), (1 << 63) - 1), st.binary(max_size=300), st.lists(st.text(max_size=20))
)
def test_what_is_sent_is_what_the_studio_would_write(tag: int, number: int, data: bytes, texts: list[str]) -> None:
    assert tars.put_int(tag, number) == field(tag, number)
    assert tars.put_bytes(tag, data) == field(tag, data)
    assert tars.put_texts(tag, texts) == field(tag, texts)


@given(st.binary(max_size=300))
def test_no_bytes_raise(data: bytes) -> None:
    codec().feed(data)
    codec().feed(struct({0: 22, 1: data}))


@given(st.sampled_from([1400, 6501, 6110, 1001, 8001, 8006, 2_001_314]), st.dictionaries(st.integers(0, 25), VALUES))
def test_no_fields_raise(uri: int, fields: dict[int, Any]) -> None:
    for message in codec().feed(pushed(uri, fields)).messages:
        assert message.received_at == NOW


def open_room(studio: Studio, session: aiohttp.ClientSession, room: object, **options: Any) -> Any:
    socket = f"{studio.url.replace('http', 'ws')}/huya-chat"
    made = {"servers": socket, "pages": f"{studio.url}/huya", "api": studio.url}
    pace = Pace(60, connect_timeout_s=DEADLINE_S, backoff_initial_s=0.01, backoff_max_s=0.01)
    return open_source("huya", {"room_id": room}, session, **{**made, "pace": pace, **options})


async def take(items: AsyncIterator[ChatMessage | ConnectionChange], count: int) -> list[str]:
    got = [await anext(items) for _ in range(count)]
    return [one.text or one.gift if isinstance(one, ChatMessage) else one.state.value for one in got]


@pytest.mark.parametrize("room_id", [998, "lpl"])
async def test_it_joins_a_room_beats_is_cut_off_and_comes_back(room_id: object) -> None:
    async with asyncio.timeout(DEADLINE_S), Studio() as studio, aiohttp.ClientSession() as session:
        room = studio.huya.room(998, UID, "lpl")
        async with aclosing(items_of(open_room(studio, session, room_id))) as items:
            assert await take(items, 1) == ["connected"]
            await room.wait(visits=1, beats=1)
            await room.say("大家好", fan="粉丝")
            await room.push_group([(6501, {20: "虎粮"}), (1400, {3: "also"})])
            assert await take(items, 3) == ["大家好", "虎粮", "also"]
            assert room.cut() == 1
            assert await take(items, 2) == ["lost", "connected"]
            await room.wait(visits=2)
            await room.say("again")
            assert await take(items, 1) == ["again"]


@pytest.mark.parametrize(
    ("room_id", "reason"), [(1, "no broadcaster in the answer"), ("nobody", "127.0.0.1/huya/nobody: HTTP 404")]
)
async def test_a_room_that_is_not_there_is_reported_and_asked_for_again(room_id: object, reason: str) -> None:
    async with (
        asyncio.timeout(DEADLINE_S),
        Studio() as studio,
        aiohttp.ClientSession() as session,
        aclosing(items_of(open_room(studio, session, room_id))) as items,
    ):
        failed = await anext(items)
        studio.huya.room(1, UID, "nobody")
        assert (await take(items, 1))[-1] == "connected"
    assert isinstance(failed, ConnectionChange)
    assert reason in failed.reason


@pytest.mark.parametrize(
    "descriptor", [{}, {"room_id": ""}, {"room_id": True}, {"room_id": "a/b"}, {"room_id": "x" * 65}]
)
async def test_a_descriptor_without_a_room_is_refused(descriptor: dict[str, object]) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(InvalidDescriptor):
            open_source("huya", descriptor, session)
