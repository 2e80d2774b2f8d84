"""Douyin's live chat ("webcast"), as pure code; `webcast` has the frames, `douyin_sign` the signature of the address.

Every frame from the server is a push frame with a ``Response`` {1 messages {1 method, 2 payload, 3 id}, 5 internal ext, 9 needs ack};
one that needs it is acknowledged with a frame of the same log id, type ``ack``, the internal ext as payload. The client sends ``hb``
when it has connected and every 10 s. Every message has a ``Common`` in field 1 {2 id, 3 room, 4 time} and most a ``User`` {1 id, 3 name,
24 fan club {1 {1 name, 2 level}}}. Sources: the schema that open-source readers of the platform share, and frames recorded by them.
A diamond is a tenth of a yuan. Unconfirmed: the fan club inside ``User``, the messages of fan clubs and emojis, and that 3 of a
WebcastSocialMessage is a share.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import Final

from services.danmu.adapters import protobuf, webcast
from services.danmu.adapters.codec import Decoded, now_ms
from services.danmu.adapters.combos import Combos
from services.danmu.adapters.messages import WHITE, Badge, ChatMessage, Emote, MessageKind
from services.danmu.adapters.protobuf import Fields, InvalidMessage
from services.danmu.adapters.tiktok_messages import Gift, gift_of
from services.danmu.adapters.webcast_codec import WebcastCodec

MAX_TEXT: Final = 4096
MAX_NAME: Final = 256
MAX_COUNT: Final = 1 << 31
VIEWERS: Final = "WebcastRoomUserSeqMessage"
GIFT: Final = "WebcastGiftMessage"

_COLOUR: Final = re.compile(r"#(?:[0-9A-Fa-f]{2})?([0-9A-Fa-f]{6})")
_MAX_ID: Final = (1 << 64) - 1
_INT_MAX: Final = (1 << 63) - 1
_SECONDS_BELOW: Final = 100_000_000_000
_DIAMOND: Final = 10
"""`gift_of` counts in thousandths of a coin, a coin (diamond) is 100 thousandths of a yuan: a tenth of that number."""
_SEEN: Final = 2048
"""Some messages come twice, half a second apart, with the same id."""


class DouyinCodec(WebcastCodec):
    """One connection's codec for one broadcast's room."""

    def __init__(self, room_id: int, combos: Combos | None = None, clock: Callable[[], int] = now_ms) -> None:
        super().__init__(room_id, combos, clock)
        self._seen: deque[int] = deque(maxlen=_SEEN)
        self._known: set[int] = set()

    def heartbeat(self) -> bytes:
        """Due at once and every 10 s: a frame with nothing but its type."""
        return webcast.field(7, b"hb")

    def _push(self, push: Fields, decoded: Decoded, now: int) -> None:
        kind = protobuf.text(push, 7)
        if kind in ("msg", "hb"):
            decoded.authenticated = True
        if kind != "msg":
            if kind != "hb":
                self.counters.ignore(f"frame {kind}"[:64])
            return
        response = protobuf.parse(webcast.unpacked(webcast.raw(push, 8)))
        if protobuf.integer(response, 9):
            log_id = protobuf.integer(push, 2) & _MAX_ID
            decoded.replies.append(webcast.push("ack", webcast.raw(response, 5), log_id))
        for entry in response.get(1, []):
            try:
                self._entry(protobuf.parse(entry) if isinstance(entry, bytes) else {}, decoded, now)
            except InvalidMessage:
                self.counters.malformed += 1

    def _entry(self, entry: Fields, decoded: Decoded, now: int) -> None:
        method, body = protobuf.text(entry, 1), protobuf.parse(webcast.raw(entry, 2))
        read = _READERS.get(method)
        if read is None and method not in (VIEWERS, GIFT):
            self.counters.ignore(method[:64])
            return
        common = _message(body, 1)
        number = protobuf.integer(common, 2) or protobuf.integer(entry, 3)
        if protobuf.integer(common, 3) not in (0, self._room_id) or not self._is_new(number):
            self.counters.ignore("another room or twice")
            return
        if method == VIEWERS:
            decoded.popularity = min(protobuf.integer(body, 3), _INT_MAX)
        elif method == GIFT:
            decoded.messages += [self._priced(one) for one in self._combos.add(_gift(body, number, now), now)]
        elif read is not None and (message := read(body, now)) is not None:
            decoded.messages.append(message._replace(id=str(number & _MAX_ID) if number else ""))

    def _priced(self, gift: ChatMessage) -> ChatMessage:
        return in_yuan(gift)

    def _is_new(self, number: int) -> bool:
        if not number:
            return True
        if number in self._known:
            return False
        if len(self._seen) == _SEEN:
            self._known.discard(self._seen[0])
        self._seen.append(number)
        self._known.add(number)
        return True


def _gift(body: Fields, number: int, now: int) -> Gift:
    gift = gift_of(body, now)
    badges = _badges(_message(body, 7))
    return gift._replace(message=gift.message._replace(id=str(number & _MAX_ID) if number else "", badges=badges))


def in_yuan(message: ChatMessage) -> ChatMessage:
    """A gift whose price is in coins, as what was paid for them."""
    return message._replace(price=message.price // _DIAMOND, currency="CNY") if message.price else message


def _chat(body: Fields, now: int) -> ChatMessage:
    """WebcastChatMessage: 2 user, 3 text, 15 time, 22 text with formats {3 {1 colour}, 4 pieces {2 {1 colour}}}."""
    rich = _message(body, 22)
    formats = [_message(rich, 3), *(_message(piece, 2) for piece in protobuf.messages(rich, 4)[:1])]
    found = (_COLOUR.fullmatch(protobuf.text(one, 1)) for one in formats)
    message = _by(body, MessageKind.CHAT, now)
    return message._replace(
        text=protobuf.text(body, 3)[:MAX_TEXT],
        sent_at=message.sent_at or _ms(protobuf.integer(body, 15)),
        colour=next((int(match[1], 16) for match in found if match), WHITE),
    )


def _emoji(body: Fields, now: int) -> ChatMessage:
    """WebcastEmojiChatMessage: 2 user, 3 number of the picture, 5 its text."""
    text = protobuf.text(body, 5)[:MAX_TEXT]
    number = str(protobuf.integer(body, 3) & _MAX_ID)
    return _by(body, MessageKind.CHAT, now)._replace(text=text, emotes=(Emote(text[:MAX_NAME], id=number),))


def _join(body: Fields, now: int) -> ChatMessage:
    """WebcastMemberMessage: 2 user."""
    return _by(body, MessageKind.JOIN, now)


def _social(body: Fields, now: int) -> ChatMessage | None:
    """WebcastSocialMessage: 2 user, 4 action, 1 = followed, 3 = shared."""
    action = protobuf.integer(body, 4)
    if action == 1:
        return _by(body, MessageKind.FOLLOW, now)
    return _by(body, MessageKind.SYSTEM, now)._replace(action="share") if action == 3 else None


def _like(body: Fields, now: int) -> ChatMessage:
    """WebcastLikeMessage: 2 how many at once, 5 user."""
    count = max(min(protobuf.integer(body, 2), MAX_COUNT), 1)
    return _by(body, MessageKind.SYSTEM, now, user=5)._replace(action="like", quantity=count)


def _fan_club(body: Fields, now: int) -> ChatMessage | None:
    """WebcastFansclubMessage: 2 type, 1 = rose, 2 = joined; 3 text, 4 user."""
    message = _by(body, MessageKind.MEMBERSHIP, now, user=4)._replace(text=protobuf.text(body, 3)[:MAX_TEXT])
    match protobuf.integer(body, 2):
        case 2:
            return message._replace(gift="fan club")
        case 1:
            return message._replace(kind=MessageKind.SYSTEM, action="fan_level")
    return None


def _control(body: Fields, now: int) -> ChatMessage | None:
    """WebcastControlMessage: 2 action, 3 = the broadcast has ended."""
    if protobuf.integer(body, 2) != 3:
        return None
    return ChatMessage(MessageKind.STREAM_CLOSED, now, action="ended")


_READERS: Final[dict[str, Callable[[Fields, int], ChatMessage | None]]] = {
    "WebcastChatMessage": _chat,
    "WebcastEmojiChatMessage": _emoji,
    "WebcastMemberMessage": _join,
    "WebcastSocialMessage": _social,
    "WebcastLikeMessage": _like,
    "WebcastFansclubMessage": _fan_club,
    "WebcastControlMessage": _control,
}


def _by(body: Fields, kind: MessageKind, now: int, user: int = 2) -> ChatMessage:
    sender = _message(body, user)
    number = protobuf.integer(sender, 1) & _MAX_ID
    return ChatMessage(
        kind,
        now,
        sent_at=_ms(protobuf.integer(_message(body, 1), 4)),
        user=protobuf.text(sender, 3)[:MAX_NAME],
        uid=str(number) if number else "",
        badges=_badges(sender),
    )


def _badges(sender: Fields) -> tuple[Badge, ...]:
    club = _message(_message(sender, 24), 1)
    name = protobuf.text(club, 1)[:MAX_NAME]
    return (Badge("fan", name, min(protobuf.integer(club, 2), MAX_COUNT)),) if name else ()


def _message(fields: Fields, place: int) -> Fields:
    """A nested message, {} where there is none. Raises InvalidMessage."""
    return protobuf.parse(webcast.raw(fields, place))


def _ms(number: int) -> int:
    if number >= _SECONDS_BELOW:
        return min(number, _INT_MAX)
    return number * 1000
