"""The nine services as forked processes: imported once, pages shared, started again with back-off when one dies."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chassis.programs import locate_ffmpeg
from chassis.service import forked
from chassis.settings import ServiceSettings
from contracts import streams
from contracts.registry import load_vocabulary
from contracts.system import SERVICES
from pydantic import ValidationError

from deploy.embedded.process import die_with_parent, rename

_IMPORTED_LATE = (
    "uvloop",
    "uvicorn.lifespan.off",
    "uvicorn.protocols.http.h11_impl",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
    "services.monitor.adapters.bilibili",
    "services.monitor.adapters.dialled",
    "services.monitor.adapters.direct",
    "services.monitor.adapters.streamlink",
    "services.monitor.adapters.ytdlp",
    "services.uploader.adapters.folder",
    "services.uploader.adapters.s3",
)
"""What the services would import only once they run, nine times over."""
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_FAST_LOOPS = frozenset(["danmu", "downloader", "gateway"])
BACKOFF_CAP_S = 30.0
STABLE_S = 60.0
LOG_LIMIT = 16 << 20


class BadSettings(RuntimeError):
    """What a person set for a service (``MONITOR_POOL_SIZE=1``) is not allowed; names the settings, never their values."""


@dataclass
class Child:
    """One service process. ``health_port`` is known once it is ready."""

    service: str
    pid: int = 0
    health_port: int = 0
    failures: int = 0
    started: float = 0.0
    retry_at: float = 0.0
    pipe: int = -1

    @property
    def ready(self) -> bool:
        """Alive and past its start."""
        return self.pid > 0 and self.health_port > 0


def preload() -> None:
    """Import everything the services need before any fork, and move it out of the collector's sight so that pages stay shared."""
    # Collecting now would leave holes in pages that every child would fill, and so copy.
    gc.disable()
    for service in SERVICES:
        importlib.import_module(f"services.{service}.app")
    for module in _IMPORTED_LATE:
        importlib.import_module(module)
    _answer_beforehand()
    # The packaged program is looked for and tried once; a service that has none will say so itself.
    with contextlib.suppress(RuntimeError):
        locate_ffmpeg("", setting="")
    _return_free_memory()
    gc.freeze()


def _answer_beforehand() -> None:
    """Ask what every service asks of the vocabulary when it starts: the answers are kept, and the classes looked at once for all."""
    vocabulary = load_vocabulary()
    streams.consumers()
    for service in SERVICES:
        vocabulary.commands_of(service)
    # Whether a class is an event or a signal is a walk through all of them, the first time.
    vocabulary.events()
    vocabulary.signals()


