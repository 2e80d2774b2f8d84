"""SOOP: the packets, what they mean, any bytes at all, and the driver against the studio.

The packets are written out here, or come from the studio's own encoder; field orders as the readers of the platform's player
publish them.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.danmu.adapters import InvalidDescriptor, open_source
from services.danmu.adapters.messages import WHITE, Badge, ChatMessage, MessageKind, decode_line, encode_line
from services.danmu.adapters.soop import MAX_FRAME_BYTES, MAX_FRAME_PACKETS, SoopCodec
from services.danmu.adapters.soop_services import HANDLERS
from services.danmu.adapters.source import ConnectionState
from services.danmu.tests.studio_driving import opened, studio_running
from tests.studio.soop import fields_of, packet

NOW = 1_750_000_000_123


def codec() -> SoopCodec:
    return SoopCodec("1234", "ticket", clock=lambda: NOW)


def only(service: int, *fields: str) -> ChatMessage:
    decoded = codec().feed(packet(service, *fields))
    assert len(decoded.messages) == 1
    return decoded.messages[0]


class TestFraming:
    def test_the_log_in_of_a_guest_byte_for_byte(self) -> None:
        assert codec().hello() == b"\x1b\t000100000600\x0c\x0c\x0c16\x0c"

    def test_the_heartbeat_byte_for_byte(self) -> None:
        assert codec().heartbeat() == b"\x1b\t000000000100\x0c"

    def test_the_answer_to_the_log_in_is_answered_by_entering_the_room(self) -> None:
        decoded = codec().feed(packet(1, "guest", "16|0"))

        assert [fields_of(bytes(reply)) for reply in decoded.replies] == [(2, ["1234", "ticket", "", "", ""])]  # type: ignore[arg-type]
        assert decoded.authenticated is None

    def test_the_room_is_entered_when_the_server_says_so(self) -> None:
        assert codec().feed(packet(2, "1234", "streamer")).authenticated is True
        assert codec().feed(packet(3, "1", "0")).authenticated is False

    def test_several_packets_in_one_frame(self) -> None:
        one = packet(5, "하나", "u1", "0", "0", "1", "a", "0|0", "-1")
        two = packet(5, "둘", "u2", "0", "0", "1", "b", "0|0", "-1")

        assert [message.text for message in codec().feed(one + two).messages] == ["하나", "둘"]

    def test_what_stands_before_a_broken_packet_is_kept_and_the_rest_counted(self) -> None:
        reader = codec()
        good = packet(5, "kept", "u1", "0", "0", "1", "a", "0|0", "-1")

        decoded = reader.feed(good + b"\x1b\t0005009999" + b"00\x0clost")

        assert [message.text for message in decoded.messages] == ["kept"]
        assert reader.counters.malformed == 1

    def test_a_frame_without_end_costs_a_bounded_number_of_packets(self) -> None:
        reader = codec()

        decoded = reader.feed(packet(88) * (MAX_FRAME_PACKETS + 1))

        assert (len(decoded.messages), reader.counters.oversized) == (MAX_FRAME_PACKETS, 1)
        assert codec().feed(b"\x1b" * (MAX_FRAME_BYTES + 1)).messages == []

    def test_a_ticket_cannot_add_fields(self) -> None:
        reply = SoopCodec("1", "a\x0cb\x1bc").feed(packet(1)).replies[0]

        assert fields_of(bytes(reply)) == (2, ["1", "abc", "", "", ""])  # type: ignore[arg-type]

    def test_unknown_services_are_counted_by_number(self) -> None:
        reader = codec()

        reader.feed(packet(6, "title") + packet(41, "x") + packet(41, "y"))

        assert reader.counters.ignored == {"0006": 1, "0041": 2}


class TestMeanings:
    def test_chat_with_colour_and_badges(self) -> None:
        flags = str(1 << 28 | 1 << 8 | 1 << 15) + "|0"
        message = only(5, "안녕\r하세요", "user1(2)", str(0x3366CC), "0", "1", "닉네임", flags, "14", "", "", "20")

        assert (message.kind, message.text, message.user, message.uid) == (
            MessageKind.CHAT,
            "안녕하세요",
            "닉네임",
            "user1",
        )
        assert message.colour == 0xCC6633  # its lowest byte is red
        assert message.badges == (Badge("moderator"), Badge("member", "", 14), Badge("fan", "top fan"))
        assert (message.received_at, message.sent_at, message.id) == (NOW, 0, "")

    def test_no_colour_is_white(self) -> None:
        assert only(5, "x", "u", "", "0", "1", "n", "0|0", "-1").colour == WHITE

    def test_everybody_who_came_in_one_packet(self) -> None:
        decoded = codec().feed(packet(4, "1", "a", "A", "32|0", "b(2)", "B", "0|0", "c"))

        assert [(one.kind, one.uid, one.user) for one in decoded.messages] == [
            (MessageKind.JOIN, "a", "A"),
            (MessageKind.JOIN, "b", "B"),
        ]
        assert decoded.messages[0].badges == (Badge("fan", "fan club"),)

    def test_leaving_is_nothing_but_being_put_out_is_moderation(self) -> None:
        assert codec().feed(packet(4, "0", "a", "A", "1", "1", "0|0")).messages == []
        kicked = only(4, "0", "a(2)", "A", "2", "1", "0|0")
        assert (kicked.kind, kicked.action, kicked.target, kicked.user) == (MessageKind.MODERATION, "kick", "a", "A")

    @pytest.mark.parametrize(
        ("service", "fields"),
        [
            (18, ("bj", "fan", "Fan", "50", "17", "0", "", "", "1", "1", "")),
            (33, ("1", "bj", "BJ", "fan", "Fan", "50", "0", "", "", "1", "0")),
            (86, ("bj", "fan", "Fan", "50", "", "1", "99", "ko", "")),
            (105, ("99", "bj", "fan", "Fan", "50", "0", "", "0", "", "", "", "", "", "1", "")),
        ],
    )
    def test_balloons_are_a_hundred_won_each(self, service: int, fields: tuple[str, ...]) -> None:
        message = only(service, *fields)

        assert (message.kind, message.uid, message.user, message.quantity) == (MessageKind.GIFT, "fan", "Fan", 50)
        assert (message.price, message.currency) == (5_000_000, "KRW")

    @pytest.mark.parametrize(
        ("service", "gift", "fields"),
        [
            (20, "fan letter", ("bj", "BJ", "fan", "Fan", "0", "3", "", "7", "0")),
            (34, "fan letter", ("1", "bj", "BJ", "fan", "Fan", "0", "3", "", "7", "0")),
            (37, "chocolate", ("1", "bj", "fan", "Fan", "7")),
            (38, "chocolate", ("1", "bj", "fan", "Fan", "7")),
            (87, "ad balloon", ("1", "bj", "fan", "Fan", "m", "n", "숲토어", "u", "v", "7", *("0",) * 8)),
            (107, "ad balloon", ("bj", "fan", "Fan", "7", "url", "title", "1", "ko", "")),
        ],
    )
    def test_other_gifts_have_no_known_price(self, service: int, gift: str, fields: tuple[str, ...]) -> None:
        message = only(service, *fields)

        assert (message.gift, message.uid, message.user, message.quantity) == (gift, "fan", "Fan", 7)
        assert (message.price, message.currency) == (0, "")

    def test_subscriptions_new_renewed_and_given(self) -> None:
        new = only(91, "1", "bj", "fan", "Fan", "201", "", "", "2")
        again = only(93, "bj", "fan", "Fan", "19", "1", "101", "23", "1")
        given_away = only(108, "1", "fan", "Fan", "friend", "Friend", "bj", "BJ", "11", "code", "1", "", "", "0", "0")

        assert (new.kind, new.level, new.quantity) == (MessageKind.MEMBERSHIP, 1, 1)
        assert (again.level, again.quantity, again.action) == (2, 19, "renewed")
        assert (given_away.kind, given_away.uid, given_away.target, given_away.action) == (
            MessageKind.MEMBERSHIP,
            "fan",
            "friend",
            "gift",
        )

    def test_moderation(self) -> None:
        muted = only(8, "bad", "", "60", "2", "boss", "2", "", "Bad")
        assert (muted.action, muted.target, muted.user, muted.duration_s) == ("mute", "bad", "Bad", 60)
        assert [only(21, state, "1", "528", "1", "1").action for state in ("1", "0")] == ["silence_on", "silence_off"]
        assert only(23, "0", "30").duration_s == 30
        assert only(76, "1", "bad", "Bad").action == "unkick"

    def test_a_picture_in_place_of_text(self) -> None:
        message = only(109, "1", "", "g1", "s2", "3", "u(2)", "U", "0|0", "0", "1", "1", "png", "-1")

        assert (message.text, message.uid, message.emotes[0].id) == ("[g1/s2]", "u", "g1/s2")

    def test_balloons_on_a_mission(self) -> None:
        body = (
            '{"type":"CHALLENGE_GIFT","uuid":"id1","title":"no deaths","gift_count":10,"user_id":"f","user_nick":"F"}'
        )
        message = only(121, body)

        assert (message.id, message.quantity, message.price, message.text) == ("id1", 10, 1_000_000, "no deaths")
        assert codec().feed(packet(121, '{"type":"NOTICE","title":"x"}')).messages == []

    def test_the_end_is_service_88_and_not_7(self) -> None:
        assert (only(88).kind, only(88).action) == (MessageKind.STREAM_CLOSED, "ended")
        assert codec().feed(packet(7, "0")).messages == []

    def test_notices(self) -> None:
        assert only(58, "랭킹 1위", "0").text == "랭킹 1위"
        assert only(104, "1", "1", "", "rules").text == "rules"
        assert codec().feed(packet(104, "1", "0", "", "rules")).messages == []

    def test_presents_from_one_viewer_to_another(self) -> None:
        quick = only(45, "1", "a", "A", "b", "B", "100")
        picture = only(118, "1", "a", "A", "b", "B", "cats", "url")
        gem = only(120, "1", "b", "B", "ruby")

        assert (quick.uid, quick.target, quick.duration_s) == ("a", "b", 7 * 86_400)
        assert (picture.gift, picture.target) == ("cats", "b")
        assert (gem.gift, gem.target) == ("ruby", "b")


class TestAnything:
    @given(st.binary(max_size=400))
    def test_bytes_never_raise(self, frame: bytes) -> None:
        codec().feed(frame)

    @given(
        st.sampled_from([*HANDLERS, 0, 1, 2, 3, 6, 9999]),
        st.lists(st.text(max_size=20) | st.integers().map(str), max_size=20),
    )
    def test_packets_of_any_fields_become_lines_that_can_be_read_again(self, service: int, fields: list[str]) -> None:
        body = ("\f" + "\f".join(fields) + "\f").encode("utf-8", "replace")
        frame = f"\x1b\t{service:04d}{len(body):06d}00".encode() + body

        for message in codec().feed(frame).messages:
            assert decode_line(encode_line(message)) == message


async def test_it_joins_beats_and_comes_back_after_it_was_cut_off() -> None:
    async with studio_running() as studio:
        room = studio.soop.room("talent")
        async with opened("soop", "talent", live_api=studio.url, heartbeat_s=0.05) as chat:
            await chat.change(ConnectionState.CONNECTED)
            await room.say("첫 번째", "u1", "하나")
            await room.give_balloons(3, "u2")
            first, gift = await chat.messages(2)
            room.cut()
            await chat.change(ConnectionState.LOST)
            await chat.change(ConnectionState.CONNECTED)
            await room.wait(visits=2, beats=3)
            await room.say("again", "u1")
            (again,) = await chat.messages(1)

    assert (first.text, first.user, gift.price, again.text) == ("첫 번째", "하나", 300_000, "again")
    assert len(room.used) == len(set(room.used)) >= 2, "each joining has a ticket of its own"


async def test_it_waits_for_a_channel_that_is_off_air() -> None:
    async with studio_running() as studio:
        room = studio.soop.room("talent")
        room.on_air = False
        async with opened("soop", "talent", live_api=studio.url) as chat:
            failed = await chat.change(ConnectionState.FAILED)
            room.on_air = True
            await chat.change(ConnectionState.CONNECTED)

    assert "result 0" in failed.reason


@pytest.mark.parametrize("room_id", ["", "a/b", "ü", 7, None, "x" * 65])
async def test_a_descriptor_without_an_account_is_refused(room_id: object) -> None:
    with pytest.raises(InvalidDescriptor):
        open_source("soop", {"room_id": room_id}, None)  # type: ignore[arg-type]
