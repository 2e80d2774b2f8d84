"""What each event of a Kick chat means, as chat messages.

Field names: the "Kick WebSocket Channel Guide" and events that chat clients recorded and published with their sources
(ChatMessageEvent, SubscriptionEvent, GiftedSubscriptionsEvent in two shapes, UserBannedEvent, MessageDeletedEvent,
StreamHostEvent, KicksGifted). Kick's support pages: 100 Kicks are one US dollar to the broadcaster. Times are ISO 8601.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from services.danmu.adapters.json_fields import MAX_TEXT, count_at, dig, list_at, moment_at, number_at, text_at
from services.danmu.adapters.messages import WHITE, Badge, ChatMessage, Emote, MessageKind, gathered

Json = dict[str, Any]
Handler = Callable[[Json, int], list[ChatMessage]]

MAX_EMOTES: Final = 64
MAX_BADGES: Final = 16
MAX_RECIPIENTS: Final = 1000
CENT: Final = 10
"""A US cent in thousandths of a dollar."""

_EMOTE: Final = re.compile(r"\[emote:(\d{1,18}):([^\]\[]{0,64})\]")
_EMOTE_URL: Final = "https://files.kick.com/emotes/{}/fullsize"
_COLOUR: Final = re.compile(r"#([0-9A-Fa-f]{6})")
_MODERATORS: Final = {"moderator", "broadcaster", "staff"}
_MEMBERS: Final = {"subscriber", "founder", "og"}
_MODES: Final = ("slow_mode", "subscribers_mode", "followers_mode", "emotes_mode", "account_age")


def chat(data: Json, now: int) -> list[ChatMessage]:
    """ChatMessageEvent; emotes stand in the text as ``[emote:<id>:<name>]`` and become their names."""
    text = text_at(data, "content", limit=MAX_TEXT)
    return [
        ChatMessage(
            MessageKind.CHAT,
            now,
            text_at(data, "id"),
            moment_at(data, "created_at"),
            text_at(data, "sender", "username"),
            text_at(data, "sender", "id"),
            _EMOTE.sub(r"\2", text),
            _colour(dig(data, "sender", "identity", "color")),
            target=text_at(data, "metadata", "original_message", "id"),
            badges=_badges(dig(data, "sender", "identity", "badges")),
            emotes=gathered(_pictures(text), MAX_EMOTES),
        )
    ]


def subscription(data: Json, now: int) -> list[ChatMessage]:
    """SubscriptionEvent: a new subscriber, or an old one with the months so far."""
    return [
        ChatMessage(
            MessageKind.MEMBERSHIP,
            now,
            user=text_at(data, "username"),
            uid=text_at(data, "user_id"),
            quantity=count_at(data, "months") or 1,
        )
    ]


def gifted(data: Json, now: int) -> list[ChatMessage]:
    """GiftedSubscriptionsEvent: the names alone, or (newer) objects with ids; one message for all that were given."""
    names = [text_at(name) for name in list_at(data, "gifted_usernames", limit=MAX_RECIPIENTS)]
    names = names or [text_at(one, "username") for one in list_at(data, "gifted_users", limit=MAX_RECIPIENTS)]
    return [
        ChatMessage(
            MessageKind.MEMBERSHIP,
            now,
            text_at(data, "id"),
            moment_at(data, "created_at"),
            text_at(data, "gifter_username") or text_at(data, "user", "username"),
            text_at(data, "user", "id"),
            ", ".join(filter(None, names))[:MAX_TEXT],
            quantity=len(names) or 1,
            action="gift",
        )
    ]


def kicks(data: Json, now: int) -> list[ChatMessage]:
    """KicksGifted: a gift bought with Kicks, `amount` of them."""
    amount = count_at(data, "gift", "amount")
    return [
        ChatMessage(
            MessageKind.GIFT,
            now,
            text_at(data, "gift_transaction_id"),
            moment_at(data, "created_at"),
            text_at(data, "sender", "username"),
            text_at(data, "sender", "id"),
            text_at(data, "message", limit=MAX_TEXT),
            _colour(dig(data, "sender", "username_color")),
            gift=text_at(data, "gift", "name"),
            price=amount * CENT,
            currency="USD" if amount else "",
        )
    ]


def banned(data: Json, now: int) -> list[ChatMessage]:
    """UserBannedEvent: for good, or until ``expires_at`` (`duration` says the minutes)."""
    until = moment_at(data, "expires_at")
    seconds = count_at(data, "duration") * 60 or max(until - now, 0) // 1000
    return [_moderation(now, "mute" if until or seconds else "ban", data)._replace(duration_s=seconds)]


def unbanned(data: Json, now: int) -> list[ChatMessage]:
    """UserUnbannedEvent."""
    return [_moderation(now, "unban", data)]


def deleted(data: Json, now: int) -> list[ChatMessage]:
    """MessageDeletedEvent."""
    return [ChatMessage(MessageKind.MODERATION, now, action="delete", target=text_at(data, "message", "id"))]


def cleared(data: Json, now: int) -> list[ChatMessage]:
    """ChatroomClearEvent: everything said so far was taken off the screen."""
    return [ChatMessage(MessageKind.MODERATION, now, text_at(data, "id"), action="clear")]


def room_state(data: Json, now: int) -> list[ChatMessage]:
    """ChatroomUpdatedEvent: the modes of the chat that are on now."""
    enabled = [mode for mode in _MODES if dig(data, mode, "enabled") is True]
    return [ChatMessage(MessageKind.SYSTEM, now, text=" ".join(enabled), action="room_state")]


def hosted(data: Json, now: int) -> list[ChatMessage]:
    """StreamHostEvent: another broadcaster brings the viewers along."""
    return [
        ChatMessage(
            MessageKind.SYSTEM,
            now,
            user=text_at(data, "host_username"),
            text=text_at(data, "optional_message", limit=MAX_TEXT),
            quantity=count_at(data, "number_viewers") or 1,
            action="raid",
        )
    ]


def pinned(data: Json, now: int) -> list[ChatMessage]:
    """PinnedMessageCreatedEvent."""
    message = data.get("message")
    return [
        ChatMessage(
            MessageKind.SYSTEM,
            now,
            user=text_at(message, "sender", "username"),
            uid=text_at(message, "sender", "id"),
            text=_EMOTE.sub(r"\2", text_at(message, "content", limit=MAX_TEXT)),
            action="pin",
            target=text_at(message, "id"),
        )
    ]


def rewarded(data: Json, now: int) -> list[ChatMessage]:
    """RewardRedeemedEvent: points of the channel, which cost no money."""
    return [
        ChatMessage(
            MessageKind.SYSTEM,
            now,
            user=text_at(data, "username"),
            uid=text_at(data, "user_id"),
            text=text_at(data, "user_input", limit=MAX_TEXT),
            gift=text_at(data, "reward_title"),
            action="reward",
        )
    ]


def live(data: Json, now: int) -> list[ChatMessage]:
    """StreamerIsLive."""
    stream = data.get("livestream")
    return [
        ChatMessage(
            MessageKind.SYSTEM,
            now,
            sent_at=moment_at(stream, "created_at"),
            text=text_at(stream, "session_title", limit=MAX_TEXT),
            action="live",
        )
    ]


def over(data: Json, now: int) -> list[ChatMessage]:
    """StopStreamBroadcast."""
    return [ChatMessage(MessageKind.STREAM_CLOSED, now, action="ended")]


def changed(data: Json, now: int) -> list[ChatMessage]:
    """LivestreamUpdated: title and category."""
    stream = data.get("livestream")
    category = dig(stream, "category") or dig(stream, "categories", 0)
    return [
        ChatMessage(
            MessageKind.ROOM_CHANGE,
            now,
            text=text_at(stream, "session_title", limit=MAX_TEXT),
            category=text_at(category, "name"),
            parent_category=text_at(category, "category", "name"),
        )
    ]


HANDLERS: Final[dict[str, Handler]] = {
    "ChatMessageEvent": chat,
    "SubscriptionEvent": subscription,
    "GiftedSubscriptionsEvent": gifted,
    "KicksGifted": kicks,
    "UserBannedEvent": banned,
    "UserUnbannedEvent": unbanned,
    "MessageDeletedEvent": deleted,
    "ChatroomClearEvent": cleared,
    "ChatroomUpdatedEvent": room_state,
    "StreamHostEvent": hosted,
    "PinnedMessageCreatedEvent": pinned,
    "RewardRedeemedEvent": rewarded,
    "StreamerIsLive": live,
    "StopStreamBroadcast": over,
    "LivestreamUpdated": changed,
}
"""What only repeats these (ChannelSubscriptionEvent, LuckyUsersWhoGotGiftSubscriptionsEvent) is left out."""


def _moderation(now: int, action: str, data: Json) -> ChatMessage:
    """``user`` is whom it happens to; the id of user 0, who does not exist, is no id."""
    user_id = number_at(data, "user", "id")
    return ChatMessage(
        MessageKind.MODERATION,
        now,
        text_at(data, "id"),
        user=text_at(data, "user", "username"),
        action=action,
        target=str(user_id) if user_id else "",
    )


def _colour(value: object) -> int:
    match = _COLOUR.fullmatch(value) if isinstance(value, str) else None
    return int(match[1], 16) if match else WHITE


def _badges(value: object) -> tuple[Badge, ...]:
    """``type``, and for subscribers the months as ``count``."""
    found = []
    for one in list_at(value, limit=MAX_BADGES):
        name = text_at(one, "type")
        if name:
            kind = "moderator" if name in _MODERATORS else "member" if name in _MEMBERS else "fan"
            found.append(Badge(kind, name, count_at(one, "count")))
    return tuple(found)


def _pictures(text: str) -> Iterator[tuple[Emote, int]]:
    """The pictures in a text, and where their names are once they stand for them."""
    saved = 0
    for match in _EMOTE.finditer(text):
        yield Emote(match[2], _EMOTE_URL.format(match[1]), match[1]), match.start() - saved
        saved += len(match[0]) - len(match[2])
