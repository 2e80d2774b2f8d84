"""Douyin's chat: the signature, the codec against frames that the studio makes, and the driver in the studio's rooms."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.danmu.adapters import InvalidDescriptor, douyin_sign, open_source
from services.danmu.adapters.douyin import DouyinCodec
from services.danmu.adapters.driver import Pace
from services.danmu.adapters.messages import Badge, ChatMessage, Emote, MessageKind
from services.danmu.adapters.source import ConnectionChange
from services.danmu.adapters.webcast import MAX_UNPACKED
from services.danmu.tests.chat_driving import items_of
from tests.deadline import DEADLINE_S
from tests.studio.douyin import opened
from tests.studio.studio import Studio
from tests.studio.tiktok import decode, encode

NOW = 1_700_000_000_000
ROOM = 7_690_219_000_000_000_000


@pytest.mark.parametrize(
    ("room", "visitor", "head", "key", "signature"),
    [
        ("7690219000000000000", "7412345678901234567", 77, 200, "3WNbnYeUF6qP5UwA"),
        ("1", "2", 0, 0, "fDpl4KiMGEiS7VP7"),
    ],
)
def test_published_vectors_of_the_signature(room: str, visitor: str, head: int, key: int, signature: str) -> None:
    assert douyin_sign.sign(douyin_sign.stub(room, visitor), head, key) == signature


def test_the_signed_digest_of_a_browser_s_own_address() -> None:
    assert douyin_sign.stub("7659772534023654196", "7659776308930922010") == "94d8b625e851f0a1f70db875514e621c"


@given(st.binary(min_size=16, max_size=16), st.integers(0, 255), st.integers(0, 254))
def test_what_is_sealed_can_be_opened(digest: bytes, head: int, key: int) -> None:
    plain = opened(douyin_sign.sign(digest.hex(), head, key))
    assert plain[8] == key
    assert plain[9] == plain[0] ^ plain[2] ^ plain[3] ^ plain[4] ^ plain[5] ^ plain[6] ^ plain[7] ^ plain[8]


class Clock:
    ms = NOW

    def __call__(self) -> int:
        return self.ms


def codec(clock: Clock | None = None) -> DouyinCodec:
    return DouyinCodec(ROOM, clock=clock or Clock())


def pushed(method: str, body: dict[int, Any], number: int = 5, *, room: int = ROOM, packed: bool = True) -> bytes:
    entry = {1: method, 2: encode({1: {2: number, 3: room, 4: NOW - 7}, **body}), 3: 1}
    response = encode({1: entry, 5: "ext", 9: 1})
    return encode({2: 77, 7: "msg", 8: gzip.compress(response) if packed else response})


def feed(method: str, body: dict[int, Any]) -> list[ChatMessage]:
    return codec().feed(pushed(method, body)).messages


USER = {1: 42, 3: "甲", 24: {1: {1: "粉丝", 2: 12}}}
FAN = (Badge("fan", "粉丝", 12),)


def test_a_chat_line_keeps_everything_it_says() -> None:
    expected = ChatMessage(
        MessageKind.CHAT, NOW, id="5", sent_at=NOW - 7, user="甲", uid="42", text="大家好", colour=0x8CE7FF, badges=FAN
    )
    said = {2: USER, 3: "大家好", 22: {3: {1: "#8CE7FF"}}}
    assert feed("WebcastChatMessage", said) == [expected]
    assert codec().feed(pushed("WebcastChatMessage", said, packed=False)).messages == [expected]
    assert feed("WebcastChatMessage", {**said, 22: {4: [{2: {1: "#FF8CE7FF"}}, {2: {1: "#000000"}}]}}) == [expected]


@pytest.mark.parametrize(
    ("method", "body", "expected"),
    [
        ("WebcastMemberMessage", {2: USER}, ("join", "甲", "", "", 1)),
        ("WebcastSocialMessage", {2: USER, 4: 1}, ("follow", "甲", "", "", 1)),
        ("WebcastSocialMessage", {2: USER, 4: 3}, ("system", "甲", "share", "", 1)),
        ("WebcastLikeMessage", {2: 17, 5: USER}, ("system", "甲", "like", "", 17)),
        ("WebcastFansclubMessage", {2: 2, 3: "joined", 4: USER}, ("membership", "甲", "", "fan club", 1)),
        ("WebcastFansclubMessage", {2: 1, 3: "rose", 4: USER}, ("system", "甲", "fan_level", "", 1)),
        ("WebcastControlMessage", {2: 3}, ("stream_closed", "", "ended", "", 1)),
    ],
)
def test_other_messages(method: str, body: dict[int, Any], expected: tuple[object, ...]) -> None:
    assert [(one.kind, one.user, one.action, one.gift, one.quantity) for one in feed(method, body)] == [expected]


def test_a_picture_stands_for_its_text() -> None:
    (message,) = feed("WebcastEmojiChatMessage", {2: USER, 3: 77, 5: "[比心]"})
    assert (message.text, message.emotes) == ("[比心]", (Emote("[比心]", id="77"),))


def test_a_row_of_gifts_is_one_and_costs_yuan() -> None:
    chat = codec()

    def step(count: int, ends: int, number: int) -> list[ChatMessage]:
        gift = {5: 463, 11: 1, 12: 10, 16: "小心心"}
        body = {2: 463, 5: count, 7: USER, 9: ends, 11: 99, 15: gift}
        return chat.feed(pushed("WebcastGiftMessage", body, number)).messages

    assert step(1, 0, 1) + step(2, 0, 2) == []
    (gift,) = step(3, 1, 3)
    assert (gift.gift, gift.quantity, gift.price, gift.currency, gift.badges) == ("小心心", 3, 3000, "CNY", FAN)


def test_a_row_whose_end_is_not_heard_is_told_after_a_while() -> None:
    clock = Clock()
    chat = codec(clock)
    body = {2: 463, 5: 4, 7: USER, 11: 99, 15: {5: 463, 11: 1, 12: 1, 16: "x"}}
    assert chat.feed(pushed("WebcastGiftMessage", body)).messages == []
    clock.ms += 60_000
    (gift,) = chat.feed(encode({7: "hb"})).messages
    assert (gift.quantity, gift.price, gift.currency) == (4, 400, "CNY")


def test_a_push_is_acknowledged_with_its_own_words() -> None:
    (reply,) = codec().feed(pushed("Unknown", {})).replies
    assert isinstance(reply, bytes)
    assert decode(reply) == {2: 77, 6: b"pb", 7: b"ack", 8: b"ext"}


def test_what_comes_twice_or_from_another_room_is_told_once_or_never() -> None:
    chat = codec()
    said = {2: USER, 3: "x"}
    frames = [pushed("WebcastChatMessage", said, 9)] * 2 + [pushed("WebcastChatMessage", said, 10, room=1)]
    assert sum(len(chat.feed(frame).messages) for frame in frames) == 1
    for number in range(100, 100 + 2100):
        chat.feed(pushed("WebcastMemberMessage", said, number, packed=False))
    assert len(chat.feed(frames[0]).messages) == 1  # only so many are remembered


def test_a_broken_message_costs_itself_only() -> None:
    entries = [{1: "WebcastChatMessage", 2: b"\x0a\x05"}, {1: "WebcastChatMessage", 2: encode({3: "kept"})}]
    chat = codec()
    assert [one.text for one in chat.feed(encode({7: "msg", 8: encode({1: entries})})).messages] == ["kept"]
    assert chat.counters.malformed == 1


def test_a_bomb_is_not_unpacked() -> None:
    chat = codec()
    assert chat.feed(encode({7: "msg", 8: gzip.compress(bytes(MAX_UNPACKED + 1))})).messages == []
    assert chat.counters.oversized == 1


def test_viewers_are_the_popularity() -> None:
    assert codec().feed(pushed("WebcastRoomUserSeqMessage", {3: 305_503})).popularity == 305_503


@given(st.text(max_size=50), st.text(max_size=50), st.integers(1, (1 << 64) - 1))
def test_chat_round_trip(text: str, user: str, uid: int) -> None:
    (message,) = feed("WebcastChatMessage", {2: {1: uid, 3: user}, 3: text})
    assert (message.text, message.user, message.uid) == (text, user, str(uid))


@given(st.binary(max_size=300))
def test_no_bytes_raise(data: bytes) -> None:
    codec().feed(data)
    codec().feed(encode({7: "msg", 8: data}))
    codec().feed(encode({7: "msg", 8: gzip.compress(data)}))


METHODS = ["Chat", "EmojiChat", "Member", "Social", "Like", "Fansclub", "Control", "RoomUserSeq", "Gift"]
VALUES = st.recursive(
    st.integers(0, (1 << 64) - 1) | st.binary(max_size=20),
    lambda inner: st.dictionaries(st.integers(1, 30), inner, max_size=5),
    max_leaves=12,
)


@given(st.sampled_from(METHODS), st.dictionaries(st.integers(1, 30), VALUES, max_size=8))
def test_no_fields_raise(method: str, body: dict[int, Any]) -> None:
    chat = codec()
    chat.feed(encode({7: "msg", 8: encode({1: {1: f"Webcast{method}Message", 2: encode(body)}})}))


def open_room(studio: Studio, session: aiohttp.ClientSession, **more: Any) -> Any:
    made = {"pages": f"{studio.url}/douyin", "servers": studio.url.replace("http", "ws")}
    pace = Pace(10, 45, connect_timeout_s=DEADLINE_S, backoff_initial_s=0.01, backoff_max_s=0.01)
    live = {"live_id": more.pop("live_id")} if "live_id" in more else {}
    return open_source("douyin", {"room_id": "7459", **live}, session, **made, pace=pace, **more)


async def take(items: AsyncIterator[ChatMessage | ConnectionChange], count: int) -> list[str]:
    got = [await anext(items) for _ in range(count)]
    return [one.text or one.gift if isinstance(one, ChatMessage) else one.state.value for one in got]


@pytest.mark.parametrize("known", [{}, {"live_id": str(ROOM)}, {"live_id": "1"}])
async def test_it_joins_a_room_acknowledges_is_cut_off_and_comes_back(known: dict[str, str]) -> None:
    async with asyncio.timeout(DEADLINE_S), Studio() as studio, aiohttp.ClientSession() as session:
        room = studio.douyin.room("7459", ROOM)
        async with aclosing(items_of(open_room(studio, session, **known))) as items:
            if known.get("live_id") == "1":  # an old broadcast's room: the next one is asked for
                assert await take(items, 1) == ["failed"]
            assert await take(items, 1) == ["connected"]
            await room.wait(visits=1, beats=1)
            await room.say("大家好", club="粉丝")
            await room.give("小心心", 3)
            assert await take(items, 2) == ["大家好", "小心心"]
            await room.until(lambda: room.acks == [10_001, 10_002])
            assert room.cut() == 1
            assert await take(items, 2) == ["lost", "connected"]
            await room.wait(visits=2)
            await room.message("WebcastChatMessage", {3: "again"}, times=2)
            await room.say("next")
            assert await take(items, 2) == ["again", "next"]
        assert len(studio.douyin.visitors) >= 2


async def test_a_signature_that_is_refused_is_told_without_the_address() -> None:
    async with asyncio.timeout(DEADLINE_S), Studio() as studio, aiohttp.ClientSession() as session:
        studio.douyin.room("7459", ROOM)
        studio.douyin.changed_signature = True
        async with aclosing(items_of(open_room(studio, session))) as items:
            failed = await anext(items)
    assert isinstance(failed, ConnectionChange)
    assert failed.reason == "127.0.0.1: HTTP 403"


async def test_another_signer_can_be_asked() -> None:
    async with asyncio.timeout(DEADLINE_S), Studio() as studio, aiohttp.ClientSession() as session:
        studio.douyin.room("7459", ROOM)
        studio.douyin.changed_signature = True
        source = open_room(studio, session, sign_url=f"{studio.url}/douyin-sign")
        async with aclosing(items_of(source)) as items:
            assert await take(items, 1) == ["connected"]
        assert studio.douyin.signs == 1


async def test_gifts_of_an_open_row_are_told_when_the_chat_is_left() -> None:
    async with asyncio.timeout(DEADLINE_S), Studio() as studio, aiohttp.ClientSession() as session:
        room = studio.douyin.room("7459", ROOM)
        source = open_room(studio, session)
        items = items_of(source)
        assert await take(items, 1) == ["connected"]
        await room.wait(visits=1)
        await room.give("小心心", 2, ends=False)
        await room.say("after")
        assert await take(items, 1) == ["after"]
        await source.close()
        rest = [item async for item in items]
    assert [(one.gift, one.quantity, one.currency) for one in rest if isinstance(one, ChatMessage)] == [
        ("小心心", 2, "CNY")
    ]


async def test_a_page_without_a_room_is_reported() -> None:
    async with (
        asyncio.timeout(DEADLINE_S),
        Studio() as studio,
        aiohttp.ClientSession() as session,
        aclosing(items_of(open_room(studio, session))) as items,
    ):
        failed = await anext(items)
    assert isinstance(failed, ConnectionChange)
    assert failed.reason == "the broadcaster's page names no room"


@pytest.mark.parametrize("descriptor", [{}, {"room_id": ""}, {"room_id": "a/b"}, {"room_id": "x" * 65}])
async def test_a_descriptor_without_a_room_is_refused(descriptor: dict[str, object]) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(InvalidDescriptor):
            open_source("douyin", descriptor, session)
