"""Child processes that do not outlive the process that started them, and what an earlier crash left behind."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from deploy.embedded.identity import Identity

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15  # prctl(2)
_PRCTL = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
_MAX_LOG_BYTES = 10 * 1024 * 1024
_LOG_TAIL_BYTES = 4096
_ORPHAN_EXIT_CODE = 125
_KILL_TIMEOUT_SECONDS = 10.0
_POLL_SECONDS = 0.01
_INHERITED_ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH")


class EngineError(RuntimeError):
    """An engine did not start, did not stop, or may not be touched."""


class PortTakenError(EngineError):
    """Another process listens on the port that the engine was told to use."""

    def __init__(self, engine: str, port: int) -> None:
        super().__init__(f"{engine}: port {port} on 127.0.0.1 is taken by another process")
        self.port = port


def spawn(
    argv: Sequence[str],
    *,
    log_path: Path,
    death_signal: signal.Signals,
    identity: Identity,
) -> subprocess.Popen[bytes]:
    """Start an engine whose output goes to `log_path` and which receives `death_signal` when this process dies.

    The engine gets a session of its own, so that Ctrl-C in a terminal reaches only whoever stops it in order, and
    only a few variables of the environment. Where the kernel has no PR_SET_PDEATHSIG an engine that survives is found
    by its pid file at the next start.
    """

    def start() -> subprocess.Popen[bytes]:
        with log_path.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - a program of ours, no shell
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=engine_environment(),
                start_new_session=True,
                preexec_fn=_before_exec(identity, death_signal),  # noqa: PLW1509 - see there
                user=identity.user,
                group=identity.group,
                extra_groups=identity.extra_groups,
            )

    return _from_lasting_thread(start)


def run_to_end(argv: Sequence[str], *, identity: Identity, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run a program of an engine, such as its initialisation, and return its outcome and output.

    Raises:
        EngineError: it did not end within `timeout` seconds.
    """
    try:
        return subprocess.run(  # noqa: S603 - a program of ours, no shell
            list(argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=engine_environment(),
            user=identity.user,
            group=identity.group,
            extra_groups=identity.extra_groups,
            preexec_fn=_before_exec(identity, signal.SIGKILL),
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"{Path(argv[0]).name} did not end within {timeout:.0f} s") from error


def _before_exec(identity: Identity, death_signal: signal.Signals) -> Callable[[], None]:
    """What a child does between fork and exec: system calls only, through functions that are resolved already."""
    parent = os.getpid()

    def prepare() -> None:
        identity.enter()
        die_with_parent(parent, death_signal)

    return prepare


def die_with_parent(parent: int, death_signal: signal.Signals) -> None:
    """Ask the kernel to signal this process when `parent` dies; call it in the child, after its last change of user.

    A change of credentials clears the request, and a parent that died before it was made is not reported: prctl(2).
    """
    if _PRCTL is None:
        return
    _PRCTL(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(_ORPHAN_EXIT_CODE)


def rename(name: str) -> None:
    """Set what ps and top show for this process, as far as the kernel can: the first 15 bytes."""
    if _PRCTL is not None:
        _PRCTL(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)


def engine_environment() -> dict[str, str]:
    """Return the environment of an engine: a fixed locale and time zone, nothing that would change its behaviour."""
    inherited = {name: os.environ[name] for name in _INHERITED_ENVIRONMENT if name in os.environ}
    return inherited | {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def private_folder(path: Path) -> Path:
    """Create `path` with mode 0700; parents that are missing get the ordinary mode, parents that exist are untouched.

    Raises:
        EngineError: the folder, or the one it should be in, belongs to another user.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o700)
    except PermissionError as error:
        raise EngineError(f"no right to {path}: {error.strerror}") from error
    return path


def write_private(path: Path, text: str) -> None:
    """Replace `path` by a file of mode 0600 that holds `text`; it is never readable by others, not even for a moment."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def rotate_log(path: Path) -> None:
    """Move a log that has grown past 10 MiB to `<name>.1`; called before a start, while nobody writes it."""
    if path.exists() and path.stat().st_size > _MAX_LOG_BYTES:
        path.replace(path.with_name(path.name + ".1"))


def log_tail(path: Path) -> str:
    """Return the last 4 KiB of a log, for the error of an engine that did not start."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LOG_TAIL_BYTES))
            return file.read().decode("utf-8", "replace").strip()
    except OSError:
        return "(no log)"


def left_behind(pid_file: Path, program: str, argument: str) -> psutil.Process | None:
    """Return the live process that `pid_file` names, if it runs `program` with `argument` in its command line.

    A pid is reused after a crash or a reboot: one that now belongs to something else is never returned.

    Raises:
        EngineError: the process is a child of this one, so it is running, not left behind.
    """
    try:
        process = psutil.Process(int(pid_file.read_text().split()[0]))
        if process.name() != program or argument not in process.cmdline():
            return None
        if process.ppid() == os.getpid():
            raise EngineError(f"{pid_file.parent} is already in use by this process (pid {process.pid})")
    except (OSError, ValueError, IndexError, psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return process


def end_left_behind(process: psutil.Process, polite: signal.Signals, timeout: float) -> None:
    """End an engine that an earlier crash left running: `polite` first, SIGKILL after `timeout` seconds.

    Raises:
        EngineError: it survives even that.
    """
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(polite)
    if not wait_until_dead([process], timeout):
        return
    kill_all([process])


def kill_all(processes: Sequence[psutil.Process]) -> None:
    """End processes that are not our children with SIGKILL, and wait until they are dead.

    Raises:
        EngineError: one survives for ten seconds.
    """
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    alive = wait_until_dead(processes, _KILL_TIMEOUT_SECONDS)
    if alive:
        raise EngineError(f"processes that do not end: {[process.pid for process in alive]}")


def wait_until_dead(processes: Sequence[psutil.Process], timeout: float) -> list[psutil.Process]:
    """Wait at most `timeout` seconds for processes that are not our children; return those still alive.

    A zombie is dead: in a container whose first process reaps nobody it stays for ever.
    """
    deadline = time.monotonic() + timeout
    alive = [process for process in processes if is_alive(process)]
    while alive and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        alive = [process for process in alive if is_alive(process)]
    return alive


def is_alive(process: psutil.Process) -> bool:
    """Tell whether a process runs, a zombie not counting."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end(process: subprocess.Popen[bytes], polite: signal.Signals, timeout: float) -> None:
    """End a child: `polite` first, SIGKILL after `timeout` seconds; returns when it has been reaped."""
    process.send_signal(polite)
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_KILL_TIMEOUT_SECONDS)


_lasting_thread: ThreadPoolExecutor | None = None


def _from_lasting_thread(start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Run `start` in a thread that lives as long as this process.

    The kernel ties PR_SET_PDEATHSIG to the *thread* that forked (prctl(2)): an engine started from a short-lived
    worker thread would be stopped as soon as that thread ends.
    """
    global _lasting_thread  # noqa: PLW0603 - one per process by nature
    if threading.current_thread() is threading.main_thread():
        return start()
    if _lasting_thread is None:
        _lasting_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine-parent")
    return _lasting_thread.submit(start).result()
