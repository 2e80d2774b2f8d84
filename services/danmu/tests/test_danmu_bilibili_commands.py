"""Golden commands of a Bilibili room, built by hand from the protocol facts.

Source of the shapes: the community reference "bilibili-API-collect", page "live/message_stream", one section per command;
protobuf field numbers as in `services.danmu.adapters.bilibili_commands`. Names, numbers and texts are made up.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from services.danmu.adapters.bilibili import BilibiliCodec, pack
from services.danmu.adapters.messages import Badge, ChatMessage, Emote, MessageKind

NOW = 1_750_000_000_123


def feed(*commands: dict[str, Any]) -> tuple[list[ChatMessage], BilibiliCodec]:
    codec = BilibiliCodec(clock=lambda: NOW)
    frame = b"".join(pack(5, json.dumps(command, ensure_ascii=False).encode(), 0) for command in commands)
    return codec.feed(frame).messages, codec


def one(command: dict[str, Any]) -> ChatMessage:
    messages, codec = feed(command)
    assert codec.counters.malformed == 0
    assert len(messages) == 1
    return messages[0]


def danmu(
    text: str = "hello",
    *,
    extra: dict[str, Any] | None = None,
    emoticon: dict[str, Any] | None = None,
    profile: bool = True,
) -> dict[str, Any]:
    """DANMU_MSG as the server writes it today: keys in sorted order, the sender's profile last in its object."""
    extra = {"content": text, "emots": None, "id_str": "0a1b2c", **(extra or {})}
    options: dict[str, Any] = {
        "extra": json.dumps(extra, ensure_ascii=False, separators=(",", ":")),
        "mode": 0,
        "show_player_type": 0,
    }
    if profile:
        options["user"] = {"base": {"face": "https://i/face.jpg", "name": "Ann"}, "medal": {"level": 29}, "uid": 42}
    look = [0, 5, 18, 9_920_249, 1_749_999_999_000, -1_312_973_962, 0, "0bc8acd0", 0, 0, 0, "", 1 if emoticon else 0]
    look += [emoticon or "{}", "{}", options, {"activity_identity": "", "activity_source": 0, "not_show": 0}, 0]
    sender = [42, "Ann", 1, 0, 0, 10_000, 1, ""]
    medal = [29, "Cats", "Streamer", 7, 2_951_253, "", 0, 1, 1, 1, 1, 1, 9]
    info = [look, text, sender, medal, [39, 0, 1, 42, 2], ["", ""], 0, 3, None, {"ct": "AF", "ts": 1_749_999_999}]
    return {"cmd": "DANMU_MSG", "dm_v2": "", "info": info}


CHAT = ChatMessage(
    MessageKind.CHAT,
    NOW,
    id="0a1b2c",
    sent_at=1_749_999_999_000,
    user="Ann",
    uid="42",
    text="hello",
    colour=9_920_249,
    mode=5,
    size=18,
    badges=(Badge("moderator"), Badge("member", "", 3), Badge("fan", "Cats", 29)),
)


