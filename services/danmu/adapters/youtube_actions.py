"""What each action of a YouTube live chat means, as chat messages.

Field names: the documentation of YouTube.js (classes LiveChatTextMessage, LiveChatPaidMessage, LiveChatPaidSticker,
LiveChatMembershipItem, LiveChatSponsorshipsGiftPurchaseAnnouncement, LiveChatSponsorshipsGiftRedemptionAnnouncement,
LiveChatTickerPaidMessageItem, MarkChatItemAsDeletedAction, MarkChatItemsByAuthorAsDeletedAction, ReplaceChatItemAction) and of
chat-downloader. Texts are either ``simpleText`` or ``runs`` of texts and emoji; times are microseconds; colours are ARGB.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from services.danmu.adapters.json_fields import MAX_NAME, MAX_TEXT, count_at, dig, list_at, object_at, text_at
from services.danmu.adapters.messages import WHITE, Badge, ChatMessage, Emote, MessageKind, gathered
from services.danmu.adapters.money import parse_amount

Json = dict[str, Any]
Renderer = Callable[[Json, int], ChatMessage]

MAX_RUNS: Final = 512
MAX_EMOTES: Final = 64
MAX_BADGES: Final = 8
MONTHS_PER_YEAR: Final = 12

_NUMBER: Final = re.compile(r"\d{1,9}(?:,\d{3})*")
_AGE: Final = re.compile(r"(\d{1,4}) (month|year)")
_TICKERS: Final = ("liveChatTickerPaidMessageItemRenderer", "liveChatTickerPaidStickerItemRenderer")
_MODERATORS: Final = {"OWNER": "owner", "MODERATOR": "moderator"}


def messages_of(action: object, now: int) -> list[ChatMessage]:
    """The messages of one action; [] for what is of no use. Never raises."""
    if item := object_at(action, "addChatItemAction", "item"):
        return _item(item, now)
    if replaced := object_at(action, "replaceChatItemAction"):
        target = text_at(replaced, "targetItemId")
        return [message._replace(target=target) for message in _item(object_at(replaced, "replacementItem"), now)]
    for name in ("markChatItemAsDeletedAction", "removeChatItemAction"):
        if target := text_at(action, name, "targetItemId"):
            return [ChatMessage(MessageKind.MODERATION, now, action="delete", target=target)]
    for name in ("markChatItemsByAuthorAsDeletedAction", "removeChatItemByAuthorAction"):
        if target := text_at(action, name, "externalChannelId"):
            return [ChatMessage(MessageKind.MODERATION, now, action="ban", target=target)]
    return []


def stays(actions: list[Any]) -> dict[str, int]:
    """How many seconds paid messages stay above the chat, by their ids: told beside each message by an action of its own."""
    found = {}
    for action in actions:
        item = object_at(action, "addLiveChatTickerItemAction", "item")
        for name in _TICKERS:
            if seconds := count_at(item, name, "fullDurationSec"):
                found[text_at(item, name, "id")] = seconds
    return found


def _item(item: Json, now: int) -> list[ChatMessage]:
    for name, renderer in _RENDERERS.items():
        if data := object_at(item, name):
            return [renderer(data, now)]
    return []


def _text(data: Json, now: int) -> ChatMessage:
    return _said(MessageKind.CHAT, data, now)


def _paid(data: Json, now: int) -> ChatMessage:
    price, currency = parse_amount(plain(data.get("purchaseAmountText")))
    colour = count_at(data, "bodyBackgroundColor") & WHITE or WHITE
    return _said(MessageKind.SUPER_CHAT, data, now)._replace(price=price, currency=currency, colour=colour)


def _sticker(data: Json, now: int) -> ChatMessage:
    """A paid picture; its description is its name."""
    price, currency = parse_amount(plain(data.get("purchaseAmountText")))
    name = text_at(data, "sticker", "accessibility", "accessibilityData", "label")
    picture = Emote(name, _picture(object_at(data, "sticker")), "")
    return _said(MessageKind.SUPER_CHAT, data, now)._replace(
        text=name,
        gift=name,
        action="sticker",
        price=price,
        currency=currency,
        colour=count_at(data, "backgroundColor") & WHITE or WHITE,
        emotes=(picture,),
    )


def _membership(data: Json, now: int) -> ChatMessage:
    """A new member (the subtext welcomes), or the milestone of an old one (the primary text tells the months)."""
    primary = plain(data.get("headerPrimaryText"))
    subtext = plain(data.get("headerSubtext"))
    said = _said(MessageKind.MEMBERSHIP, data, now)
    months = _first_number(primary) if primary else 1
    return said._replace(
        text=said.text or primary or subtext,
        gift=subtext[:MAX_NAME],
        quantity=months or 1,
        action="milestone" if primary else "",
    )


def _gift_purchase(data: Json, now: int) -> ChatMessage:
    """Somebody gives memberships away: who and how many stands in the header, the ids beside it."""
    header = object_at(data, "header", "liveChatSponsorshipsHeaderRenderer")
    shown = plain(header.get("primaryText"))
    said = _said(MessageKind.MEMBERSHIP, {**header, **_identity(data)}, now)
    return said._replace(text=shown, quantity=_first_number(shown) or 1, action="gift")


def _gift_redemption(data: Json, now: int) -> ChatMessage:
    """Somebody received one of them; a system message, so that nothing is counted twice."""
    return _said(MessageKind.SYSTEM, data, now)._replace(action="gift_received")


def _notice(data: Json, now: int) -> ChatMessage:
    texts = (plain(data.get(name)) for name in ("text", "message", "subtext"))
    said = _said(MessageKind.SYSTEM, data, now)
    return said._replace(text=" ".join(filter(None, texts))[:MAX_TEXT], action="notice")


_RENDERERS: Final[dict[str, Renderer]] = {
    "liveChatTextMessageRenderer": _text,
    "liveChatPaidMessageRenderer": _paid,
    "liveChatPaidStickerRenderer": _sticker,
    "liveChatMembershipItemRenderer": _membership,
    "liveChatSponsorshipsGiftPurchaseAnnouncementRenderer": _gift_purchase,
    "liveChatSponsorshipsGiftRedemptionAnnouncementRenderer": _gift_redemption,
    "liveChatViewerEngagementMessageRenderer": _notice,
    "liveChatModeChangeMessageRenderer": _notice,
}


def plain(text: object) -> str:
    """A text as characters: emoji by themselves, a channel's own pictures by their shortcut."""
    simple = text_at(text, "simpleText", limit=MAX_TEXT)
    return simple or "".join(_run(run) for run in list_at(text, "runs", limit=MAX_RUNS))[:MAX_TEXT]


