"""Any bytes as a frame of TikTok chat: nothing may raise, and every message must survive its line.

``python -m services.danmu.fuzz.tiktok -runs=100000``
"""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-untyped]

with atheris.instrument_imports():
    from services.danmu.adapters.combos import Combos
    from services.danmu.adapters.messages import decode_line, encode_line
    from services.danmu.adapters.tiktok import TiktokCodec
    from services.danmu.adapters.tiktok_messages import GIFT_METHOD, HANDLERS, VIEWERS_METHOD

METHODS = tuple(name.encode() for name in (*HANDLERS, GIFT_METHOD, VIEWERS_METHOD))


def field(number: int, value: bytes) -> bytes:
    """One length-delimited field."""
    size, encoded = len(value), b""
    while size > 127:
        encoded += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + encoded + bytes([size]) + value


def one_input(data: bytes) -> None:
    """The input as it is, as a response, and as the body of a message whose method its first byte chooses."""
    combos = Combos()
    codec = TiktokCodec(1, combos, clock=lambda: 1)
    method = METHODS[data[0] % len(METHODS)] if data else b""
    entry = field(1, field(1, method) + field(2, data[1:]))
    frames = (data, field(7, b"msg") + field(8, data), field(7, b"msg") + field(8, entry))
    messages = [message for frame in frames for message in codec.feed(frame).messages]
    for message in messages + combos.finish():
        assert decode_line(encode_line(message)) == message


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
