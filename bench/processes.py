"""Whole commands, measured from outside: processor time of a process and everything it started, and its memory."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Spent:
    """What a command took: seconds of wall time, user and system seconds of the process and its children, the last line it printed."""

    wall_s: float
    cpu_s: float
    last_line: str


async def run(command: Sequence[str], folder: Path) -> Spent:
    """Run a command to its end in a folder; raises RuntimeError with its words when it fails."""
    return await asyncio.to_thread(_run, command, folder)


def _run(command: Sequence[str], folder: Path) -> Spent:
    with tempfile.TemporaryFile() as output:
        begun = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        said = output.read().decode(errors="replace").strip()
    if process.returncode:
        raise RuntimeError(f"{Path(command[0]).name} ended with {process.returncode}: {said[-1500:]}")
    return Spent(wall, usage.ru_utime + usage.ru_stime, said.rpartition("\n")[2])


def environment() -> dict[str, str]:
    """The environment of what is measured: this checkout is importable from any folder."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


@asynccontextmanager
async def started(command: Sequence[str], folder: Path) -> AsyncIterator[subprocess.Popen[bytes]]:
    """A command that runs beside; killed in the end."""
    process = await asyncio.to_thread(_start, command, folder)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await asyncio.to_thread(process.communicate)


def _start(command: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command, cwd=folder, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )


def cpu_s(pid: int) -> float:
    """User and system seconds of a process tree so far."""
    root, total = psutil.Process(pid), 0.0
    for member in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = member.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def private_bytes(pid: int) -> int:
    """Memory that only this process has (USS): what would be free without it."""
    return int(psutil.Process(pid).memory_full_info().uss)


def python(module: str, *arguments: object) -> tuple[str, ...]:
    """The command that runs one of our modules."""
    return (sys.executable, "-m", module, *map(str, arguments))
