"""Child processes that do not outlive the process that started them, and what an earlier crash left behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from deploy.embedded.identity import Identity

_PR_SET_PDEATHSIG = 1  # prctl(2)
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
_MAX_LOG_BYTES = 10 * 1024 * 1024
_LOG_TAIL_BYTES = 4096
_ORPHAN_EXIT_CODE = 125
_KILL_TIMEOUT_SECONDS = 10.0
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
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start an engine whose output goes to `log_path` and which receives `death_signal` when this process dies.

    The engine gets a session of its own, so that Ctrl-C in a terminal reaches only whoever stops it in order, and
    only a few variables of the environment. Where the kernel has no PR_SET_PDEATHSIG an engine that survives is found
    by its pid file at the next start.
    """
    parent = os.getpid()

    def before_exec() -> None:
        identity.enter()
        die_with_parent(parent, death_signal)

    def start() -> subprocess.Popen[bytes]:
        with log_path.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - a program of ours, no shell
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=engine_environment() | dict(environment or {}),
                start_new_session=True,
                preexec_fn=before_exec,  # noqa: PLW1509 - two system calls through functions resolved before the fork
                user=identity.user,
                group=identity.group,
                extra_groups=identity.extra_groups,
            )

    return _from_lasting_thread(start)


def die_with_parent(parent: int, death_signal: signal.Signals) -> None:
    """Ask the kernel to signal this process when `parent` dies; call it in the child, after its last change of user.

    A change of credentials clears the request, and a parent that died before it was made is not reported: prctl(2).
    """
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(_ORPHAN_EXIT_CODE)


def engine_environment() -> dict[str, str]:
    """Return the environment of an engine: a fixed locale and time zone, nothing that would change its behaviour."""
    inherited = {name: os.environ[name] for name in _INHERITED_ENVIRONMENT if name in os.environ}
    return inherited | {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def private_folder(path: Path) -> Path:
    """Create `path` with mode 0700; parents that are missing get the ordinary mode, parents that exist are untouched."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
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


def left_behind(pid_file: Path, marker: str) -> psutil.Process | None:
    """Return the live process that `pid_file` names, if its command line contains `marker` as an argument.

    A pid is reused after a crash or a reboot: one that now belongs to something else is never returned.

    Raises:
        EngineError: the process is a child of this one, so it is running, not left behind.
    """
    try:
        process = psutil.Process(int(pid_file.read_text().split()[0]))
        if marker not in process.cmdline():
            return None
        if process.ppid() == os.getpid():
            raise EngineError(f"{pid_file.parent} is already in use by this process (pid {process.pid})")
    except (OSError, ValueError, IndexError, psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return process


def end_left_behind(process: psutil.Process, polite: signal.Signals, timeout: float) -> None:
    """End an engine that an earlier crash left running: `polite` first, SIGKILL after `timeout` seconds."""
    try:
        process.send_signal(polite)
        process.wait(timeout)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait(_KILL_TIMEOUT_SECONDS)
    except psutil.NoSuchProcess:
        return


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
