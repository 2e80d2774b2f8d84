"""AMF0: the value format of script tags.

Source: Adobe "Action Message Format - AMF 0" (2007). Python forms: number = float, boolean = bool, string and long string = str,
object = dict, ECMA array = EcmaArray, strict array = list, null = None, undefined = UNDEFINED, date = Date, XML = XmlDocument,
typed object = TypedObject, reference = Reference, unsupported = UNSUPPORTED. Text that is not UTF-8 survives a round trip
(surrogate escapes). Depth and the number of values are bounded: a script tag comes from outside.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from media.flv.errors import AmfError

MAX_DEPTH: Final = 32
MAX_VALUES: Final = 200_000

_NUMBER, _BOOLEAN, _STRING, _OBJECT, _MOVIECLIP, _NULL, _UNDEFINED, _REFERENCE = range(8)
_ECMA_ARRAY, _OBJECT_END, _STRICT_ARRAY, _DATE, _LONG_STRING, _UNSUPPORTED, _RECORDSET, _XML, _TYPED_OBJECT = range(
    8, 17
)
_END: Final = b"\x00\x00\x09"


class EcmaArray(dict[str, "AmfValue"]):
    """An associative array: what `onMetaData` usually is."""


class TypedObject(dict[str, "AmfValue"]):
    """An object with a class name."""

    def __init__(self, class_name: str, values: Mapping[str, AmfValue] | None = None) -> None:
        super().__init__(values or {})
        self.class_name = class_name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypedObject) and other.class_name == self.class_name and dict.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None


class XmlDocument(str):
    """The text of an XML document value."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Date:
    """Milliseconds since 1970 and a time zone in minutes, which the specification says to leave 0."""

    milliseconds: float
    zone: int = 0


@dataclass(frozen=True, slots=True)
class Reference:
    """The index of an object sent before in the same message."""

    index: int


@dataclass(frozen=True, slots=True)
class Marker:
    """A value that is only a marker: `undefined` or `unsupported`."""

    code: int


UNDEFINED: Final = Marker(_UNDEFINED)
UNSUPPORTED: Final = Marker(_UNSUPPORTED)

AmfValue: TypeAlias = (
    "float | int | bool | str | Date | Reference | Marker | Sequence[AmfValue] | Mapping[str, AmfValue] | None"
)


def decode_all(data: bytes | memoryview) -> list[AmfValue]:
    """Decode every value of a message; raises AmfError for anything malformed, truncated, too deep or too large."""
    decoder = Decoder(data)
    values: list[AmfValue] = []
    while decoder.remaining:
        values.append(decoder.value())
    return values


def encode_all(values: Iterable[AmfValue]) -> bytes:
    """Encode values one after another; raises AmfError for a value that AMF0 cannot say."""
    out: list[bytes] = []
    for value in values:
        _encode(value, out, 0)
    return b"".join(out)


