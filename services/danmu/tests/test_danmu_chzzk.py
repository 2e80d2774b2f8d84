"""CHZZK: the frames, what they mean, any JSON at all, and the driver against the studio."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.danmu.adapters import InvalidDescriptor, open_source
from services.danmu.adapters.chzzk import MAX_FRAME_BYTES, MAX_MESSAGES, ChzzkCodec, chat_server
from services.danmu.adapters.messages import Badge, ChatMessage, Emote, MessageKind, decode_line, encode_line
from services.danmu.adapters.source import ConnectionState
from services.danmu.tests.studio_driving import opened, studio_running

NOW = 1_750_000_000_123
CHANNEL = "0123456789abcdef" * 2
SENDER = "b" * 32


def codec() -> ChzzkCodec:
    return ChzzkCodec("N1abc", "token", clock=lambda: NOW)


def frame(command: int, body: Any) -> bytes:
    return json.dumps({"svcid": "game", "ver": "1", "cmd": command, "bdy": body, "cid": "N1abc"}).encode()


def entry(
    code: int = 1, extras: dict[str, Any] | None = None, profile: dict[str, Any] | None = None, **more: Any
) -> Any:
    shown = {"userIdHash": SENDER, "nickname": "시청자", "userRoleCode": "common_user", **(profile or {})}
    return {
        "uid": SENDER,
        "profile": json.dumps(shown),
        "msg": "안녕 {:d_1:}",
        "msgTypeCode": code,
        "msgStatusType": "NORMAL",
        "extras": json.dumps({"emojis": "", **(extras or {})}),
        "mbrCnt": 321,
        "msgTime": 1_700_000_000_000,
        **more,
    }


def only(one: Any, command: int = 93101) -> ChatMessage:
    decoded = codec().feed(frame(command, [one]))
    assert len(decoded.messages) == 1
    return decoded.messages[0]


class TestConnection:
    def test_the_greeting_of_a_visitor(self) -> None:
        hello = json.loads(codec().hello())

        assert (hello["cmd"], hello["svcid"], hello["cid"], hello["tid"]) == (100, "game", "N1abc", 1)
        assert hello["bdy"] == {"uid": None, "devType": 2001, "accTkn": "token", "auth": "READ"}

    def test_a_question_of_the_server_is_answered(self) -> None:
        assert [json.loads(reply)["cmd"] for reply in codec().feed(b'{"ver":"2","cmd":0}').replies] == [10000]
        assert json.loads(codec().heartbeat())["cmd"] == 0

    @pytest.mark.parametrize(("code", "admitted"), [(0, True), (401, False)])
    def test_the_answer_to_the_greeting(self, code: int, admitted: bool) -> None:
        assert codec().feed(json.dumps({"cmd": 10100, "retCode": code}).encode()).authenticated is admitted

    def test_the_server_is_chosen_by_the_chat_channel(self) -> None:
        assert chat_server("N1abc") == sum(b"N1abc") % 9 + 1
        assert {chat_server(f"N{number}") for number in range(100)} == set(range(1, 10))


class TestMeanings:
    def test_chat_with_badges_emotes_and_the_size_of_the_room(self) -> None:
        profile = {
            "userRoleCode": "streaming_chat_manager",
            "title": {"name": "채팅 관리자", "color": "#D9B04F"},
            "streamingProperty": {"subscription": {"accumulativeMonth": 5, "tier": 2}},
        }
        decoded = codec().feed(frame(93101, [entry(extras={"emojis": {"d_1": "https://e/1.png"}}, profile=profile)]))
        (message,) = decoded.messages

        assert (message.kind, message.user, message.uid) == (MessageKind.CHAT, "시청자", SENDER)
        assert (message.id, message.sent_at) == (f"{SENDER}:1700000000000", 1_700_000_000_000)
        assert message.badges == (Badge("moderator"), Badge("member", "", 1), Badge("fan", "채팅 관리자"))
        assert message.emotes == (Emote("{:d_1:}", "https://e/1.png", "d_1"),)
        assert decoded.popularity == 321

    def test_a_donation_with_text_is_a_super_chat_in_won(self) -> None:
        message = only(entry(10, {"payAmount": 5000, "donationType": "CHAT"}), 93102)

        assert (message.kind, message.price, message.currency) == (MessageKind.SUPER_CHAT, 5_000_000, "KRW")
        assert (message.text, message.action) == ("안녕 {:d_1:}", "")

    def test_a_donation_on_a_mission_is_a_gift(self) -> None:
        extras = {"payAmount": 1000, "donationType": "MISSION", "missionText": "no deaths"}
        message = only(entry(10, extras, msg=""), 93102)

        assert (message.kind, message.gift, message.text, message.price) == (
            MessageKind.GIFT,
            "mission",
            "no deaths",
            1_000_000,
        )

    def test_an_unknown_donor_has_no_id(self) -> None:
        message = only(entry(10, {"payAmount": 1}, uid="anonymous") | {"profile": None}, 93102)

        assert (message.user, message.uid, message.id, message.price) == ("", "", "", 1000)

    def test_subscriptions(self) -> None:
        message = only(entry(11, {"month": 7, "tierName": "팬", "tierNo": 1}), 93102)
        away = only(entry(12, {"quantity": 5, "giftTierNo": 2, "giftTierName": "열혈"}), 93102)

        assert (message.kind, message.quantity, message.level, message.gift) == (MessageKind.MEMBERSHIP, 7, 2, "팬")
        assert (away.quantity, away.level, away.action) == (5, 1, "gift")

    def test_a_line_of_the_platform(self) -> None:
        target = json.dumps({"userIdHash": "c" * 32, "nickname": "x"})
        extras = {"description": "x 님이 제한되었습니다", "params": {"targetChatProfileJson": target}}
        message = only(entry(30, extras, msg="", uid="SYSTEM_MESSAGE") | {"profile": None}, 93102)

        assert (message.kind, message.text, message.target) == (MessageKind.SYSTEM, "x 님이 제한되었습니다", "c" * 32)

    def test_a_hidden_message_is_named_as_it_was_sent(self) -> None:
        sent = only(entry())
        hidden = codec().feed(frame(94008, {"userId": SENDER, "messageTime": 1_700_000_000_000})).messages[0]

        assert (hidden.kind, hidden.action, hidden.target) == (MessageKind.MODERATION, "delete", sent.id)
        assert codec().feed(frame(93101, [entry(msgStatusType="HIDDEN")])).messages == []

    def test_who_was_put_out_and_what_was_pinned(self) -> None:
        assert codec().feed(frame(94005, {"userId": SENDER})).messages[0].target == SENDER
        pinned = codec().feed(frame(94010, entry(msg="rules"))).messages[0]
        assert (pinned.kind, pinned.text) == (MessageKind.SYSTEM, "rules")
        assert codec().feed(frame(94010, None)).messages == []

    def test_one_broken_message_does_not_cost_its_neighbours(self) -> None:
        reader = codec()

        decoded = reader.feed(frame(93101, [entry(), entry() | {"profile": "{broken"}, 7, entry()]))

        assert (len(decoded.messages), reader.counters.malformed) == (2, 2)

    def test_limits(self) -> None:
        reader = codec()

        assert reader.feed(b" " * (MAX_FRAME_BYTES + 1)).messages == []
        assert len(reader.feed(frame(93101, [{"msgTypeCode": 1}] * (MAX_MESSAGES + 1))).messages) == MAX_MESSAGES
        assert reader.counters.oversized == 2


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


class TestAnything:
    @given(st.binary(max_size=200))
    def test_bytes_never_raise(self, data: bytes) -> None:
        codec().feed(data)

    def test_deep_nesting_is_counted(self) -> None:
        reader = codec()

        reader.feed(b'{"cmd":93101,"bdy":' + b"[" * 100_000)
        reader.feed(frame(93101, [entry() | {"profile": "[" * 100_000}]))

        assert reader.counters.malformed == 2

    @given(
        st.sampled_from([0, 100, 5101, 10100, 15101, 93006, 93101, 93102, 94005, 94006, 94008, 94010, 94015]),
        ANYTHING
        | st.fixed_dictionaries(
            {},
            optional={
                "userId": ANYTHING,
                "messageTime": ANYTHING,
                "msg": ANYTHING,
                "msgTypeCode": st.sampled_from([1, 10, 11, 12, 30, "10", None]),
                "profile": ANYTHING | ANYTHING.map(json.dumps),
                "extras": ANYTHING
                | st.fixed_dictionaries(
                    {}, optional={"payAmount": ANYTHING, "emojis": ANYTHING, "params": ANYTHING, "tierNo": ANYTHING}
                ).map(json.dumps),
                "msgTime": ANYTHING,
                "mbrCnt": ANYTHING,
            },
        ),
    )
    def test_any_body_becomes_lines_that_can_be_read_again(self, command: int, body: Any) -> None:
        for each in (body, [body]):
            for message in codec().feed(frame(command, each)).messages:
                assert decode_line(encode_line(message)) == message


async def test_it_joins_beats_answers_and_comes_back_after_it_was_cut_off() -> None:
    async with studio_running() as studio:
        room = studio.chzzk.room(CHANNEL)
        options = {"live_api": studio.url, "game_api": studio.url, "heartbeat_s": 0.1}
        servers = f"{studio.url.replace('http', 'ws')}/kr-ss{{server}}/chat"
        async with opened("chzzk", CHANNEL, chat_servers=servers, **options) as chat:
            await chat.change(ConnectionState.CONNECTED)
            await room.ping()
            await room.say("첫 번째", user="하나", uid=SENDER)
            await room.donate(1000, "힘내세요")
            first, paid = await chat.messages(2)
            await room.until(lambda: room.pongs == 1)
            room.cut()
            await chat.change(ConnectionState.LOST)
            await chat.change(ConnectionState.CONNECTED)
            await room.wait(visits=2, beats=3)
            await room.say("again")
            (again,) = await chat.messages(1)

    assert (first.text, first.user, first.uid) == ("첫 번째", "하나", SENDER)
    assert (paid.kind, paid.price, again.text) == (MessageKind.SUPER_CHAT, 1_000_000, "again")
    assert len(room.used) == len(set(room.used)) >= 2, "each joining has a token of its own"


async def test_it_waits_for_a_channel_that_is_off_air() -> None:
    async with studio_running() as studio:
        room = studio.chzzk.room(CHANNEL)
        room.on_air = False
        servers = f"{studio.url.replace('http', 'ws')}/kr-ss{{server}}/chat"
        async with opened("chzzk", CHANNEL, live_api=studio.url, game_api=studio.url, chat_servers=servers) as chat:
            failed = await chat.change(ConnectionState.FAILED)
            room.on_air = True
            await chat.change(ConnectionState.CONNECTED)

    assert "CLOSE" in failed.reason


@pytest.mark.parametrize("room_id", ["", "live", CHANNEL.upper(), 7, None])
async def test_a_descriptor_that_is_no_channel_is_refused(room_id: object) -> None:
    with pytest.raises(InvalidDescriptor):
        open_source("chzzk", {"room_id": room_id}, None)  # type: ignore[arg-type]
