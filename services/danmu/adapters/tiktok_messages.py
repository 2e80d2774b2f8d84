"""What each method of TikTok's webcast means, as chat messages.

Field numbers: as published with the schemas that `tiktok` names; every message has a ``Common`` in field 1 {2 id, 4 time of
sending} and most a ``User`` {1 id, 3 nickname, 64 badges {3 scene, 12 {5 level}, 21 {3 text}, 22 {2 text}}}. A gift costs
``diamondCount`` coins each. Coins have no rate of exchange that is the same everywhere: prices are in thousandths of a coin
and the currency is "coins".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from services.danmu.adapters import protobuf
from services.danmu.adapters.messages import Badge, ChatMessage, Emote, MessageKind, gathered
from services.danmu.adapters.protobuf import Fields

Handler = Callable[[Fields, int], list[ChatMessage]]

GIFT_METHOD: Final = "WebcastGiftMessage"
VIEWERS_METHOD: Final = "WebcastRoomUserSeqMessage"

MAX_TEXT: Final = 4096
MAX_NAME: Final = 256
MAX_EMOTES: Final = 64
MAX_PICTURES: Final = 512
MAX_BADGES: Final = 16
MAX_TARGETS: Final = 64

_SECONDS_BELOW: Final = 100_000_000_000
"""Unix milliseconds passed this value in 1973: a smaller time stamp is in seconds."""
_INT_MAX: Final = (1 << 63) - 1
_SIGN: Final = 1 << 63
_COMBINES: Final = 1
"""The type of gifts that can be sent in a row."""
_SCENES: Final = {1: "moderator", 4: "member", 8: "grade", 10: "fan"}


class Gift(NamedTuple):
    """A gift as it came: `combines` = one of a row, `ends` = the last of it, `total` = the sum of the row so far."""

    message: ChatMessage
    gift_id: int
    group_id: int
    total: int
    combines: bool
    ends: bool

    def times(self, count: int) -> ChatMessage:
        """So many of this gift; the id is the row and its length, which is the same on every connection."""
        each = self.message.price // max(self.message.quantity, 1)
        price = min(each * count, _INT_MAX)
        name = f"{self.group_id}:{self.total}" if self.group_id else self.message.id
        return self.message._replace(id=name, quantity=count, price=price)


def gift_of(body: Fields, now: int) -> Gift:
    """WebcastGiftMessage: 2 gift, 5 sum of the row, 6 this step, 7 from, 8 to, 9 row is over, 11 row, 15 what it is."""
    details = _message(body, 15)
    count = max(min(protobuf.integer(body, 5), 1 << 31), 1)
    price = min(protobuf.integer(details, 12), 1 << 31) * 1000 * count
    base = _base(body, MessageKind.GIFT, now, user=7)
    return Gift(
        base._replace(
            gift=protobuf.text(details, 16)[:MAX_NAME] or str(protobuf.integer(body, 2)),
            quantity=count,
            price=min(price, _INT_MAX),
            currency="coins" if price else "",
            target=_uid(_message(body, 8)),
        ),
        protobuf.integer(body, 2),
        protobuf.integer(body, 11),
        count,
        protobuf.integer(details, 11) == _COMBINES,
        protobuf.integer(body, 9) == 1,
    )


def chat(body: Fields, now: int) -> list[ChatMessage]:
    """WebcastChatMessage: 2 user, 3 text, 13 pictures {1 place, 2 {1 id, 2 {1 addresses}}}, 18 {5 is a moderator}."""
    base = _base(body, MessageKind.CHAT, now)
    moderates = protobuf.integer(_message(body, 18), 5)
    badges = base.badges
    if moderates and not any(badge.kind == "moderator" for badge in badges):
        badges = (Badge("moderator"), *badges)
    pictures = [
        (_emote(_message(one, 2)), min(protobuf.integer(one, 1), MAX_TEXT))
        for one in _messages(body, 13)[:MAX_PICTURES]
    ]
    emotes = gathered(pictures, MAX_EMOTES)
    return [base._replace(text=protobuf.text(body, 3)[:MAX_TEXT], badges=badges, emotes=emotes)]


def emote_chat(body: Fields, now: int) -> list[ChatMessage]:
    """WebcastEmoteChatMessage: 2 user, 3 pictures {1 id, 2 {1 addresses}}; there is no text."""
    emotes = tuple(_emote(one) for one in _messages(body, 3)[:MAX_EMOTES])
    text = " ".join(f"[{emote.name}]" for emote in emotes)[:MAX_TEXT]
    return [_base(body, MessageKind.CHAT, now)._replace(text=text, emotes=emotes)]


def question(body: Fields, now: int) -> list[ChatMessage]:
    """WebcastQuestionNewMessage: 2 {2 text, 5 user}."""
    details = _message(body, 2)
    asked = _base(body, MessageKind.CHAT, now, user=0)
    user = _message(details, 5)
    return [
        asked._replace(
            user=protobuf.text(user, 3)[:MAX_NAME],
            uid=_uid(user),
            badges=_badges(user),
            text=protobuf.text(details, 2)[:MAX_TEXT],
            action="question",
        )
    ]


def member(body: Fields, now: int) -> list[ChatMessage]:
    """WebcastMemberMessage: 10 action, 1 = came in."""
    if protobuf.integer(body, 10) not in (0, 1):
        return []
    return [_base(body, MessageKind.JOIN, now)]


def social(body: Fields, now: int) -> list[ChatMessage]:
    """WebcastSocialMessage: 4 action, 1 = followed, 3 = shared."""
    action = protobuf.integer(body, 4)
    if action == 1:
        return [_base(body, MessageKind.FOLLOW, now)]
    return [_base(body, MessageKind.SYSTEM, now)._replace(action="share")] if action == 3 else []


def like(body: Fields, now: int) -> list[ChatMessage]:
    """WebcastLikeMessage: 2 how many at once, 5 user. Sent now and then, not for every tap."""
    count = max(min(protobuf.integer(body, 2), _INT_MAX), 1)
    return [_base(body, MessageKind.SYSTEM, now, user=5)._replace(action="like", quantity=count)]


def subscription(body: Fields, now: int) -> list[ChatMessage]:
    """WebcastSubNotifyMessage: 2 user, 4 months."""
    months = max(min(protobuf.integer(body, 4), 10_000), 1)
    return [_base(body, MessageKind.MEMBERSHIP, now)._replace(quantity=months, gift="subscription")]


def control(body: Fields, now: int) -> list[ChatMessage]:
    """WebcastControlMessage: 2 action, 1 paused, 2 goes on, 3 ended, 4 suspended by the platform; 3 text."""
    action = protobuf.integer(body, 2)
    base = _base(body, MessageKind.SYSTEM, now, user=0)._replace(text=protobuf.text(body, 3)[:MAX_TEXT])
    if action in (1, 2):
        return [base._replace(action="pause" if action == 1 else "resume")]
    if action in (3, 4):
        return [base._replace(kind=MessageKind.STREAM_CLOSED, action="ended" if action == 3 else "cut_off")]
    return []


def deletion(body: Fields, now: int) -> list[ChatMessage]:
    """WebcastImDeleteMessage: 2 ids of messages, 3 ids of users all of whose messages go."""
    base = _base(body, MessageKind.MODERATION, now, user=0)._replace(id="")
    messages = [base._replace(action="delete", target=str(one)) for one in _numbers(body, 2)]
    return messages + [base._replace(action="delete_user", target=str(one)) for one in _numbers(body, 3)]


def notice(body: Fields, now: int) -> list[ChatMessage]:
    """WebcastRoomMessage: 2 text."""
    return [_base(body, MessageKind.SYSTEM, now, user=0)._replace(action="notice", text=_text(body, 2))]


def introduction(body: Fields, now: int) -> list[ChatMessage]:
    """WebcastLiveIntroMessage: 4 what the streamer says of the broadcast, 5 the streamer."""
    return [_base(body, MessageKind.SYSTEM, now, user=5)._replace(action="notice", text=_text(body, 4))]


def _base(body: Fields, kind: MessageKind, now: int, user: int = 2) -> ChatMessage:
    common, sender = _message(body, 1), _message(body, user)
    sent_at = protobuf.integer(common, 4)
    number = _signed(protobuf.integer(common, 2))
    return ChatMessage(
        kind,
        now,
        str(number) if number else "",
        min(sent_at if sent_at >= _SECONDS_BELOW else sent_at * 1000, _INT_MAX),
        protobuf.text(sender, 3)[:MAX_NAME],
        _uid(sender),
        badges=_badges(sender),
    )


def _badges(user: Fields) -> tuple[Badge, ...]:
    badges = []
    for one in _messages(user, 64)[:MAX_BADGES]:
        kind = _SCENES.get(protobuf.integer(one, 3))
        if kind is not None:
            level = protobuf.text(_message(one, 12), 5)
            name = protobuf.text(_message(one, 21), 3) or protobuf.text(_message(one, 22), 2)
            number = int(level) if level.isascii() and level.isdecimal() and len(level) < 9 else 0
            badges.append(Badge(kind, name[:MAX_NAME], number))
    return tuple(badges)


def _emote(details: Fields) -> Emote:
    name = protobuf.text(details, 1)[:MAX_NAME]
    addresses = _message(details, 2).get(1, [b""])
    url = addresses[0] if isinstance(addresses[0], bytes) else b""
    return Emote(name, url.decode("utf-8", "replace")[:MAX_TEXT], name)


def _text(body: Fields, number: int) -> str:
    return protobuf.text(body, number)[:MAX_TEXT]


def _uid(user: Fields) -> str:
    number = _signed(protobuf.integer(user, 1))
    return str(number) if number else ""


def _signed(value: int) -> int:
    """An int64 as it is meant: negative numbers take ten bytes on the wire."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value & _SIGN else value


