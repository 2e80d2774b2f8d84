"""Fuzzes Niconico's codec: the session's JSON, the comment server's protobuf, and the cutting of its stream."""

from __future__ import annotations

from collections.abc import Callable

from services.danmu.adapters.codec import Decoded
from services.danmu.adapters.ndgr import LengthDelimited, parse_entry
from services.danmu.adapters.niconico import COMMENT, NiconicoCodec, watch_socket
from services.danmu.fuzz.harness import SEPARATOR, run

_META = b"\x0a\x0d\x0a\x02id\x12\x07\x08\xc0\xb3\xbc\xc2\x06\x10"[:13] + b"\x01\x00"
_CHAT = b"\x0a\x05hello\x12\x03Ann\x20\x01\x28\x2a\x3a\x04\x08\x01\x18\x06\x40\x01"
SEEDS = (
    b'{"type":"seat","data":{"keepIntervalSec":30}}',
    b'{"type":"messageServer","data":{"viewUri":"https://mpn.live.nicovideo.jp/api/view/v4/x"}}'
    + SEPARATOR
    + b'{"type":"ping"}',
    b'{"type":"disconnect","data":{"reason":"END_PROGRAM"}}',
    b"""data-props="{&quot;site&quot;:{&quot;relive&quot;:{&quot;webSocketUrl&quot;:&quot;wss://a&quot;}}}\"""",
    COMMENT + b"\x12" + bytes([len(_CHAT) + 2]) + b"\x0a" + bytes([len(_CHAT)]) + _CHAT,
    COMMENT + _META + b"\x12\x0c\x42\x0a\x1a\x03Ann\x20\x64\x32\x01g",
    COMMENT + b"\x12\x0e\x4a\x0c\x12\x0a\x08\x01\x12\x06x500pt",
    COMMENT + b"\x22\x04\x4a\x02\x08\x01" + SEPARATOR + COMMENT + b"\x22\x04\x2a\x02\x08\x01",
    COMMENT + b"\x22\x0b\x22\x09\x0a\x07\x0a\x05\x0a\x03abc",
    COMMENT + b"\x12\x09\xba\x01\x06\x08\x09\x12\x02hi",
    b"\x08\x0a\x06\x1a\x04http\x04\x22\x02\x08\x07",
)


def connect() -> Callable[[bytes], Decoded]:
    """One connection: each frame also as a piece of the stream, as an entry and as a page."""
    codec, cut = NiconicoCodec(clock=lambda: 1), LengthDelimited()

    def feed(frame: bytes) -> Decoded:
        try:
            messages = cut.feed(frame)
        except ValueError:
            messages = []
        for message in (frame, *messages):
            parse_entry(message)
        watch_socket(frame)
        decoded = codec.feed(frame)
        for message in messages[:64]:
            decoded.messages += codec.feed(COMMENT + message).messages
        return decoded

    return feed


if __name__ == "__main__":
    run(connect, SEEDS)
