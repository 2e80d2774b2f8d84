"""What each command of a Bilibili live room means, as chat messages.

Field meanings: the community reference "bilibili-API-collect", page "live/message_stream" (DANMU_MSG, SEND_GIFT,
COMBO_SEND, SUPER_CHAT_MESSAGE, GUARD_BUY, USER_TOAST_MSG, INTERACT_WORD, ROOM_CHANGE, ROOM_BLOCK_MSG, ROOM_SILENT_ON,
CUT_OFF, WARNING), and for the protobuf variants SEND_GIFT_V2 and INTERACT_WORD_V2 the field numbers published with the
"Bilibili-Live-API" notes and checked there against live samples. Amounts are in gold seeds: 1000 of them are one yuan,
so a gold seed is exactly a thousandth of CNY.

A handler takes the decoded JSON object and the time of receipt and may raise `MALFORMED`; the codec counts that.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from services.danmu.adapters import protobuf
from services.danmu.adapters.messages import WHITE, Badge, ChatMessage, Emote, MessageKind

Json = dict[str, Any]
Handler = Callable[[Json, int], list[ChatMessage]]

MALFORMED: Final = (
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    AttributeError,
    OverflowError,
    RecursionError,
    zlib.error,
)

MAX_TEXT: Final = 4096
MAX_NAME: Final = 256
MAX_EMOTES: Final = 64
MAX_TARGETS: Final = 64

_NO_MEDAL: Final = (None, None)
_ID_KEY: Final = '"id_str":"'
_EMOTES_KEY: Final = '"emots":{'
_SECONDS_BELOW: Final = 100_000_000_000
"""Unix milliseconds passed this value in 1973: a smaller time stamp is in seconds."""

_INT_MIN: Final = -(1 << 63)
_INT_MAX: Final = (1 << 63) - 1

_INTERACTIONS: Final = {
    1: (MessageKind.JOIN, ""),
    2: (MessageKind.FOLLOW, ""),
    3: (MessageKind.SYSTEM, "share"),
    4: (MessageKind.FOLLOW, "special"),
    5: (MessageKind.FOLLOW, "mutual"),
}


def _text(value: object, limit: int = MAX_NAME) -> str:
    if type(value) is str:
        return value[:limit]
    return str(value) if type(value) is int else ""


def _int(value: object) -> int:
    """Some senders quote their numbers; whatever does not fit 64 bits is no number of this protocol."""
    number = value if type(value) is int else int(value) if isinstance(value, (str, float)) and value else 0
    return number if _INT_MIN <= number <= _INT_MAX else 0


def _ms(value: object) -> int:
    number = _int(value)
    if number >= _SECONDS_BELOW:
        return number
    return number * 1000 if number > 0 else 0


def _uid(value: object) -> str:
    """0 is the platform's "hidden from guests"."""
    return str(value) if type(value) is int and value else _text(value) if value else ""


def _sent_at(root: Json, value: object = 0) -> int:
    return _ms(value) or _ms(root.get("send_time"))


@lru_cache(maxsize=8192)
def _badges(name: object, level: object, tier: object = 0, moderator: object = 0) -> tuple[Badge, ...]:
    """Remembered: a room has some hundred combinations and sends one with every message."""
    badges = []
    if moderator:
        badges.append(Badge("moderator"))
    if tier:
        badges.append(Badge("member", "", _int(tier)))
    if name:
        badges.append(Badge("fan", _text(name), _int(level)))
    return tuple(badges)


def _medal(data: Json, key: str) -> tuple[Badge, ...]:
    medal = data.get(key) or {}
    return _badges(medal.get("medal_name"), medal.get("medal_level"), medal.get("guard_level"))


def _padded(values: list[Any], size: int) -> list[Any]:
    return values if len(values) >= size else values + [None] * (size - len(values))


def chat(root: Json, received_at: int, action: str = "") -> list[ChatMessage]:
    """DANMU_MSG. Positions in ``info``: 0 = how it looks, 1 = text, 2 = sender, 3 = fan medal, 7 = membership tier.

    ``info[0]``: 1 mode, 2 size, 3 colour, 4 sent at (ms), 12 kind (1 = one emoticon), 13 emoticon, 15 = {extra}; the
    id of the message is ``id_str`` of the JSON text in ``extra``.
    """
    info = _padded(root["info"], 8)
    look = _padded(info[0], 16)
    sender = _padded(info[2], 3)
    medal = info[3] or _NO_MEDAL
    text = _text(info[1], MAX_TEXT)
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
            _ms(sent_at),
            _text(sender[1]),
            _uid(sender[0]),
            text,
            colour & WHITE if type(colour) is int else WHITE,
            _int(mode) or 1,
            _int(size) or 25,
            action=action,
            badges=_badges(medal[1], medal[0], info[7], sender[2]),
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
        return (Emote(text[:MAX_NAME], _text(emoticon.get("url"), MAX_TEXT), _text(emoticon.get("emoticon_unique"))),)
    if _EMOTES_KEY not in extra:
        return ()
    emots = json.loads(extra)["emots"]
    return tuple(
        Emote(name[:MAX_NAME], _text(emote.get("url"), MAX_TEXT), _text(emote.get("emoticon_unique")))
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
            _text(data.get("tid")) or _text(data.get("rnd")),
            _sent_at(root, data.get("timestamp")),
            _text(data.get("uname")),
            _uid(data.get("uid")),
            quantity=_int(data.get("num")) or 1,
            gift=_text(data["giftName"]),
            badges=_medal(data, "medal_info"),
            **_paid(data.get("coin_type"), data.get("total_coin")),
        )
    ]


