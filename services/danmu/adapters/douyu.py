"""Douyu's chat messages, as pure code; `douyu_stt` has the packets.

Source of the messages and their fields: Douyu's "third-party access protocol of the barrage server" (v1.6.2: loginres,
chatmsg, uenter, dgb, rss, newblackres, srres, error) and what clients of today's web page read (comm_chatmsg and voice_trlt are
the paid messages, anbc and rnewbc the memberships, gfn a gift's name). Prices of paid messages are in fen.
Unconfirmed: the fields of the messages about nobles, and that the list of gifts is priced in tenths of a yuan.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from services.danmu.adapters import douyu_stt
from services.danmu.adapters.codec import CodecCounters, Decoded, now_ms
from services.danmu.adapters.douyu_stt import Fields, pack
from services.danmu.adapters.links import MAX_FRAME_BYTES
from services.danmu.adapters.messages import WHITE, Badge, ChatMessage, Emote, MessageKind, gathered

GROUP: Final = "-9999"
"""The group that gets all messages of a room."""

MAX_TEXT: Final = 4096
MAX_NAME: Final = 256
COLOURS: Final = {"1": 0xFF0000, "2": 0x1E87F0, "3": 0x7AC84B, "4": 0xFF7F00, "5": 0x9B39F4, "6": 0xFF69B4}
MODERATOR_GROUP: Final = "4"
HIGHEST_NOBLE: Final = 6
"""Ranks of nobles go from 1 (knight) to 6 (emperor); 7, added later, is the lowest (ranger)."""
FEN: Final = 10
"""A hundredth of a yuan, in thousandths."""

_EMOTE: Final = re.compile(r"\[emot:([0-9A-Za-z_-]{1,64})\]")
_MAX_EMOTES: Final = 64
_DIGITS: Final = re.compile(r"-?[0-9]{1,18}")
_SECONDS_BELOW: Final = 100_000_000_000


class Gift(NamedTuple):
    """An entry of the room's list of gifts; `price` of one in thousandths of a yuan."""

    name: str
    price: int


