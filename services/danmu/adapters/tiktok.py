"""The wire protocol of TikTok LIVE chat ("webcast"), as pure code.

Every WebSocket frame is a protobuf ``PushFrame`` {2 log id, 6 payload encoding "pb", 7 payload type, 8 payload}. The client
sends ``im_enter_room`` (1 room, 4 live id 12, 5 "audience", 9 "0") and every 10 s ``hb`` (1 room). The server sends ``msg``: a
``Response``, gzipped where it begins with 1f 8b, {1 messages {1 method, 2 payload, 3 id, 6 is history}, 5 internal ext,
9 needs ack}; one that needs it is acknowledged with a frame of the same log id, type ``ack`` and the internal ext as payload.
``im_enter_room_resp`` answers the entrance. Sources: the schemas published with "TikTok-Live-Connector", "TikTokLive" and the
"PirateTok" readers, which agree in these fields, and the web player's own field numbers as audited by a fourth reader.

What the methods mean: `tiktok_messages`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from services.danmu.adapters import protobuf, webcast
from services.danmu.adapters.codec import CodecCounters, Decoded
from services.danmu.adapters.messages import ChatMessage
from services.danmu.adapters.protobuf import Fields, InvalidMessage
from services.danmu.adapters.tiktok_messages import GIFT_METHOD, HANDLERS, VIEWERS_METHOD, Gift, gift_of

MAX_FRAME_BYTES: Final = 8 << 20
MAX_COMBOS: Final = 4096
COMBO_SILENCE_MS: Final = 15_000
"""A combination whose end was not heard is over when it did not grow for this long; the page ends it after a few seconds."""
COMBO_MEMORY_MS: Final = 120_000

_MAX_ID: Final = (1 << 64) - 1


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


class _Combo:
    """Gifts of one kind from one viewer in quick succession. `counted`: how many of them have been told."""

    __slots__ = ("at", "counted", "last")

    def __init__(self, last: Gift) -> None:
        self.last, self.at, self.counted = last, 0, 0

    def told(self) -> list[ChatMessage]:
        """What has not been told yet, as one gift."""
        fresh = self.last.total - self.counted
        if fresh <= 0:
            return []
        self.counted = self.last.total
        return [self.last.times(fresh)]


class Combos:
    """Makes one gift of those that are sent in a row: each step comes as a message with the sum so far.

    The gift is told when the row ends, or when nothing was added for a while, for the end is not always sent. One table may
    serve several connections to a room, so that a row which a reconnection interrupts is still one gift.
    """

    def __init__(self) -> None:
        self._open: dict[tuple[str, int, int], _Combo] = {}

    def add(self, gift: Gift, now: int) -> list[ChatMessage]:
        """One step; the gift when this was the last."""
        if not gift.combines:
            return [gift.message]
        key = (gift.message.uid, gift.gift_id, gift.group_id)
        combo = self._open.pop(key, None) or _Combo(gift)
        if gift.total >= combo.last.total:
            combo.last = gift
        combo.at = now
        if gift.ends:
            return combo.told()
        self._open[key] = combo
        if len(self._open) > MAX_COMBOS:
            return self._open.pop(next(iter(self._open))).told()
        return []

    def silent(self, now: int) -> list[ChatMessage]:
        """The gifts whose row did not grow for a while; a late end adds only what came after this."""
        messages: list[ChatMessage] = []
        for key, combo in list(self._open.items()):  # in the order of their last growth
            if combo.at > now - COMBO_SILENCE_MS:
                break
            messages += combo.told()
            if combo.at <= now - COMBO_MEMORY_MS:
                del self._open[key]
        return messages

    def finish(self) -> list[ChatMessage]:
        """Nothing more will be heard: the gifts of every open row."""
        messages = [message for combo in self._open.values() for message in combo.told()]
        self._open.clear()
        return messages


class TiktokCodec:
    """One connection's codec; make a new one for each connection. `combos` may be those of the connection before."""

    def __init__(self, room_id: int, combos: Combos | None = None, clock: Callable[[], int] = _now_ms) -> None:
        self.counters = CodecCounters()
        self._room_id, self._clock = room_id, clock
        self._combos = combos or Combos()

    def hello(self) -> bytes:
        """Enter the room: without it the server says nothing."""
        body = b"".join(
            (
                webcast.number(1, self._room_id),
                webcast.number(4, 12),
                webcast.field(5, b"audience"),
                webcast.field(9, b"0"),
            )
        )
        return webcast.push("im_enter_room", body)

    def heartbeat(self) -> bytes:
        """Due every 10 s."""
        return webcast.push("hb", webcast.number(1, self._room_id))

    def feed(self, frame: bytes) -> Decoded:
        """Everything in one frame, and the combinations of gifts that have ended meanwhile. Never raises."""
        decoded, now = Decoded(), self._clock()
        if len(frame) > MAX_FRAME_BYTES:
            self.counters.oversized += 1
            return decoded
        try:
            self._push_frame(protobuf.parse(frame), decoded, now)
        except InvalidMessage:
            self.counters.malformed += 1
        except webcast.TooLarge:
            self.counters.oversized += 1
        decoded.messages += self._combos.silent(now)
        return decoded

    def _push_frame(self, push: Fields, decoded: Decoded, now: int) -> None:
        kind = protobuf.text(push, 7)
        if kind == "im_enter_room_resp":
            decoded.authenticated = True
        elif kind == "msg":
            decoded.authenticated = True
            self._response(push, decoded, now)
        else:
            self.counters.ignore(f"frame {kind}"[:64])

    def _response(self, push: Fields, decoded: Decoded, now: int) -> None:
        response = protobuf.parse(webcast.unpacked(webcast.raw(push, 8)))
        if protobuf.integer(response, 9):
            log_id = protobuf.integer(push, 2) & _MAX_ID
            decoded.replies.append(webcast.push("ack", webcast.raw(response, 5), log_id))
        for entry in response.get(1, []):
            try:
                self._entry(protobuf.parse(entry) if isinstance(entry, bytes) else {}, decoded, now)
            except (InvalidMessage, OverflowError):
                self.counters.malformed += 1

    def _entry(self, entry: Fields, decoded: Decoded, now: int) -> None:
        method, body = protobuf.text(entry, 1), protobuf.parse(webcast.raw(entry, 2))
        handler = HANDLERS.get(method)
        if protobuf.integer(entry, 6):
            self.counters.ignore("history")  # what was said before this connection
        elif method == VIEWERS_METHOD:
            decoded.popularity = min(protobuf.integer(body, 3), _MAX_ID)
        elif method == GIFT_METHOD:
            decoded.messages += self._combos.add(gift_of(body, now), now)
        elif handler is None:
            self.counters.ignore(method[:64])
        else:
            decoded.messages += handler(body, now)
