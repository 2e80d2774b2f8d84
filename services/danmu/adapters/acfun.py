"""AcFun's live chat, as pure code; `acfun_link` has the packets and keys.

The client registers, then keeps alive (every 50 s) and enters the room with a ticket; it beats as often as the answer says (10 s) and
acknowledges every push. A push is {1 type, 2 compression (2 = gzip), 3 payload}: ``ZtLiveScActionSignal`` {1 items {1 signal, 2
payloads}}, ``ZtLiveScStateSignal`` and ``ZtLiveScNotifySignal`` {1 items {1 signal, 2 payload}}, ``ZtLiveScStatusChanged`` {1 what}. A
user is {1 id, 2 name, 4 badge as JSON, 5 identity {1 manager}}. Source: the schema that the open-source clients share, read off the live
page's script, and frames recorded by them. Gifts cost AC coins; bananas are free. Unconfirmed: the fields of JoinClub, a user's identity
beyond ``manager``, and which wallet a gift's price in the list is meant for.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from services.danmu.adapters import protobuf, webcast
from services.danmu.adapters.acfun_link import PRODUCT, Down, Link
from services.danmu.adapters.codec import CodecCounters, Decoded, now_ms
from services.danmu.adapters.links import MAX_FRAME_BYTES
from services.danmu.adapters.messages import Badge, ChatMessage, MessageKind
from services.danmu.adapters.protobuf import Fields, InvalidMessage
from services.danmu.adapters.webcast import TooLarge, field, number, raw

REGISTER: Final = "Basic.Register"
KEEP_ALIVE: Final = "Basic.KeepAlive"
COMMAND: Final = "Global.ZtLiveInteractive.CsCmd"
PUSH: Final = "Push.ZtLiveInteractive.Message"
SDK: Final = "kwai-acfun-live-link"
CURRENCY: Final = "ac coins"
KEEP_ALIVE_MS: Final = 45_000
"""The server wants one every 50 s; it goes with the answer to a heartbeat."""

MAX_TEXT: Final = 4096
MAX_NAME: Final = 256
_INT_MAX: Final = (1 << 63) - 1
_COUNT: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(万)?")


class Gift(NamedTuple):
    """An entry of the room's list of gifts; `price` of one in thousandths of an AC coin."""

    name: str
    price: int


class Ticket(NamedTuple):
    """What a visitor needs to enter a broadcast; all but the live id is secret."""

    uid: int
    token: str
    security_key: bytes
    device: str
    live_id: str
    ticket: str
    attach: str


