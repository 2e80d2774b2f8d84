"""Fuzzes the codec of Douyin's chat: frames as they are, and as the body of a message whose method the first byte chooses."""

from __future__ import annotations

from services.danmu.adapters.codec import Decoded
from services.danmu.adapters.douyin import DouyinCodec
from services.danmu.adapters.webcast import field, number
from services.danmu.fuzz.harness import run

METHODS = tuple(
    f"Webcast{name}Message".encode()
    for name in ("Chat", "EmojiChat", "Member", "Social", "Like", "Fansclub", "Control", "RoomUserSeq", "Gift")
)
USER = number(1, 42) + field(3, b"a") + field(24, field(1, field(1, b"club") + number(2, 5)))
GIFT = field(15, number(5, 463) + number(11, 1) + number(12, 10) + field(16, b"rose"))
SEEDS = (
    field(7, b"hb"),
    number(2, 7) + field(7, b"msg") + field(8, number(9, 1) + field(5, b"ext")),
    b"\0" + field(1, number(2, 5) + number(4, 1_700_000_000)) + field(2, USER) + field(3, b"hi"),
    b"\0" + field(22, field(3, field(1, b"#8CE7FF"))) + number(15, 1_700_000_000_000),
    b"\x01" + field(2, USER) + number(3, 7) + field(5, b"[x]"),
    b"\x03" + field(2, USER) + number(4, 1),
    b"\x05" + number(2, 2) + field(4, USER),
    b"\x06" + number(2, 3),
    b"\x08" + number(5, 3) + field(7, USER) + number(11, 9) + GIFT,
    b"\x08" + number(5, 4) + field(7, USER) + number(9, 1) + number(11, 9) + GIFT,
)


class DouyinFuzz:
    """Feeds an input twice: as a frame, and as a message of one."""

    def __init__(self) -> None:
        self._codec = DouyinCodec(1, clock=self._later)
        self._now = 0

    def _later(self) -> int:
        self._now += 9000
        return self._now

    def __call__(self, data: bytes) -> Decoded:
        decoded = self._codec.feed(data)
        method = METHODS[data[0] % len(METHODS)] if data else b""
        entry = field(1, field(1, method) + field(2, data[1:]))
        decoded.messages += self._codec.feed(field(7, b"msg") + field(8, entry)).messages
        return decoded


connect = DouyinFuzz

if __name__ == "__main__":
    run(connect, SEEDS)
