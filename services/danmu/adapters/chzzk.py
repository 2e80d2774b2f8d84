"""The wire protocol of CHZZK (Naver) live chat, as pure code.

Every frame is one JSON object {``cmd``, ``svcid`` "game", ``cid`` (the chat channel), ``ver``, ``tid``, ``bdy``}. The client
begins with ``cmd`` 100 (token, ``auth`` "READ", ``devType`` 2001), which 10100 answers with ``retCode`` 0. Either side may
ask with 0, the other answers with 10000. 93101 and 93102 hold a list of messages whose ``profile`` and ``extras`` are JSON
text inside the JSON; ``mbrCnt`` is how many people are in the room. 94008 hides a message, 94010 is a notice, 94005 and
94006 put somebody out. Sources: the open-source clients "kimcore/chzzk" and "chat-downloader"-like readers, which agree
on the commands, the types of messages and their fields, and captured frames published with a third (the id of a message
is its sender and its time, which is how 94008 names the message to hide). Unconfirmed: the
fields of a subscription that is given away (type 12), for which no published reader or frame was found.

The chat says nothing about the title or the end of a broadcast: both are to be asked of the live API.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from services.danmu.adapters.codec import CodecCounters, Decoded, now_ms
from services.danmu.adapters.messages import Badge, ChatMessage, Emote, MessageKind

MAX_FRAME_BYTES: Final = 4 << 20
MAX_MESSAGES: Final = 4096
MAX_TEXT: Final = 4096
MAX_NAME: Final = 256
MAX_EMOTES: Final = 64

CONNECT: Final = 100
CONNECTED: Final = 10100
PING: Final = 0
PONG: Final = 10000
CHAT: Final = 93101
DONATION: Final = 93102
KICK: Final = 94005
BLOCK: Final = 94006
BLIND: Final = 94008
NOTICE: Final = 94010

TEXT_TYPE: Final = 1
DONATION_TYPE: Final = 10
SUBSCRIPTION_TYPE: Final = 11
SUBSCRIPTION_GIFT_TYPE: Final = 12
SYSTEM_TYPE: Final = 30
_CHAT_TYPES: Final = frozenset({TEXT_TYPE, 2, 3, 4, 5})
"""Text, picture, sticker, video, rich text."""

WON: Final = 1000
"""A won in its thousandths; one cheese, the platform's coin, is one won."""
HIGHEST_TIER: Final = 2

_MODERATORS: Final = {
    "streamer": "streamer",
    "streaming_chat_manager": "",
    "streaming_channel_manager": "",
    "manager": "staff",
}
_MALFORMED: Final = (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError)
_INT_MAX: Final = (1 << 63) - 1

Json = dict[str, Any]


def chat_server(chat_channel: str) -> int:
    """Which of the servers ``kr-ss1`` … ``kr-ss9`` has a chat channel: the sum of its characters, by nine."""
    return sum(map(ord, chat_channel)) % 9 + 1