class DouyuCodec:
    """One connection's codec for one room. `gifts`: by their numbers; `clock` gives unix milliseconds."""

    def __init__(
        self,
        room_id: str,
        gifts: Mapping[str, Gift] | None = None,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self.counters = CodecCounters()
        self._room_id, self._gifts, self._clock = room_id, gifts or {}, clock

    def hello(self) -> list[bytes]:
        """Log in as a guest and join the group that hears everything."""
        login = {"type": "loginreq", "roomid": self._room_id}
        return [pack(login), pack({"type": "joingroup", "rid": self._room_id, "gid": GROUP})]

    def heartbeat(self) -> bytes:
        """Due every 45 s; the server answers with the same."""
        return pack({"type": "mrkl"})

    def feed(self, frame: bytes) -> Decoded:
        """Everything in one frame. Never raises: what is broken or unknown is counted and left out."""
        decoded = Decoded()
        if len(frame) > MAX_FRAME_BYTES:
            self.counters.oversized += 1
            return decoded
        now = self._clock()
        try:
            for body in douyu_stt.bodies(frame):
                self._message(douyu_stt.load(body.decode("utf-8", "replace")), decoded, now)
        except ValueError:
            self.counters.malformed += 1
        return decoded

    def _message(self, fields: Fields, decoded: Decoded, now: int) -> None:
        kind = fields.get("type", "")
        if kind == "loginres":
            decoded.authenticated = True
            return
        if kind == "error":
            decoded.reconnect = f"the server reports error {fields.get('code', '')[:20]}"
            return
        read = _READERS.get(kind)
        if read is None or not self._is_here(fields):
            self.counters.ignore(kind[:64])
            return
        message = read(fields, now)
        if message is None:
            self.counters.ignore(f"empty {kind}")
            return
        decoded.messages.append(self._priced(message, fields) if message.kind is MessageKind.GIFT else message)

    def _is_here(self, fields: Fields) -> bool:
        """Broadcasts over all rooms name the room they are about as ``drid``. Where ours is not known it is the first one named as ``rid``."""
        self._room_id = self._room_id or fields.get("rid", "")
        return all(fields.get(name, self._room_id) in (self._room_id, "", "0") for name in ("rid", "drid"))

    def _priced(self, message: ChatMessage, fields: Fields) -> ChatMessage:
        number = _name(fields, "gfid")
        known = self._gifts.get(number) or Gift(number, 0)
        price = known.price * message.quantity
        return message._replace(gift=message.gift or known.name, price=price, currency="CNY" if price else "")


def _chat(fields: Fields, now: int) -> ChatMessage | None:
    text = fields.get("txt", "")[:MAX_TEXT]
    if not text:
        return None
    return _by(
        fields,
        MessageKind.CHAT,
        now,
        id=_name(fields, "cid"),
        sent_at=_ms(fields.get("cst", "")),
        text=text,
        colour=COLOURS.get(fields.get("col", ""), WHITE),
        emotes=gathered(
            ((Emote(found[0], id=found[1]), found.start()) for found in _EMOTE.finditer(text)), _MAX_EMOTES
        ),
    )


def _gift(fields: Fields, now: int) -> ChatMessage:
    quantity = max(_number(fields.get("gfcnt", "")), 1)
    return _by(fields, MessageKind.GIFT, now, gift=_name(fields, "gfn"), quantity=quantity)


def _paid_text(fields: Fields, now: int) -> ChatMessage | None:
    """Opened treasure boxes come in the same shape without a price."""
    price, duration = _number(fields.get("cprice", "")), _number(fields.get("cet", ""))
    if price <= 0 or duration <= 0:
        return None
    said = douyu_stt.load(fields.get("chatmsg", ""))
    message = _by(said, MessageKind.SUPER_CHAT, now, id=_name(fields, "cid") or _name(said, "cid"))
    return message._replace(
        sent_at=_ms(fields.get("now", "")),
        text=said.get("txt", "")[:MAX_TEXT],
        price=price * FEN,
        currency="CNY",
        duration_s=duration,
    )


def _paid_voice(fields: Fields, now: int) -> ChatMessage | None:
    entries = douyu_stt.items(fields.get("list", ""))
    said = douyu_stt.load(entries[0]) if entries else {}
    price = _number(said.get("realPrice", ""))
    if price <= 0:
        return None
    start, end = _number(said.get("acptime", "")), _number(said.get("etime", ""))
    return ChatMessage(
        MessageKind.SUPER_CHAT,
        now,
        id=_name(said, "voiceRecordId"),
        sent_at=_ms(said.get("acptime", "")),
        user=_name(said, "un"),
        uid=_name(said, "uid"),
        text=said.get("content", "")[:MAX_TEXT],
        price=price * FEN,
        currency="CNY",
        duration_s=max(end - start, 0),
    )


def _noble(fields: Fields, now: int) -> ChatMessage:
    rank = _number(fields.get("nl", ""))
    level = HIGHEST_NOBLE + 1 - rank if 0 < rank <= HIGHEST_NOBLE else max(rank, 0)
    user = _name(fields, "unk") or _name(fields, "nn")
    return ChatMessage(MessageKind.MEMBERSHIP, now, user=user, uid=_name(fields, "uid"), level=level)


def _join(fields: Fields, now: int) -> ChatMessage:
    return _by(fields, MessageKind.JOIN, now)


def _share(fields: Fields, now: int) -> ChatMessage:
    user = _name(fields, "nickname")
    return ChatMessage(MessageKind.SYSTEM, now, user=user, uid=_name(fields, "uid"), action="share")


def _broadcast(fields: Fields, now: int) -> ChatMessage:
    if fields.get("ss") == "1":
        return ChatMessage(MessageKind.SYSTEM, now, action="live")
    return ChatMessage(MessageKind.STREAM_CLOSED, now, action="ended")


def _mute(fields: Fields, now: int) -> ChatMessage:
    """`user` is who muted, `text` the name of who was muted."""
    return ChatMessage(
        MessageKind.MODERATION,
        now,
        user=_name(fields, "snic"),
        uid=_name(fields, "sid"),
        text=_name(fields, "dnic"),
        action="mute",
        target=_name(fields, "did"),
    )


_READERS: Final[dict[str, Callable[[Fields, int], ChatMessage | None]]] = {
    "chatmsg": _chat,
    "dgb": _gift,
    "comm_chatmsg": _paid_text,
    "voice_trlt": _paid_voice,
    "anbc": _noble,
    "rnewbc": _noble,
    "uenter": _join,
    "srres": _share,
    "rss": _broadcast,
    "newblackres": _mute,
}


def _by(fields: Fields, kind: MessageKind, now: int, **more: Any) -> ChatMessage:
    """A message of the user whom the fields name."""
    user, uid = _name(fields, "nn"), _name(fields, "uid")
    return ChatMessage(kind, now, user=user, uid=uid, badges=_badges(fields))._replace(**more)


def _badges(fields: Fields) -> tuple[Badge, ...]:
    found = []
    if fields.get("rg") == MODERATOR_GROUP:
        found.append(Badge("moderator"))
    if (rank := _number(fields.get("nl", ""))) > 0:
        found.append(Badge("member", "noble", rank))
    if name := _name(fields, "bnn"):
        found.append(Badge("fan", name, max(_number(fields.get("bl", "")), 0)))
    return tuple(found)


def _name(fields: Fields, key: str) -> str:
    return fields.get(key, "")[:MAX_NAME]


def _number(text: str) -> int:
    return int(text) if _DIGITS.fullmatch(text) else 0


def _ms(text: str) -> int:
    number = _number(text)
    return number if number >= _SECONDS_BELOW else max(number, 0) * 1000
