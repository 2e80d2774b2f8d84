"""Chat for programs: JSON that loses nothing, and CSV for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final

from media.chat.captions import decimal
from media.chat.head import ChatHead
from media.chat.message import encode_line
from media.chat.timing import Timed

CSV_COLUMNS: Final = (
    "offset_s", "received_at", "kind", "user", "uid", "text", "gift", "quantity", "price", "currency", "level", "colour", "mode", "id",
)  # fmt: skip
JSON_OPENING: Final = '{"aircheck_chat":1,"head":'


def json_lines(messages: Iterable[Timed], head: ChatHead, start_ms: int) -> Iterator[bytes]:
    """One JSON object ``{"aircheck_chat", "head", "start_ms", "messages": [...]}`` with one message, and its ``offset_ms``, per line."""
    about = json.dumps(asdict(head), separators=(",", ":"))
    yield f'{JSON_OPENING}{about},"start_ms":{start_ms},"messages":['.encode()
    between = b"\n"
    for offset, message in messages:
        yield between + f'{{"offset_ms":{offset},'.encode() + encode_line(message)[1:-1]
        between = b",\n"
    yield b"\n]}\n"


def csv_lines(messages: Iterable[Timed]) -> Iterator[str]:
    """Rows below a row of names; quoted as RFC 4180 says, times in UTC, prices as decimals."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(CSV_COLUMNS)
    for offset, one in messages:
        writer.writerow(
            (
                f"{offset / 1000:.3f}", _iso(one.received_at), one.kind.value, one.user, one.uid, one.text, one.gift, one.quantity,
                decimal(one.price), one.currency, one.level, f"#{one.colour & 0xFFFFFF:06x}", one.mode, one.id,
            )
        )  # fmt: skip
        if buffer.tell() > 1 << 16:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _iso(unix_ms: int) -> str:
    try:
        return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):
        return ""
