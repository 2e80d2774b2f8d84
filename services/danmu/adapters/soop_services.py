"""What each service of SOOP's chat means, as chat messages.

The order of the fields is that of the platform's own web player, as published by readers of it that agree with each other
and with what the screen showed (services 4, 5, 8, 18, 21, 45, 58, 86, 87, 88, 91, 93, 104, 105, 107, 108, 109, 118, 121
observed in broadcasts; 20, 23, 26, 33, 34, 37, 38, 75, 76, 120 read in the player only). Of services 6, 41 and 53 (title,
super chat, broadcast information) nobody has published the fields: they are counted, not guessed at.

Messages carry neither an id nor a time of sending. A star balloon is sold for 100 won before tax (the platform's own price
list); what other gifts cost is not in their packets. Service 7 looks like the end of a broadcast and is not: it comes with
every entrance of the streamer's account; only service 88 is the end. A user who is connected twice has ``(2)`` behind the id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Final

from services.danmu.adapters.messages import WHITE, Badge, ChatMessage, Emote, MessageKind

Handler = Callable[[list[str], int], list[ChatMessage]]

MALFORMED: Final = (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError)

MAX_TEXT: Final = 4096
MAX_NAME: Final = 256
MAX_USERS: Final = 1024
"""People in one announcement of entrances; seen: 17."""

BALLOON_KRW: Final = 100_000
"""Thousandths of a won."""

STREAMER_FLAG: Final = 1 << 2
FAN_CLUB_FLAG: Final = 1 << 5
FIXED_MANAGER_FLAG: Final = 1 << 6
MANAGER_FLAG: Final = 1 << 8
TOP_FAN_FLAG: Final = 1 << 15
SUBSCRIBER_FLAG: Final = 1 << 28

PLUS_TIER: Final = 2
_QUICK_VIEW: Final = {1: 30, 2: 90, 3: 365, 100: 7, 101: 30, 102: 90, 103: 365}
"""Days of a gift of ad-free viewing, by item type."""
_INT_MAX: Final = (1 << 63) - 1
_SECOND_CONNECTION: Final = re.compile(r"\(\d{1,3}\)\Z")


def join(fields: list[str], now: int) -> list[ChatMessage]:
    """4: fields 1… = (id, name, flags) of each who came when field 0 is 1; else who left, 3 = 1 unless put out."""
    if number(fields, 0) == 1:
        people = [fields[at : at + 3] for at in range(1, min(len(fields), MAX_USERS * 3), 3)]
        return [
            ChatMessage(MessageKind.JOIN, now, user=name[:MAX_NAME], uid=uid_of(uid), badges=badges_of(flags))
            for uid, name, flags in (one for one in people if len(one) == 3 and one[0])
        ]
    if number(fields, 3) == 1:
        return []
    return [ChatMessage(MessageKind.MODERATION, now, user=name(fields, 2), action="kick", target=uid(fields, 1))]


def chat(fields: list[str], now: int) -> list[ChatMessage]:
    """5: text, id, colour of the text (blue-green-red), kind, language, name, flags, months subscribed."""
    return [
        ChatMessage(
            MessageKind.CHAT,
            now,
            user=name(fields, 5),
            uid=uid(fields, 1),
            text=text(fields, 0),
            colour=colour_of(fields, 2),
            badges=badges_of(fields[6], number(fields, 7)),
        )
    ]


def emoticon(fields: list[str], now: int) -> list[ChatMessage]:
    """109: chat number, text (may be empty), group, picture, version, id, name, flags, colour; 12 = months subscribed."""
    label = f"{name(fields, 2)}/{name(fields, 3)}"
    return [
        ChatMessage(
            MessageKind.CHAT,
            now,
            user=name(fields, 6),
            uid=uid(fields, 5),
            text=text(fields, 1) or f"[{label}]",
            colour=colour_of(fields, 8),
            badges=badges_of(fields[7], number(fields, 12)),
            emotes=(Emote(f"[{label}]", id=label),),
        )
    ]


def manager_chat(fields: list[str], now: int) -> list[ChatMessage]:
    """26: text, id, 1 = of the platform's staff, language, name, flags, months subscribed."""
    badges = badges_of(fields[5], number(fields, 6))
    if not any(badge.kind == "moderator" for badge in badges):
        badges = (Badge("moderator"), *badges)
    return [
        ChatMessage(
            MessageKind.CHAT, now, user=name(fields, 4), uid=uid(fields, 1), text=text(fields, 0), badges=badges
        )
    ]


def mute(fields: list[str], now: int) -> list[ChatMessage]:
    """8: whom, -, seconds, how often so far, who did it, 1 = the streamer and 2 = a manager, label, name of whom."""
    return [
        ChatMessage(
            MessageKind.MODERATION,
            now,
            user=name(fields, 7),
            duration_s=number(fields, 2),
            action="mute",
            target=uid(fields, 0),
        )
    ]