def _paid(coin_type: object, coins: object) -> dict[str, Any]:
    price = max(_int(coins), 0) if coin_type == "gold" else 0
    return {"price": price, "currency": "CNY" if price else ""}


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
        "uid": _uid(protobuf.integer(fields, 1)),
        "badges": _badges(protobuf.text(medal, 6), protobuf.integer(medal, 5), protobuf.integer(fields, 5)),
    }
    return [
        ChatMessage(
            MessageKind.GIFT,
            received_at,
            protobuf.text(item, 9)[:MAX_NAME],
            _sent_at(root, protobuf.integer(item, 10)),
            quantity=protobuf.integer(item, 3) or 1,
            gift=protobuf.text(item, 2)[:MAX_NAME],
            **sender,
            **_paid(protobuf.text(item, 8), _coins_v2(item, box)),
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
            _text(data.get("batch_combo_id")) or _text(data.get("combo_id")),
            _sent_at(root),
            _text(data.get("uname")),
            _uid(data.get("uid")),
            action="combo",
            quantity=_int(data.get("total_num")) or _int(data.get("combo_num")) or 1,
            gift=_text(data["gift_name"]),
            **_paid("gold", data.get("combo_total_coin")),
        )
    ]


def super_chat(root: Json, received_at: int) -> list[ChatMessage]:
    """SUPER_CHAT_MESSAGE, and its Japanese twin with the same id; ``price`` is in yuan, ``time`` in seconds."""
    data = root["data"]
    user = data.get("user_info") or {}
    colour = _text(data.get("message_font_color")).removeprefix("#")
    return [
        ChatMessage(
            MessageKind.SUPER_CHAT,
            received_at,
            _text(data["id"]),
            _sent_at(root, data.get("ts") or data.get("start_time")),
            _text(user.get("uname")),
            _uid(data.get("uid")),
            _text(data["message"], MAX_TEXT),
            int(colour, 16) & WHITE if len(colour) == 6 else WHITE,
            price=max(round(float(data["price"]) * 1000), 0),
            currency="CNY",
            duration_s=_int(data.get("time")),
            badges=_medal(data, "medal_info"),
        )
    ]


def super_chat_deleted(root: Json, received_at: int) -> list[ChatMessage]:
    """SUPER_CHAT_MESSAGE_DELETE: one message per id that was taken back."""
    ids = root["data"]["ids"][:MAX_TARGETS]
    return [_moderation(root, received_at, "delete", target=_text(target)) for target in ids]


def membership(root: Json, received_at: int) -> list[ChatMessage]:
    """GUARD_BUY. ``guard_level``: 1 governor, 2 admiral, 3 captain; ``price`` is per unit, in gold seeds."""
    data = root["data"]
    count = _int(data.get("num")) or 1
    return [
        ChatMessage(
            MessageKind.MEMBERSHIP,
            received_at,
            _text(root.get("msg_id")),
            _sent_at(root, data.get("start_time")),
            _text(data.get("username")),
            _uid(data.get("uid")),
            quantity=count,
            gift=_text(data.get("gift_name")),
            level=_int(data["guard_level"]),
            **_paid("gold", _int(data.get("price")) * count),
        )
    ]


def toast(root: Json, received_at: int) -> list[ChatMessage]:
    """USER_TOAST_MSG celebrates the membership that GUARD_BUY reported: a system message, counted nowhere."""
    data = root["data"]
    return [
        ChatMessage(
            MessageKind.SYSTEM,
            received_at,
            _text(data.get("payflow_id")) or _text(root.get("msg_id")),
            _sent_at(root, data.get("start_time")),
            _text(data.get("username")),
            _uid(data.get("uid")),
            _text(data["toast_msg"], MAX_TEXT),
            action="toast",
            level=_int(data.get("guard_level")),
        )
    ]


