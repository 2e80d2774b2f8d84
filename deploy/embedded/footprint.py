"""How much memory a process and its descendants really take (Linux)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import psutil

_PROC = Path("/proc")
_PSS = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class ProcessMemory:
    """One process and its proportional set size in bytes: a page shared by n processes counts 1/n in each."""

    pid: int
    name: str
    pss_bytes: int


@dataclass(frozen=True)
class Footprint:
    """A process tree at one moment."""

    processes: tuple[ProcessMemory, ...]

    @property
    def total_bytes(self) -> int:
        """The memory that would come free if the whole tree ended."""
        return sum(process.pss_bytes for process in self.processes)

    def by_name(self) -> dict[str, int]:
        """Return the bytes per process name."""
        totals: dict[str, int] = {}
        for process in self.processes:
            totals[process.name] = totals.get(process.name, 0) + process.pss_bytes
        return totals


def footprint(*roots: int) -> Footprint:
    """Measure the trees below the pids `roots`; a process that ends meanwhile is left out.

    Reads `/proc/PID/smaps_rollup` (proc_pid_smaps(5)).

    Raises:
        PermissionError: a process belongs to another user.
        psutil.NoSuchProcess: a root does not run.
    """
    found: dict[int, ProcessMemory] = {}
    for root in roots:
        process = psutil.Process(root)
        for member in (process, *process.children(recursive=True)):
            memory = _measure(member)
            if memory is not None:
                found[memory.pid] = memory
    return Footprint(tuple(found.values()))


def _measure(process: psutil.Process) -> ProcessMemory | None:
    try:
        rollup = (_PROC / str(process.pid) / "smaps_rollup").read_text()
        name = process.name()
    except (FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess):
        return None
    match = _PSS.search(rollup)
    return ProcessMemory(process.pid, name, int(match[1]) * 1024) if match else None