def _run(run: object) -> str:
    emoji = object_at(run, "emoji")
    if not emoji:
        return text_at(run, "text", limit=MAX_TEXT)
    return _shortcut(emoji) if emoji.get("isCustomEmoji") is True else text_at(emoji, "emojiId", limit=64)


def _shortcut(emoji: Json) -> str:
    return text_at(emoji, "shortcuts", 0) or ":emoji:"


def _said(kind: MessageKind, data: Json, now: int) -> ChatMessage:
    return ChatMessage(
        kind,
        now,
        text_at(data, "id"),
        count_at(data, "timestampUsec") // 1000,
        plain(data.get("authorName"))[:MAX_NAME],
        text_at(data, "authorExternalChannelId"),
        plain(data.get("message")),
        badges=_badges(data),
        emotes=gathered(_pictures(data.get("message")), MAX_EMOTES),
    )


def _identity(data: Json) -> Json:
    return {name: data.get(name) for name in ("id", "timestampUsec", "authorExternalChannelId")}


def _badges(data: Json) -> tuple[Badge, ...]:
    """The icon tells owners, moderators and verified channels; a picture of the channel's own is a member's."""
    found = []
    for one in list_at(data, "authorBadges", limit=MAX_BADGES):
        badge = object_at(one, "liveChatAuthorBadgeRenderer")
        icon = text_at(badge, "icon", "iconType")
        shown = text_at(badge, "tooltip")
        if icon in _MODERATORS:
            found.append(Badge("moderator", _MODERATORS[icon]))
        elif "customThumbnail" in badge:
            found.append(Badge("member", shown, _months(shown)))
        elif icon:
            found.append(Badge("fan", icon.lower()))
    return tuple(found)


def _months(shown: str) -> int:
    """ "Member (6 months)", "Member (2 years)"; a new member has none."""
    match = _AGE.search(shown)
    if match is None:
        return 0
    return int(match[1]) * (MONTHS_PER_YEAR if match[2] == "year" else 1)


def _pictures(message: object) -> Iterator[tuple[Emote, int]]:
    """The channel's own pictures in a text, and where their shortcuts stand in it."""
    at = 0
    for run in list_at(message, "runs", limit=MAX_RUNS):
        emoji = object_at(run, "emoji")
        if emoji.get("isCustomEmoji") is True and at < MAX_TEXT:
            yield Emote(_shortcut(emoji), _picture(object_at(emoji, "image")), text_at(emoji, "emojiId")), at
        at += len(_run(run))


def _picture(image: Json) -> str:
    """The address of the largest picture, which is the last; some lack their scheme."""
    url = text_at(dig(image, "thumbnails", -1), "url", limit=MAX_TEXT)
    return f"https:{url}" if url.startswith("//") else url


def _first_number(shown: str) -> int:
    match = _NUMBER.search(shown)
    return int(match[0].replace(",", "")) if match else 0