class AcfunCodec:
    """One connection's codec. `gifts`: by their numbers; `clock` gives unix milliseconds, `chance` random bytes."""

    def __init__(
        self,
        ticket: Ticket,
        gifts: Mapping[int, Gift] | None = None,
        clock: Callable[[], int] = now_ms,
        chance: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.counters = CodecCounters()
        self._ticket, self._gifts, self._clock = ticket, gifts or {}, clock
        self._link = Link(ticket.uid, ticket.token, ticket.security_key, chance)
        self._entered = False
        self._beats = 0
        self._kept_at = 0

    def hello(self) -> bytes:
        """The registration."""
        app = field(1, b"link-sdk") + field(4, b"1.2.1")
        device = number(1, 6) + field(3, b"h5") + field(5, self._ticket.device.encode())
        common = field(1, PRODUCT.encode()) + field(2, b"PC_WEB") + number(4, self._ticket.uid)
        common += field(5, self._ticket.device.encode())
        asked = field(1, app) + field(2, device) + number(4, 1) + number(5, 1) + number(8, 0) + field(11, common)
        return self._link.pack(REGISTER, asked)

    def heartbeat(self) -> bytes | None:
        """Due as often as the server said when the room was entered."""
        if not self._entered:
            return None
        payload = number(1, self._clock()) + number(2, self._beats)
        self._beats += 1
        return self._command("ZtLiveCsHeartbeat", payload)

    def feed(self, frame: bytes) -> Decoded:
        """Everything in one frame. Never raises: what is broken or unknown is counted and left out."""
        decoded, now = Decoded(), self._clock()
        if len(frame) > MAX_FRAME_BYTES:
            self.counters.oversized += 1
            return decoded
        try:
            for down in self._link.unpack(frame):
                self._down(down, decoded, now)
        except InvalidMessage:
            self.counters.malformed += 1
        except TooLarge:
            self.counters.oversized += 1
        return decoded

    def _down(self, down: Down, decoded: Decoded, now: int) -> None:
        if down.command.startswith("Push."):
            decoded.replies.append(self._link.pack(down.command, b"", answers=down.sequence & _INT_MAX))
        if down.error:
            self._refused(decoded, f"error {down.error & _INT_MAX}")
        elif down.command == REGISTER:
            self._registered(protobuf.parse(down.payload), decoded, now)
        elif down.command == COMMAND:
            self._answered(protobuf.parse(down.payload), decoded, now)
        elif down.command == PUSH:
            self._pushed(protobuf.parse(down.payload), decoded, now)
        elif down.command != KEEP_ALIVE:
            self.counters.ignore(down.command)

    def _refused(self, decoded: Decoded, why: str) -> None:
        """A new ticket is needed, and with it a new connection."""
        if self._entered:
            decoded.reconnect = f"the server reports {why}"
        else:
            decoded.authenticated = False

    def _registered(self, answer: Fields, decoded: Decoded, now: int) -> None:
        if self._link.registered:
            return
        self._link.register(protobuf.integer(answer, 3), raw(answer, 2))
        enter = number(1, 0) + number(2, 0) + field(4, self._ticket.attach.encode()) + field(5, SDK.encode())
        decoded.replies += [self._keep_alive(now), self._command("ZtLiveCsEnterRoom", enter)]

    def _answered(self, answer: Fields, decoded: Decoded, now: int) -> None:
        kind = protobuf.text(answer, 1)
        if error := protobuf.integer(answer, 2):
            self._refused(decoded, f"error {error & _INT_MAX}")
        elif kind == "ZtLiveCsEnterRoomAck":
            self._entered = decoded.authenticated = True
            if interval := protobuf.integer(protobuf.parse(raw(answer, 4)), 1):
                decoded.beat_s = min(interval, 1 << 31) / 1000
        elif kind == "ZtLiveCsHeartbeatAck" and now - self._kept_at >= KEEP_ALIVE_MS and self._link.registered:
            decoded.replies.append(self._keep_alive(now))

    def _pushed(self, push: Fields, decoded: Decoded, now: int) -> None:
        payload = raw(push, 3)
        body = protobuf.parse(webcast.unpacked(payload) if protobuf.integer(push, 2) == 2 else payload)
        match kind := protobuf.text(push, 1):
            case "ZtLiveScActionSignal" | "ZtLiveScStateSignal" | "ZtLiveScNotifySignal":
                for item in protobuf.messages(body, 1):
                    self._signals(item, decoded, now)
            case "ZtLiveScStatusChanged":
                if (action := _ENDS.get(protobuf.integer(body, 1))) is not None:
                    decoded.messages.append(ChatMessage(MessageKind.STREAM_CLOSED, now, action=action))
            case "ZtLiveScTicketInvalid":
                self._refused(decoded, "an invalid ticket")
            case _:
                self.counters.ignore(kind[:64])

    def _signals(self, item: Fields, decoded: Decoded, now: int) -> None:
        """One broken signal costs itself only."""
        signal = protobuf.text(item, 1)
        read = _READERS.get(signal)
        if read is None and signal not in (GIFT, DISPLAY):
            self.counters.ignore(signal[:64])
            return
        for payload in item.get(2, []):
            try:
                fields = protobuf.parse(payload) if isinstance(payload, bytes) else {}
                if signal == DISPLAY:
                    decoded.popularity = _count(protobuf.text(fields, 1))
                elif message := (read or self._gift)(fields, now):
                    decoded.messages.append(message)
            except InvalidMessage:
                self.counters.malformed += 1

    def _gift(self, fields: Fields, now: int) -> ChatMessage:
        """CommonActionSignalGift: 1 user, 2 time, 3 number of the gift, 4 how many."""
        kind = protobuf.integer(fields, 3) & _INT_MAX
        gift = self._gifts.get(kind) or Gift(str(kind), 0)
        quantity = max(min(protobuf.integer(fields, 4), 1 << 31), 1)
        price = min(gift.price * quantity, _INT_MAX)
        message = _by(fields, MessageKind.GIFT, now, user=1)
        return message._replace(gift=gift.name, quantity=quantity, price=price, currency=CURRENCY if price else "")

    def _command(self, kind: str, payload: bytes) -> bytes:
        asked = field(1, kind.encode()) + field(2, payload)
        asked += field(3, self._ticket.ticket.encode()) + field(4, self._ticket.live_id.encode())
        return self._link.pack(COMMAND, asked)

    def _keep_alive(self, now: int) -> bytes:
        self._kept_at = now
        return self._link.pack(KEEP_ALIVE, number(1, 1) + number(2, 1))


GIFT: Final = "CommonActionSignalGift"
DISPLAY: Final = "CommonStateSignalDisplayInfo"
_ENDS: Final = {1: "ended", 4: "cut_off"}


def _comment(fields: Fields, now: int) -> ChatMessage | None:
    """1 text, 2 time, 3 user."""
    text = protobuf.text(fields, 1)[:MAX_TEXT]
    return _by(fields, MessageKind.CHAT, now, user=3)._replace(text=text) if text else None


def _banana(fields: Fields, now: int) -> ChatMessage:
    """1 user, 2 how many, 3 time."""
    message = _by(fields, MessageKind.GIFT, now, user=1, sent=3)
    return message._replace(gift="香蕉", quantity=max(min(protobuf.integer(fields, 2), 1 << 31), 1))


def _join(fields: Fields, now: int) -> ChatMessage:
    return _by(fields, MessageKind.JOIN, now, user=1)


def _follow(fields: Fields, now: int) -> ChatMessage:
    return _by(fields, MessageKind.FOLLOW, now, user=1)


def _like(fields: Fields, now: int) -> ChatMessage:
    return _by(fields, MessageKind.SYSTEM, now, user=1)._replace(action="like")


def _join_club(fields: Fields, now: int) -> ChatMessage:
    """1 who, 2 whose club, 3 time."""
    return _by(fields, MessageKind.MEMBERSHIP, now, user=1, sent=3)._replace(gift="fan club")


def _warning(fields: Fields, now: int) -> ChatMessage:
    """1 what the platform says."""
    return ChatMessage(MessageKind.MODERATION, now, text=protobuf.text(fields, 1)[:MAX_TEXT], action="warn")


_READERS: Final[dict[str, Callable[[Fields, int], ChatMessage | None]]] = {
    "CommonActionSignalComment": _comment,
    "AcfunActionSignalThrowBanana": _banana,
    "CommonActionSignalUserEnterRoom": _join,
    "CommonActionSignalUserFollowAuthor": _follow,
    "CommonActionSignalLike": _like,
    "AcfunActionSignalJoinClub": _join_club,
    "CommonNotifySignalViolationAlert": _warning,
}


def _by(fields: Fields, kind: MessageKind, now: int, *, user: int, sent: int = 2) -> ChatMessage:
    sender = protobuf.parse(raw(fields, user))
    uid, at = protobuf.integer(sender, 1), protobuf.integer(fields, sent)
    return ChatMessage(
        kind,
        now,
        sent_at=at if at <= _INT_MAX else 0,
        user=protobuf.text(sender, 2)[:MAX_NAME],
        uid=str(uid) if 0 < uid <= _INT_MAX else "",
        badges=_badges(sender),
    )


def _badges(sender: Fields) -> tuple[Badge, ...]:
    found = []
    if protobuf.integer(protobuf.parse(raw(sender, 5)), 1):
        found.append(Badge("moderator"))
    medal = _medal(protobuf.text(sender, 4))
    name, level = medal.get("clubName"), medal.get("level")
    if isinstance(name, str) and name:
        known = level if isinstance(level, int) and not isinstance(level, bool) and 0 <= level < 1 << 31 else 0
        found.append(Badge("fan", name[:MAX_NAME], known))
    return tuple(found)


def _medal(text: str) -> dict[str, Any]:
    try:
        badge = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    medal = badge.get("medalInfo") if isinstance(badge, dict) else None
    return medal if isinstance(medal, dict) else {}


def _count(text: str) -> int | None:
    """ "70", or "1.2万" for 12 000."""
    match = _COUNT.fullmatch(text)
    return round(float(match[1]) * (10_000 if match[2] else 1)) if match else None
