"""Bilibili-style chat XML, which players and ASS converters read.

The dialect is the common core of what recorders write: ``<d p="offset_s,mode,size,colour,unix_ms,0,uid_hash,row"
user="...">text</d>``, and beside it ``<gift>``, ``<sc>``, ``<guard>`` and a ``<metadata>`` head. The declaration and
``<i>`` share one line because a widespread converter (danmakuC) takes a file with a line break there for protobuf.
One element per line, for people and for `grep`.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from media.chat.captions import decimal
from media.chat.head import ChatHead
from media.chat.log import write_all
from media.chat.message import ChatMessage, MessageKind
from media.chat.timing import Timed, Timing

OPENING: Final = '<?xml version="1.0" encoding="UTF-8"?><i>\n'
CLOSING: Final = "</i>\n"
FLUSH_ROWS: Final = 100


# XML 1.0, production 2 (Char): what is outside cannot be written at all, not even as a reference.
_ILLEGAL: Final = "\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff"
_SPECIAL: Final = re.compile(f"[&<>\"'\t\n\r{_ILLEGAL}]")
_REFERENCES: Final = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&apos;",
    "\t": "&#9;",
    "\n": "&#10;",
    "\r": "&#13;",
}


def escape(text: str) -> str:
    """`text` as XML 1.0 character data or attribute value; characters that XML cannot hold are left out."""
    if _SPECIAL.search(text) is None:
        return text
    return _SPECIAL.sub(lambda match: _REFERENCES.get(match[0], ""), text)


def element(message: ChatMessage, offset_ms: int, row: int) -> str:
    """The line of one message at its place in the video, or "" for a kind that the XML does not hold (the log does)."""
    render = _RENDERERS.get(message.kind)
    return "" if render is None else render(message, offset_ms / 1000, row)


def _chat(message: ChatMessage, offset: float, row: int) -> str:
    user, uid, text = message.user, message.uid, message.text
    if _SPECIAL.search(user + uid + text) is not None:
        user, uid, text = escape(user), escape(uid), escape(text)
    # The sender as Bilibili spells it in DANMU_MSG: eight hexadecimal digits of CRC-32 over the decimal user id.
    sender = f"{zlib.crc32(message.uid.encode('utf-8', 'replace')):08x}"
    return (
        f'<d p="{offset:.3f},{message.mode},{message.size},{message.colour},{message.sent_at or message.received_at},0,'
        f'{sender},{row}" user="{user}" uid="{uid}">{text}</d>\n'
    )


def _who(message: ChatMessage, offset: float) -> str:
    at = message.sent_at or message.received_at
    return f'ts="{offset:.3f}" user="{escape(message.user)}" uid="{escape(message.uid)}" timestamp="{at}"'


def _price(message: ChatMessage) -> str:
    return f'price="{decimal(message.price)}" currency="{escape(message.currency)}"'


def _gift(message: ChatMessage, offset: float, row: int) -> str:
    return (
        f'<gift {_who(message, offset)} giftname="{escape(message.gift)}" giftcount="{message.quantity}" '
        f"{_price(message)}></gift>\n"
    )


def _super_chat(message: ChatMessage, offset: float, row: int) -> str:
    return f'<sc {_who(message, offset)} {_price(message)} time="{message.duration_s}">{escape(message.text)}</sc>\n'


def _guard(message: ChatMessage, offset: float, row: int) -> str:
    return (
        f'<guard {_who(message, offset)} level="{message.level}" count="{message.quantity}" '
        f'giftname="{escape(message.gift)}" {_price(message)}></guard>\n'
    )


_RENDERERS: Final[dict[MessageKind, Callable[[ChatMessage, float, int], str]]] = {
    MessageKind.CHAT: _chat,
    MessageKind.GIFT: _gift,
    MessageKind.SUPER_CHAT: _super_chat,
    MessageKind.MEMBERSHIP: _guard,
}


def metadata(head: ChatHead, start_unix_ms: int) -> str:
    """The ``<metadata>`` line; times are ISO 8601 in UTC."""
    values = {
        "platform": head.platform,
        "user_name": head.streamer,
        "room_id": head.room_id,
        "room_title": head.title,
        "area": head.category,
        "parent_area": head.parent_category,
        "live_start_time": _iso(head.live_started_at) if head.live_started_at else "",
        "record_start_time": _iso(start_unix_ms),
        "recorder": head.recorder,
    }
    inside = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in values.items())
    return f"<metadata>{inside}</metadata>\n"


def _iso(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds")


class XmlChatWriter:
    """Writes one XML file, message by message; 100 rows flush by themselves.

    The closing tag is written by `close`.
    """

    def __init__(self, path: Path, timing: Timing, head: ChatHead) -> None:
        """Create the file with its head. Raises FileExistsError."""
        self._offset_ms = timing.offset_ms
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL
        self._file = os.fdopen(os.open(path, flags, 0o644), "ab", buffering=0)
        self._pending = [OPENING, metadata(head, timing.start_ms)]
        self.rows = 0
        self.size = 0
        self.flush()

    def write(self, message: ChatMessage) -> None:
        """Add one message, when it is of a kind that the XML holds."""
        line = element(message, self._offset_ms(message.received_at), self.rows)
        if not line:
            return
        self.rows += 1
        self._pending.append(line)
        if len(self._pending) >= FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Hand what is pending to the system. Afterwards it survives the end of this process."""
        if not self._pending:
            return
        data = "".join(self._pending).encode()
        write_all(self._file.fileno(), data, self.size)
        self.size += len(data)
        self._pending.clear()

    def close(self) -> int:
        """Write the closing tag, sync to disk and close; the size of the file in bytes. Closing again does nothing."""
        if not self._file.closed:
            self._pending.append(CLOSING)
            self.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        return self.size

    def abandon(self) -> None:
        """Close without writing what is pending."""
        self._pending.clear()
        self._file.close()


def xml_lines(messages: Iterable[Timed], head: ChatHead, start_ms: int) -> Iterator[str]:
    """The lines of a whole file; ``start_ms``: unix milliseconds of the start of the video."""
    yield OPENING
    yield metadata(head, start_ms)
    row = 0
    for offset_ms, message in messages:
        if line := element(message, offset_ms, row):
            row += 1
            yield line
    yield CLOSING