class TestChat:
    """DANMU_MSG: info[0] = how it looks (1 mode, 2 size, 3 colour, 4 ms), info[1] text, info[2] sender, info[3] medal."""

    def test_a_message_with_everything(self) -> None:
        assert one(danmu()) == CHAT

    def test_the_profile_makes_no_difference(self) -> None:
        compact = json.dumps(danmu(), separators=(",", ":"), ensure_ascii=False).encode()
        assert b'"user":{"base":{' in compact  # the form that is cut out before parsing

        cut = BilibiliCodec(clock=lambda: NOW).feed(pack(5, compact, 0)).messages

        assert cut == [CHAT] == [one(danmu(profile=False))]

    @pytest.mark.parametrize(
        "text",
        [
            '"user":{"base":{',
            '},{"activity_identity":',
            '"user":{"base":{"x":1},{"activity_identity":',
            '","id_str":"forged"',
            '"emots":{"[x]":{}}',
            "\\",
            '\\","id_str":"forged"',
        ],
    )
    def test_nobody_can_write_the_marks_that_parsing_looks_for(self, text: str) -> None:
        """Quotes inside JSON strings are escaped, so text cannot look like structure (RFC 8259, section 7)."""
        compact = json.dumps(danmu(text), separators=(",", ":"), ensure_ascii=False).encode()

        messages = BilibiliCodec(clock=lambda: NOW).feed(pack(5, compact, 0)).messages

        assert messages == [CHAT._replace(text=text)]

    def test_a_profile_that_is_not_last_is_parsed_whole(self) -> None:
        body = (
            b'{"cmd":"DANMU_MSG","info":[[0,1,25,255,1749999999000,0,0,"",0,0,0,"",0,"{}","{}",'
            b'{"user":{"base":{"name":"Ann"}},"extra":"{}"}],"hi",[42,"Ann"],[],[],[],0,0,"x",{"y":[1},{"activity_identity":0}]}'
        )
        whole = body.replace(b'{"y":[1},{"activity_identity":0}', b'{"y":1},{"activity_identity":0}')

        messages = BilibiliCodec(clock=lambda: NOW).feed(pack(5, whole, 0)).messages
        broken = BilibiliCodec(clock=lambda: NOW)

        assert [(message.text, message.user, message.colour) for message in messages] == [("hi", "Ann", 255)]
        assert broken.feed(pack(5, body, 0)).messages == []
        assert broken.counters.malformed == 1

    def test_an_emoticon_message_carries_its_picture(self) -> None:
        """info[0][12] = 1 and info[0][13] = {emoticon_unique, url}."""
        message = one(danmu("[dog]", emoticon={"emoticon_unique": "official_13", "url": "https://i/dog.png"}))

        assert message.emotes == (Emote("[dog]", "https://i/dog.png", "official_13"),)

    def test_emotes_inside_a_text_come_from_extra(self) -> None:
        """extra.emots maps what stands in the text to a picture."""
        emots = {"[hot]": {"emoticon_unique": "emoji_278", "url": "https://i/hot.png"}}

        assert one(danmu("so [hot]", extra={"emots": emots})).emotes == (
            Emote("[hot]", "https://i/hot.png", "emoji_278"),
        )

    def test_a_mirrored_message_says_so(self) -> None:
        """DANMU_MSG_MIRROR comes from another room of a joint broadcast."""
        assert one({**danmu(), "cmd": "DANMU_MSG_MIRROR"}) == CHAT._replace(action="mirror")

    def test_a_command_with_a_suffix_is_the_same_command(self) -> None:
        """DANMU_MSG:4:0:2:2:2:0 was sent in times of high load."""
        assert one({**danmu(), "cmd": "DANMU_MSG:4:0:2:2:2:0"}) == CHAT

    def test_the_shortest_message_that_was_ever_seen(self) -> None:
        message = one({"cmd": "DANMU_MSG", "info": [[], "111", [7, "Bob"]]})

        assert message == ChatMessage(MessageKind.CHAT, NOW, user="Bob", uid="7", text="111")

    def test_a_hidden_sender_has_no_id(self) -> None:
        """Guests see uid 0 and a masked name."""
        assert one({"cmd": "DANMU_MSG", "info": [[], "x", [0, "A***"]]}).uid == ""

    def test_a_text_has_a_limit(self) -> None:
        assert len(one(danmu("x" * 100_000)).text) == 4096


def send_gift(**changes: Any) -> dict[str, Any]:
    data = {
        "giftName": "Flower",
        "num": 3,
        "uname": "Ann",
        "uid": 42,
        "coin_type": "gold",
        "price": 100,
        "total_coin": 300,
        "tid": "1673622464121900003",
        "timestamp": 1_749_999_999,
        "medal_info": {"medal_name": "Cats", "medal_level": 5, "guard_level": 0},
    }
    return {"cmd": "SEND_GIFT", "data": {**data, **changes}}