class Decoder:
    """Reads AMF0 values from a buffer, one at a time; `position` is the offset of the next one."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = bytes(data)
        self.position = 0
        self._budget = MAX_VALUES

    @property
    def remaining(self) -> int:
        return len(self._data) - self.position

    def value(self, depth: int = 0) -> AmfValue:
        """Return the next value; raises AmfError."""
        if depth > MAX_DEPTH:
            raise AmfError("AMF0 value nested too deeply")
        self._budget -= 1
        if self._budget < 0:
            raise AmfError("too many AMF0 values")
        marker = self._take(1)[0]
        read = _READERS.get(marker)
        if read is None:
            raise AmfError(f"unknown AMF0 marker {marker}")
        return read(self, depth)

    def _take(self, count: int) -> bytes:
        end = self.position + count
        if end > len(self._data):
            raise AmfError("truncated AMF0 value")
        taken = self._data[self.position : end]
        self.position = end
        return taken

    def _number(self, _depth: int) -> float:
        return float(struct.unpack(">d", self._take(8))[0])

    def _boolean(self, _depth: int) -> bool:
        return self._take(1) != b"\x00"

    def _text(self, size_bytes: int) -> str:
        size = int.from_bytes(self._take(size_bytes))
        return self._take(size).decode("utf-8", "surrogateescape")

    def _string(self, _depth: int) -> str:
        return self._text(2)

    def _long_string(self, _depth: int) -> str:
        return self._text(4)

    def _xml(self, _depth: int) -> XmlDocument:
        return XmlDocument(self._text(4))

    def _null(self, _depth: int) -> None:
        return None

    def _undefined(self, _depth: int) -> Marker:
        return UNDEFINED

    def _unsupported(self, _depth: int) -> Marker:
        return UNSUPPORTED

    def _reference(self, _depth: int) -> Reference:
        return Reference(int.from_bytes(self._take(2)))

    def _date(self, _depth: int) -> Date:
        milliseconds, zone = struct.unpack(">dh", self._take(10))
        return Date(milliseconds, zone)

    def _properties(self, depth: int) -> dict[str, AmfValue]:
        values: dict[str, AmfValue] = {}
        while True:
            # Encoders are seen that end an array without its end marker; the end of the message then ends it.
            if not self.remaining:
                return values
            if self._data.startswith(_END, self.position):
                self.position += len(_END)
                return values
            name = self._text(2)
            values[name] = self.value(depth + 1)

    def _object(self, depth: int) -> dict[str, AmfValue]:
        return self._properties(depth)

    def _typed_object(self, depth: int) -> TypedObject:
        class_name = self._text(2)
        return TypedObject(class_name, self._properties(depth))

    def _ecma_array(self, depth: int) -> EcmaArray:
        self._take(4)  # the announced count is a hint that many encoders set to 0
        return EcmaArray(self._properties(depth))

    def _strict_array(self, depth: int) -> list[AmfValue]:
        count = int.from_bytes(self._take(4))
        if count > self._budget or count > self.remaining:
            raise AmfError("AMF0 array longer than its message")
        numbers = self._data[self.position : self.position + 9 * count]
        # A keyframe index is thousands of numbers and nothing else: read it in one call.
        if len(numbers) == 9 * count and not any(numbers[::9]):
            self._budget -= count
            self.position += len(numbers)
            return [number for (number,) in struct.iter_unpack(">xd", numbers)]
        return [self.value(depth + 1) for _ in range(count)]


_READERS: Final[dict[int, Callable[[Decoder, int], AmfValue]]] = {
    _NUMBER: Decoder._number,
    _BOOLEAN: Decoder._boolean,
    _STRING: Decoder._string,
    _OBJECT: Decoder._object,
    _NULL: Decoder._null,
    _UNDEFINED: Decoder._undefined,
    _REFERENCE: Decoder._reference,
    _ECMA_ARRAY: Decoder._ecma_array,
    _STRICT_ARRAY: Decoder._strict_array,
    _DATE: Decoder._date,
    _LONG_STRING: Decoder._long_string,
    _UNSUPPORTED: Decoder._unsupported,
    _XML: Decoder._xml,
    _TYPED_OBJECT: Decoder._typed_object,
}


def encode_name(name: str) -> bytes:
    """Encode a property name: a length of two bytes and UTF-8; raises AmfError past 65,535 bytes."""
    raw = name.encode("utf-8", "surrogateescape")
    if len(raw) > 0xFFFF:
        raise AmfError("AMF0 property name too long")
    return len(raw).to_bytes(2) + raw


def encode_elements(numbers: Sequence[float]) -> bytes:
    """Encode numbers as they stand in an array, in one call."""
    return struct.pack(">" + "xd" * len(numbers), *numbers)


def _encode(value: AmfValue, out: list[bytes], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise AmfError("AMF0 value nested too deeply")
    if isinstance(value, float | int):
        out.append(_encode_scalar(value))  # most are; asking whether they are containers takes longer
    elif isinstance(value, str):
        out.append(_encode_text(value))
    elif isinstance(value, Mapping):
        _encode_properties(value, out, depth)
    elif isinstance(value, Sequence):
        out.append(bytes([_STRICT_ARRAY]) + len(value).to_bytes(4))
        for element in value:
            _encode(element, out, depth + 1)
    else:
        out.append(_encode_scalar(value))


def _encode_scalar(value: float | bool | Date | Reference | Marker | None) -> bytes:
    match value:
        case None:
            return bytes([_NULL])
        case bool():
            return bytes([_BOOLEAN, value])
        case int() | float():
            return struct.pack(">xd", value)
        case Date():
            return struct.pack(">Bdh", _DATE, value.milliseconds, value.zone)
        case Reference():
            return struct.pack(">BH", _REFERENCE, value.index)
        case Marker():
            return bytes([value.code])
    raise AmfError(f"AMF0 cannot say a {type(value).__name__}")


def _encode_text(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogateescape")
    if isinstance(value, XmlDocument):
        return bytes([_XML]) + len(raw).to_bytes(4) + raw
    if len(raw) > 0xFFFF:
        return bytes([_LONG_STRING]) + len(raw).to_bytes(4) + raw
    return bytes([_STRING]) + len(raw).to_bytes(2) + raw


def _encode_properties(value: Mapping[str, AmfValue], out: list[bytes], depth: int) -> None:
    if isinstance(value, TypedObject):
        out.append(bytes([_TYPED_OBJECT]) + encode_name(value.class_name))
    elif isinstance(value, EcmaArray):
        out.append(bytes([_ECMA_ARRAY]) + len(value).to_bytes(4))
    else:
        out.append(bytes([_OBJECT]))
    for name, element in value.items():
        out.append(encode_name(name))
        _encode(element, out, depth + 1)
    out.append(_END)
