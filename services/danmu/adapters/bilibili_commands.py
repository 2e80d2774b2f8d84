"""What viewers do in a Bilibili live room, as chat messages; `HANDLERS` has what happens to the room too, see `bilibili_room`.

Field meanings: the community reference "bilibili-API-collect", page "live/message_stream" (DANMU_MSG, SEND_GIFT, COMBO_SEND,
SUPER_CHAT_MESSAGE, GUARD_BUY, USER_TOAST_MSG, INTERACT_WORD), and for the protobuf variants SEND_GIFT_V2 and INTERACT_WORD_V2 the
field numbers published with the "Bilibili-Live-API" notes and checked there against live samples.

A handler takes the decoded JSON object and the time of receipt and may raise `MALFORMED`; the codec counts that.
"""

from __future__ import annotations

import base64
import json
from typing import Final

from services.danmu.adapters import protobuf
from services.danmu.adapters.bilibili_fields import (
    MAX_NAME,
    MAX_TEXT,
    Json,
    badges_of,
    int_of,
    medal_of,
    ms_of,
    padded,
    paid_of,
    sent_at_of,
    text_of,
    uid_of,
)
from services.danmu.adapters.bilibili_room import ROOM_HANDLERS, Handler
from services.danmu.adapters.messages import WHITE, ChatMessage, Emote, MessageKind

MALFORMED: Final = (
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,
)

MAX_EMOTES: Final = 64

_NO_MEDAL: Final = (None, None)
_ID_KEY: Final = '"id_str":"'
_EMOTES_KEY: Final = '"emots":{'
_INTERACTIONS: Final = {
    1: (MessageKind.JOIN, ""),
    2: (MessageKind.FOLLOW, ""),
    3: (MessageKind.SYSTEM, "share"),
    4: (MessageKind.FOLLOW, "special"),
    5: (MessageKind.FOLLOW, "mutual"),
}


def chat(root: Json, received_at: int, action: str = "") -> list[ChatMessage]:
    """DANMU_MSG. Positions in ``info``: 0 = how it looks, 1 = text, 2 = sender, 3 = fan medal, 7 = membership tier.

    ``info[0]``: 1 mode, 2 size, 3 colour, 4 sent at (ms), 12 kind (1 = one emoticon), 13 emoticon, 15 = {extra}; the
    id of the message is ``id_str`` of the JSON text in ``extra``.
    """
    info = padded(root["info"], 8)
    look = padded(info[0], 16)
    sender = padded(info[2], 3)
    medal = info[3] or _NO_MEDAL
    text = text_of(info[1], MAX_TEXT)
    _, mode, size, colour, sent_at = look[:5]
    options = look[15]
    extra = options.get("extra", "") if type(options) is dict else ""
    if type(extra) is not str:
        extra = ""
    return [
        ChatMessage(
            MessageKind.CHAT,
            received_at,
            _extra_id(extra),
            ms_of(sent_at),
            text_of(sender[1]),
            uid_of(sender[0]),
            text,
            colour & WHITE if type(colour) is int else WHITE,
            int_of(mode) or 1,
            int_of(size) or 25,
            action=action,
            badges=badges_of(medal[1], medal[0], info[7], sender[2]),
            emotes=_emotes(text, look[13], extra) if look[12] == 1 or _EMOTES_KEY in extra else (),
        )
    ]


def _extra_id(extra: str) -> str:
    """Cut out rather than parsed, for parsing ``extra`` costs half as much again as the whole message.

    Safe because a quote inside any value of that JSON text is escaped, so the key cannot appear in a value.
    """
    start = extra.find(_ID_KEY)
    if start < 0:
        return ""
    start += len(_ID_KEY)
    return extra[start : extra.find('"', start)][:MAX_NAME]


def _emotes(text: str, emoticon: object, extra: str) -> tuple[Emote, ...]:
    if type(emoticon) is dict and emoticon:
        return (
            Emote(text[:MAX_NAME], text_of(emoticon.get("url"), MAX_TEXT), text_of(emoticon.get("emoticon_unique"))),
        )
    if _EMOTES_KEY not in extra:
        return ()
    emots = json.loads(extra)["emots"]
    return tuple(
        Emote(name[:MAX_NAME], text_of(emote.get("url"), MAX_TEXT), text_of(emote.get("emoticon_unique")))
        for name, emote in list(emots.items())[:MAX_EMOTES]
    )