def unkick(fields: list[str], now: int) -> list[ChatMessage]:
    """76: state 1 takes an expulsion back; id, name. The expulsion itself is told by service 4."""
    if number(fields, 0) != 1:
        return []
    return [ChatMessage(MessageKind.MODERATION, now, user=name(fields, 2), action="unkick", target=uid(fields, 1))]


def freeze(fields: list[str], now: int) -> list[ChatMessage]:
    """21: whether the chat is frozen, and who may speak all the same."""
    action = "silence_on" if int(fields[0] or 0) else "silence_off"
    return [ChatMessage(MessageKind.MODERATION, now, action=action)]


def slow_mode(fields: list[str], now: int) -> list[ChatMessage]:
    """23: seconds between two messages, set by the platform and by the streamer."""
    seconds = max(number(fields, 0), number(fields, 1))
    return [ChatMessage(MessageKind.MODERATION, now, action="slow_mode", duration_s=seconds)]


def staff_notice(fields: list[str], now: int) -> list[ChatMessage]:
    """58: a notice of the platform."""
    return [ChatMessage(MessageKind.SYSTEM, now, text=text(fields, 0), action="notice")]


def notice(fields: list[str], now: int) -> list[ChatMessage]:
    """104: 1 = whether the streamer's notice is shown, 3 = what it says."""
    if not number(fields, 1):
        return []
    return [ChatMessage(MessageKind.SYSTEM, now, text=text(fields, 3), action="notice")]


def pause(fields: list[str], now: int) -> list[ChatMessage]:
    """75: 0 = a broadcast from a telephone pauses, 1 = it goes on."""
    return [ChatMessage(MessageKind.SYSTEM, now, action="resume" if int(fields[0]) else "pause")]


def closed(_: list[str], now: int) -> list[ChatMessage]:
    """88: the broadcast has ended."""
    return [ChatMessage(MessageKind.STREAM_CLOSED, now, action="ended")]


def balloons(gift: str, sender: int, nick: int, count: int) -> Handler:
    """18, 33 (a joint broadcast), 86 (sent to a recording), 105 (with a video): star balloons, which are money."""

    def handle(fields: list[str], now: int) -> list[ChatMessage]:
        message = _gift(fields, now, gift, sender, nick, count)
        price = min(message.quantity * BALLOON_KRW, _INT_MAX)
        return [message._replace(price=price, currency="KRW")]

    return handle


def present(gift: str, sender: int, nick: int, count: int, title: int | None = None) -> Handler:
    """20 and 34 (fan letters), 37 and 38 (chocolate), 87 and 107 (ad balloons): no money, or an unknown sum."""

    def handle(fields: list[str], now: int) -> list[ChatMessage]:
        message = _gift(fields, now, gift, sender, nick, count)
        return [message._replace(text=text(fields, title)) if title is not None else message]

    return handle


def quick_view(fields: list[str], now: int) -> list[ChatMessage]:
    """45: -, giver's id and name, receiver's id and name, item type: ad-free viewing for another viewer."""
    days = _QUICK_VIEW.get(number(fields, 5), 0)
    return [_handed(fields, now, "quick view")._replace(duration_s=days * 86_400)]


def emoticon_gift(fields: list[str], now: int) -> list[ChatMessage]:
    """118: -, giver's id and name, receiver's id and name, product."""
    return [_handed(fields, now, name(fields, 5) or "emoticon")]


def gem(fields: list[str], now: int) -> list[ChatMessage]:
    """120: -, receiver's id and name, item."""
    return [
        ChatMessage(MessageKind.GIFT, now, user=name(fields, 2), gift=name(fields, 3) or "gem", target=uid(fields, 1))
    ]


