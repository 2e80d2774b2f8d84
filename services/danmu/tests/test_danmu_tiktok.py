"""TikTok: the frames, what they mean, rows of gifts, any bytes at all, and the driver against the studio.

Frames come from the studio's encoder, which shares nothing with the codec.
"""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.danmu.adapters import InvalidDescriptor, open_source
from services.danmu.adapters.combos import COMBO_SILENCE_MS, MAX_COMBOS, Combos
from services.danmu.adapters.messages import Badge, ChatMessage, Emote, MessageKind, decode_line, encode_line
from services.danmu.adapters.source import ConnectionState
from services.danmu.adapters.tiktok import TiktokCodec
from services.danmu.adapters.tiktok_messages import HANDLERS
from services.danmu.adapters.webcast import MAX_UNPACKED
from services.danmu.tests.studio_driving import opened, studio_running
from tests.deadline import DEADLINE_S
from tests.studio.tiktok import decode, encode

NOW = 1_750_000_000_123
SENT = 1_749_999_999_000
USER = {1: 42, 3: "Ann", 38: "ann_1"}


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


def codec(clock: Clock | None = None, combos: Combos | None = None) -> TiktokCodec:
    return TiktokCodec(7, combos, clock or Clock())


def entry(method: str, body: dict[int, Any], number: int = 7001, **more: Any) -> dict[int, Any]:
    common = {2: number, 4: SENT}
    return {1: method, 2: encode({1: common, **body}), 3: number} | ({6: 1} if more.get("history") else {})


def push(*entries: dict[int, Any], log: int = 5, ack: int = 0, packed: bool = True) -> bytes:
    response = encode({1: list(entries), 5: b"ext", 9: ack})
    return encode({2: log, 6: "pb", 7: "msg", 8: gzip.compress(response) if packed else response})


def only(method: str, body: dict[int, Any]) -> ChatMessage:
    decoded = codec().feed(push(entry(method, body)))
    assert len(decoded.messages) == 1
    return decoded.messages[0]


def gift(total: int, *, ends: bool, uid: int = 42, row: int = 900, coins: int = 5) -> dict[int, Any]:
    body = {2: 5655, 5: total, 7: {1: uid, 3: "Ann"}, 9: int(ends), 11: row, 15: {11: 1, 12: coins, 16: "Rose"}}
    return entry("WebcastGiftMessage", body)


class TestFrames:
    def test_the_entrance_and_the_heartbeat(self) -> None:
        hello, beat = decode(codec().hello()), decode(codec().heartbeat())

        assert (hello[6], hello[7]) == (b"pb", b"im_enter_room")
        assert decode(hello[8]) == {1: 7, 4: 12, 5: b"audience", 9: b"0"}  # type: ignore[arg-type]
        assert (beat[7], decode(beat[8])) == (b"hb", {1: 7})  # type: ignore[arg-type]

    def test_an_acknowledgement_is_sent_where_it_is_wanted(self) -> None:
        (reply,) = codec().feed(push(log=1 << 60, ack=1)).replies

        assert decode(bytes(reply)) == {2: 1 << 60, 6: b"pb", 7: b"ack", 8: b"ext"}  # type: ignore[arg-type]
        assert codec().feed(push(ack=0)).replies == []

    def test_the_answer_to_the_entrance(self) -> None:
        assert codec().feed(encode({6: "pb", 7: "im_enter_room_resp", 8: b""})).authenticated is True

    @pytest.mark.parametrize("packed", [True, False])
    def test_packed_or_not(self, packed: bool) -> None:
        frame = push(entry("WebcastChatMessage", {2: USER, 3: "hi"}), packed=packed)
        assert [message.text for message in codec().feed(frame).messages] == ["hi"]

    def test_what_was_said_before_the_connection_is_left_out(self) -> None:
        reader = codec()

        assert reader.feed(push(entry("WebcastChatMessage", {3: "old"}, history=True))).messages == []
        assert reader.counters.ignored == {"history": 1}

    def test_one_broken_message_does_not_cost_its_neighbours(self) -> None:
        reader = codec()
        good = entry("WebcastChatMessage", {2: USER, 3: "good"})

        decoded = reader.feed(push(good, {1: "WebcastChatMessage", 2: b"\xff\xff"}, good))

        assert [message.text for message in decoded.messages] == ["good", "good"]
        assert reader.counters.malformed == 1

    def test_a_bomb_is_refused_in_bounded_memory(self) -> None:
        reader = codec()
        bomb = encode({7: "msg", 8: gzip.compress(bytes(40 * MAX_UNPACKED), 9)})

        tracemalloc.start()
        try:
            assert reader.feed(bomb).messages == []
            assert tracemalloc.get_traced_memory()[1] < 4 * MAX_UNPACKED
        finally:
            tracemalloc.stop()
        assert reader.counters.oversized == 1