def mirrored_chat(root: Json, received_at: int) -> list[ChatMessage]:
    """DANMU_MSG_MIRROR: a message written in another room of a joint broadcast."""
    return chat(root, received_at, "mirror")


def gift(root: Json, received_at: int) -> list[ChatMessage]:
    """SEND_GIFT. ``total_coin`` is what was paid (of a blind box: the box); silver coins are free."""
    data = root["data"]
    return [
        ChatMessage(
            MessageKind.GIFT,
            received_at,
            text_of(data.get("tid")) or text_of(data.get("rnd")),
            sent_at_of(root, data.get("timestamp")),
            text_of(data.get("uname")),
            uid_of(data.get("uid")),
            quantity=int_of(data.get("num")) or 1,
            gift=text_of(data["giftName"]),
            badges=medal_of(data, "medal_info"),
            **paid_of(data.get("coin_type"), data.get("total_coin")),
        )
    ]


def gift_v2(root: Json, received_at: int) -> list[ChatMessage]:
    """SEND_GIFT_V2: protobuf in ``data.pb``, several gifts at once when blind boxes are opened in a batch.

    1 uid, 2 name, 5 membership tier, 8 medal (5 level, 6 name), 9 blind box (3 name, 6 price), 10 gifts (2 name,
    3 count, 5 price, 6 paid price, 7 total, 8 coin, 9 transaction, 10 seconds).
    """
    fields = _pb(root)
    medal = next(iter(protobuf.messages(fields, 8)), {})
    box = next(iter(protobuf.messages(fields, 9)), {})
    sender: Json = {
        "user": protobuf.text(fields, 2)[:MAX_NAME],
        "uid": uid_of(protobuf.integer(fields, 1)),
        "badges": badges_of(protobuf.text(medal, 6), protobuf.integer(medal, 5), protobuf.integer(fields, 5)),
    }
    return [
        ChatMessage(
            MessageKind.GIFT,
            received_at,
            protobuf.text(item, 9)[:MAX_NAME],
            sent_at_of(root, protobuf.integer(item, 10)),
            quantity=protobuf.integer(item, 3) or 1,
            gift=protobuf.text(item, 2)[:MAX_NAME],
            **sender,
            **paid_of(protobuf.text(item, 8), _coins_v2(item, box)),
        )
        for item in protobuf.messages(fields, 10)
    ]


def _coins_v2(item: protobuf.Fields, box: protobuf.Fields) -> int:
    """Field 7 is the worth of what came out of a blind box; paid was 6, or the price of the boxes."""
    if protobuf.text(box, 3):
        return protobuf.integer(item, 6) or protobuf.integer(box, 6) * protobuf.integer(item, 3)
    return protobuf.integer(item, 7) or protobuf.integer(item, 5) * protobuf.integer(item, 3)


def _pb(root: Json) -> protobuf.Fields:
    return protobuf.parse(base64.b64decode(root["data"]["pb"], validate=True))


def combo(root: Json, received_at: int) -> list[ChatMessage]:
    """COMBO_SEND sums up gifts that SEND_GIFT already reported: a system message, so that no total counts them twice."""
    data = root["data"]
    return [
        ChatMessage(
            MessageKind.SYSTEM,
            received_at,
            text_of(data.get("batch_combo_id")) or text_of(data.get("combo_id")),
            sent_at_of(root),
            text_of(data.get("uname")),
            uid_of(data.get("uid")),
            action="combo",
            quantity=int_of(data.get("total_num")) or int_of(data.get("combo_num")) or 1,
            gift=text_of(data["gift_name"]),
            **paid_of("gold", data.get("combo_total_coin")),
        )
    ]


