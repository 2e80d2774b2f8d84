"""TARS (formerly JCE), the wire format, read without a schema: tags to values, bounded by the buffer; and the little that is sent.

A field is a head (tag in the upper four bits, type in the lower; tag 15 means that a byte with the tag follows) and a value,
big-endian. Types: 0 to 3 integers of 1, 2, 4, 8 bytes, 4 float, 5 double, 6 and 7 strings with a length of 1 or 4 bytes, 8 map, 9
list, 10 and 11 begin and end of a struct, 12 zero, 13 bytes. Source: the TARS project, "TARS protocol".
"""

from __future__ import annotations

import struct
from typing import Any, Final

MAX_VALUES: Final = 65_536
"""In one message, nested ones included."""
MAX_DEPTH: Final = 16

_FIXED: Final = {0: "b", 1: "h", 2: "i", 3: "q", 4: "f", 5: "d"}
_STRING1, _STRING4, _MAP, _LIST, _BEGIN, _END, _ZERO, _BYTES = range(6, 14)

Struct = dict[int, Any]
"""int, float, str (bad UTF-8 becomes U+FFFD), bytes, list, Struct, or a map's list of pairs."""


class InvalidTars(ValueError):
    """Bytes that are no TARS."""


def parse(data: bytes) -> Struct:
    """The fields of one struct. Raises InvalidTars."""
    return _Reader(data).fields(0, top=True)


def integer(fields: Struct, tag: int) -> int:
    """An integer field, 0 when it is absent or something else."""
    value = fields.get(tag)
    return value if isinstance(value, int) else 0


def text(fields: Struct, tag: int, limit: int) -> str:
    """At most `limit` characters of a string field."""
    value = fields.get(tag)
    return value[:limit] if isinstance(value, str) else ""


def raw(fields: Struct, tag: int) -> bytes:
    """A field of bytes; an empty list is how an empty one may be written too."""
    value = fields.get(tag)
    return value if isinstance(value, bytes) else b""


def nested(fields: Struct, tag: int) -> Struct:
    """A struct field, {} when it is absent or something else."""
    value = fields.get(tag)
    return value if isinstance(value, dict) else {}


def structs(fields: Struct, tag: int) -> list[Struct]:
    """The structs in a list field."""
    value = fields.get(tag)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._at, self._left = data, 0, MAX_VALUES

    def fields(self, depth: int, *, top: bool = False) -> Struct:
        found: Struct = {}
        while True:
            if top and self._at >= len(self._data):
                return found
            tag, kind = self._head()
            if kind == _END and not top:
                return found
            found[tag] = self._value(kind, depth)

    def _head(self) -> tuple[int, int]:
        head = self._take(1)[0]
        tag = head >> 4
        return (self._take(1)[0] if tag == 15 else tag), head & 15

    def _value(self, kind: int, depth: int) -> Any:
        self._left -= 1
        if self._left < 0 or depth > MAX_DEPTH:
            raise InvalidTars("too much in one message")
        if kind in _FIXED:
            form = ">" + _FIXED[kind]
            return struct.unpack(form, self._take(struct.calcsize(form)))[0]
        if kind in (_STRING1, _STRING4):
            return self._take(int.from_bytes(self._take(1 if kind == _STRING1 else 4), "big")).decode(
                "utf-8", "replace"
            )
        if kind == _ZERO:
            return 0
        if kind == _BYTES:
            if self._head()[1] != 0:
                raise InvalidTars("bytes of another type")
            return self._take(self._size(len(self._data)))
        return self._container(kind, depth)

    def _container(self, kind: int, depth: int) -> Any:
        if kind == _MAP:
            return [(self._element(depth), self._element(depth)) for _ in range(self._size())]
        if kind == _LIST:
            return [self._element(depth) for _ in range(self._size())]
        if kind == _BEGIN:
            return self.fields(depth + 1)
        raise InvalidTars(f"type {kind}")

    def _element(self, depth: int) -> Any:
        return self._value(self._head()[1], depth + 1)

    def _size(self, limit: int = MAX_VALUES) -> int:
        size = self._element(0)
        if not isinstance(size, int) or not 0 <= size <= limit:
            raise InvalidTars("a size that is none")
        return size

    def _take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise InvalidTars("truncated")
        taken, self._at = self._data[self._at : end], end
        return taken


def put_int(tag: int, value: int) -> bytes:
    """An integer field in the shortest form."""
    if value == 0:
        return _put_head(tag, _ZERO)
    for kind, bits in ((0, 8), (1, 16), (2, 32)):
        if -(1 << bits - 1) <= value < 1 << bits - 1:
            return _put_head(tag, kind) + struct.pack(">" + _FIXED[kind], value)
    return _put_head(tag, 3) + struct.pack(">q", value)


def put_text(tag: int, value: str) -> bytes:
    """A string field of at most 255 bytes."""
    encoded = value.encode()
    return _put_head(tag, _STRING1) + bytes([len(encoded)]) + encoded


def put_bytes(tag: int, value: bytes) -> bytes:
    """A field of bytes."""
    return _put_head(tag, _BYTES) + b"\0" + put_int(0, len(value)) + value


def put_texts(tag: int, values: list[str]) -> bytes:
    """A list of strings."""
    return _put_head(tag, _LIST) + put_int(0, len(values)) + b"".join(put_text(0, value) for value in values)


def _put_head(tag: int, kind: int) -> bytes:
    return bytes([tag << 4 | kind])