class TestMeanings:
    def test_chat_with_badges_and_emotes(self) -> None:
        badges = [{3: 4, 12: {5: "3"}}, {3: 10, 12: {5: "17"}, 22: {2: "Club"}}, {3: 8, 12: {5: "23"}}, {3: 6}]
        picture = {1: "e1", 2: {1: ["https://e/1.webp"]}}
        emotes = [{1: 0, 2: picture}, {1: 5, 2: picture}]
        message = only("WebcastChatMessage", {2: {**USER, 64: badges}, 3: "hello", 13: emotes, 18: {5: 1}})

        assert (message.kind, message.text, message.user, message.uid) == (MessageKind.CHAT, "hello", "Ann", "42")
        assert (message.id, message.sent_at, message.received_at) == ("7001", SENT, NOW)
        assert message.badges == (
            Badge("moderator"),
            Badge("member", "", 3),
            Badge("fan", "Club", 17),
            Badge("grade", "", 23),
        )
        assert message.emotes == (Emote("e1", "https://e/1.webp", "e1", (0, 5)),)

    @pytest.mark.parametrize(
        ("method", "body", "kind", "action"),
        [
            ("WebcastMemberMessage", {2: USER, 10: 1}, MessageKind.JOIN, ""),
            ("WebcastSocialMessage", {2: USER, 4: 1}, MessageKind.FOLLOW, ""),
            ("WebcastSocialMessage", {2: USER, 4: 3}, MessageKind.SYSTEM, "share"),
            ("WebcastLikeMessage", {2: 15, 5: USER}, MessageKind.SYSTEM, "like"),
            ("WebcastSubNotifyMessage", {2: USER, 4: 6}, MessageKind.MEMBERSHIP, ""),
            ("WebcastQuestionNewMessage", {2: {2: "why?", 5: USER}}, MessageKind.CHAT, "question"),
            ("WebcastEmoteChatMessage", {2: USER, 3: [{1: "e9"}]}, MessageKind.CHAT, ""),
            ("WebcastLiveIntroMessage", {4: "welcome", 5: USER}, MessageKind.SYSTEM, "notice"),
        ],
    )
    def test_kinds_of_what_a_viewer_does(self, method: str, body: Any, kind: MessageKind, action: str) -> None:
        message = only(method, body)

        assert (message.kind, message.action, message.user, message.uid) == (kind, action, "Ann", "42")

    def test_numbers_of_likes_and_months(self) -> None:
        assert only("WebcastLikeMessage", {2: 15, 5: USER}).quantity == 15
        assert only("WebcastSubNotifyMessage", {2: USER, 4: 6}).quantity == 6

    @pytest.mark.parametrize(
        ("action", "kind", "name"),
        [
            (1, MessageKind.SYSTEM, "pause"),
            (2, MessageKind.SYSTEM, "resume"),
            (3, MessageKind.STREAM_CLOSED, "ended"),
            (4, MessageKind.STREAM_CLOSED, "cut_off"),
        ],
    )
    def test_control(self, action: int, kind: MessageKind, name: str) -> None:
        message = only("WebcastControlMessage", {2: action, 3: "tips"})
        assert (message.kind, message.action, message.text) == (kind, name, "tips")

    @pytest.mark.parametrize("ids", [[7001, -5], encode({1: 7001})[1:] + encode({1: -5})[1:]])
    def test_deletions_one_by_one_or_packed(self, ids: Any) -> None:
        decoded = codec().feed(push(entry("WebcastImDeleteMessage", {2: ids, 3: [42]})))

        assert [(one.action, one.target) for one in decoded.messages] == [
            ("delete", "7001"),
            ("delete", "-5"),
            ("delete_user", "42"),
        ]

    def test_viewers(self) -> None:
        assert codec().feed(push(entry("WebcastRoomUserSeqMessage", {3: 1234}))).popularity == 1234

    def test_unknown_methods_are_counted(self) -> None:
        reader = codec()
        reader.feed(push(entry("WebcastLinkMicBattle", {})))
        assert reader.counters.ignored == {"WebcastLinkMicBattle": 1}