class TestGift:
    """SEND_GIFT: 1000 gold coins are one yuan, `total_coin` is what was paid; silver coins are free."""

    def test_a_paid_gift(self) -> None:
        assert one(send_gift()) == ChatMessage(
            MessageKind.GIFT,
            NOW,
            id="1673622464121900003",
            sent_at=1_749_999_999_000,
            user="Ann",
            uid="42",
            price=300,
            currency="CNY",
            quantity=3,
            gift="Flower",
            badges=(Badge("fan", "Cats", 5),),
        )

    def test_a_free_gift_costs_nothing(self) -> None:
        message = one(send_gift(coin_type="silver"))

        assert (message.price, message.currency) == (0, "")

    def test_a_combo_is_a_summary_and_no_gift(self) -> None:
        """COMBO_SEND repeats what SEND_GIFT reported one by one."""
        data = {"gift_name": "Flower", "total_num": 5, "combo_total_coin": 500, "batch_combo_id": "b:1", "uid": 42}

        message = one({"cmd": "COMBO_SEND", "data": data})

        assert (message.kind, message.action, message.quantity, message.price) == (MessageKind.SYSTEM, "combo", 5, 500)
        assert (message.gift, message.id) == ("Flower", "b:1")


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def fields(*pairs: tuple[int, int | str | bytes]) -> bytes:
    return b"".join(field(number, value) for number, value in pairs)


def pb(cmd: str, data: bytes) -> dict[str, Any]:
    return {"cmd": cmd, "data": {"dmscore": 1, "pb": base64.b64encode(data).decode()}}


class TestProtobuf:
    """SEND_GIFT_V2 and INTERACT_WORD_V2 carry base64 protobuf in data.pb."""

    def test_a_gift(self) -> None:
        medal = fields((1, 9), (5, 29), (6, "Cats"))
        item = fields(
            (1, 31), (2, "Flower"), (3, 10), (5, 100), (7, 1000), (8, "gold"), (9, "t-1"), (10, 1_749_999_999)
        )
        body = fields((1, 42), (2, "Ann"), (5, 3), (8, medal), (10, item), (11, 1)) + varint(99 << 3 | 5) + b"\0\0\0\0"

        assert one(pb("SEND_GIFT_V2", body)) == ChatMessage(
            MessageKind.GIFT,
            NOW,
            id="t-1",
            sent_at=1_749_999_999_000,
            user="Ann",
            uid="42",
            price=1000,
            currency="CNY",
            quantity=10,
            gift="Flower",
            badges=(Badge("member", "", 3), Badge("fan", "Cats", 29)),
        )

    def test_a_batch_of_blind_boxes_costs_what_was_paid(self) -> None:
        """Field 6 of a gift is the price paid for its boxes, 7 what came out of them."""
        box = fields((3, "Mystery"), (6, 15_000))
        cheap = fields((2, "Sock"), (3, 2), (5, 1), (6, 30_000), (7, 2), (8, "gold"))
        dear = fields((2, "Ship"), (3, 1), (5, 90_000), (7, 90_000), (8, "gold"))

        messages, codec = feed(pb("SEND_GIFT_V2", fields((2, "Ann"), (9, box), (10, cheap), (10, dear))))

        assert [(message.gift, message.price) for message in messages] == [("Sock", 30_000), ("Ship", 15_000)]
        assert codec.counters.malformed == 0

    @pytest.mark.parametrize(("msg_type", "kind"), [(1, MessageKind.JOIN), (2, MessageKind.FOLLOW)])
    def test_an_interaction(self, msg_type: int, kind: MessageKind) -> None:
        medal = fields((1, 9), (2, 21), (3, "Cats"), (9, 2))
        body = fields((1, 42), (2, "Ann"), (5, msg_type), (6, 7), (7, 1_749_999_999), (9, medal))

        message = one(pb("INTERACT_WORD_V2", body))

        assert (message.kind, message.user, message.uid, message.sent_at) == (kind, "Ann", "42", 1_749_999_999_000)
        assert message.badges == (Badge("member", "", 2), Badge("fan", "Cats", 21))

    @pytest.mark.parametrize("data", [b"\x08", b"\x12\x7fAnn", b"\x0b", b"\x80" * 12, b"\x08\x01" * 5000])
    def test_a_broken_message_is_counted(self, data: bytes) -> None:
        messages, codec = feed(pb("SEND_GIFT_V2", data))

        assert (messages, codec.counters.malformed) == ([], 1)

    def test_text_that_is_no_base64_is_counted(self) -> None:
        messages, codec = feed({"cmd": "SEND_GIFT_V2", "data": {"pb": "%%%"}})

        assert (messages, codec.counters.malformed) == ([], 1)


