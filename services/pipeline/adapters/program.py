"""Running other programs: argument lists, a clean environment, bounded output, and nothing left running when their job is over."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chassis.waiting import wait_for_event

TAIL_BYTES = 4096
_READ_BYTES = 1 << 16
_MAX_LINE = 1 << 16
_PR_SET_PDEATHSIG = 1  # prctl(2)
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
_ORPHAN_EXIT_CODE = 125

OnLine = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Exit:
    """How a program ended: its exit code (negative: the signal that killed it) and the last it said on its standard error."""

    code: int
    complaints: str


async def run_program(
    arguments: Sequence[str],
    *,
    folder: Path,
    niceness: int = 0,
    grace_s: float = 0.0,
    on_line: OnLine | None = None,
) -> Exit:
    """Run a program to its end in a process group of its own; ``on_line`` gets what it writes to its standard output.

    Cancelling kills the whole group (after SIGTERM and ``grace_s`` seconds when that is not 0); when this process dies, the kernel kills the program.
    Raises OSError when it cannot be started.
    """
    loop = asyncio.get_running_loop()
    transport, program = await loop.subprocess_exec(
        lambda: _Program(loop),
        *arguments,
        cwd=folder,
        env=clean_environment(folder),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        # The loop forks in its own thread, which lives as long as the process: PR_SET_PDEATHSIG is tied to that thread (prctl(2)).
        preexec_fn=_before_exec(niceness),
    )
    complaints = bytearray()
    reading = [
        asyncio.create_task(_lines(program.stdout, on_line)),
        asyncio.create_task(_tail(program.stderr, complaints)),
    ]
    try:
        await program.exited.wait()
        _kill_group(transport.get_pid())  # a child that stayed behind would keep the pipes open
        await asyncio.gather(*reading)
        return Exit(transport.get_returncode() or 0, complaints.decode("utf-8", "replace").strip())
    finally:
        await _end(transport.get_pid(), program.exited, grace_s)
        for reader in reading:
            reader.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        transport.close()


class _Program(asyncio.subprocess.SubprocessStreamProtocol):
    """Knows when the program itself has ended. ``Process.wait()`` also waits until all who inherited its pipes have ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(limit=_READ_BYTES, loop=loop)
        self.exited = asyncio.Event()

    def process_exited(self) -> None:
        super().process_exited()
        self.exited.set()


def clean_environment(folder: Path) -> dict[str, str]:
    """The environment of a program: nothing of ours, least of all a credential."""
    inherited = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return inherited | {"HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _before_exec(niceness: int) -> Callable[[], None]:
    parent = os.getpid()

    def prepare() -> None:
        if _PRCTL is not None:
            _PRCTL(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
            if os.getppid() != parent:
                os._exit(_ORPHAN_EXIT_CODE)
        if niceness:
            os.nice(niceness)

    return prepare


async def _end(leader: int, exited: asyncio.Event, grace_s: float) -> None:
    if exited.is_set():
        return
    if grace_s:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, signal.SIGTERM)
        await wait_for_event(exited, grace_s)
    _kill_group(leader)
    await exited.wait()


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


async def _lines(stream: asyncio.StreamReader | None, on_line: OnLine | None) -> None:
    rest = b""
    while stream is not None and (data := await stream.read(_READ_BYTES)):
        if on_line is None:
            continue
        *lines, rest = (rest + data).split(b"\n")
        rest = rest[-_MAX_LINE:]
        for line in lines:
            await on_line(line.decode("utf-8", "replace").strip())


async def _tail(stream: asyncio.StreamReader | None, kept: bytearray) -> None:
    while stream is not None and (data := await stream.read(_READ_BYTES)):
        kept += data
        del kept[:-TAIL_BYTES]
