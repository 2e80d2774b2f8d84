"""Counting more things than there is memory for: heavy hitters, and how many different ones there were.

Heavy hitters: Space-Saving (Metwally, Agrawal, El Abbadi 2005), with the smallest twentieth evicted at once, so that a crowd of
newcomers costs one sort and not one search each. Distinct values: HyperLogLog (Flajolet et al. 2007) with 2^12 registers, 1.6 % of
standard error.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

EVICTED_SHARE: Final = 20
_BITS: Final = 12
_REGISTERS: Final = 1 << _BITS
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
        if capacity < EVICTED_SHARE:
            raise ValueError("too few places for heavy hitters")
        self._capacity = capacity
        self._floor = 0
        self._entries: dict[str, list[Any]] = {}

    def add(self, key: str, weight: int = 1, label: str = "") -> None:
        """Count a key; ``label`` is how it is called now."""
        entry = self._entries.get(key)
        if entry is not None:
            entry[0] += weight
            entry[2] = label
            return
        if len(self._entries) >= self._capacity:
            self._evict()
        self._entries[key] = [self._floor + weight, self._floor, label]

    def top(self, count: int) -> list[Hitter]:
        """The heaviest keys, heaviest first."""
        ordered = sorted(self._entries.items(), key=lambda item: (-item[1][0], item[0]))
        return [Hitter(key, *entry) for key, entry in ordered[:count]]

    def _evict(self) -> None:
        ordered = sorted(self._entries.items(), key=lambda item: item[1][0])
        gone = ordered[: self._capacity // EVICTED_SHARE]
        self._floor = max(self._floor, gone[-1][1][0])
        for key, _ in gone:
            del self._entries[key]

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return {"floor": self._floor, "entries": [[key, *entry] for key, entry in self._entries.items()]}

    @classmethod
    def from_json(cls, capacity: int, data: Mapping[str, Any]) -> HeavyHitters:
        """What :meth:`to_json` gave. Raises ValueError, TypeError, KeyError."""
        made = cls(capacity)
        made._floor = int(data["floor"])
        for key, count, error, label in data["entries"][:capacity]:
            made._entries[str(key)] = [int(count), int(error), str(label)]
        return made


class Distinct:
    """How many different keys there were, in 4 KiB."""

    def __init__(self) -> None:
        self._registers = bytearray(_REGISTERS)

    def add(self, key: str) -> None:
        """Count a key, once however often it comes."""
        digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        number = int.from_bytes(digest, "big")
        register = number >> (64 - _BITS)
        rank = (64 - _BITS) - (number & ((1 << (64 - _BITS)) - 1)).bit_length() + 1
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
