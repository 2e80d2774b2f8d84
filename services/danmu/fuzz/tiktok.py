"""Fuzzes the codec of TikTok's chat: frames as they are, as a response, and as a message whose method the first byte chooses."""

from __future__ import annotations

from services.danmu.adapters.codec import Decoded
from services.danmu.adapters.combos import Combos
from services.danmu.adapters.tiktok import TiktokCodec
from services.danmu.adapters.tiktok_messages import GIFT_METHOD, HANDLERS, VIEWERS_METHOD
from services.danmu.adapters.webcast import field, number
from services.danmu.fuzz.harness import run

METHODS = tuple(name.encode() for name in (*HANDLERS, GIFT_METHOD, VIEWERS_METHOD))


def push(method: bytes, body: bytes) -> bytes:
    """A frame with one message."""
    return field(7, b"msg") + field(8, field(1, field(1, method) + field(2, body)))


_COMMON = field(1, number(2, 7))
_USER = number(1, 42) + field(3, b"Ann")
_GIFT = _COMMON + number(2, 9) + number(5, 3) + field(7, _USER) + number(9, 1) + number(11, 5)
SEEDS = (
    field(7, b"im_enter_room_resp"),
    push(b"WebcastChatMessage", _COMMON + field(2, _USER) + field(3, b"hello")),
    push(b"WebcastMemberMessage", _COMMON + field(2, _USER) + number(10, 1)),
    push(b"WebcastSocialMessage", _COMMON + field(2, _USER) + number(4, 1)),
    push(b"WebcastSubNotifyMessage", _COMMON + field(2, _USER) + number(4, 6)),
    push(b"WebcastControlMessage", _COMMON + number(2, 3)),
    push(GIFT_METHOD.encode(), _GIFT + field(15, number(11, 1) + number(12, 5))),
    push(GIFT_METHOD.encode(), _GIFT.replace(number(9, 1), number(9, 0)) + field(15, number(11, 1) + number(12, 5))),
)


class TiktokFuzz:
    """Feeds an input in three places; of rows of gifts that did not end, what is told when the chat is left."""

    def __init__(self) -> None:
        self._codec = TiktokCodec(1, Combos(), clock=lambda: 1)

    def __call__(self, data: bytes) -> Decoded:
        method = METHODS[data[0] % len(METHODS)] if data else b""
        frames = (data, field(7, b"msg") + field(8, data), push(method, data[1:]))
        decoded = Decoded()
        for frame in frames:
            left = Combos()
            decoded.messages += self._codec.feed(frame).messages
            TiktokCodec(1, left, clock=lambda: 1).feed(frame)
            decoded.messages += left.finish()
        return decoded


connect = TiktokFuzz

if __name__ == "__main__":
    run(connect, SEEDS)
