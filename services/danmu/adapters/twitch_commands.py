"""What each IRC command of Twitch chat means, as chat messages.

Sources: Twitch developer documentation, "IRC Command Reference" (PRIVMSG, USERNOTICE, CLEARCHAT, CLEARMSG, NOTICE, ROOMSTATE
and their tags), "Twitch IRC Concepts" (positions of emotes are counted in code points; the address of an emote's picture)
and "Bits" (one bit is one US cent to the broadcaster). Subscriptions name no price, as it differs between countries.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, Protocol

from services.danmu.adapters.messages import WHITE, Badge, ChatMessage, Emote, MessageKind, gathered


class ParsedLine(Protocol):
    """What a handler reads of a line; see `twitch.Line`."""

    @property
    def tags(self) -> Mapping[str, str]: ...
    @property
    def nick(self) -> str: ...
    @property
    def parameters(self) -> tuple[str, ...]: ...
    @property
    def text(self) -> str: ...


Handler = Callable[[Any, int], list[ChatMessage]]

MAX_TEXT: Final = 4096
MAX_NAME: Final = 256
MAX_EMOTES: Final = 64
MAX_BADGES: Final = 16
CENT: Final = 10
"""A US cent in thousandths of a dollar."""

_ACTION: Final = "\x01ACTION "
_PLACE: Final = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")
_EMOTE_URL: Final = "https://static-cdn.jtvnw.net/emoticons/v2/{}/default/dark/1.0"
_TIERS: Final = {"3000": 1, "2000": 2, "1000": 3, "Prime": 3}
_MODERATORS: Final = {"moderator", "lead_moderator", "broadcaster", "staff", "admin", "global_mod"}
_MEMBERS: Final = {"subscriber", "founder"}
_ROOM_STATES: Final = ("emote-only", "followers-only", "r9k", "slow", "subs-only")
_SUBSCRIPTIONS: Final = {
    "sub": "",
    "resub": "",
    "subgift": "gift",
    "anonsubgift": "gift",
    "giftpaidupgrade": "upgrade",
    "anongiftpaidupgrade": "upgrade",
    "primepaidupgrade": "upgrade",
}
GONE: Final = {"msg_channel_suspended": "locked", "tos_ban": "locked"}


def chat(line: ParsedLine, now: int) -> list[ChatMessage]:
    """PRIVMSG. A message with bits is a gift that carries its text; one of a shared chat's other room is a mirror."""
    tags = line.tags
    text = line.text
    action = ""
    if text.startswith(_ACTION):
        text, action = text[len(_ACTION) :].removesuffix("\x01"), "me"
    if _is_shared(tags):
        action = "mirror"
    bits = number(tags.get("bits"))
    message = _said(MessageKind.GIFT if bits else MessageKind.CHAT, line, now, text)
    if bits:
        message = message._replace(gift="bits", quantity=bits, price=bits * CENT, currency="USD")
    return [message._replace(action=action, target=tags.get("reply-parent-msg-id", "")[:MAX_NAME])]


def notice_of_user(line: ParsedLine, now: int) -> list[ChatMessage]:
    """USERNOTICE: subscriptions, gifts of them, raids and whatever else is announced in somebody's name.

    ``submysterygift`` announces gifts that follow one by one as ``subgift``; it is a system message, so that nothing is
    counted twice.
    """
    tags = line.tags
    event = tags.get("msg-id", "")[:MAX_NAME]
    if event in _SUBSCRIPTIONS:
        return [_subscription(line, now, _SUBSCRIPTIONS[event])]
    if event == "charitydonation":
        return [_donation(line, now)]
    counts = {
        "raid": "msg-param-viewerCount",
        "submysterygift": "msg-param-mass-gift-count",
        "viewermilestone": "msg-param-value",
    }
    text = line.text or tags.get("system-msg", "")
    message = _said(MessageKind.SYSTEM, line, now, text)
    action = "mirror" if event == "sharedchatnotice" else event
    return [message._replace(action=action, quantity=number(tags.get(counts.get(event, ""))) or 1)]


def cleared(line: ParsedLine, now: int) -> list[ChatMessage]:
    """CLEARCHAT: the whole chat, or everything of one user, who is banned or (with ``ban-duration``) timed out."""
    tags = line.tags
    user = line.text
    seconds = number(tags.get("ban-duration"))
    return [
        ChatMessage(
            MessageKind.MODERATION,
            now,
            sent_at=number(tags.get("tmi-sent-ts")),
            user=user[:MAX_NAME],
            action="clear" if not user else "mute" if seconds else "ban",
            target=tags.get("target-user-id", "")[:MAX_NAME],
            duration_s=seconds,
        )
    ]


def deleted(line: ParsedLine, now: int) -> list[ChatMessage]:
    """CLEARMSG: one message was deleted; the text is what it said."""
    tags = line.tags
    return [
        ChatMessage(
            MessageKind.MODERATION,
            now,
            sent_at=number(tags.get("tmi-sent-ts")),
            user=tags.get("login", "")[:MAX_NAME],
            text=line.text[:MAX_TEXT],
            action="delete",
            target=tags.get("target-msg-id", "")[:MAX_NAME],
        )
    ]


