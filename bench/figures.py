"""What a benchmark hands over: series of values, a ratio against a peer, and whether the goal is met."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median
from typing import Literal

Measure = Callable[[], Awaitable[float]]
Unit = Literal[
    "events/s",
    "s",
    "ms",
    "MB",
    "% of a core",
    "CPU s/GB",
    "CPU ms/stream-s",
    "CPU s",
    "messages/s",
    "recordings",
    "frames",
]


@dataclass(frozen=True)
class Series:
    """The values of one case, one per round."""

    name: str
    unit: Unit
    values: tuple[float, ...]

    def __str__(self) -> str:
        """Median and spread."""
        return f"{number(median(self.values))} ({_spread(self.values)}) {self.unit}"


@dataclass(frozen=True)
class Goal:
    """What is demanded of the ratio to the peer, or of the figure itself."""

    of: Literal["ratio", "figure"]
    sense: Literal["at least", "at most"]
    value: float

    def met(self, value: float) -> bool:
        """Whether a value satisfies the goal."""
        return value >= self.value if self.sense == "at least" else value <= self.value


@dataclass(frozen=True)
class Line:
    """One line of the report. The ratio is ours by the peer's, taken within each round, so that what disturbs both cancels out."""

    what: str
    ours: Series
    peer: Series | None = None
    goals: tuple[Goal, ...] = ()

    @property
    def ratios(self) -> tuple[float, ...]:
        """One ratio per round; empty without a peer."""
        if self.peer is None:
            return ()
        return tuple(mine / theirs for mine, theirs in zip(self.ours.values, self.peer.values, strict=True))

    @property
    def ratio(self) -> str:
        """The median of the ratios and their spread."""
        return f"{number(median(self.ratios))} ({_spread(self.ratios)})" if self.ratios else ""

    @property
    def goal(self) -> str:
        """The goals in words."""
        return ", ".join(
            f"{'≥' if goal.sense == 'at least' else '≤'} {number(goal.value)}"
            + (f" {self.ours.unit}" if goal.of == "figure" else " × peer")
            for goal in self.goals
        )

    @property
    def met(self) -> bool | None:
        """Whether every goal is met; ``None`` when there is none."""
        if not self.goals:
            return None
        return all(goal.met(median(self.ratios if goal.of == "ratio" else self.ours.values)) for goal in self.goals)


async def alternate(rounds: int, cases: Sequence[Measure], done: Callable[[], None]) -> list[tuple[float, ...]]:
    """Measure all cases in each round, each time beginning with another one; returns the values of each case."""
    values: list[list[float]] = [[] for _ in cases]
    for round_ in range(rounds):
        for turn in range(len(cases)):
            chosen = (round_ + turn) % len(cases)
            values[chosen].append(await cases[chosen]())
            done()
    return [tuple(one) for one in values]


class settled_heap:
    """Around a timed section: what was prepared for it must not be walked by the collector while the clock runs."""

    def __enter__(self) -> None:
        """Collect, and set aside what lives."""
        gc.collect()
        gc.freeze()

    def __exit__(self, *_: object) -> None:
        """Give it back."""
        gc.unfreeze()


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that is at least as large as ``share`` of all (nearest rank)."""
    return sorted(values)[ceil(share * len(values)) - 1]


def number(value: float) -> str:
    """Three significant figures, thousands with separators."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 or value == 0 else f"{value:.1e}"


def _spread(values: Sequence[float]) -> str:
    return f"{number(min(values))} to {number(max(values))}"
