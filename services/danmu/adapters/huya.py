"""Huya's chat messages, as pure code.

A frame is a WebSocketCommand in TARS {0 command, 1 payload}. Commands: 16 register for groups (``live:<uid>``, ``chat:<uid>`` of
the broadcaster) and 17 its answer, 20 heartbeat and 21 its answer, 7 one message {1 uri, 2 body, 5 message id}, 22 several {1 list of
{0 uri, 1 body, 2 message id}}. Uris: 1400 MessageNotice, 6501 SendItemSubBroadcastPacket, 6110 VipEnterBanner, 1001 NobleNotice,
8001 EndLiveNotice, 8006 AttendeeCountNotice, 2001314 GameEventMessageBoardPanel. Source: the TARS classes in the scripts of Huya's
web player, and frames recorded by open-source clients. Unconfirmed: the kinds of decoration 10400 and 10150, what wraps a NobleNotice,
and that what a message on the board cost is in yuan.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from services.danmu.adapters import tars
from services.danmu.adapters.codec import CodecCounters, Decoded, now_ms
from services.danmu.adapters.links import MAX_FRAME_BYTES
from services.danmu.adapters.messages import WHITE, Badge, ChatMessage, MessageKind
from services.danmu.adapters.tars import InvalidTars, Struct, integer, nested, put_bytes, put_int, raw, structs, text

REGISTER: Final = 16
REGISTERED: Final = 17
HEARTBEAT: Final = 20
HEARTBEAT_ANSWER: Final = 21
PUSH: Final = 7
PUSH_GROUP: Final = 22

ATTENDEES: Final = 8006
BOARD: Final = 2_001_314

MAX_TEXT: Final = 4096
MAX_NAME: Final = 256
MAX_BADGES: Final = 16
YUAN: Final = 1000
ROOM_MANAGER: Final = 10_150
FAN: Final = 10_400
"""Kinds of decoration before a name."""
HIGHEST_NOBLE: Final = 6

_SEEN: Final = 1024
"""The web player remembers as many ids: the same message may come alone and in a group."""


class HuyaCodec:
    """One connection's codec for the room of the broadcaster `uid`; `clock` gives unix milliseconds."""

    def __init__(self, uid: int, clock: Callable[[], int] = now_ms) -> None:
        self.counters = CodecCounters()
        self._uid, self._clock = uid, clock
        self._seen: deque[str] = deque(maxlen=_SEEN)

    def hello(self) -> bytes:
        """Register for what concerns the broadcast and for the chat."""
        groups = tars.put_texts(0, [f"live:{self._uid}", f"chat:{self._uid}"])
        return command(REGISTER, groups + tars.put_text(1, ""))

    def heartbeat(self) -> bytes:
        """Due every 60 s; it is answered."""
        return command(HEARTBEAT, b"")

    def feed(self, frame: bytes) -> Decoded:
        """Everything in one frame. Never raises: what is broken or unknown is counted and left out."""
        decoded = Decoded()
        if len(frame) > MAX_FRAME_BYTES:
            self.counters.oversized += 1
            return decoded
        try:
            outer = tars.parse(frame)
            self._command(integer(outer, 0), raw(outer, 1), decoded, self._clock())
        except InvalidTars:
            self.counters.malformed += 1
        return decoded

    def _command(self, kind: int, payload: bytes, decoded: Decoded, now: int) -> None:
        if kind == REGISTERED:
            decoded.authenticated = True
        elif kind == PUSH:
            pushed = tars.parse(payload)
            self._message(integer(pushed, 1), raw(pushed, 2), integer(pushed, 5), decoded, now)
        elif kind == PUSH_GROUP:
            for item in structs(tars.parse(payload), 1):
                self._message(integer(item, 0), raw(item, 1), integer(item, 2), decoded, now)
        elif kind != HEARTBEAT_ANSWER:
            self.counters.ignore(f"command {kind}")

    def _message(self, uri: int, body: bytes, number: int, decoded: Decoded, now: int) -> None:
        """One broken message costs itself only."""
        read = _READERS.get(uri)
        if read is None and uri not in (ATTENDEES, BOARD):
            self.counters.ignore(f"uri {uri}")
            return
        try:
            fields = tars.parse(body)
        except InvalidTars:
            self.counters.malformed += 1
            return
        if uri == ATTENDEES:
            decoded.popularity = max(integer(fields, 0), 0)
        elif uri == BOARD:
            decoded.messages += [one for one in map(_board(now), structs(fields, 1)) if self._is_new(one.id)]
        elif read is not None and self._is_new(str(number) if number > 0 else ""):
            message = read(fields, now, self._uid)
            if message is not None:
                decoded.messages.append(message._replace(id=str(number) if number > 0 else ""))

    def _is_new(self, number: str) -> bool:
        if not number:
            return True
        if number in self._seen:
            return False
        self._seen.append(number)
        return True