def _message(fields: Fields, number: int) -> Fields:
    """The last nested message of a field, empty when it is absent. Raises InvalidMessage."""
    value = fields.get(number, [b""])[-1]
    return protobuf.parse(value) if isinstance(value, bytes) else {}


def _messages(fields: Fields, number: int) -> list[Fields]:
    return protobuf.messages(fields, number) if number in fields else []


def _numbers(fields: Fields, number: int) -> list[int]:
    """A repeated number, in one value each or packed into one. Raises InvalidMessage."""
    numbers: list[int] = []
    for value in fields.get(number, []):
        numbers += [value] if isinstance(value, int) else protobuf.packed(value)
    return [_signed(one) for one in numbers[:MAX_TARGETS]]


HANDLERS: Final[dict[str, Handler]] = {
    "WebcastChatMessage": chat,
    "WebcastControlMessage": control,
    "WebcastEmoteChatMessage": emote_chat,
    "WebcastImDeleteMessage": deletion,
    "WebcastLikeMessage": like,
    "WebcastLiveIntroMessage": introduction,
    "WebcastMemberMessage": member,
    "WebcastQuestionNewMessage": question,
    "WebcastRoomMessage": notice,
    "WebcastSocialMessage": social,
    "WebcastSubNotifyMessage": subscription,
}
