"""Reads JSON from strangers: what is missing, of another type, or beyond a limit is absent, and nothing here raises."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any, Final

MAX_TEXT: Final = 4096
MAX_NAME: Final = 256
MAX_ITEMS: Final = 4096

_INT_MAX: Final = (1 << 63) - 1
_MAX_DIGITS: Final = 19
_SECONDS_MAX: Final = 253_402_300_799
"""The last second of the year 9999."""


def parse_json(data: bytes | str) -> object:
    """The value, or None where this is no JSON (or only JSON's null)."""
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value


def dig(value: object, *path: str | int) -> object:
    """What lies at a path of keys and positions, or None."""
    for step in path:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and -len(value) <= step < len(value):
            value = value[step]
        else:
            return None
    return value


def text_at(value: object, *path: str | int, limit: int = MAX_NAME) -> str:
    """At most `limit` characters of a string; whole numbers are spelled out, anything else is ""."""
    found = dig(value, *path)
    if isinstance(found, str):
        return found[:limit]
    if isinstance(found, int) and not isinstance(found, bool) and abs(found) <= _INT_MAX:
        return str(found)
    return ""


def number_at(value: object, *path: str | int) -> int:
    """A number as whole number, also a quoted one; 0 for what is none or needs more than 64 bits."""
    found = dig(value, *path)
    if isinstance(found, str):
        digits = found.removeprefix("-")
        found = int(found) if len(digits) <= _MAX_DIGITS and digits.isascii() and digits.isdigit() else 0
    elif isinstance(found, float):
        found = int(found) if math.isfinite(found) else 0
    if not isinstance(found, int) or isinstance(found, bool):
        return 0
    return found if abs(found) <= _INT_MAX else 0


def count_at(value: object, *path: str | int) -> int:
    """As `number_at`, and 0 for negative numbers."""
    return max(number_at(value, *path), 0)


def object_at(value: object, *path: str | int) -> dict[str, Any]:
    """An object; {} for anything else."""
    found = dig(value, *path)
    return found if isinstance(found, dict) else {}


def list_at(value: object, *path: str | int, limit: int = MAX_ITEMS) -> list[Any]:
    """The first `limit` elements of an array; [] for anything else."""
    found = dig(value, *path)
    return found[:limit] if isinstance(found, list) else []


def moment_at(value: object, *path: str | int) -> int:
    """Unix milliseconds of an ISO 8601 time (UTC where it names no zone); 0 for what is none or lies before 1970."""
    found = dig(value, *path)
    if not isinstance(found, str) or len(found) > 64:
        return 0
    try:
        moment = datetime.fromisoformat(found)
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0
    return int(seconds * 1000) if 0 < seconds <= _SECONDS_MAX else 0