def mission(fields: list[str], now: int) -> list[ChatMessage]:
    """121: JSON; the types GIFT and CHALLENGE_GIFT are star balloons put on the streamer's success."""
    data = json.loads(fields[0])
    if str(data["type"]).upper() not in ("GIFT", "CHALLENGE_GIFT"):
        return []
    quantity = max(min(int(data["gift_count"]), _INT_MAX // BALLOON_KRW), 0)
    return [
        ChatMessage(
            MessageKind.GIFT,
            now,
            str(data.get("uuid") or "")[:MAX_NAME],
            user=str(data.get("user_nick") or "")[:MAX_NAME],
            uid=uid_of(str(data.get("user_id") or "")),
            text=str(data.get("title") or "")[:MAX_TEXT],
            price=quantity * BALLOON_KRW,
            currency="KRW",
            quantity=quantity,
            gift="mission",
        )
    ]


def subscribed(fields: list[str], now: int) -> list[ChatMessage]:
    """91: chat number, streamer, id, name, item type; 7 = tier, 1 basic and 2 plus."""
    return [_membership(fields, now, 2, 3, 7, 1)]


def renewed(fields: list[str], now: int) -> list[ChatMessage]:
    """93: streamer, id, name, how many months in a row, chat number, item type, months in all, tier."""
    return [_membership(fields, now, 1, 2, 7, max(number(fields, 3), 1))._replace(action="renewed")]


def gave_subscription(fields: list[str], now: int) -> list[ChatMessage]:
    """108: -, giver's id and name, receiver's id and name. One packet for each receiver, without a time in common."""
    handed = _handed(fields, now, "subscription")
    return [handed._replace(kind=MessageKind.MEMBERSHIP, action="gift")]


def _gift(fields: list[str], now: int, gift: str, sender: int, nick: int, count: int) -> ChatMessage:
    return ChatMessage(
        MessageKind.GIFT,
        now,
        user=name(fields, nick),
        uid=uid(fields, sender),
        quantity=max(int(fields[count]), 0) if len(fields[count]) <= 12 else 0,
        gift=gift,
    )


def _handed(fields: list[str], now: int, gift: str) -> ChatMessage:
    return ChatMessage(
        MessageKind.GIFT,
        now,
        user=name(fields, 2),
        uid=uid(fields, 1),
        text=name(fields, 4),
        gift=gift,
        target=uid(fields, 3),
    )


def _membership(fields: list[str], now: int, sender: int, nick: int, tier: int, months: int) -> ChatMessage:
    return ChatMessage(
        MessageKind.MEMBERSHIP,
        now,
        user=name(fields, nick),
        uid=uid(fields, sender),
        quantity=months,
        gift="subscription",
        level=1 if number(fields, tier) == PLUS_TIER else 2,
    )


def text(fields: list[str], at: int, limit: int = MAX_TEXT) -> str:
    """A field without the carriage returns that the player strips as well. Raises IndexError."""
    return fields[at].replace("\r", "")[:limit]


def name(fields: list[str], at: int) -> str:
    """A name, or "" where a packet ends before it."""
    return text(fields, at, MAX_NAME) if at < len(fields) else ""


def uid(fields: list[str], at: int) -> str:
    """Whose packet it is. Raises IndexError."""
    return uid_of(fields[at])


def uid_of(value: str) -> str:
    """An account's id without the number of its connection."""
    return _SECOND_CONNECTION.sub("", value[:MAX_NAME])


def number(fields: list[str], at: int) -> int:
    """A number of at most 64 bits; 0 where there is none."""
    value = fields[at].strip() if at < len(fields) else ""
    if not value or len(value) > 19 or not value.lstrip("-").isdecimal() or not value.isascii():
        return 0
    try:
        return max(min(int(value), _INT_MAX), -_INT_MAX)
    except ValueError:
        return 0


def colour_of(fields: list[str], at: int) -> int:
    """The player turns the number round: its lowest byte is red. Nothing, and 0, are the theme's own colour."""
    value = number(fields, at)
    if value <= 0:
        return WHITE
    return (value & 0xFF) << 16 | (value & 0xFF00) | (value >> 16) & 0xFF


def badges_of(flags: str, months: int = 0) -> tuple[Badge, ...]:
    """From ``first|second`` user flags; the level of a subscriber is the number of months, where it is known."""
    flag = number([flags.partition("|")[0]], 0)
    badges = []
    if flag & STREAMER_FLAG:
        badges.append(Badge("moderator", "streamer"))
    elif flag & (MANAGER_FLAG | FIXED_MANAGER_FLAG):
        badges.append(Badge("moderator"))
    if flag & SUBSCRIBER_FLAG:
        badges.append(Badge("member", "", max(months, 0)))
    if flag & TOP_FAN_FLAG:
        badges.append(Badge("fan", "top fan"))
    elif flag & FAN_CLUB_FLAG:
        badges.append(Badge("fan", "fan club"))
    return tuple(badges)


HANDLERS: Final[dict[int, Handler]] = {
    4: join,
    5: chat,
    8: mute,
    18: balloons("star balloon", 1, 2, 3),
    20: present("fan letter", 2, 3, 7),
    21: freeze,
    23: slow_mode,
    26: manager_chat,
    33: balloons("star balloon", 3, 4, 5),
    34: present("fan letter", 3, 4, 8),
    37: present("chocolate", 2, 3, 4),
    38: present("chocolate", 2, 3, 4),
    45: quick_view,
    58: staff_notice,
    75: pause,
    76: unkick,
    86: balloons("star balloon", 1, 2, 3),
    87: present("ad balloon", 2, 3, 9, 6),
    88: closed,
    91: subscribed,
    93: renewed,
    104: notice,
    105: balloons("video balloon", 2, 3, 4),
    107: present("ad balloon", 1, 2, 3, 5),
    108: gave_subscription,
    109: emoticon,
    118: emoticon_gift,
    120: gem,
    121: mission,
}
