"""How often a message may fail and how long it waits in between."""

from __future__ import annotations

import random
from collections import OrderedDict
from dataclasses import dataclass

REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Policy:
    """How failures are retried: the delay after the n-th failure is ``min(base_s * 2^n, cap_s)`` plus up to a quarter of it."""

    base_s: float = 1.0
    cap_s: float = 300.0
    max_deliveries: int = 12
    max_crashes: int = 3
    """How many processes a message may end while it is handled alone."""
    conflict_attempts: int = 8

    def delay_s(self, failures: int) -> float:
        """Seconds until the next delivery."""
        delay = min(self.base_s * 2.0 ** min(failures, 30), self.cap_s)
        return delay + random.uniform(0, delay / 4)


class Tally:
    """How often something has happened to each message in this process: a failure of its handler, another delivery. Bounded, the oldest go first.

    The broker's own count is of deliveries, and a message is also delivered again when it was held back behind another one or when the database
    was away: neither is its fault, and neither may bring it closer to the dead letters.
    """

    def __init__(self) -> None:
        self._counts: OrderedDict[tuple[str, int], int] = OrderedDict()

    def add(self, consumer: str, sequence: int) -> int:
        """Count once more; returns how often it was."""
        count = self._counts.pop((consumer, sequence), 0) + 1
        self._counts[consumer, sequence] = count
        if len(self._counts) > REMEMBERED:
            self._counts.popitem(last=False)
        return count

    def forget(self, consumer: str, sequence: int) -> None:
        """The message was dealt with."""
        self._counts.pop((consumer, sequence), None)