def super_chat(root: Json, received_at: int) -> list[ChatMessage]:
    """SUPER_CHAT_MESSAGE, and its Japanese twin with the same id; ``price`` is in yuan, ``time`` in seconds."""
    data = root["data"]
    user = data.get("user_info") or {}
    colour = text_of(data.get("message_font_color")).removeprefix("#")
    return [
        ChatMessage(
            MessageKind.SUPER_CHAT,
            received_at,
            text_of(data["id"]),
            sent_at_of(root, data.get("ts") or data.get("start_time")),
            text_of(user.get("uname")),
            uid_of(data.get("uid")),
            text_of(data["message"], MAX_TEXT),
            int(colour, 16) & WHITE if len(colour) == 6 else WHITE,
            price=max(round(float(data["price"]) * 1000), 0),
            currency="CNY",
            duration_s=int_of(data.get("time")),
            badges=medal_of(data, "medal_info"),
        )
    ]


def membership(root: Json, received_at: int) -> list[ChatMessage]:
    """GUARD_BUY. ``guard_level``: 1 governor, 2 admiral, 3 captain; ``price`` is per unit, in gold seeds."""
    data = root["data"]
    count = int_of(data.get("num")) or 1
    return [
        ChatMessage(
            MessageKind.MEMBERSHIP,
            received_at,
            text_of(root.get("msg_id")),
            sent_at_of(root, data.get("start_time")),
            text_of(data.get("username")),
            uid_of(data.get("uid")),
            quantity=count,
            gift=text_of(data.get("gift_name")),
            level=int_of(data["guard_level"]),
            **paid_of("gold", int_of(data.get("price")) * count),
        )
    ]


def toast(root: Json, received_at: int) -> list[ChatMessage]:
    """USER_TOAST_MSG celebrates the membership that GUARD_BUY reported: a system message, counted nowhere."""
    data = root["data"]
    return [
        ChatMessage(
            MessageKind.SYSTEM,
            received_at,
            text_of(data.get("payflow_id")) or text_of(root.get("msg_id")),
            sent_at_of(root, data.get("start_time")),
            text_of(data.get("username")),
            uid_of(data.get("uid")),
            text_of(data["toast_msg"], MAX_TEXT),
            action="toast",
            level=int_of(data.get("guard_level")),
        )
    ]


def interaction(root: Json, received_at: int) -> list[ChatMessage]:
    """INTERACT_WORD. ``msg_type``: 1 came in, 2 follows, 3 shared, 4 follows specially, 5 follow each other."""
    data = root["data"]
    kind, action = _INTERACTIONS[int_of(data["msg_type"])]
    return [
        ChatMessage(
            kind,
            received_at,
            text_of(root.get("msg_id")),
            sent_at_of(root, data.get("timestamp")),
            text_of(data.get("uname")),
            uid_of(data.get("uid")),
            action=action,
            badges=medal_of(data, "fans_medal"),
        )
    ]


def interaction_v2(root: Json, received_at: int) -> list[ChatMessage]:
    """INTERACT_WORD_V2: protobuf in ``data.pb``; 1 uid, 2 name, 5 msg_type, 7 seconds, 9 medal (2 level, 3 name, 9 tier)."""
    fields = _pb(root)
    kind, action = _INTERACTIONS[protobuf.integer(fields, 5)]
    medal = next(iter(protobuf.messages(fields, 9)), {})
    return [
        ChatMessage(
            kind,
            received_at,
            text_of(root.get("msg_id")),
            sent_at_of(root, protobuf.integer(fields, 7)),
            protobuf.text(fields, 2)[:MAX_NAME],
            uid_of(protobuf.integer(fields, 1)),
            action=action,
            badges=badges_of(protobuf.text(medal, 3), protobuf.integer(medal, 2), protobuf.integer(medal, 9)),
        )
    ]


HANDLERS: Final[dict[str, Handler]] = {
    "DANMU_MSG": chat,
    "DANMU_MSG_MIRROR": mirrored_chat,
    "SEND_GIFT": gift,
    "SEND_GIFT_V2": gift_v2,
    "COMBO_SEND": combo,
    "SUPER_CHAT_MESSAGE": super_chat,
    "SUPER_CHAT_MESSAGE_JPN": super_chat,
    "GUARD_BUY": membership,
    "USER_TOAST_MSG": toast,
    "INTERACT_WORD": interaction,
    "INTERACT_WORD_V2": interaction_v2,
    **ROOM_HANDLERS,
}
