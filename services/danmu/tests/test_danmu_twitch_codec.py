"""Twitch's IRC lines: examples in the shapes of the "IRC Command Reference", the escapes of IRCv3, and any bytes at all."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.danmu.adapters.messages import Badge, ChatMessage, Emote, MessageKind
from services.danmu.adapters.twitch import MAX_FRAME_BYTES, TwitchCodec, is_login, parse_line
from services.danmu.fuzz.harness import check
from services.danmu.fuzz.twitch import SEEDS

NOW = 1_750_000_000_123
SERVER = ":tmi.twitch.tv"


def codec() -> TwitchCodec:
    return TwitchCodec(clock=lambda: NOW)


def messages(line: str) -> list[ChatMessage]:
    return codec().feed(f"{line}\r\n".encode()).messages


def message(line: str) -> ChatMessage:
    (only,) = messages(line)
    return only


class TestLines:
    def test_a_line_has_tags_a_sender_a_command_and_parameters(self) -> None:
        line = parse_line("@a=1;b= :ann!ann@ann.tmi.twitch.tv PRIVMSG #channel :a : b")

        assert line is not None
        assert (line.tags, line.nick, line.command) == ({"a": "1", "b": ""}, "ann", "PRIVMSG")
        assert (line.parameters, line.text) == (("#channel", "a : b"), "a : b")

    @pytest.mark.parametrize(
        ("escaped", "plain"),
        [(r"a\sb", "a b"), (r"\:\\\r\n", ";\\\r\n"), (r"\x", "x"), ("end\\", "end"), (r"\\s", r"\s")],
    )
    def test_escapes_of_a_tag(self, escaped: str, plain: str) -> None:
        line = parse_line(f"@tag={escaped} PING")

        assert line is not None
        assert line.tags["tag"] == plain

    @pytest.mark.parametrize("text", ["", "@a=1", ":only.prefix", "   ", "@a=1 :prefix ", ":x  "])
    def test_a_line_without_a_command_is_none(self, text: str) -> None:
        assert parse_line(text) is None

    def test_broken_lines_are_counted_and_the_others_read(self) -> None:
        one = codec()

        decoded = one.feed(b"@a=1\r\n:a!a@a PRIVMSG #c :still here\r\n\xff\xfe\r\n")

        assert [each.text for each in decoded.messages] == ["still here"]
        assert one.counters.malformed == 2

    @pytest.mark.parametrize(("name", "ok"), [("some_channel1", True), ("Upper", False), ("", False), ("a b", False)])
    def test_what_can_be_a_channel(self, name: str, ok: bool) -> None:
        assert is_login(name) is ok


class TestConnection:
    def test_the_greeting_asks_for_tags_and_joins_anonymously(self) -> None:
        assert codec().hello("ann", 4711) == [
            "CAP REQ :twitch.tv/tags twitch.tv/commands\r\n",
            "PASS SCHMOOPIIE\r\n",
            "NICK justinfan4711\r\n",
            "JOIN #ann\r\n",
        ]

    def test_a_ping_is_answered_with_its_own_words(self) -> None:
        assert codec().feed(b"PING :tmi.twitch.tv\r\n").replies == ["PONG :tmi.twitch.tv\r\n"]

    def test_the_end_of_the_names_is_the_welcome(self) -> None:
        assert codec().feed(b":justinfan1.tmi.twitch.tv 366 justinfan1 #ann :End of /NAMES list").authenticated is True

    def test_a_refused_login(self) -> None:
        assert codec().feed(f"{SERVER} NOTICE * :Login authentication failed\r\n".encode()).authenticated is False

    def test_the_server_asks_to_reconnect(self) -> None:
        assert codec().feed(f"{SERVER} RECONNECT\r\n".encode()).reconnect


class TestChat:
    def test_a_message_with_everything(self) -> None:
        said = message(
            "@badge-info=subscriber/15;badges=broadcaster/1,subscriber/12,premium/1;color=#1E90FF;display-name=Ann;"
            "emotes=25:0-4,13-17/emotesv2_x:8-11;id=id-1;room-id=1;tmi-sent-ts=1750000000000;user-id=42 "
            ":ann!ann@ann.tmi.twitch.tv PRIVMSG #c :Kappa 中 Keep Kappa"
        )

        assert said == ChatMessage(
            MessageKind.CHAT,
            NOW,
            "id-1",
            1_750_000_000_000,
            "Ann",
            "42",
            "Kappa 中 Keep Kappa",
            0x1E90FF,
            badges=(
                Badge("moderator", "broadcaster", 1),
                Badge("member", "subscriber", 15),
                Badge("fan", "premium", 1),
            ),
            emotes=(
                Emote("Kappa", "https://static-cdn.jtvnw.net/emoticons/v2/25/default/dark/1.0", "25", (0, 13)),
                Emote(
                    "Keep", "https://static-cdn.jtvnw.net/emoticons/v2/emotesv2_x/default/dark/1.0", "emotesv2_x", (8,)
                ),
            ),
        )

    @pytest.mark.parametrize("places", ["25", "25:", "25:5-4", "25:0-99", "25:a-b", "25:-1-2", ":0-1", "25:0-"])
    def test_emotes_that_lie_nowhere_are_left_out(self, places: str) -> None:
        assert message(f"@emotes={places} :a!a@a PRIVMSG #c :hello").emotes == ()

    def test_without_tags_the_sender_is_the_nick(self) -> None:
        said = message(":ann!ann@ann.tmi.twitch.tv PRIVMSG #c :hello")

        assert (said.user, said.uid, said.text, said.colour) == ("ann", "", "hello", 0xFFFFFF)

    def test_bits_are_a_gift_of_cents_with_its_text(self) -> None:
        said = message("@bits=100;display-name=Ann :ann!ann@ann PRIVMSG #c :Cheer100 wow")

        assert (said.kind, said.gift, said.quantity) == (MessageKind.GIFT, "bits", 100)
        assert (said.price, said.currency, said.text) == (1000, "USD", "Cheer100 wow")

    def test_an_action_and_a_reply(self) -> None:
        said = message("@reply-parent-msg-id=id-0 :a!a@a PRIVMSG #c :\x01ACTION waves\x01")

        assert (said.text, said.action, said.target) == ("waves", "me", "id-0")

    def test_what_was_said_in_the_other_room_of_a_shared_chat_is_a_mirror(self) -> None:
        assert message("@room-id=1;source-room-id=2 :a!a@a PRIVMSG #c :x").action == "mirror"
        assert message("@room-id=1;source-room-id=1 :a!a@a PRIVMSG #c :x").action == ""


class TestNoticesOfUsers:
    def test_a_subscription_for_months(self) -> None:
        said = message(
            "@badges=subscriber/6;display-name=Ann;id=i;msg-id=resub;msg-param-cumulative-months=6;msg-param-sub-plan=2000;"
            r"msg-param-sub-plan-name=The\sPlan;system-msg=Ann\ssubscribed;user-id=42 "
            f"{SERVER} USERNOTICE #c :Great stream"
        )

        assert (said.kind, said.quantity, said.level, said.gift) == (MessageKind.MEMBERSHIP, 6, 2, "The Plan")
        assert (said.user, said.uid, said.text, said.action) == ("Ann", "42", "Great stream", "")

    def test_a_gifted_subscription_names_who_got_it(self) -> None:
        said = message(
            "@login=ann;msg-id=subgift;msg-param-gift-months=3;msg-param-recipient-id=9;msg-param-sub-plan=Prime;"
            rf"system-msg=Ann\sgifted {SERVER} USERNOTICE #c"
        )

        assert (said.kind, said.action, said.quantity) == (MessageKind.MEMBERSHIP, "gift", 3)
        assert (said.target, said.level, said.text, said.user) == ("9", 3, "Ann gifted", "ann")

    def test_the_announcement_of_gifts_is_not_counted_as_them(self) -> None:
        said = message(f"@msg-id=submysterygift;msg-param-mass-gift-count=50 {SERVER} USERNOTICE #c")

        assert (said.kind, said.action, said.quantity) == (MessageKind.SYSTEM, "submysterygift", 50)

    def test_a_raid_brings_viewers(self) -> None:
        said = message(f"@display-name=Bob;msg-id=raid;msg-param-viewerCount=15 {SERVER} USERNOTICE #c")

        assert (said.kind, said.action, said.quantity, said.user) == (MessageKind.SYSTEM, "raid", 15, "Bob")

    def test_a_donation_in_its_minor_unit(self) -> None:
        said = message(
            "@msg-id=charitydonation;msg-param-donation-amount=550;msg-param-donation-currency=EUR;msg-param-exponent=2;"
            f"msg-param-charity-name=Help {SERVER} USERNOTICE #c"
        )

        assert (said.kind, said.gift, said.price, said.currency) == (MessageKind.GIFT, "Help", 5500, "EUR")

    def test_an_event_that_nobody_knows_yet_is_kept(self) -> None:
        said = message(rf"@msg-id=newthing;system-msg=Something\snew {SERVER} USERNOTICE #c")

        assert (said.kind, said.action, said.text) == (MessageKind.SYSTEM, "newthing", "Something new")


class TestModeration:
    def test_a_time_out(self) -> None:
        said = message(f"@ban-duration=600;target-user-id=9;tmi-sent-ts=5 {SERVER} CLEARCHAT #c :bob")

        assert (said.kind, said.action, said.target) == (MessageKind.MODERATION, "mute", "9")
        assert (said.duration_s, said.user, said.sent_at) == (600, "bob", 5)

    @pytest.mark.parametrize(("line", "action"), [("CLEARCHAT #c :bob", "ban"), ("CLEARCHAT #c", "clear")])
    def test_a_ban_and_an_empty_chat(self, line: str, action: str) -> None:
        assert message(f"{SERVER} {line}").action == action

    def test_a_deleted_message(self) -> None:
        said = message(f"@login=bob;target-msg-id=id-1 {SERVER} CLEARMSG #c :what it said")

        assert (said.kind, said.action, said.target) == (MessageKind.MODERATION, "delete", "id-1")
        assert (said.user, said.text) == ("bob", "what it said")

    def test_a_suspended_channel_is_closed(self) -> None:
        decoded = codec().feed(f"@msg-id=msg_channel_suspended {SERVER} NOTICE #c :gone".encode())

        assert [(said.kind, said.action) for said in decoded.messages] == [(MessageKind.STREAM_CLOSED, "locked")]
        assert decoded.reconnect == "the channel does not exist, or is suspended"

    def test_the_state_of_the_room_is_news_only_when_it_changes(self) -> None:
        joined = f"@emote-only=0;followers-only=-1;r9k=0;slow=0;subs-only=0 {SERVER} ROOMSTATE #c"
        changed = message(f"@room-id=1;slow=10 {SERVER} ROOMSTATE #c")

        assert messages(joined) == []
        assert (changed.kind, changed.action, changed.text) == (MessageKind.SYSTEM, "room_state", "slow=10")

    def test_what_is_of_no_use_is_counted(self) -> None:
        one = codec()
        one.feed(b":tmi.twitch.tv 001 justinfan1 :Welcome\r\n:tmi.twitch.tv PONG tmi.twitch.tv :aircheck\r\n")

        assert one.counters.ignored == {"001": 1, "PONG": 1}


class TestAnything:
    @given(st.binary(max_size=400))
    @example(b"@emotes=1:999999999999999999999-5 :a PRIVMSG #c :x")
    @example("@user-id=²;bits=² :a PRIVMSG #c :x".encode())
    def test_no_bytes_raise(self, data: bytes) -> None:
        check([data], codec().feed)

    @given(st.data())
    def test_no_mutation_of_a_true_frame_raises(self, data: st.DataObject) -> None:
        frame = bytearray(data.draw(st.sampled_from(SEEDS)))
        for at in data.draw(st.lists(st.integers(0, len(frame) - 1), max_size=8)):
            frame[at] = data.draw(st.integers(0, 255))

        check([bytes(frame)], codec().feed)

    def test_a_frame_beyond_the_limit_costs_nothing(self) -> None:
        one = codec()
        frame = b"x" * (MAX_FRAME_BYTES + 1)
        tracemalloc.start()
        try:
            assert one.feed(frame).messages == []
            assert tracemalloc.get_traced_memory()[1] < 100_000
        finally:
            tracemalloc.stop()
        assert one.counters.oversized == 1

    def test_too_many_lines_and_too_long_ones_are_left_out(self) -> None:
        one = codec()

        decoded = one.feed(b"PING\r\n" * 5000)

        assert (len(decoded.replies), one.counters.oversized) == (4096, 1)
        assert one.feed(b"PRIVMSG #c :" + b"x" * 20_000).messages == []
        assert one.counters.oversized == 2
