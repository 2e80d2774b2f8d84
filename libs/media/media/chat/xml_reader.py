"""Reads chat XML of any recorder that keeps to the common core, streaming, whatever the size of the file.

Known dialects: this service's own; BililiveRecorder, blrec and rust-srec (``<d p=… user=… uid=…>``, ``<sc>``, ``<gift>``, ``<guard>``, ``ts`` in
seconds); biliup (``<s type=… price=… num=…>`` for everything paid). Raw control characters, which XML does not allow and some
recorders write, are skipped. A file with a document type is refused: chat has none, and entities can make a small file huge.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.parsers import expat

from media.chat.head import ChatHead
from media.chat.message import WHITE, ChatMessage, MessageKind
from media.chat.timing import Timed

_CHUNK: Final = 1 << 18
_MAX_TEXT: Final = 1 << 16
_UNWRITABLE: Final = bytes([*range(9), 11, 12, *range(14, 32)])
_SECONDS_BELOW: Final = 100_000_000_000
"""Unix milliseconds passed this value in 1973: a smaller time is in seconds."""
_MAX_OFFSET_MS: Final = 1 << 48
_TORN: Final = frozenset(
    expat.errors.codes[text]
    for text in (
        expat.errors.XML_ERROR_NO_ELEMENTS,
        expat.errors.XML_ERROR_UNCLOSED_TOKEN,
        expat.errors.XML_ERROR_PARTIAL_CHAR,
    )
)
"""The file ends in the middle."""
_PAID: Final = {
    "gift": MessageKind.GIFT,
    "sc": MessageKind.SUPER_CHAT,
    "guard": MessageKind.MEMBERSHIP,
    "super_chat": MessageKind.SUPER_CHAT,
    "guard_buy": MessageKind.MEMBERSHIP,
}
_HEAD: Final = {
    "platform": "platform",
    "user_name": "streamer",
    "room_id": "room_id",
    "room_title": "title",
    "area": "category",
    "parent_area": "parent_category",
    "recorder": "recorder",
}


class InvalidXml(ValueError):
    """The file is no chat XML."""


class XmlChatReader:
    """The messages of an XML file with their places; `done` grows from 0 to the size of the file while it is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = _Rows()
        self.done = 0

    @property
    def head(self) -> ChatHead:
        """What the file says about itself, as far as it was read."""
        return ChatHead(**self._rows.head)  # type: ignore[arg-type]  # every key of _HEAD names a text

    @property
    def skipped(self) -> int:
        """Rows that could not be read, so far."""
        return self._rows.skipped

    def __iter__(self) -> Iterator[Timed]:
        """Raises InvalidXml, OSError."""
        rows = self._rows = _Rows()
        self.done = 0
        parser = rows.parser
        try:
            with self._path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    self.done += len(chunk)
                    parser.Parse(chunk.translate(None, _UNWRITABLE), False)
                    yield from rows.take()
            parser.Parse(b"", True)
        except expat.ExpatError as error:
            # A recording that was killed has no closing tag; what stands before the tear is still good.
            if not rows.began or error.code not in _TORN:
                raise InvalidXml(f"{self._path.name} is no chat XML: {error}") from error
        yield from rows.take()


class _Rows:
    """Collects finished rows while expat reports tags."""

    def __init__(self) -> None:
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.began = False
        self.skipped = 0
        self.head: dict[str, str] = {"recorder": ""}
        self._rows: list[Timed] = []
        self._text = ""
        self._attributes: dict[str, str] = {}
        self._zero_ms: int | None = None

    def take(self) -> list[Timed]:
        rows, self._rows = self._rows, []
        return rows

    def _doctype(self, *_: object) -> None:
        raise InvalidXml("a chat file has no document type")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if not self.began:
            if name != "i":
                raise InvalidXml(f"the root is <{name[:40]}>, not <i>")
            self.began = True
        self._text, self._attributes = "", attributes

    def _characters(self, text: str) -> None:
        if len(self._text) < _MAX_TEXT:
            self._text += text

    def _end(self, name: str) -> None:
        try:
            if name == "d":
                row = _comment(self._attributes, self._text)
                self._zero_ms = row.message.sent_at - row.offset_ms if row.message.sent_at else None
                self._rows.append(row)
            elif name in _PAID or name == "s":
                self._rows.append(_payment(name, self._attributes, self._text, self._zero_ms))
            elif name in _HEAD:
                self.head[_HEAD[name]] = self._text
        except (KeyError, ValueError, IndexError, OverflowError):
            self.skipped += 1
        self._text, self._attributes = "", {}


def _comment(attributes: dict[str, str], text: str) -> Timed:
    p = attributes["p"].split(",")
    sent_at = _ms(p[4]) if len(p) > 4 else 0
    colour = int(p[3]) & WHITE
    uid = attributes.get("uid") or (p[6] if len(p) > 6 else "")
    offset = _offset_ms(p[0])
    message = ChatMessage(
        MessageKind.CHAT, sent_at, "", sent_at, attributes.get("user", ""), uid, text, colour, int(p[1]), int(p[2])
    )
    return Timed(offset, message)


def _payment(name: str, attributes: dict[str, str], text: str, zero_ms: int | None) -> Timed:
    """`zero_ms`: unix time of the start of the video as the last comment told it; biliup places payments by nothing else."""
    kind = _PAID[attributes["type"] if name == "s" else name]
    sent_at = _ms(attributes.get("timestamp", "0"))
    place = attributes.get("ts")
    if place is None and (zero_ms is None or not sent_at):
        raise ValueError("without a place")
    offset = _offset_ms(place) if place is not None else max(sent_at - (zero_ms or 0), 0)
    message = ChatMessage(
        kind,
        sent_at,
        sent_at=sent_at,
        user=attributes.get("user") or attributes.get("username", ""),
        uid=attributes.get("uid", ""),
        text=text if kind is MessageKind.SUPER_CHAT else "",
        price=round(float(attributes.get("price") or 0) * 1000),
        currency=attributes.get("currency", ""),
        quantity=int(attributes.get("giftcount") or attributes.get("count") or attributes.get("num") or 1),
        gift=attributes.get("giftname", ""),
        duration_s=int(float(attributes.get("time") or 0)) if kind is MessageKind.SUPER_CHAT else 0,
        level=int(attributes.get("level") or 0),
    )
    return Timed(offset, message)


def _offset_ms(seconds: str) -> int:
    """Never negative. Raises ValueError, OverflowError."""
    offset = max(round(float(seconds) * 1000), 0)
    if offset > _MAX_OFFSET_MS:
        raise ValueError("out of range")
    return offset


def _ms(text: str) -> int:
    number = int(float(text))
    return number if number >= _SECONDS_BELOW else number * 1000