class ChzzkCodec:
    """One connection's codec; make a new one for each connection. `clock` gives unix milliseconds."""

    def __init__(self, chat_channel: str, token: str = "", clock: Callable[[], int] = now_ms) -> None:
        self.counters = CodecCounters()
        self._channel, self._token, self._clock = chat_channel, token, clock

    def hello(self) -> str:
        """Join as a visitor who only reads."""
        body = {"uid": None, "devType": 2001, "accTkn": self._token, "auth": "READ"}
        return _frame(CONNECT, svcid="game", cid=self._channel, tid=1, bdy=body)

    def heartbeat(self) -> str:
        """Due when nothing came for 20 s; it is answered."""
        return _frame(PING)

    def feed(self, frame: bytes) -> Decoded:
        """Everything in one frame. Never raises."""
        decoded = Decoded()
        if len(frame) > MAX_FRAME_BYTES:
            self.counters.oversized += 1
            return decoded
        try:
            self._command(json.loads(str(frame, "utf-8", "replace")), decoded, self._clock())
        except _MALFORMED:
            self.counters.malformed += 1
        return decoded

    def _command(self, root: Json, decoded: Decoded, now: int) -> None:
        command, body = int(root["cmd"]), root.get("bdy")
        if command == PING:
            decoded.replies.append(_frame(PONG))
        elif command == CONNECTED:
            decoded.authenticated = root.get("retCode", 0) == 0
        elif command in (CHAT, DONATION):
            self._messages(body, decoded, now)
        elif command in _CONTROL:
            decoded.messages += _CONTROL[command](body, now)
        elif command != PONG:
            self.counters.ignore(str(command))

    def _messages(self, body: Any, decoded: Decoded, now: int) -> None:
        entries = body if isinstance(body, list) else [body]
        for entry in entries[:MAX_MESSAGES]:
            try:
                decoded.popularity = _integer(entry.get("mbrCnt")) or decoded.popularity
                message = _message(entry, now)
            except _MALFORMED:
                self.counters.malformed += 1
                continue
            if message is None:
                self.counters.ignore(f"type {entry.get('msgTypeCode')}"[:64])
            else:
                decoded.messages.append(message)
        if len(entries) > MAX_MESSAGES:
            self.counters.oversized += 1


def _message(entry: Json, now: int) -> ChatMessage | None:
    kind = _integer(entry.get("msgTypeCode"))
    profile, extras = _inner(entry.get("profile")), _inner(entry.get("extras"))
    # A donor who wants to stay unknown is the user "anonymous", without a profile.
    uid = _text(profile.get("userIdHash") or entry.get("uid"), MAX_NAME)
    sent_at = _integer(entry.get("msgTime")) or _integer(entry.get("ctime"))
    base = ChatMessage(
        MessageKind.CHAT,
        now,
        f"{uid}:{sent_at}" if uid and sent_at else "",
        sent_at,
        _text(profile.get("nickname") or extras.get("nickname"), MAX_NAME),
        "" if uid == "anonymous" else uid,
        _text(entry.get("msg"), MAX_TEXT),
        badges=_badges(profile),
        emotes=_emotes(extras.get("emojis")),
    )
    if kind in _CHAT_TYPES:
        return base if entry.get("msgStatusType") not in ("HIDDEN", "CBOTBLIND") else None
    if base.uid == "" and base.id:
        # Two unknown donors may give within one millisecond.
        base = base._replace(id="")
    maker = _MAKERS.get(kind)
    return maker(base, extras) if maker else None


def _donation(base: ChatMessage, extras: Json) -> ChatMessage:
    """Cheese with a text or a video is a paid message; put on a mission, or on a party, it is a gift."""
    price = min(max(_integer(extras.get("payAmount")), 0) * WON, _INT_MAX)
    kind = _text(extras.get("donationType"), 64).lower()
    paid = base._replace(price=price, currency="KRW" if price else "")
    if kind in ("", "chat", "video", "tts"):
        return paid._replace(kind=MessageKind.SUPER_CHAT, action=kind if kind != "chat" else "")
    text = base.text or _text(extras.get("missionText"), MAX_TEXT)
    return paid._replace(kind=MessageKind.GIFT, gift=kind, text=text)


def _subscription(base: ChatMessage, extras: Json) -> ChatMessage:
    return base._replace(
        kind=MessageKind.MEMBERSHIP,
        gift=_text(extras.get("tierName"), MAX_NAME),
        quantity=max(_integer(extras.get("month")), 1),
        level=_level(extras.get("tierNo")),
    )


def _subscription_gift(base: ChatMessage, extras: Json) -> ChatMessage:
    return base._replace(
        kind=MessageKind.MEMBERSHIP,
        action="gift",
        gift=_text(extras.get("giftTierName") or extras.get("tierName"), MAX_NAME),
        quantity=max(_integer(extras.get("quantity")), 1),
        level=_level(extras.get("giftTierNo") or extras.get("tierNo")),
        target=_text(extras.get("receiverUserIdHash"), MAX_NAME),
    )


