"""What every benchmark gets from the command line."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench.figures import Line


@dataclass(frozen=True)
class Scale:
    """How much is measured. ``quick`` shows that everything runs; its figures are not for publication."""

    quick: bool = False
    rounds: int = 5
    """How often each case runs; at least three, so that a spread means something."""

    def of(self, full: int) -> int:
        """A number of things, a tenth of it when quick."""
        return full // 10 if self.quick else full


@dataclass(frozen=True)
class Benchmark:
    """One benchmark: ``run(scale, step)`` calls ``step(done, of)`` as it goes on."""

    name: str
    about: str
    run: Callable[[Scale, Callable[[int, int], None]], Awaitable[list[Line]]]