def command(kind: int, payload: bytes) -> bytes:
    """One frame."""
    return put_int(0, kind) + put_bytes(1, payload)


def _chat(fields: Struct, now: int, _: int) -> ChatMessage | None:
    said = text(fields, 3, MAX_TEXT)
    if not said:
        return None
    sender, colour = nested(fields, 0), integer(nested(fields, 6), 0)
    return ChatMessage(
        MessageKind.CHAT,
        now,
        user=text(sender, 2, MAX_NAME),
        uid=_uid(integer(sender, 0)),
        text=said,
        colour=colour if 0 < colour <= WHITE else WHITE,
        badges=tuple(badge for one in structs(fields, 8)[:MAX_BADGES] if (badge := _badge(one))),
    )


def _badge(decoration: Struct) -> Badge | None:
    """{0 kind, 2 bytes of a struct that depends on it}; a fan's is a BadgeInfo {3 name, 4 level}."""
    kind = integer(decoration, 0)
    if kind == ROOM_MANAGER:
        return Badge("moderator")
    if kind != FAN:
        return None
    try:
        info = tars.parse(raw(decoration, 2))
    except InvalidTars:
        return None
    return Badge("fan", text(info, 3, MAX_NAME), max(integer(info, 4), 0))


def _gift(fields: Struct, now: int, _: int) -> ChatMessage:
    return ChatMessage(
        MessageKind.GIFT,
        now,
        user=text(fields, 6, MAX_NAME),
        uid=_uid(integer(fields, 4)),
        gift=text(fields, 20, MAX_NAME) or str(integer(fields, 0)),
        quantity=max(integer(fields, 2), 1),
    )


def _join(fields: Struct, now: int, _: int) -> ChatMessage:
    return ChatMessage(MessageKind.JOIN, now, user=text(fields, 1, MAX_NAME), uid=_uid(integer(fields, 0)))


def _noble(fields: Struct, now: int, _: int) -> ChatMessage:
    """NobleBase {0 uid, 1 name, 2 rank from 1 (lowest), 3 its name}."""
    base = nested(fields, 0)
    rank = integer(base, 2)
    return ChatMessage(
        MessageKind.MEMBERSHIP,
        now,
        user=text(base, 1, MAX_NAME),
        uid=_uid(integer(base, 0)),
        gift=text(base, 3, MAX_NAME),
        level=max(HIGHEST_NOBLE + 1 - rank, 1) if rank > 0 else 0,
    )


def _ended(fields: Struct, now: int, uid: int) -> ChatMessage | None:
    """Of another broadcaster: a guest in this room."""
    return ChatMessage(MessageKind.STREAM_CLOSED, now, action="ended") if integer(fields, 0) in (0, uid) else None


def _board(now: int) -> Callable[[Struct], ChatMessage]:
    """An entry of the board {0 who {1 name}, 1 text, 2 yuan, 4 seconds on it, 5 seconds left, 9 id}."""

    def read(entry: Struct) -> ChatMessage:
        total, left = max(integer(entry, 4), 0), max(integer(entry, 5), 0)
        price = max(integer(entry, 2), 0) * YUAN
        number = integer(entry, 9)
        return ChatMessage(
            MessageKind.SUPER_CHAT,
            now,
            id=f"board {number}" if number > 0 else "",
            sent_at=max(now - (total - left) * 1000, 0) if 0 < left <= total < 1 << 32 else 0,
            user=text(nested(entry, 0), 1, MAX_NAME),
            text=text(entry, 1, MAX_TEXT),
            price=price,
            currency="CNY" if price else "",
            duration_s=total,
        )

    return read


_READERS: Final[dict[int, Callable[[Struct, int, int], ChatMessage | None]]] = {
    1400: _chat,
    6501: _gift,
    6110: _join,
    1001: _noble,
    8001: _ended,
}


def _uid(number: int) -> str:
    return str(number) if number > 0 else ""
