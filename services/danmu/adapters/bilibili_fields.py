"""Reads the loosely typed fields of Bilibili commands: bounded text, 64-bit numbers, times, badges, amounts.

Amounts are in gold coins: 1000 of them are one yuan, so a gold coin is exactly a thousandth of CNY ("bilibili-API-collect",
page "live/message_stream", GUARD_BUY).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from services.danmu.adapters.messages import Badge

Json = dict[str, Any]

MAX_TEXT: Final = 4096
MAX_NAME: Final = 256

_SECONDS_BELOW: Final = 100_000_000_000
"""Unix milliseconds passed this value in 1973: a smaller time stamp is in seconds."""

_INT_MIN: Final = -(1 << 63)
_INT_MAX: Final = (1 << 63) - 1


def text_of(value: object, limit: int = MAX_NAME) -> str:
    """At most `limit` characters; numbers are spelled out, anything else is ""."""
    if type(value) is str:
        return value[:limit]
    return str(value) if type(value) is int else ""


def int_of(value: object) -> int:
    """Some senders quote their numbers; whatever does not fit 64 bits is no number of this protocol."""
    number = value if type(value) is int else int(value) if isinstance(value, (str, float)) and value else 0
    return number if _INT_MIN <= number <= _INT_MAX else 0


def ms_of(value: object) -> int:
    """Unix milliseconds of a time in seconds or milliseconds; 0 when there is none."""
    number = int_of(value)
    if number >= _SECONDS_BELOW:
        return number
    return number * 1000 if number > 0 else 0


def uid_of(value: object) -> str:
    """0 is the platform's "hidden from guests"."""
    return str(value) if type(value) is int and value else text_of(value) if value else ""


def sent_at_of(root: Json, value: object = 0) -> int:
    """When a command was sent, by its own field or by the envelope's ``send_time``."""
    return ms_of(value) or ms_of(root.get("send_time"))


def badges_of(name: object, level: object, tier: object = 0, moderator: object = 0) -> tuple[Badge, ...]:
    """What is shown beside a name: a fan medal, a membership tier (1 is the highest), the moderator's sign."""
    return _badges(text_of(name), int_of(level), int_of(tier), bool(moderator))


@lru_cache(maxsize=2048)
def _badges(name: str, level: int, tier: int, moderator: bool) -> tuple[Badge, ...]:
    """Remembered: a room has some hundred combinations and sends one with every message."""
    badges = []
    if moderator:
        badges.append(Badge("moderator"))
    if tier:
        badges.append(Badge("member", "", tier))
    if name:
        badges.append(Badge("fan", name, level))
    return tuple(badges)


def medal_of(data: Json, key: str) -> tuple[Badge, ...]:
    """The badges of a ``medal_info``-like object."""
    medal = data.get(key) or {}
    return badges_of(medal.get("medal_name"), medal.get("medal_level"), medal.get("guard_level"))


def padded(values: list[Any], size: int) -> list[Any]:
    """A positional array with at least `size` places; older senders leave out the last ones."""
    return values if len(values) >= size else values + [None] * (size - len(values))


def paid_of(coin_type: object, coins: object) -> dict[str, Any]:
    """`price` and `currency` of a number of coins; only gold coins cost money."""
    price = max(int_of(coins), 0) if coin_type == "gold" else 0
    return {"price": price, "currency": "CNY" if price else ""}
