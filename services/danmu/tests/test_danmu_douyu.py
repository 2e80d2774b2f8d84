"""Douyu's chat: the codec against packets that the studio makes, and the driver in the studio's rooms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import aiohttp
import pytest
from chassis.egress import EgressPolicy
from hypothesis import given
from hypothesis import strategies as st

from services.danmu.adapters import InvalidDescriptor, douyu_stt, open_source
from services.danmu.adapters.douyu import DouyuCodec, Gift
from services.danmu.adapters.driver import Pace
from services.danmu.adapters.messages import Badge, ChatMessage, Emote, MessageKind
from services.danmu.adapters.source import ConnectionChange
from services.danmu.tests.chat_driving import items_of
from tests.deadline import DEADLINE_S
from tests.studio.douyu import packet, stt, texts
from tests.studio.studio import Studio

NOW = 1_700_000_000_000
HOME = EgressPolicy(allow_private=True)


def codec() -> DouyuCodec:
    return DouyuCodec("9999", {"824": Gift("粉丝荧光棒", 100)}, lambda: NOW)


def feed(**fields: Any) -> list[ChatMessage]:
    return codec().feed(packet({"rid": 9999, **fields})).messages


def test_a_chat_line_keeps_everything_it_says() -> None:
    said = {"uid": 7, "nn": "a/b@c", "txt": "hi @S/ [emot:dy101]", "cid": "x1", "cst": NOW - 5, "col": 3}
    (message,) = feed(type="chatmsg", bnn="粉丝", bl=18, nl=5, rg=4, **said)

    assert message == ChatMessage(
        MessageKind.CHAT,
        NOW,
        id="x1",
        sent_at=NOW - 5,
        user="a/b@c",
        uid="7",
        text="hi @S/ [emot:dy101]",
        colour=0x7AC84B,
        badges=(Badge("moderator"), Badge("member", "noble", 5), Badge("fan", "粉丝", 18)),
        emotes=(Emote("[emot:dy101]", id="dy101", at=(7,)),),
    )


def test_gifts_are_named_and_priced() -> None:
    assert [
        (one.gift, one.quantity, one.price, one.currency, one.user)
        for one in feed(type="dgb", gfid=824, gfcnt=10, nn="x")
    ] == [("粉丝荧光棒", 10, 1000, "CNY", "x")]
    assert [(one.gift, one.price) for one in feed(type="dgb", gfid=1, gfn="飞机")] == [("飞机", 0)]


def test_paid_messages() -> None:
    said = {"nn": "payer", "uid": 3, "txt": "look/here", "bnn": "b", "bl": 2}
    (text,) = feed(type="comm_chatmsg", cprice=3000, cet=60, now=NOW, chatmsg=said)
    assert (text.kind, text.price, text.currency, text.duration_s, text.sent_at) == (
        "super_chat",
        30_000,
        "CNY",
        60,
        NOW,
    )
    assert (text.user, text.uid, text.text, text.badges) == ("payer", "3", "look/here", (Badge("fan", "b", 2),))

    entry = {"acptime": 1_700_000_000, "etime": 1_700_000_060, "realPrice": 5000, "content": "voice", "un": "a/b"}
    (voice,) = feed(type="voice_trlt", list=[entry])
    assert (voice.user, voice.text, voice.price, voice.duration_s, voice.sent_at) == ("a/b", "voice", 50_000, 60, NOW)

    assert feed(type="comm_chatmsg", cprice=0, cet=0, chatmsg=said) == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type": "uenter", "nn": "x", "uid": 1}, ("join", "x", "", "", 0)),
        ({"type": "srres", "nickname": "x", "uid": 1}, ("system", "x", "share", "", 0)),
        ({"type": "rss", "ss": 0}, ("stream_closed", "", "ended", "", 0)),
        ({"type": "rss", "ss": 1}, ("system", "", "live", "", 0)),
        ({"type": "newblackres", "snic": "mod", "did": 5, "dnic": "troll"}, ("moderation", "mod", "mute", "5", 0)),
        ({"type": "anbc", "unk": "x", "drid": 9999, "nl": 6}, ("membership", "x", "", "", 1)),
        ({"type": "rnewbc", "unk": "x", "drid": 9999, "nl": 7}, ("membership", "x", "", "", 7)),
    ],
)
def test_other_messages(fields: dict[str, Any], expected: tuple[object, ...]) -> None:
    assert [(one.kind, one.user, one.action, one.target, one.level) for one in feed(**fields)] == [expected]


def test_other_rooms_are_not_this_one() -> None:
    chat = codec()
    frame = packet({"type": "chatmsg", "rid": 1, "txt": "x"}) + packet({"type": "anbc", "rid": 9999, "drid": 1})
    assert chat.feed(frame).messages == []
    assert chat.counters.ignored == {"chatmsg": 1, "anbc": 1}


def test_the_server_lets_in_or_sends_away() -> None:
    assert codec().feed(packet({"type": "loginres", "userid": 0})).authenticated is True
    assert codec().feed(packet({"type": "error", "code": 51})).reconnect == "the server reports error 51"


def test_a_broken_packet_costs_what_is_behind_it_only() -> None:
    chat = codec()
    whole = packet({"type": "chatmsg", "txt": "kept"})
    for tail in (b"\x01", b"\0" * 12, b"\xff" * 12, whole[:-1]):
        assert [one.text for one in chat.feed(whole + tail).messages] == ["kept"]
    assert chat.counters.malformed == 4


VALUES = st.text(max_size=30)


@given(st.dictionaries(st.text(min_size=1, max_size=10), VALUES, max_size=8))
def test_stt_round_trip_against_the_studio(fields: dict[str, str]) -> None:
    assert douyu_stt.load(stt(fields)) == fields
    assert texts(douyu_stt.pack(fields)) == [stt(fields)]


@given(st.lists(VALUES.filter(bool), max_size=5))
def test_lists_round_trip(values: list[str]) -> None:
    assert douyu_stt.items(stt(values)) == values


@given(VALUES.filter(bool), VALUES, st.integers(0, 6))
def test_chat_round_trip(text: str, user: str, colour: int) -> None:
    (message,) = feed(type="chatmsg", txt=text, nn=user, col=colour)
    assert (message.text, message.user) == (text, user)


@given(st.binary(max_size=300))
def test_no_bytes_raise(data: bytes) -> None:
    codec().feed(data)


@given(st.sampled_from(["chatmsg", "dgb", "comm_chatmsg", "voice_trlt", "anbc", "rss", "error"]), st.data())
def test_no_fields_raise(kind: str, data: st.DataObject) -> None:
    keys = st.sampled_from(
        ["txt", "cprice", "cet", "now", "chatmsg", "list", "nl", "gfcnt", "gfid", "cst", "bl", "rid"]
    )
    fields = data.draw(st.dictionaries(keys, VALUES | st.integers(-(10**30), 10**30), max_size=8))
    for message in codec().feed(packet({"type": kind, **fields})).messages:
        assert abs(message.price) < 1 << 70


def open_room(studio: Studio, session: aiohttp.ClientSession, room: object, **options: Any) -> Any:
    made: dict[str, Any] = {"servers": studio.douyu.tcp, "pages": studio.url, "gifts": studio.url, "egress": HOME}
    pace = Pace(45, connect_timeout_s=DEADLINE_S, backoff_initial_s=0.01, backoff_max_s=0.01)
    return open_source("douyu", {"room_id": room}, session, **{**made, "pace": pace, **options})


async def take(items: AsyncIterator[ChatMessage | ConnectionChange], count: int) -> list[str]:
    got = [await anext(items) for _ in range(count)]
    return [one.text or one.gift if isinstance(one, ChatMessage) else one.state.value for one in got]


@pytest.mark.parametrize("transport", ["tcp", "websocket"])
async def test_it_joins_a_room_beats_is_cut_off_and_comes_back(transport: str) -> None:
    async with asyncio.timeout(DEADLINE_S), Studio() as studio, aiohttp.ClientSession() as session:
        room = studio.douyu.room(9999)
        socket = f"{studio.url.replace('http', 'ws')}/douyu-chat/9999"
        source = open_room(studio, session, 9999, **({"servers": socket} if transport == "websocket" else {}))
        async with aclosing(items_of(source)) as items:
            assert await take(items, 1) == ["connected"]
            await room.wait(visits=1, beats=1)
            await room.say("大家好/@")
            await room.tell("dgb", gfid=20004, gfcnt=2, nn="x")
            assert await take(items, 1) == ["大家好/@"]
            gift = await anext(items)
            assert (gift.gift, gift.price) == ("飞机", 200_000)
            assert room.cut() == 1
            assert await take(items, 2) == ["lost", "connected"]
            await room.wait(visits=2)
            await room.say("again")
            assert await take(items, 1) == ["again"]


async def test_an_alias_is_looked_up() -> None:
    async with asyncio.timeout(DEADLINE_S), Studio() as studio, aiohttp.ClientSession() as session:
        room = studio.douyu.room(71415, alias="lpl")
        async with aclosing(items_of(open_room(studio, session, "lpl"))) as items:
            assert await take(items, 1) == ["connected"]
            await room.wait(visits=1)


async def test_without_the_web_api_a_number_is_enough_and_an_alias_is_not() -> None:
    async with asyncio.timeout(DEADLINE_S), Studio() as studio, aiohttp.ClientSession() as session:
        studio.douyu.room(9999)
        broken = {"pages": f"{studio.url}/nowhere", "gifts": f"{studio.url}/nowhere"}
        async with aclosing(items_of(open_room(studio, session, "9999", **broken))) as items:
            assert await take(items, 1) == ["connected"]
        async with aclosing(items_of(open_room(studio, session, "lpl", **broken))) as items:
            failed = await anext(items)
    assert isinstance(failed, ConnectionChange)
    assert failed.reason == "127.0.0.1/nowhere/betard/lpl: HTTP 404"


@pytest.mark.parametrize(
    "descriptor", [{}, {"room_id": ""}, {"room_id": True}, {"room_id": "a/b"}, {"room_id": "x" * 65}]
)
async def test_a_descriptor_without_a_room_is_refused(descriptor: dict[str, object]) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(InvalidDescriptor):
            open_source("douyu", descriptor, session)
