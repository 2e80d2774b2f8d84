"""Douyu's packets and their text form STT, as pure code.

A packet is {length u32, length u32, type u16, encryption u8, reserved u8} little-endian and a body that ends with NUL; the
length counts everything behind its first field. Clients send type 689, servers 690. A frame of the WebSocket may hold
several packets. The body is ``key@=value/key@=value/``, in which ``@S`` stands for ``/`` and ``@A`` for ``@``; a value may be
such a text again, escaped once more. Source: Douyu's "third-party access protocol of the barrage server" (v1.6.2), and
what clients of the web page do.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final

MAX_FIELDS: Final = 512
HEADER_BYTES: Final = 12
MIN_LENGTH: Final = 9
"""The rest of the header, and the NUL of an empty body."""

_HEADER: Final = Struct("<IIHBB")
_CLIENT: Final = 689

Fields = dict[str, str]


def pack(fields: Fields) -> bytes:
    """One packet from a client."""
    body = dump(fields).encode() + b"\0"
    length = len(body) + HEADER_BYTES - 4
    return _HEADER.pack(length, length, _CLIENT, 0, 0) + body


def body_length(header: bytes) -> int:
    """How many bytes follow this header, for cutting a byte stream into packets. Raises ValueError."""
    length = int.from_bytes(header[:4], "little")
    if length < MIN_LENGTH:
        raise ValueError("a packet shorter than its header")
    return length + 4 - HEADER_BYTES


def bodies(frame: bytes) -> Iterator[bytes]:
    """The bodies of the packets in a frame without their NULs. Raises ValueError at what is none, after those before it."""
    at = 0
    while at < len(frame):
        if at + HEADER_BYTES > len(frame):
            raise ValueError("a packet shorter than its header")
        end = at + HEADER_BYTES + body_length(frame[at : at + HEADER_BYTES])
        if end > len(frame):
            raise ValueError("a packet reaches past its frame")
        yield frame[at + HEADER_BYTES : end].rstrip(b"\0")
        at = end


def dump(fields: Fields) -> str:
    """STT of a flat object."""
    return "".join(f"{escape(key)}@={escape(value)}/" for key, value in fields.items())


def load(text: str) -> Fields:
    """The fields of one level, at most MAX_FIELDS of them; what is no field is left out."""
    fields: Fields = {}
    for part in text.split("/", MAX_FIELDS)[:MAX_FIELDS]:
        key, mark, value = part.partition("@=")
        if mark:
            fields[unescape(key)] = unescape(value)
    return fields


def items(text: str) -> list[str]:
    """The elements of a list: values without keys."""
    return [unescape(part) for part in text.split("/", MAX_FIELDS)[:MAX_FIELDS] if part]


def escape(text: str) -> str:
    """As it stands inside a value."""
    return text.replace("@", "@A").replace("/", "@S")


def unescape(text: str) -> str:
    """Once: behind every @ stands an A or an S, so that the order of the two does not matter."""
    return text.replace("@S", "/").replace("@A", "@") if "@" in text else text
