"""Fuzzes the codec of Huya's chat: frames as they are, and as the body of a message whose kind the first byte chooses."""

from __future__ import annotations

from services.danmu.adapters.codec import Decoded
from services.danmu.adapters.huya import HuyaCodec, command
from services.danmu.adapters.tars import put_bytes, put_int, put_text, put_texts
from services.danmu.fuzz.harness import run

URIS = (1400, 6501, 6110, 1001, 8001, 8006, 2_001_314)
NOTICE = b"\x0a" + put_int(0, 7) + put_text(2, "a") + b"\x0b" + put_text(3, "hi") + b"\x6a" + put_int(0, 255) + b"\x0b"
BADGE = (
    b"\x89" + put_int(0, 1) + b"\x0a" + put_int(0, 10_400) + put_bytes(2, put_text(3, "fan") + put_int(4, 5)) + b"\x0b"
)
SEEDS = (
    command(17, b""),
    command(7, put_int(1, 1400) + put_bytes(2, NOTICE + BADGE) + put_int(5, 9)),
    command(22, b"\x19" + put_int(0, 1) + b"\x0a" + put_int(0, 6501) + put_bytes(1, put_int(2, 3)) + b"\x0b"),
    b"\x00" + NOTICE,
    b"\x01" + put_int(2, 3) + put_int(4, 7) + put_text(6, "a") + b"\xf6\x14\x01x",
    b"\x06\x19"
    + put_int(0, 1)
    + b"\x0a"
    + put_text(1, "hi")
    + put_int(2, 30)
    + put_int(4, 60)
    + put_int(9, 5)
    + b"\x0b",
    put_texts(0, ["live:1", "chat:1"]),
)


class HuyaFuzz:
    """Feeds an input twice: as a frame, and as what one pushes."""

    def __init__(self) -> None:
        self._codec = HuyaCodec(1, lambda: 1)

    def __call__(self, data: bytes) -> Decoded:
        decoded = self._codec.feed(data)
        uri = URIS[data[0] % len(URIS)] if data else 0
        pushed = command(7, put_int(1, uri) + put_bytes(2, data[1:]))
        decoded.messages += self._codec.feed(pushed).messages
        return decoded


connect = HuyaFuzz

if __name__ == "__main__":
    run(connect, SEEDS)
