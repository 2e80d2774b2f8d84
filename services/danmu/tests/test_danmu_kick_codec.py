"""Kick's events in the shapes that its chat clients published, Pusher's frames as documented, and any bytes at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.danmu.adapters.kick import MAX_FRAME_BYTES, KickCodec
from services.danmu.adapters.kick_events import HANDLERS
from services.danmu.adapters.messages import Badge, ChatMessage, Emote, MessageKind
from services.danmu.adapters.recent import RecentIds
from services.danmu.fuzz.harness import check
from services.danmu.fuzz.kick import SEEDS, event

NOW = 1_750_000_000_123
SENDER = {"id": 7, "username": "Ann", "slug": "ann"}


def codec(seen: RecentIds | None = None) -> KickCodec:
    return KickCodec(9, 5, seen, clock=lambda: NOW)


def message(name: str, channel: str = "chatrooms.9.v2", **data: Any) -> ChatMessage:
    (only,) = codec().feed(event(name, data, channel)).messages
    return only


class TestConnection:
    def test_it_subscribes_when_the_connection_stands(self) -> None:
        decoded = codec().feed(SEEDS[0])

        channels = [json.loads(reply)["data"]["channel"] for reply in decoded.replies]
        assert channels == ["chatrooms.9.v2", "channel.5", "channel_5"]
        assert {json.loads(reply)["event"] for reply in decoded.replies} == {"pusher:subscribe"}
        assert decoded.beat_s == 60

    def test_a_connection_without_a_time_out_is_beaten_as_usual(self) -> None:
        assert codec().feed(b'{"event":"pusher:connection_established","data":"{}"}').beat_s == 60

    def test_the_confirmed_chatroom_is_the_welcome(self) -> None:
        other = b'{"event":"pusher_internal:subscription_succeeded","data":"{}","channel":"channel.5"}'

        assert codec().feed(SEEDS[1]).authenticated is True
        assert codec().feed(other).authenticated is None

    def test_pings_both_ways(self) -> None:
        assert json.loads(codec().heartbeat())["event"] == "pusher:ping"
        assert [json.loads(reply)["event"] for reply in codec().feed(b'{"event":"pusher:ping"}').replies] == [
            "pusher:pong"
        ]

    def test_an_error_of_the_server_ends_the_connection(self) -> None:
        assert codec().feed(SEEDS[2]).reconnect == "error 4200 of the server"

    def test_data_may_be_an_object_or_its_text(self) -> None:
        inner = {"username": "Ann", "months": 3}
        for data in (inner, json.dumps(inner)):
            frame = json.dumps({"event": "App\\Events\\SubscriptionEvent", "data": data, "channel": "chatrooms.9.v2"})
            assert codec().feed(frame.encode()).messages[0].quantity == 3


class TestEvents:
    def test_a_message_with_everything(self) -> None:
        badges = [
            {"type": "broadcaster", "text": "Broadcaster"},
            {"type": "subscriber", "text": "Subscriber", "count": 14},
            {"type": "vip", "text": "VIP"},
        ]
        said = message(
            "ChatMessageEvent",
            id="id-1",
            chatroom_id=9,
            content="[emote:37226:KEKW] hello [emote:37226:KEKW]",
            type="reply",
            created_at="2025-06-15T15:06:40+00:00",
            sender=SENDER | {"identity": {"color": "#FF9D00", "badges": badges}},
            metadata={"original_sender": {"id": 8}, "original_message": {"id": "id-0", "content": "x"}},
        )

        assert said == ChatMessage(
            MessageKind.CHAT,
            NOW,
            "id-1",
            1_750_000_000_000,
            "Ann",
            "7",
            "KEKW hello KEKW",
            0xFF9D00,
            target="id-0",
            badges=(Badge("moderator", "broadcaster"), Badge("member", "subscriber", 14), Badge("fan", "vip")),
            emotes=(Emote("KEKW", "https://files.kick.com/emotes/37226/fullsize", "37226", (0, 11)),),
        )

    def test_a_subscription(self) -> None:
        said = message("SubscriptionEvent", chatroom_id=9, username="Ann", months=3)

        assert (said.kind, said.user, said.quantity) == (MessageKind.MEMBERSHIP, "Ann", 3)

    def test_gifted_subscriptions_in_both_shapes(self) -> None:
        old = message("GiftedSubscriptionsEvent", gifter_username="Ann", gifted_usernames=["Bob", "Cy"])
        new = message("GiftedSubscriptionsEvent", id="g", user=SENDER, gifted_users=[{"id": 1, "username": "Bob"}])

        assert (old.kind, old.action, old.quantity, old.user, old.text) == (
            MessageKind.MEMBERSHIP,
            "gift",
            2,
            "Ann",
            "Bob, Cy",
        )
        assert (new.quantity, new.user, new.uid, new.text) == (1, "Ann", "7", "Bob")

    def test_kicks_are_cents(self) -> None:
        said = message(
            "KicksGifted",
            "channel_5",
            gift_transaction_id="t",
            sender=SENDER | {"username_color": "#E9113C"},
            gift={"gift_id": "pack_it_up", "name": "Pack It Up", "amount": 1000},
            message="take mine",
            created_at="2025-06-15T15:06:40.373823974Z",
        )

        assert (said.kind, said.gift, said.price, said.currency) == (MessageKind.GIFT, "Pack It Up", 10_000, "USD")
        assert (said.user, said.colour, said.text, said.sent_at) == ("Ann", 0xE9113C, "take mine", 1_750_000_000_373)

    @pytest.mark.parametrize(
        ("data", "action", "seconds"),
        [
            ({"permanent": True}, "ban", 0),
            ({"permanent": False, "duration": 10, "expires_at": "2025-06-15T15:16:40+00:00"}, "mute", 600),
            ({"expires_at": "2025-06-15T15:07:40.123+00:00"}, "mute", 60),
        ],
    )
    def test_a_ban_for_good_or_for_a_while(self, data: dict[str, Any], action: str, seconds: int) -> None:
        said = message("UserBannedEvent", id="b", user=SENDER, banned_by={"id": 0, "username": "mod"}, **data)

        assert (said.kind, said.action, said.duration_s) == (MessageKind.MODERATION, action, seconds)
        assert (said.user, said.target) == ("Ann", "7")

    @pytest.mark.parametrize(
        ("name", "data", "kind", "action"),
        [
            ("UserUnbannedEvent", {"user": SENDER}, MessageKind.MODERATION, "unban"),
            ("ChatroomClearEvent", {"id": "c"}, MessageKind.MODERATION, "clear"),
            ("MessageDeletedEvent", {"message": {"id": "id-1"}}, MessageKind.MODERATION, "delete"),
            ("StreamHostEvent", {"host_username": "Bob", "number_viewers": 12}, MessageKind.SYSTEM, "raid"),
            ("PinnedMessageCreatedEvent", {"message": {"id": "id-1", "content": "x"}}, MessageKind.SYSTEM, "pin"),
            ("RewardRedeemedEvent", {"reward_title": "Sit", "username": "Ann"}, MessageKind.SYSTEM, "reward"),
            ("StreamerIsLive", {"livestream": {"session_title": "t"}}, MessageKind.SYSTEM, "live"),
            ("StopStreamBroadcast", {"livestream": {"id": 1}}, MessageKind.STREAM_CLOSED, "ended"),
        ],
    )
    def test_other_events(self, name: str, data: dict[str, Any], kind: MessageKind, action: str) -> None:
        said = message(name, **data)

        assert (said.kind, said.action) == (kind, action)

    def test_modes_of_the_chat(self) -> None:
        said = message("ChatroomUpdatedEvent", slow_mode={"enabled": True}, emotes_mode={"enabled": False})

        assert (said.kind, said.text) == (MessageKind.SYSTEM, "slow_mode")

    def test_title_and_category(self) -> None:
        category = {"id": 2, "name": "Just Chatting", "category": {"name": "IRL"}}
        for shape in ({"category": category}, {"categories": [category]}):
            said = message("LivestreamUpdated", "channel.5", livestream={"session_title": "New title", **shape})
            assert (said.kind, said.text, said.category) == (MessageKind.ROOM_CHANGE, "New title", "Just Chatting")
            assert said.parent_category == "IRL"

    def test_both_channels_of_the_broadcaster_tell_it_once(self) -> None:
        one = codec()
        data = {"livestream": {"id": 1, "session_title": "t"}}

        told = [one.feed(event("StreamerIsLive", data, channel)).messages for channel in ("channel.5", "channel_5")]

        assert [len(messages) for messages in told] == [1, 0]

    def test_a_message_is_told_once_over_connections(self) -> None:
        seen = RecentIds()

        assert len(codec(seen).feed(SEEDS[3]).messages) == 1
        assert codec(seen).feed(SEEDS[3]).messages == []

    def test_what_is_of_no_use_is_counted(self) -> None:
        one = codec()
        one.feed(event("PollUpdateEvent", {"poll": {}}))
        one.feed(b'{"event":"App\\\\Events\\\\ChatMessageEvent","data":"not json"}')
        one.feed(b'{"event":null}')

        assert (one.counters.ignored, one.counters.malformed) == ({"PollUpdateEvent": 1}, 2)


class TestAnything:
    @given(st.binary(max_size=300))
    def test_no_bytes_raise(self, data: bytes) -> None:
        check([data], codec().feed)

    @given(
        st.sampled_from(sorted(HANDLERS)),
        st.dictionaries(
            st.sampled_from(
                ["sender", "gift", "user", "message", "livestream", "id", "content", "gifted_users", "months"]
            ),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.text(max_size=8),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(
                        st.sampled_from(["id", "username", "identity", "badges", "amount"]), inner, max_size=3
                    )
                ),
                max_leaves=8,
            ),
        ),
    )
    def test_no_shape_raises(self, name: str, data: dict[str, Any]) -> None:
        check([event(name, data)], codec().feed)

    @given(st.data())
    def test_no_mutation_of_a_true_frame_raises(self, data: st.DataObject) -> None:
        frame = bytearray(data.draw(st.sampled_from(SEEDS)))
        for at in data.draw(st.lists(st.integers(0, len(frame) - 1), max_size=8)):
            frame[at] = data.draw(st.integers(0, 255))

        check([bytes(frame)], codec().feed)

    def test_a_frame_beyond_the_limit_is_counted(self) -> None:
        one = codec()

        assert one.feed(b" " * (MAX_FRAME_BYTES + 1)).messages == []
        assert one.counters.oversized == 1
