"""Running other programs: argument lists, a clean environment, bounded output, and nothing left running when their job is over."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

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


@dataclass(frozen=True, slots=True)
class Parting:
    """How a program is asked to leave before its group is killed; ``grace_s`` of 0 kills at once."""

    grace_s: float = 0.0
    signal: signal.Signals = signal.SIGTERM


class Running:
    """A program that runs: its standard output as a stream, and how it ended."""

    def __init__(self, transport: asyncio.SubprocessTransport, program: _Program, output: asyncio.StreamReader) -> None:
        self._transport, self._program = transport, program
        self._tail = bytearray()
        self.output = output
        self.draining = asyncio.create_task(_tail(program.stderr, self._tail))

    @property
    def exited(self) -> asyncio.Event:
        """Set when the program itself has ended."""
        return self._program.exited

    def give(self, data: bytes) -> None:
        """Write to its standard input, where that stays open (``listens``)."""
        _input(self._transport).write(data)

    @property
    def pid(self) -> int:
        """The process id, which is also its group's."""
        return self._transport.get_pid() or 0

    async def ended(self) -> Exit:
        """Wait for the end of the program itself, end what it left behind, and say how it went."""
        await self._program.exited.wait()
        _kill_group(self.pid)  # a child that stayed behind would keep the pipes open
        await self.draining
        return Exit(self._transport.get_returncode() or 0, self.complaints)

    @property
    def complaints(self) -> str:
        """The last it said on its standard error."""
        return self._tail.decode("utf-8", "replace").strip()


@contextmanager
def workplace() -> Iterator[Path]:
    """An empty folder for one program, which is gone with it."""
    with tempfile.TemporaryDirectory(prefix="aircheck-engine-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@asynccontextmanager
async def open_program(
    arguments: Sequence[str],
    *,
    folder: Path,
    niceness: int = 0,
    parting: Parting | None = None,
    given: bytes | None = None,
    listens: bool = False,
    search_path: str | None = None,
    variables: Mapping[str, str] | None = None,
) -> AsyncIterator[Running]:
    """Run a program in a process group of its own while the block runs, and read its output as it comes.

    ``given`` is written to its standard input, which is then closed; if it ``listens``, that stays open for `Running.give`. After the block
    the whole group is ended; when this process dies, the kernel kills the program. ``search_path`` is what a Python program of ours imports
    from, ``variables`` are added to its environment, which only this user and root can read (proc(5)). Raises OSError when it cannot be started.
    """
    loop = asyncio.get_running_loop()
    environment = (
        clean_environment(folder) | dict(variables or {}) | ({"PYTHONPATH": search_path} if search_path else {})
    )
    transport, program = await loop.subprocess_exec(
        lambda: _Program(loop),
        *arguments,
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.PIPE if listens or given is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        # The loop forks in its own thread, which lives as long as the process: PR_SET_PDEATHSIG is tied to that thread (prctl(2)).
        preexec_fn=_before_exec(niceness),
    )
    assert program.stdout is not None
    running = Running(transport, program, program.stdout)
    try:
        _give(transport, given)
        yield running
    finally:
        await _end(running.pid, program.exited, parting or Parting())
        running.draining.cancel()
        await asyncio.gather(running.draining, return_exceptions=True)
        transport.close()


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
    async with open_program(arguments, folder=folder, niceness=niceness, parting=Parting(grace_s)) as running:
        reading = asyncio.create_task(_lines(running.output, on_line))
        try:
            ended = await running.ended()
            await reading
            return ended
        except asyncio.CancelledError:
            await _end(running.pid, running.exited, Parting(grace_s))  # what it says while it leaves is still read
            raise
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


def locate_ffmpeg(path: str, *, setting: str) -> str:
    """The ffmpeg to use: ``path``, which comes from ``setting``, else the packaged one. Raises RuntimeError when there is none."""
    if path:
        found = shutil.which(path)
        if found is None:
            raise RuntimeError(f"{setting} names {path}, which is no program that can be run")
        return found
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


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


def _give(transport: asyncio.SubprocessTransport, given: bytes | None) -> None:
    if given is None:
        return
    pipe = _input(transport)
    pipe.write(given)
    pipe.close()  # what is buffered is written first


def _input(transport: asyncio.SubprocessTransport) -> asyncio.WriteTransport:
    # Not asked for its class: the transports of uvloop have none of asyncio's.
    return cast("asyncio.WriteTransport", transport.get_pipe_transport(0))


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


async def _end(leader: int, exited: asyncio.Event, parting: Parting) -> None:
    if not exited.is_set() and parting.grace_s:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(leader, parting.signal)
        await wait_for_event(exited, parting.grace_s)
    if not exited.is_set():
        _kill_group(leader)
        await exited.wait()


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


async def _lines(stream: asyncio.StreamReader, on_line: OnLine | None) -> None:
    rest = b""
    while data := await stream.read(_READ_BYTES):
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
