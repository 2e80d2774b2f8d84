"""The protobuf wire format, read without a schema: field numbers to values, bounded by the buffer.

Source: protobuf.dev, "Encoding" (wire types 0 varint, 1 fixed64, 2 length-delimited, 5 fixed32; the deprecated groups 3
and 4 are refused).
"""

from __future__ import annotations

from typing import Final

MAX_FIELDS: Final = 4096

Value = int | bytes
Fields = dict[int, list[Value]]


class InvalidMessage(ValueError):
    """Bytes that are no protobuf message."""


def parse(data: bytes) -> Fields:
    """All fields of one message in order of appearance, by number; nested messages stay bytes.

    Raises InvalidMessage.
    """
    fields: Fields = {}
    at = 0
    for _ in range(MAX_FIELDS):
        if at >= len(data):
            return fields
        tag, at = _varint(data, at)
        value, at = _value(data, at, tag & 7)
        fields.setdefault(tag >> 3, []).append(value)
    raise InvalidMessage("too many fields")


def integer(fields: Fields, number: int) -> int:
    """The last value of an integer field, 0 when it is absent (proto3's default)."""
    value = fields.get(number, [0])[-1]
    return value if isinstance(value, int) else 0


def text(fields: Fields, number: int) -> str:
    """The last value of a string field, "" when it is absent; bytes that are no UTF-8 become U+FFFD."""
    value = fields.get(number, [b""])[-1]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else ""


def messages(fields: Fields, number: int) -> list[Fields]:
    """The nested messages of a (repeated) field. Raises InvalidMessage."""
    return [parse(value) for value in fields.get(number, []) if isinstance(value, bytes)]


def packed(data: bytes) -> list[int]:
    """The numbers of a packed repeated field, at most `MAX_FIELDS` of them. Raises InvalidMessage."""
    numbers: list[int] = []
    at = 0
    while at < len(data) and len(numbers) < MAX_FIELDS:
        value, at = _varint(data, at)
        numbers.append(value)
    return numbers


def _value(data: bytes, at: int, wire_type: int) -> tuple[Value, int]:
    if wire_type == 0:
        return _varint(data, at)
    if wire_type == 2:
        size, at = _varint(data, at)
        return _take(data, at, size), at + size
    if wire_type in (1, 5):
        size = 8 if wire_type == 1 else 4
        return int.from_bytes(_take(data, at, size), "little"), at + size
    raise InvalidMessage(f"wire type {wire_type}")


def _take(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise InvalidMessage("field reaches past the end")
    return data[at : at + size]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise InvalidMessage("truncated varint")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise InvalidMessage("varint too long")