def _system(base: ChatMessage, extras: Json) -> ChatMessage:
    """What the page shows as a line of its own, such as who was silenced by whom."""
    parameters = extras.get("params") or {}
    target = _inner(parameters.get("targetChatProfileJson"))
    return base._replace(
        kind=MessageKind.SYSTEM,
        action="notice",
        text=base.text or _text(extras.get("description"), MAX_TEXT),
        user="",
        uid="",
        target=_text(target.get("userIdHash"), MAX_NAME),
    )


def _blind(body: Any, now: int) -> list[ChatMessage]:
    """The message of ``userId`` at ``messageTime`` is hidden."""
    user, at = _text(body["userId"], MAX_NAME), _integer(body.get("messageTime"))
    return [ChatMessage(MessageKind.MODERATION, now, action="delete", target=f"{user}:{at}", uid=user)]


def _put_out(body: Any, now: int) -> list[ChatMessage]:
    user = _text((body or {}).get("userId"), MAX_NAME)
    return [ChatMessage(MessageKind.MODERATION, now, action="kick", target=user)] if user else []


def _notice(body: Any, now: int) -> list[ChatMessage]:
    """A message that the streamer has pinned; an empty body takes it down."""
    if not body:
        return []
    text = _text(body.get("msg") or body.get("content"), MAX_TEXT)
    extras = _inner(body.get("extras"))
    by = extras.get("registerProfile") or {}
    author = _text(by.get("nickname"), MAX_NAME) if isinstance(by, dict) else ""
    return [ChatMessage(MessageKind.SYSTEM, now, text=text, user=author, action="notice")]


def _badges(profile: Json) -> tuple[Badge, ...]:
    badges = []
    role = profile.get("userRoleCode")
    if isinstance(role, str) and role in _MODERATORS:
        badges.append(Badge("moderator", _MODERATORS[role]))
    subscription = (profile.get("streamingProperty") or {}).get("subscription") or {}
    if subscription:
        badges.append(Badge("member", "", _level(subscription.get("tier"))))
    title = (profile.get("title") or {}).get("name")
    if title:
        badges.append(Badge("fan", _text(title, MAX_NAME)))
    return tuple(badges)


def _emotes(emojis: Any) -> tuple[Emote, ...]:
    """In the text a picture is its name in ``{:`` and ``:}``; without pictures the field is an empty text."""
    if not isinstance(emojis, dict):
        return ()
    first = list(emojis.items())[:MAX_EMOTES]
    return tuple(Emote(f"{{:{name[:MAX_NAME]}:}}", _text(url, MAX_TEXT), name[:MAX_NAME]) for name, url in first)


def _level(tier: Any) -> int:
    """The platform's second tier is the better one; here 1 is the highest."""
    number = _integer(tier)
    return max(HIGHEST_TIER + 1 - number, 1) if number > 0 else 0


def _inner(value: Any) -> Json:
    """An object that is JSON text inside JSON, or an object already, or nothing."""
    if isinstance(value, str) and value:
        value = json.loads(value)
    return value if isinstance(value, dict) else {}


def _text(value: Any, limit: int) -> str:
    return value[:limit] if isinstance(value, str) else ""


def _integer(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= 19:
        value = int(value)
    return value if type(value) is int and -_INT_MAX <= value <= _INT_MAX else 0


def _frame(command: int, **fields: object) -> str:
    return json.dumps({"ver": "3", "cmd": command, **fields}, separators=(",", ":"))


_MAKERS: Final[dict[int, Callable[[ChatMessage, Json], ChatMessage]]] = {
    DONATION_TYPE: _donation,
    SUBSCRIPTION_TYPE: _subscription,
    SUBSCRIPTION_GIFT_TYPE: _subscription_gift,
    SYSTEM_TYPE: _system,
}
_CONTROL: Final[dict[int, Callable[[Any, int], list[ChatMessage]]]] = {
    BLIND: _blind,
    KICK: _put_out,
    BLOCK: _put_out,
    NOTICE: _notice,
}