def interaction(root: Json, received_at: int) -> list[ChatMessage]:
    """INTERACT_WORD. ``msg_type``: 1 came in, 2 follows, 3 shared, 4 follows specially, 5 follow each other."""
    data = root["data"]
    kind, action = _INTERACTIONS[_int(data["msg_type"])]
    return [
        ChatMessage(
            kind,
            received_at,
            _text(root.get("msg_id")),
            _sent_at(root, data.get("timestamp")),
            _text(data.get("uname")),
            _uid(data.get("uid")),
            action=action,
            badges=_medal(data, "fans_medal"),
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
            _text(root.get("msg_id")),
            _sent_at(root, protobuf.integer(fields, 7)),
            protobuf.text(fields, 2)[:MAX_NAME],
            _uid(protobuf.integer(fields, 1)),
            action=action,
            badges=_badges(protobuf.text(medal, 3), protobuf.integer(medal, 2), protobuf.integer(medal, 9)),
        )
    ]


def room_change(root: Json, received_at: int) -> list[ChatMessage]:
    """ROOM_CHANGE: the streamer changed the title or moved to another area."""
    data = root["data"]
    return [
        ChatMessage(
            MessageKind.ROOM_CHANGE,
            received_at,
            _text(root.get("msg_id")),
            _sent_at(root),
            text=_text(data["title"], MAX_TEXT),
            category=_text(data.get("area_name")),
            parent_category=_text(data.get("parent_area_name")),
        )
    ]


def _closed(action: str, reason_key: str) -> Handler:
    def closed(root: Json, received_at: int) -> list[ChatMessage]:
        reason = _text(root.get(reason_key), MAX_TEXT)
        return [
            ChatMessage(
                MessageKind.STREAM_CLOSED,
                received_at,
                _text(root.get("msg_id")),
                _sent_at(root),
                text=reason,
                action=action,
            )
        ]

    return closed


def live(root: Json, received_at: int) -> list[ChatMessage]:
    """LIVE: the broadcast (re)started."""
    sent_at = _sent_at(root, root.get("live_time"))
    return [ChatMessage(MessageKind.SYSTEM, received_at, _text(root.get("msg_id")), sent_at, action="live")]


def _moderation(root: Json, received_at: int, action: str, **values: Any) -> ChatMessage:
    message_id = _text(root.get("msg_id"))
    return ChatMessage(MessageKind.MODERATION, received_at, message_id, _sent_at(root), action=action, **values)


def warning(root: Json, received_at: int) -> list[ChatMessage]:
    """WARNING: the platform's staff warns the streamer."""
    return [_moderation(root, received_at, "warn", text=_text(root.get("msg"), MAX_TEXT))]


def muted(root: Json, received_at: int) -> list[ChatMessage]:
    """ROOM_BLOCK_MSG: a viewer may not write any more; the fields appear on both levels, sometimes only on the outer."""
    data = root.get("data") or root
    target = _uid(data.get("uid") or root.get("uid"))
    return [_moderation(root, received_at, "mute", user=_text(data.get("uname") or root.get("uname")), target=target)]


def silenced(root: Json, received_at: int) -> list[ChatMessage]:
    """ROOM_SILENT_ON: nobody below a ``type`` (level, medal, member) and ``level`` may write."""
    data = root["data"]
    return [_moderation(root, received_at, "silence_on", text=_text(data.get("type")), level=_int(data.get("level")))]


def unsilenced(root: Json, received_at: int) -> list[ChatMessage]:
    """ROOM_SILENT_OFF."""
    return [_moderation(root, received_at, "silence_off")]


HANDLERS: Final[dict[str, Handler]] = {
    "DANMU_MSG": chat,
    "DANMU_MSG_MIRROR": mirrored_chat,
    "SEND_GIFT": gift,
    "SEND_GIFT_V2": gift_v2,
    "COMBO_SEND": combo,
    "SUPER_CHAT_MESSAGE": super_chat,
    "SUPER_CHAT_MESSAGE_JPN": super_chat,
    "SUPER_CHAT_MESSAGE_DELETE": super_chat_deleted,
    "GUARD_BUY": membership,
    "USER_TOAST_MSG": toast,
    "INTERACT_WORD": interaction,
    "INTERACT_WORD_V2": interaction_v2,
    "ROOM_CHANGE": room_change,
    "ROOM_LOCK": _closed("locked", "expire"),
    "CUT_OFF": _closed("cut_off", "msg"),
    "PREPARING": _closed("ended", "msg"),
    "LIVE": live,
    "WARNING": warning,
    "ROOM_BLOCK_MSG": muted,
    "ROOM_SILENT_ON": silenced,
    "ROOM_SILENT_OFF": unsilenced,
}
