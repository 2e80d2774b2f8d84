"""The messages of TwitCasting's chat, as pure code: WebSocket text frames that hold a JSON array of events.

An event is ``{"type": "comment", "id", "message", "createdAt", "author"}`` or ``{"type": "gift", "id", "message",
"plainMessage", "item", "sender", "createdAt", "isPaidGift"}``, where people are ``{"id", "name", "screenName"}`` and times
are milliseconds; empty arrays keep the connection busy. A gift's name counts it ("…ｘ10"); its price is nowhere. Sources:
"Twicasのチャット取得" (qiita.com, pasta04) and gifts that viewers recorded and published; that the server wants no heartbeat,
and that recorders ping at the WebSocket level every 30 s, is what two recorders do.
"""

from __future__ import annotations

import re
from typing import Any, Final

from services.danmu.adapters.codec import Decoded
from services.danmu.adapters.json_fields import MAX_TEXT, count_at, object_at, parse_json, text_at
from services.danmu.adapters.messages import Badge, ChatMessage, Emote, MessageKind
from services.danmu.adapters.recent import BacklogCodec

MAX_FRAME_BYTES: Final = 1 << 20
MAX_EVENTS: Final = 2048

_COUNTED: Final = re.compile(r"[xｘ×](\d{1,6})$")


class TwitcastingCodec(BacklogCodec):
    """One connection's codec; `seen` goes from connection to connection, as each one begins with the last comments."""

    def heartbeat(self) -> None:
        """None: the transport's own sign of life is all there is."""

    def feed(self, frame: bytes) -> Decoded:
        """One frame. Never raises: what is broken or unknown is counted and left out."""
        decoded = Decoded()
        if len(frame) > MAX_FRAME_BYTES:
            self.counters.oversized += 1
            return decoded
        events = parse_json(frame)
        if not isinstance(events, list):
            self.counters.malformed += 1
            return decoded
        if len(events) > MAX_EVENTS:
            self.counters.oversized += 1
        now = self._clock()
        for event in events[:MAX_EVENTS]:
            self._event(object_at(event), decoded, now)
        return decoded

    def _event(self, event: dict[str, Any], decoded: Decoded, now: int) -> None:
        kind = text_at(event, "type")
        if kind == "comment":
            message = _comment(event, now)
        elif kind == "gift":
            message = _gift(event, now)
        else:
            self.counters.ignore(kind[:64] or "no type")
            return
        if not message.id or self._seen.add(message.id):
            received_at = self._seen.received_at(message.sent_at, now)
            decoded.messages.append(message._replace(received_at=received_at))


def _comment(event: dict[str, Any], now: int) -> ChatMessage:
    return _said(MessageKind.CHAT, event, "author", now)


def _gift(event: dict[str, Any], now: int) -> ChatMessage:
    """What comes in a pack of ten is named so; the picture of the item is kept as the emote of its name."""
    name = text_at(event, "item", "name")
    match = _COUNTED.search(name)
    said = _said(MessageKind.GIFT, event, "sender", now)
    return said._replace(
        text=text_at(event, "plainMessage", limit=MAX_TEXT) or said.text,
        gift=name,
        quantity=int(match[1]) or 1 if match else 1,
        action="paid" if event.get("isPaidGift") is True else "",
        emotes=(Emote(name, text_at(event, "item", "image", limit=MAX_TEXT)),),
    )


def _said(kind: MessageKind, event: dict[str, Any], person: str, now: int) -> ChatMessage:
    who = object_at(event, person)
    grade = count_at(who, "grade")
    return ChatMessage(
        kind,
        now,
        text_at(event, "id"),
        count_at(event, "createdAt"),
        text_at(who, "name") or text_at(who, "screenName"),
        text_at(who, "id"),
        text_at(event, "message", limit=MAX_TEXT),
        badges=(Badge("fan", "grade", grade),) if grade else (),
    )
