"""AcFun's chat: the codec against packets that the studio seals, and the driver in the studio's rooms."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.danmu.adapters import InvalidDescriptor, open_source
from services.danmu.adapters.acfun import KEEP_ALIVE_MS, AcfunCodec, Gift, Ticket
from services.danmu.adapters.codec import Decoded
from services.danmu.adapters.driver import Pace
from services.danmu.adapters.messages import Badge, ChatMessage, MessageKind
from services.danmu.adapters.source import ConnectionChange
from services.danmu.adapters.webcast import MAX_UNPACKED
from services.danmu.tests.chat_driving import items_of
from tests.deadline import DEADLINE_S
from tests.studio.acfun import opened, packet, seal
from tests.studio.studio import Studio
from tests.studio.tiktok import decode, encode

NOW = 1_700_000_000_000
SECURITY, SESSION = b"s" * 16, b"k" * 16
KEYS = {1: SECURITY, 2: SESSION}
COMMAND = "Global.ZtLiveInteractive.CsCmd"


class Clock:
    ms = NOW

    def __call__(self) -> int:
        return self.ms


def down(command: str, payload: dict[int, Any] | bytes, *, mode: int = 2, error: int = 0, sequence: int = 9) -> bytes:
    data = payload if isinstance(payload, bytes) else encode(payload)
    body = encode({1: command, 2: 1, 3: error, 4: data})
    return packet({7: len(body), 8: mode, 10: sequence}, seal(body, KEYS[mode]))


def fresh(clock: Clock | None = None) -> AcfunCodec:
    ticket = Ticket(42, "token", SECURITY, "web_x", "live", "ticket", "attach")
    return AcfunCodec(ticket, {9: Gift("告白", 29_000)}, clock or Clock())


def inside(clock: Clock | None = None) -> AcfunCodec:
    codec = fresh(clock)
    codec.feed(down("Basic.Register", {2: SESSION, 3: 7}, mode=1))
    entered = codec.feed(down(COMMAND, {1: "ZtLiveCsEnterRoomAck", 4: {1: 10_000}}))
    assert (entered.authenticated, entered.beat_s) == (True, 10.0)
    return codec


def pushed(kind: str, body: dict[int, Any] | bytes, *, packed: bool = True) -> bytes:
    plain = body if isinstance(body, bytes) else encode(body)
    message = {1: kind, 2: 2 if packed else 1, 3: gzip.compress(plain) if packed else plain}
    return down("Push.ZtLiveInteractive.Message", message)


def acted(signal: str, body: dict[int, Any]) -> bytes:
    return pushed("ZtLiveScActionSignal", {1: [{1: signal, 2: [encode(body)]}]})


BADGE = json.dumps({"medalInfo": {"clubName": "粉丝", "level": 3}})
USER = {1: 42, 2: "甲", 4: BADGE, 5: {1: 1}}


def test_it_registers_with_the_visitor_s_key_and_enters_with_the_session_s() -> None:
    codec = fresh()
    header, hello = opened(codec.hello(), KEYS)
    assert (header[2], header[8], decode(header[9])[2], hello[1]) == (42, 1, b"token", b"Basic.Register")

    alive, enter = codec.feed(down("Basic.Register", {2: SESSION, 3: 7}, mode=1)).replies
    assert isinstance(alive, bytes)
    assert isinstance(enter, bytes)
    header, body = opened(alive, KEYS)
    assert (header[3], header[8], header[10], body[1]) == (7, 2, 2, b"Basic.KeepAlive")
    header, body = opened(enter, KEYS)
    asked = decode(body[4])
    assert (header[10], body[1], asked[1], asked[3], asked[4]) == (
        3,
        COMMAND.encode(),
        b"ZtLiveCsEnterRoom",
        b"ticket",
        b"live",
    )
    assert decode(asked[2])[4] == b"attach"


def test_it_beats_only_inside_and_keeps_alive_now_and_then() -> None:
    clock = Clock()
    assert fresh().heartbeat() is None
    codec = inside(clock)
    beats = [codec.heartbeat() for _ in range(2)]
    asked = [decode(opened(beat or b"", KEYS)[1][4]) for beat in beats]
    assert [(one[1], decode(one[2])[2]) for one in asked] == [(b"ZtLiveCsHeartbeat", 0), (b"ZtLiveCsHeartbeat", 1)]

    answer = down(COMMAND, {1: "ZtLiveCsHeartbeatAck"})
    assert codec.feed(answer).replies == []
    clock.ms += KEEP_ALIVE_MS
    (alive,) = codec.feed(answer).replies
    assert isinstance(alive, bytes)
    assert opened(alive, KEYS)[1][1] == b"Basic.KeepAlive"
    assert codec.feed(answer).replies == []


def test_a_comment_keeps_everything_it_says() -> None:
    assert inside().feed(acted("CommonActionSignalComment", {1: "大家好", 2: NOW - 5, 3: USER})).messages == [
        ChatMessage(
            MessageKind.CHAT,
            NOW,
            sent_at=NOW - 5,
            user="甲",
            uid="42",
            text="大家好",
            badges=(Badge("moderator"), Badge("fan", "粉丝", 3)),
        )
    ]


@pytest.mark.parametrize(
    ("signal", "body", "expected"),
    [
        ("CommonActionSignalGift", {1: USER, 2: NOW, 3: 9, 4: 2}, ("gift", "甲", "", "告白", 2, 58_000, "ac coins")),
        ("CommonActionSignalGift", {1: USER, 2: NOW, 3: 77}, ("gift", "甲", "", "77", 1, 0, "")),
        ("AcfunActionSignalThrowBanana", {1: USER, 2: 5, 3: NOW}, ("gift", "甲", "", "香蕉", 5, 0, "")),
        ("CommonActionSignalUserEnterRoom", {1: USER, 2: NOW}, ("join", "甲", "", "", 1, 0, "")),
        ("CommonActionSignalUserFollowAuthor", {1: USER, 2: NOW}, ("follow", "甲", "", "", 1, 0, "")),
        ("CommonActionSignalLike", {1: USER, 2: NOW}, ("system", "甲", "like", "", 1, 0, "")),
        ("AcfunActionSignalJoinClub", {1: USER, 3: NOW}, ("membership", "甲", "", "fan club", 1, 0, "")),
    ],
)
def test_other_messages(signal: str, body: dict[int, Any], expected: tuple[object, ...]) -> None:
    (one,) = inside().feed(acted(signal, body)).messages
    assert (one.kind, one.user, one.action, one.gift, one.quantity, one.price, one.currency) == expected
    assert one.sent_at == NOW


@pytest.mark.parametrize(("what", "actions"), [(1, ["ended"]), (4, ["cut_off"]), (2, [])])
def test_the_end_of_the_broadcast(what: int, actions: list[str]) -> None:
    messages = inside().feed(pushed("ZtLiveScStatusChanged", {1: what}, packed=False)).messages
    assert [(one.kind, one.action) for one in messages] == [("stream_closed", action) for action in actions]


def test_states_and_notices() -> None:
    state = {1: [{1: "CommonStateSignalDisplayInfo", 2: {1: "1.2万"}}, {1: "CommonStateSignalTopUsers", 2: b""}]}
    codec = inside()
    assert codec.feed(pushed("ZtLiveScStateSignal", state)).popularity == 12_000
    assert codec.counters.ignored == {"CommonStateSignalTopUsers": 1}
    notice = {1: [{1: "CommonNotifySignalViolationAlert", 2: {1: "mind your language"}}]}
    (warning,) = codec.feed(pushed("ZtLiveScNotifySignal", notice)).messages
    assert (warning.kind, warning.action, warning.text) == ("moderation", "warn", "mind your language")


def test_every_push_is_acknowledged_with_its_own_number() -> None:
    codec = inside()
    before = opened(codec.heartbeat() or b"", KEYS)[0][10]
    (ack,) = codec.feed(down("Push.SyncSession", b"", sequence=5001)).replies
    assert isinstance(ack, bytes)
    header, body = opened(ack, KEYS)
    assert (header[10], body[1], body.get(4)) == (5001, b"Push.SyncSession", b"")
    assert opened(codec.heartbeat() or b"", KEYS)[0][10] == before + 1


def test_the_server_sends_away() -> None:
    assert fresh().feed(down("Basic.Register", b"", mode=1, error=10_013)).authenticated is False
    refused = down(COMMAND, {1: "ZtLiveCsEnterRoomAck", 2: 2})
    codec = fresh()
    codec.feed(down("Basic.Register", {2: SESSION, 3: 7}, mode=1))
    assert codec.feed(refused).authenticated is False
    assert inside().feed(refused).reconnect == "the server reports error 2"
    assert inside().feed(pushed("ZtLiveScTicketInvalid", {})).reconnect == "the server reports an invalid ticket"


def test_a_bomb_a_wrong_key_and_a_torn_packet_cost_themselves_only() -> None:
    codec = inside()
    codec.feed(pushed("ZtLiveScActionSignal", bytes(MAX_UNPACKED + 1)))
    assert codec.counters.oversized == 1
    body = seal(b"x" * 40, b"o" * 16)
    kept = acted("CommonActionSignalComment", {1: "kept"})
    for torn in (packet({7: 40, 8: 2}, body), packet({8: 5}, body), kept[:-1], b"\xab\xcd\x00\x01", b"x" * 12):
        assert [one.text for one in codec.feed(kept + torn).messages] == ["kept"]
    assert codec.counters.malformed == 5


@given(st.text(min_size=1, max_size=50), st.text(max_size=50))
def test_comments_round_trip(text: str, user: str) -> None:
    (message,) = inside().feed(acted("CommonActionSignalComment", {1: text, 3: {2: user}})).messages
    assert (message.text, message.user) == (text, user)


@given(st.binary(max_size=200))
def test_no_bytes_raise(data: bytes) -> None:
    codec = inside()
    for frame in (
        data,
        packet({8: 2}, data),
        packet({}, data),
        down(COMMAND, data),
        pushed("ZtLiveScActionSignal", data),
    ):
        assert isinstance(codec.feed(frame), Decoded)
    fresh().feed(down("Basic.Register", data, mode=1))


VALUES = st.recursive(
    st.integers(0, (1 << 64) - 1) | st.binary(max_size=20) | st.just(BADGE) | st.just('{"medalInfo":{"clubName":5}}'),
    lambda inner: st.dictionaries(st.integers(1, 8), inner, max_size=5),
    max_leaves=12,
)
SIGNALS = ["Comment", "Gift", "UserEnterRoom", "UserFollowAuthor", "Like"]


@given(st.sampled_from(SIGNALS), st.dictionaries(st.integers(1, 8), VALUES, max_size=6))
def test_no_fields_raise(signal: str, body: dict[int, Any]) -> None:
    inside().feed(acted(f"CommonActionSignal{signal}", body))


def open_room(studio: Studio, session: aiohttp.ClientSession, room: object = 23682490) -> Any:
    made = {"accounts": studio.url, "api": studio.url, "servers": f"{studio.url.replace('http', 'ws')}/acfun-link"}
    pace = Pace(10, 60, connect_timeout_s=DEADLINE_S, backoff_initial_s=0.01, backoff_max_s=0.01)
    return open_source("acfun", {"room_id": room}, session, **made, pace=pace)


async def take(items: AsyncIterator[ChatMessage | ConnectionChange], count: int) -> list[str]:
    got = [await anext(items) for _ in range(count)]
    return [one.text or one.gift if isinstance(one, ChatMessage) else one.state.value for one in got]


async def test_it_joins_a_room_acknowledges_is_cut_off_and_comes_back() -> None:
    async with asyncio.timeout(DEADLINE_S), Studio() as studio, aiohttp.ClientSession() as session:
        room = studio.acfun.room(23682490)
        async with aclosing(items_of(open_room(studio, session))) as items:
            assert await take(items, 1) == ["connected"]
            await room.wait(visits=1, beats=1)
            await room.say("大家好")
            await room.act("CommonActionSignalGift", {1: {1: 1, 2: "x"}, 3: 9, 4: 2})
            assert await take(items, 1) == ["大家好"]
            gift = await anext(items)
            assert (gift.gift, gift.price) == ("告白", 58_000)
            await room.until(lambda: len(room.inside[0].acks) == 2)
            assert room.cut() == 1
            assert await take(items, 2) == ["lost", "connected"]
            await room.wait(visits=2)
            await room.say("again")
            assert await take(items, 1) == ["again"]
        assert len(studio.acfun.visitors) == 2


async def test_an_invalid_ticket_brings_a_new_one() -> None:
    async with asyncio.timeout(DEADLINE_S), Studio() as studio, aiohttp.ClientSession() as session:
        room = studio.acfun.room(23682490)
        async with aclosing(items_of(open_room(studio, session))) as items:
            assert await take(items, 1) == ["connected"]
            await room.wait(visits=1)
            room.ticket = "another"
            await room.push("ZtLiveScTicketInvalid", {})
            assert await take(items, 2) == ["lost", "connected"]


async def test_a_broadcaster_who_is_off_air_is_tried_again() -> None:
    async with asyncio.timeout(DEADLINE_S), Studio() as studio, aiohttp.ClientSession() as session:
        room = studio.acfun.room(23682490)
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


@pytest.mark.parametrize("descriptor", [{}, {"room_id": ""}, {"room_id": "abc"}, {"room_id": 0}, {"room_id": "1" * 19}])
async def test_a_descriptor_without_a_room_is_refused(descriptor: dict[str, object]) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(InvalidDescriptor):
            open_source("acfun", descriptor, session)
