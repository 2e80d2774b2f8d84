"""A message as one line of plain text, for the formats that show text and nothing else."""

from __future__ import annotations

import re
from typing import Final

from media.chat.message import ChatMessage, MessageKind

SPOKEN: Final = frozenset({MessageKind.CHAT, MessageKind.SUPER_CHAT})
PAID: Final = frozenset({MessageKind.GIFT, MessageKind.MEMBERSHIP})

# Controls would end a line, a cue or the file; halves of surrogate pairs cannot be written as UTF-8.
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")


def one_line(text: str) -> str:
    """`text` with every run of control characters, line ends and lone surrogates replaced by a space."""
    return text if text.isascii() and text.isprintable() else _UNPRINTABLE.sub(" ", text)


def amount(message: ChatMessage) -> str:
    """What was paid, such as ``CNY 30`` or ``CNY 0.1``; empty for what is free."""
    if not message.price:
        return ""
    return f"{message.currency} {decimal(message.price)}".strip()


def decimal(thousandths: int) -> str:
    """Thousandths as a plain decimal: 30000 is ``30``, 100 is ``0.1``."""
    sign, whole, rest = "-" if thousandths < 0 else "", *divmod(abs(thousandths), 1000)
    return f"{sign}{whole}.{rest:03d}".rstrip("0").rstrip(".")


def caption(message: ChatMessage) -> str:
    """Who said or gave what."""
    paid = f" [{amount(message)}]" if message.price else ""
    if message.kind in PAID:
        count = f" ×{message.quantity}" if message.quantity != 1 else ""
        return one_line(f"{message.user}{paid}: {message.gift or message.kind.value}{count}")
    return one_line(f"{message.user}{paid}: {message.text}" if message.user else f"{message.text}{paid}")
