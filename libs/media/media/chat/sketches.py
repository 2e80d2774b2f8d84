"""Counting more things than there is memory for: heavy hitters, and how many different ones there were.

Heavy hitters: Space-Saving (Metwally, Agrawal, El Abbadi 2005), with a quarter more places than its capacity, which are emptied at once
when all are taken, so that a crowd of newcomers costs one sort and not one search each. Distinct values: HyperLogLog (Flajolet et al.
2007) with 2^12 registers, 1.6 % of standard error.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping
from itertools import islice
from typing import Any, Final, NamedTuple

MIN_CAPACITY: Final = 20
SPARE_SHARE: Final = 4
_BITS: Final = 12
_REGISTERS: Final = 1 << _BITS
_REST_BITS: Final = 64 - _BITS
_REST: Final = (1 << _REST_BITS) - 1
_ALPHA: Final = 0.7213 / (1 + 1.079 / _REGISTERS)


class Hitter(NamedTuple):
    """One of the heaviest. the true count lies between ``weight - error`` and ``weight``."""

    key: str
    weight: int
    error: int
    label: str


class HeavyHitters:
    """The heaviest of any number of keys in bounded memory. Whatever makes up more than ``1 / capacity`` of everything is among them."""

    def __init__(self, capacity: int) -> None:
        """Raises ValueError below 20."""
        if capacity < MIN_CAPACITY:
            raise ValueError("too few places for heavy hitters")
        self._capacity, self._places = capacity, capacity + capacity // SPARE_SHARE
        self._floor = 0
        # Three tables of plain values rather than one of records: the garbage collector need not look into these.
        self._weights: dict[str, int] = {}
        self._errors: dict[str, int] = {}
        self._labels: dict[str, str] = {}

    def add(self, key: str, weight: int = 1, label: str = "") -> bool:
        """Count a key; ``label`` is how it is called now. Whether the key was among the counted ones already."""
        weights = self._weights
        known = weights.get(key)
        if known is None:
            if len(weights) >= self._places:
                self._evict()
            weights[key] = self._floor + weight
            if self._floor:
                self._errors[key] = self._floor
        else:
            weights[key] = known + weight
        if label:
            self._labels[key] = label
        return known is not None

    def top(self, count: int) -> list[Hitter]:
        """The heaviest keys, heaviest first; never more than the capacity: what lies in the spare places is not settled."""
        ordered = sorted(self._weights.items(), key=lambda item: (-item[1], item[0]))
        shown = ordered[: min(count, self._capacity)]
        return [Hitter(key, weight, self._errors.get(key, 0), self._labels.get(key, "")) for key, weight in shown]

    def _evict(self) -> None:
        """Back to the capacity: the lightest go, of equal ones the oldest."""
        weights, surplus = self._weights, len(self._weights) - self._capacity
        limit = sorted(weights.values())[surplus - 1]
        gone = [key for key, weight in weights.items() if weight < limit]
        gone += islice((key for key, weight in weights.items() if weight == limit), surplus - len(gone))
        self._floor = max(self._floor, limit)
        for key in gone:
            del weights[key]
            self._errors.pop(key, None)
            self._labels.pop(key, None)

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        entries = [
            [key, weight, self._errors.get(key, 0), self._labels.get(key, "")] for key, weight in self._weights.items()
        ]
        return {"floor": self._floor, "entries": entries}

    @classmethod
    def from_json(cls, capacity: int, data: Mapping[str, Any]) -> HeavyHitters:
        """What :meth:`to_json` gave. Raises ValueError, TypeError, KeyError."""
        made = cls(capacity)
        made._floor = int(data["floor"])
        for key, weight, error, label in data["entries"][: made._places]:
            made._weights[str(key)] = int(weight)
            if error:
                made._errors[str(key)] = int(error)
            if label:
                made._labels[str(key)] = str(label)
        return made


class Distinct:
    """How many different keys there were, in 4 KiB."""

    def __init__(self) -> None:
        self._registers = bytearray(_REGISTERS)

    def add(self, key: str) -> None:
        """Count a key, once however often it comes."""
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        number = int.from_bytes(digest, "big")
        register = number >> _REST_BITS
        rank = _REST_BITS - (number & _REST).bit_length() + 1
        self._registers[register] = max(self._registers[register], rank)

    def estimate(self) -> int:
        """About how many; exact to a few per cent, and nearly exact below some thousand."""
        zeros = self._registers.count(0)
        raw = _ALPHA * _REGISTERS * _REGISTERS / sum([2.0**-rank for rank in self._registers])
        if raw <= 2.5 * _REGISTERS and zeros:
            raw = _REGISTERS * math.log(_REGISTERS / zeros)
        return round(raw)

    def to_text(self) -> str:
        """Everything, as base 64."""
        return base64.b64encode(self._registers).decode()

    @classmethod
    def from_text(cls, text: str) -> Distinct:
        """What :meth:`to_text` gave. Raises ValueError."""
        registers = base64.b64decode(text, validate=True)
        if len(registers) != _REGISTERS:
            raise ValueError("not the registers of a distinct count")
        made = cls()
        made._registers[:] = registers
        return made