class TestRowsOfGifts:
    def test_a_row_is_one_gift_with_its_price(self) -> None:
        reader = codec()

        for total in (1, 2, 3):
            assert reader.feed(push(gift(total, ends=False))).messages == []
        (message,) = reader.feed(push(gift(3, ends=True))).messages

        assert (message.kind, message.gift, message.quantity, message.uid) == (MessageKind.GIFT, "Rose", 3, "42")
        assert (message.price, message.currency) == (15_000, "coins")

    def test_a_gift_that_does_not_combine_is_told_at_once(self) -> None:
        body = {2: 1, 5: 1, 7: USER, 15: {11: 2, 12: 1000, 16: "Galaxy"}}
        message = only("WebcastGiftMessage", body)
        assert (message.gift, message.price, message.id) == ("Galaxy", 1_000_000, "7001")

    def test_a_row_without_end_is_told_when_it_is_silent_and_a_late_end_adds_only_the_rest(self) -> None:
        clock = Clock()
        reader = codec(clock)
        reader.feed(push(gift(4, ends=False)))
        clock.now += COMBO_SILENCE_MS - 1
        assert reader.feed(push()).messages == []
        clock.now += 1
        assert [one.quantity for one in reader.feed(push()).messages] == [4]
        assert reader.feed(push()).messages == []

        assert [one.quantity for one in reader.feed(push(gift(6, ends=True))).messages] == [2]

    def test_rows_of_several_viewers_do_not_mix(self) -> None:
        reader = codec()
        reader.feed(push(gift(1, ends=False, uid=1), gift(8, ends=False, uid=2)))

        decoded = reader.feed(push(gift(2, ends=True, uid=1), gift(9, ends=True, uid=2)))

        assert [(one.uid, one.quantity) for one in decoded.messages] == [("1", 2), ("2", 9)]

    def test_a_row_goes_on_over_a_new_connection(self) -> None:
        combos = Combos()
        codec(combos=combos).feed(push(gift(3, ends=False)))

        decoded = codec(combos=combos).feed(push(gift(5, ends=True)))

        assert [one.quantity for one in decoded.messages] == [5]

    def test_two_connections_give_the_same_id_to_a_row(self) -> None:
        steps = [push(gift(total, ends=total == 3)) for total in (1, 2, 3)]
        whole, late = codec(), codec()

        first = [message for step in steps for message in whole.feed(step).messages]
        second = [message for step in steps[1:] for message in late.feed(step).messages]

        assert [one.id for one in first] == [one.id for one in second] == ["900:3"]

    def test_no_gift_is_lost_at_the_end_or_over_the_limit(self) -> None:
        combos = Combos()
        reader = codec(combos=combos)
        told = []
        for uid in range(1, MAX_COMBOS + 11):
            told += reader.feed(push(gift(1, ends=False, uid=uid))).messages

        assert len(told) == 10
        assert len(combos.finish()) == MAX_COMBOS


FIELD = st.integers(1, 25) | st.just(64)
VALUE: st.SearchStrategy[Any] = st.recursive(
    st.integers(-(1 << 63), (1 << 64) - 1) | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.dictionaries(FIELD, inner, max_size=4) | st.lists(inner, max_size=2),
    max_leaves=10,
)