def notice(line: ParsedLine, now: int) -> list[ChatMessage]:
    """NOTICE from the server itself; a suspended channel has no chat any more."""
    event = line.tags.get("msg-id", "")[:MAX_NAME]
    kind = MessageKind.STREAM_CLOSED if event in GONE else MessageKind.SYSTEM
    return [ChatMessage(kind, now, text=line.text[:MAX_TEXT], action=GONE.get(event, event))]


def room_state(line: ParsedLine, now: int) -> list[ChatMessage]:
    """ROOMSTATE: all states when the channel is joined, which is no news, and later those that changed."""
    states = [f"{name}={line.tags[name]}" for name in _ROOM_STATES if name in line.tags]
    if not states or len(states) == len(_ROOM_STATES):
        return []
    return [ChatMessage(MessageKind.SYSTEM, now, text=" ".join(states)[:MAX_TEXT], action="room_state")]


HANDLERS: Final[dict[str, Handler]] = {
    "PRIVMSG": chat,
    "USERNOTICE": notice_of_user,
    "CLEARCHAT": cleared,
    "CLEARMSG": deleted,
    "NOTICE": notice,
    "ROOMSTATE": room_state,
}


def number(value: str | None) -> int:
    """A number of a tag; 0 for what is none, or is negative, or needs more than 64 bits."""
    return int(value) if value and len(value) <= 18 and value.isascii() and value.isdigit() else 0


def _said(kind: MessageKind, line: ParsedLine, now: int, text: str) -> ChatMessage:
    tags = line.tags
    text = text[:MAX_TEXT]
    return ChatMessage(
        kind,
        now,
        tags.get("id", "")[:MAX_NAME],
        number(tags.get("tmi-sent-ts")),
        (tags.get("display-name") or tags.get("login") or line.nick)[:MAX_NAME],
        tags.get("user-id", "")[:MAX_NAME],
        text,
        _colour(tags.get("color", "")),
        badges=_badges(tags.get("badges", ""), tags.get("badge-info", "")),
        emotes=_emotes(text, tags["emotes"]) if tags.get("emotes") else (),
    )


def _subscription(line: ParsedLine, now: int, action: str) -> ChatMessage:
    """``msg-param-sub-plan``: Prime, 1000, 2000 or 3000; months are those of the gift, or all of them so far."""
    tags = line.tags
    months = number(tags.get("msg-param-gift-months" if action == "gift" else "msg-param-cumulative-months"))
    return _said(MessageKind.MEMBERSHIP, line, now, line.text or tags.get("system-msg", ""))._replace(
        gift=tags.get("msg-param-sub-plan-name", "")[:MAX_NAME],
        quantity=months or 1,
        level=_TIERS.get(tags.get("msg-param-sub-plan", ""), 0),
        action=action,
        target=tags.get("msg-param-recipient-id", "")[:MAX_NAME],
    )


def _donation(line: ParsedLine, now: int) -> ChatMessage:
    """``charitydonation``: the amount in the currency's minor unit, of which ``exponent`` says how many digits it has."""
    tags = line.tags
    amount = number(tags.get("msg-param-donation-amount"))
    digits = min(number(tags.get("msg-param-exponent")), 9)
    price = amount * 1000 // 10**digits
    return _said(MessageKind.GIFT, line, now, line.text or tags.get("system-msg", ""))._replace(
        gift=tags.get("msg-param-charity-name", "")[:MAX_NAME],
        price=price,
        currency=tags.get("msg-param-donation-currency", "")[:8] if price else "",
        action="charity",
    )


def _is_shared(tags: Mapping[str, str]) -> bool:
    source = tags.get("source-room-id")
    return source is not None and source != tags.get("room-id")


def _colour(value: str) -> int:
    """``#RRGGBB``; empty for who never chose one."""
    if len(value) != 7 or value[0] != "#":
        return WHITE
    try:
        return int(value[1:], 16) & WHITE
    except ValueError:
        return WHITE


@lru_cache(maxsize=2048)
def _badges(badges: str, info: str) -> tuple[Badge, ...]:
    """``name/version`` joined by commas; ``badge-info`` knows the true months of a subscriber."""
    months = dict(item.partition("/")[::2] for item in info.split(",")[:MAX_BADGES])
    found = []
    for item in badges.split(",")[:MAX_BADGES]:
        name, _, version = item[:MAX_NAME].partition("/")
        if name:
            kind = "moderator" if name in _MODERATORS else "member" if name in _MEMBERS else "fan"
            found.append(Badge(kind, name, number(months.get(name) or version)))
    return tuple(found)


def _emotes(text: str, value: str) -> tuple[Emote, ...]:
    """``id:first-last,first-last/id:…``, inclusive positions in code points; each picture under the word it replaces."""
    found = []
    for item in value.split("/", MAX_EMOTES)[:MAX_EMOTES]:
        key, _, places = item.partition(":")
        for place in places.split(","):
            match = _PLACE.fullmatch(place)
            if key and match and (start := int(match[1])) <= (end := int(match[2])) < len(text):
                name, key = text[start : end + 1][:MAX_NAME], key[:MAX_NAME]
                found.append((Emote(name, _EMOTE_URL.format(key), key), start))
    return gathered(found, MAX_EMOTES)