def super_chat(**changes: Any) -> dict[str, Any]:
    data = {
        "id": 6_522_809,
        "uid": 42,
        "price": 30,
        "message": "well played",
        "message_font_color": "#A3F6FF",
        "time": 60,
        "ts": 1_749_999_999,
        "user_info": {"uname": "Ann"},
        "medal_info": {"medal_name": "Cats", "medal_level": 21, "guard_level": 3},
    }
    return {"cmd": "SUPER_CHAT_MESSAGE", "data": {**data, **changes}}


class TestSuperChat:
    """SUPER_CHAT_MESSAGE: `price` in yuan, `time` in seconds, `id` for taking it back."""

    def test_a_super_chat(self) -> None:
        assert one(super_chat()) == ChatMessage(
            MessageKind.SUPER_CHAT,
            NOW,
            id="6522809",
            sent_at=1_749_999_999_000,
            user="Ann",
            uid="42",
            text="well played",
            colour=0xA3F6FF,
            price=30_000,
            currency="CNY",
            duration_s=60,
            badges=(Badge("member", "", 3), Badge("fan", "Cats", 21)),
        )

    def test_its_japanese_twin_is_the_same_message(self) -> None:
        """SUPER_CHAT_MESSAGE_JPN has the same id, and there its numbers are strings."""
        twin = {**super_chat(id="6522809", uid="42", message_jpn="ok"), "cmd": "SUPER_CHAT_MESSAGE_JPN"}

        messages, _ = feed(super_chat(), twin, super_chat(id=7))

        assert [message.id for message in messages] == ["6522809", "7"]

    def test_one_that_is_taken_back(self) -> None:
        messages, _ = feed({"cmd": "SUPER_CHAT_MESSAGE_DELETE", "data": {"ids": [6_522_809, 5]}, "roomid": 1})

        assert [(message.kind, message.action, message.target) for message in messages] == [
            (MessageKind.MODERATION, "delete", "6522809"),
            (MessageKind.MODERATION, "delete", "5"),
        ]


def test_a_membership_costs_its_price_times_its_months() -> None:
    """GUARD_BUY: level 1 governor, 2 admiral, 3 captain; price per unit in gold coins; outer msg_id names the message."""
    data = {"uid": 42, "username": "Ann", "guard_level": 3, "num": 2, "price": 198_000, "gift_name": "Captain"}

    message = one({"cmd": "GUARD_BUY", "data": {**data, "start_time": 1_749_999_999}, "msg_id": "m-1"})

    assert message == ChatMessage(
        MessageKind.MEMBERSHIP,
        NOW,
        id="m-1",
        sent_at=1_749_999_999_000,
        user="Ann",
        uid="42",
        price=396_000,
        currency="CNY",
        quantity=2,
        gift="Captain",
        level=3,
    )


def test_the_celebration_of_a_membership_is_not_another_one() -> None:
    """USER_TOAST_MSG follows GUARD_BUY."""
    data = {"toast_msg": "<%Ann%> is a captain", "username": "Ann", "uid": 42, "guard_level": 3, "price": 138_000}

    message = one({"cmd": "USER_TOAST_MSG", "data": {**data, "payflow_id": "p-1"}})

    assert (message.kind, message.action, message.price, message.id) == (MessageKind.SYSTEM, "toast", 0, "p-1")