class TestAnything:
    @given(st.binary(max_size=200))
    def test_bytes_never_raise(self, data: bytes) -> None:
        codec().feed(data)
        codec().feed(encode({7: "msg", 8: data}))
        codec().feed(encode({7: "msg", 8: b"\x1f\x8b" + data}))

    @given(
        st.sampled_from([*HANDLERS, "WebcastGiftMessage", "WebcastRoomUserSeqMessage", "x"]),
        st.dictionaries(FIELD, VALUE, max_size=6),
    )
    def test_any_message_becomes_lines_that_can_be_read_again(self, method: str, body: dict[int, Any]) -> None:
        combos = Combos()
        messages = codec(combos=combos).feed(push({1: method, 2: encode(body)})).messages

        for message in messages + combos.finish():
            assert decode_line(encode_line(message)) == message


async def test_it_joins_acknowledges_beats_and_comes_back_after_it_was_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.danmu.adapters.combos.COMBO_SILENCE_MS", DEADLINE_S * 1000)
    async with studio_running() as studio:
        room = studio.tiktok.room("anna.live")
        urls = {"web_url": f"{studio.url}/tiktok", "socket_url": studio.url.replace("http", "ws")}
        async with opened("tiktok", "anna.live", heartbeat_s=0.05, **urls) as chat:
            await chat.change(ConnectionState.CONNECTED)
            await room.say("first")
            await room.give("Rose", 1, ends=False)
            (first,) = await chat.messages(1)
            listening = asyncio.create_task(chat.change(ConnectionState.LOST))
            await room.until(lambda: len(room.acks) == 2)
            room.cut()
            await listening
            await chat.change(ConnectionState.CONNECTED)
            await room.wait(visits=2, beats=3)
            await room.give("Rose", 4, coins=2)
            (gift_,) = await chat.messages(1)

    assert (first.text, first.user) == ("first", "viewer")
    assert (gift_.quantity, gift_.price) == (4, 8000)
    assert studio.tiktok.signed == 0


async def test_a_gift_that_is_still_open_is_told_when_the_source_is_closed() -> None:
    async with studio_running() as studio:
        room = studio.tiktok.room("anna")
        urls = {"web_url": f"{studio.url}/tiktok", "socket_url": studio.url.replace("http", "ws")}
        async with opened("tiktok", "anna", **urls) as chat:
            await chat.change(ConnectionState.CONNECTED)
            listening = asyncio.create_task(chat.messages(1))
            await room.give("Rose", 7, ends=False)
            await room.until(lambda: len(room.acks) == 1)
            await chat.source.close()
            (message,) = await listening

    assert (message.gift, message.quantity) == ("Rose", 7)


async def test_a_room_that_wants_a_signature_is_joined_through_the_operator_s_service() -> None:
    async with studio_running() as studio:
        room = studio.tiktok.room("anna")
        room.needs_signature = True
        urls = {"web_url": f"{studio.url}/tiktok", "socket_url": studio.url.replace("http", "ws")}
        async with opened("tiktok", "anna", **urls) as chat:
            failed = await chat.change(ConnectionState.FAILED)
        async with opened("tiktok", "anna", sign_url=f"{studio.url}/tiktok/sign", **urls) as chat:
            await chat.change(ConnectionState.CONNECTED)

    assert failed.attempt == 1
    assert studio.tiktok.signed == 1


async def test_it_waits_for_a_streamer_who_is_off_air() -> None:
    async with studio_running() as studio:
        room = studio.tiktok.room("anna")
        room.on_air = False
        urls = {"web_url": f"{studio.url}/tiktok", "socket_url": studio.url.replace("http", "ws")}
        async with opened("tiktok", "anna", **urls) as chat:
            failed = await chat.change(ConnectionState.FAILED)
            room.on_air = True
            await chat.change(ConnectionState.CONNECTED)

    assert "status 4" in failed.reason


@pytest.mark.parametrize("room_id", ["", "@anna", "a/b", 7, None])
async def test_a_descriptor_without_a_name_is_refused(room_id: object) -> None:
    with pytest.raises(InvalidDescriptor):
        open_source("tiktok", {"room_id": room_id}, None)  # type: ignore[arg-type]