def _return_free_memory() -> None:
    """Give back what compiling and reading modules has used for a while: 4 MB when there was no bytecode yet."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # glibc's
        libc.malloc_trim(0)


def read_settings(service: str, given: Mapping[str, Any]) -> ServiceSettings:
    """The settings of a service: what is given, the environment for the rest; raises BadSettings."""
    cls: type[ServiceSettings] = getattr(
        importlib.import_module(f"services.{service}.settings"), f"{service.title()}Settings"
    )
    try:
        return cls(**given)
    except ValidationError as error:
        # Without the input: it may be a secret.
        wrong = [
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
            for one in error.errors(include_input=False, include_url=False)
        ]
        raise BadSettings(f"settings of {service}: {'; '.join(wrong)}") from None


@dataclass
class Children:
    """Starts, watches and stops the services. Synchronous: it lives in a process without an event loop."""

    settings: Callable[[str], Mapping[str, Any]]
    logs: Path
    verbose: bool = False
    on_change: Callable[[str], None] = lambda _: None
    children: dict[str, Child] = field(default_factory=dict)
    _chosen: dict[str, ServiceSettings] = field(default_factory=dict)
    _selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def start(self) -> None:
        """Fork all services; raises BadSettings before the first fork."""
        # Reading settings asks every message class whether it is one: each child would copy 4 MB of pages for the same answers.
        self._chosen = {service: read_settings(service, self.settings(service)) for service in SERVICES}
        gc.freeze()
        if sys.version_info < (3, 12):
            # Each entry of the interpreter's method cache holds a name, and replacing it writes to the page of that name; later versions count
            # no references to names.
            sys._clear_type_cache()
        for service in SERVICES:
            self.children[service] = Child(service)
            self._fork(self.children[service])

    def wait_until_ready(self, timeout_s: float) -> list[str]:
        """Wait for every service; returns those that are not ready in time."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and not all(child.ready for child in self.children.values()):
            self.watch(0.2)
        return [child.service for child in self.children.values() if not child.ready]

    def watch(self, timeout_s: float) -> None:
        """One round: take note of what became ready or died, start again what is due."""
        for key, _ in self._selector.select(timeout_s):
            self._read(key.data)
        self._reap()
        for child in self.children.values():
            if child.pid == 0 and child.retry_at and time.monotonic() >= child.retry_at:
                self._fork(child)

    def stop(self, timeout_s: float) -> list[str]:
        """SIGTERM to all, wait, SIGKILL to what is left; returns the services that had to be killed."""
        self._signal(signal.SIGTERM)
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and any(child.pid for child in self.children.values()):
            self._reap(restart=False)
            time.sleep(0.02)
        late = [child.service for child in self.children.values() if child.pid]
        self._signal(signal.SIGKILL)
        for child in self.children.values():
            if child.pid:
                os.waitpid(child.pid, 0)
                child.pid = 0
        return late

    def rotate_logs(self) -> None:
        """Keep one older file per service; the processes append, so truncating in place loses at most a few lines."""
        for service in self.children:
            path = self.logs / f"{service}.log"
            if path.exists() and path.stat().st_size > LOG_LIMIT:
                path.with_suffix(".log.1").write_bytes(path.read_bytes())
                os.truncate(path, 0)

    def _fork(self, child: Child) -> None:
        reading, writing = os.pipe()
        parent = os.getpid()
        # One that came to the child before it has its own handlers would go to ours, and be lost.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        child.pid = os.fork()
        if child.pid == 0:
            os.close(reading)
            self._become(child.service, parent, writing)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(writing)
        child.pipe, child.health_port, child.retry_at = reading, 0, 0.0
        child.started = time.monotonic()
        self._selector.register(reading, selectors.EVENT_READ, child)

    def _become(self, service: str, parent: int, ready: int) -> None:
        die_with_parent(parent, signal.SIGTERM)
        for number in _STOPPING:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
        # Ctrl-C in a terminal goes to the supervisor alone, which stops the services in order.
        os.setsid()
        gc.enable()
        rename(f"aircheck-{service}")
        if not self.verbose:
            self._redirect(service)
        module = importlib.import_module(f"services.{service}.app")
        # Its own name in leases and events: not that of the process it may be replacing.
        worker = f"{socket.gethostname()}-{service}-{os.getpid()}"
        settings = self._chosen[service].model_copy(update={"worker": worker})
        forked(lambda: module.build(settings), ready_fd=ready, fast_loop=service in _FAST_LOOPS)

    def _redirect(self, service: str) -> None:
        descriptor = os.open(self.logs / f"{service}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)

    def _read(self, child: Child) -> None:
        text = os.read(child.pipe, 64)
        self._close(child)
        if text:
            child.health_port = int(text)
            self.on_change(f"{child.service} is ready")

    def _close(self, child: Child) -> None:
        if child.pipe != -1:
            self._selector.unregister(child.pipe)
            os.close(child.pipe)
            child.pipe = -1

    def _reap(self, *, restart: bool = True) -> None:
        for child in self.children.values():
            if not child.pid:
                continue
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid == 0:
                continue
            stable = time.monotonic() - child.started > STABLE_S
            # Now: the one that is started in its place has a pipe of its own.
            self._close(child)
            child.pid, child.health_port = 0, 0
            child.failures = 1 if stable else child.failures + 1
            if restart:
                delay = min(0.25 * 2.0 ** (child.failures - 1), BACKOFF_CAP_S)
                child.retry_at = time.monotonic() + delay
                code = os.waitstatus_to_exitcode(status)
                self.on_change(
                    f"{child.service} ended with {code}; starting it again in {delay:g} s (log: {self.logs / child.service}.log)"
                )

    def _signal(self, number: signal.Signals) -> None:
        for child in self.children.values():
            if child.pid:
                os.kill(child.pid, number)