@pytest.mark.parametrize(
    ("msg_type", "kind", "action"),
    [
        (1, MessageKind.JOIN, ""),
        (2, MessageKind.FOLLOW, ""),
        (3, MessageKind.SYSTEM, "share"),
        (4, MessageKind.FOLLOW, "special"),
        (5, MessageKind.FOLLOW, "mutual"),
    ],
)
def test_an_interaction(msg_type: int, kind: MessageKind, action: str) -> None:
    """INTERACT_WORD: msg_type 1 entered, 2 followed, 3 shared, 4 follows specially, 5 both follow each other."""
    data = {"msg_type": msg_type, "uname": "Ann", "uid": 42, "timestamp": 1_749_999_999, "fans_medal": None}

    message = one({"cmd": "INTERACT_WORD", "data": data})

    assert (message.kind, message.action, message.user, message.sent_at) == (kind, action, "Ann", 1_749_999_999_000)


def test_a_room_change_carries_title_and_categories() -> None:
    """ROOM_CHANGE: data.{title, area_name, parent_area_name}."""
    data = {"title": "New game", "area_name": "Chess", "parent_area_name": "Games"}

    message = one({"cmd": "ROOM_CHANGE", "data": data})

    assert message == ChatMessage(
        MessageKind.ROOM_CHANGE, NOW, text="New game", category="Chess", parent_category="Games"
    )


@pytest.mark.parametrize(
    ("command", "action", "text"),
    [
        ({"cmd": "CUT_OFF", "msg": "rules", "roomid": 1}, "cut_off", "rules"),
        ({"cmd": "ROOM_LOCK", "expire": "2018-11-22 16:47:51", "roomid": 1}, "locked", "2018-11-22 16:47:51"),
        ({"cmd": "PREPARING", "roomid": "1", "msg_id": "m", "send_time": NOW}, "ended", ""),
    ],
)
def test_the_ways_a_stream_is_closed(command: dict[str, Any], action: str, text: str) -> None:
    """CUT_OFF by the platform (msg), ROOM_LOCK until `expire`, PREPARING when the streamer stops."""
    message = one(command)

    assert (message.kind, message.action, message.text) == (MessageKind.STREAM_CLOSED, action, text)
    assert message.sent_at == command.get("send_time", 0)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ({"cmd": "WARNING", "msg": "dress code"}, {"action": "warn", "text": "dress code"}),
        (
            {"cmd": "ROOM_BLOCK_MSG", "data": {"uid": 42, "uname": "Ann", "operator": 2}, "uid": "42", "uname": "Ann"},
            {"action": "mute", "target": "42", "user": "Ann"},
        ),
        ({"cmd": "ROOM_BLOCK_MSG", "uid": "42", "uname": "Ann"}, {"action": "mute", "target": "42", "user": "Ann"}),
        (
            {"data": {"level": 2, "second": -1, "type": "medal"}, "cmd": "ROOM_SILENT_ON"},
            {"action": "silence_on", "text": "medal", "level": 2},
        ),
        ({"cmd": "ROOM_SILENT_OFF", "data": []}, {"action": "silence_off"}),
    ],
)
def test_moderation(command: dict[str, Any], expected: dict[str, Any]) -> None:
    """WARNING {msg}; ROOM_BLOCK_MSG with uid and uname on one or both levels; ROOM_SILENT_ON {type, level}."""
    assert one(command) == ChatMessage(MessageKind.MODERATION, NOW, **expected)


def test_the_start_of_a_broadcast() -> None:
    """LIVE: live_time in seconds."""
    message = one({"cmd": "LIVE", "live_time": 1_749_999_999, "roomid": 1})

    assert (message.kind, message.action, message.sent_at) == (MessageKind.SYSTEM, "live", 1_749_999_999_000)


def test_an_unknown_command_is_counted_by_name() -> None:
    messages, codec = feed(
        {"cmd": "ONLINE_RANK_V2", "data": {}}, {"data": {}, "cmd": "NOTICE_MSG"}, {"cmd": "NOTICE_MSG"}
    )

    assert messages == []
    assert codec.counters.ignored == {"ONLINE_RANK_V2": 1, "NOTICE_MSG": 2}


def test_invented_names_do_not_grow_the_table() -> None:
    _, codec = feed(*({"cmd": f"INVENTED_{number}"} for number in range(1000)))

    assert len(codec.counters.ignored) == 257
    assert codec.counters.ignored["other"] == 1000 - 256
