"""What Douyin's and TikTok's chats have in common on the wire: push frames in protobuf, gzipped payloads.

A ``PushFrame`` is {2 log id, 6 payload encoding, 7 payload type, 8 payload}; a payload that begins with 1f 8b is gzip. Source: the
schemas published with the open-source readers of both platforms.
"""

from __future__ import annotations

import zlib
from typing import Final

from services.danmu.adapters.protobuf import Fields, InvalidMessage

MAX_UNPACKED: Final = 16 << 20
"""What one frame may hold, unpacked: a thousand times a busy room's largest."""

_GZIP: Final = b"\x1f\x8b"
_GZIP_WINDOW: Final = 31


class TooLarge(Exception):
    """The frame holds more than its allowance."""


def raw(fields: Fields, number: int) -> bytes:
    """The last value of a field of bytes, b"" when it is absent."""
    value = fields.get(number, [b""])[-1]
    return value if isinstance(value, bytes) else b""


def unpacked(payload: bytes) -> bytes:
    """A payload without its compression. Raises InvalidMessage, TooLarge."""
    if not payload.startswith(_GZIP):
        return payload
    try:
        plain = zlib.decompressobj(_GZIP_WINDOW).decompress(payload, MAX_UNPACKED + 1)
    except zlib.error as error:
        raise InvalidMessage("broken gzip") from error
    if len(plain) > MAX_UNPACKED:
        raise TooLarge
    return plain


def push(kind: str, payload: bytes, log_id: int = 0) -> bytes:
    """A frame from a client."""
    log = number(2, log_id) if log_id else b""
    return b"".join((log, field(6, b"pb"), field(7, kind.encode()), field(8, payload)))


def number(place: int, value: int) -> bytes:
    """An integer field."""
    return _varint(place << 3) + _varint(value)


def field(place: int, value: bytes) -> bytes:
    """A field of bytes, text or a nested message."""
    return _varint(place << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
