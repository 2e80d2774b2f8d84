"""The whole of Aircheck on one machine: NATS, PostgreSQL and nine services below one folder."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nats
from chassis import provision
from chassis.bus import connection_options
from contracts import access
from contracts.system import SERVICES

from deploy.embedded.children import Children, preload
from deploy.embedded.folder_lock import FolderLock
from deploy.embedded.keys import Keys, load_or_make
from deploy.embedded.nats_config import NatsUser
from deploy.embedded.nats_server import NatsServer
from deploy.embedded.options import DEFAULT_PORT, Options
from deploy.embedded.ports import free_port, port_is_free
from deploy.embedded.postgres_server import PostgresServer
from deploy.embedded.process import PortTakenError
from deploy.embedded.provision import provision_database

READY_S = 90.0
STOP_S = 25.0
_LEFT_TO_PEOPLE = frozenset(["storage_uri", "reclaim_roots"])
Say = Callable[[str], None]


class NotReady(RuntimeError):
    """Some services did not start; the message names them and their logs."""


class EmbeddedSystem:
    """Start, watch, stop. :meth:`start` returns when everything answers; :meth:`run` blocks until a signal."""

    def __init__(self, options: Options, say: Say = lambda _: None) -> None:
        self.options, self._say = options, say
        self._prepare_folders()
        self._lock = FolderLock(options.data)
        self._lock.acquire()
        self.keys: Keys = load_or_make(options.data)
        self.nats = NatsServer(options.data / "nats", users=[*map(self._user, SERVICES), self._provisioner()])
        self.postgres = PostgresServer(options.data / "postgres")
        self.port = choose_port(self.options)
        self.children = Children(self._settings, options.logs, verbose=options.verbose, on_change=say)
        self._stopping = False
        self._handlers: dict[signal.Signals, Any] = {}

    @property
    def url(self) -> str:
        """Where the gateway answers."""
        return f"http://{self.options.host}:{self.port}"

    @property
    def first_password(self) -> str | None:
        """The password made for ``admin`` at the first start, as long as nobody has changed it."""
        path = self.options.data / "admin-password"
        return path.read_text(encoding="utf-8").strip() if path.exists() else None

    def start(self) -> None:
        """Start engines, then services; raises NotReady, BadSettings, EngineError. Once it returns, a signal ends :meth:`run` and raises no more."""
        try:
            self._start_engines()
            self.children.start()
            late = self.children.wait_until_ready(READY_S)
            if late:
                raise NotReady(f"not ready after {READY_S:g} s: {', '.join(late)}; see {self.options.logs}")
            # Here and not in run(): what a person does on reading that it runs must not fall in between.
            self._handlers = {number: signal.signal(number, self._ask_to_stop) for number in stop_signals()}
        except BaseException:
            self.stop()
            raise

    def watch(self, timeout_s: float = 0.5) -> None:
        """One round of supervision."""
        self.children.watch(timeout_s)
        self._revive_engines()

    def run(self) -> None:
        """Watch a started system until SIGINT, SIGTERM or the end of the terminal, then stop in order."""
        rotated = time.monotonic()
        try:
            while not self._stopping:
                self.watch()
                if time.monotonic() - rotated > 60:
                    self.children.rotate_logs()
                    rotated = time.monotonic()
        finally:
            self.stop()

    def stop(self) -> None:
        """Services first, engines after them."""
        late = self.children.stop(STOP_S)
        self.nats.stop()
        self.postgres.stop()
        self._lock.release()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        # Last: the terminal may be gone.
        if late:
            self._say(f"had to kill: {', '.join(late)}")

    def _start_engines(self) -> None:
        preloading = _in_background(preload)
        self.postgres.start()
        self.nats.start()
        preloading()
        database = provision_database(self.postgres.admin_dsn, self.keys.postgres)
        asyncio.run(self._provision(database))

    async def _provision(self, database: object) -> None:
        await asyncio.gather(database, self._provision_streams())  # type: ignore[call-overload]

    async def _provision_streams(self) -> None:
        password = self.keys.nats[access.PROVISIONER]
        options = connection_options(self.nats.url, access.PROVISIONER, user=access.PROVISIONER, password=password)
        # Its own close would be reported as a lost connection at every start.
        options["disconnected_cb"] = None
        client = await nats.connect(**options)
        try:
            await provision.provision(client.jetstream(timeout=10))
        finally:
            await client.close()

    def _revive_engines(self) -> None:
        for name, engine in (("PostgreSQL", self.postgres), ("NATS", self.nats)):
            if not self._stopping and not engine.running:
                self._say(f"{name} ended; starting it again")
                engine.restart()

    def _ask_to_stop(self, *_: object) -> None:
        self._stopping = True

    def _user(self, service: str) -> NatsUser:
        allowed = access.permissions(service)
        return NatsUser(service, self.keys.nats[service], list(allowed.publish), list(allowed.subscribe))

    def _provisioner(self) -> NatsUser:
        allowed = access.provisioner()
        return NatsUser(
            access.PROVISIONER, self.keys.nats[access.PROVISIONER], list(allowed.publish), list(allowed.subscribe)
        )

    def _settings(self, service: str) -> Mapping[str, Any]:
        options = self.options
        common: dict[str, object] = {
            "database_dsn": self.postgres.dsn("aircheck", f"{service}", self.keys.postgres[service]),
            "nats_url": self.nats.url,
            "nats_user": service,
            "nats_password": self.keys.nats[service],
            "secret_key": self.keys.system_key,
            "data_dir": options.data / "files",
            "allow_private_sources": options.allow_private_sources,
        }
        return {**common, **self._named(service), **options.settings.get(service, {})}

    def _named(self, service: str) -> Mapping[str, Any]:
        return {name: value for name, value in self._of(service).items() if not _set_by_person(service, name)}

    def _of(self, service: str) -> Mapping[str, Any]:
        recordings = self.options.recordings.as_uri()
        if service == "gateway":
            return {
                "host": self.options.host,
                "port": self.port,
                "admin_password": self.options.admin_password,
                "made_password_file": self.options.data / "admin-password",
            }
        if service == "pipeline":
            # Without a rule nothing is removed; with one, only what lies where this system records.
            return {"storage_uri": recordings, "reclaim_roots": (recordings,)}
        if service == "danmu":
            # One replica: nobody takes over its chats when it stops.
            return {"storage_uri": recordings, "successor_s": 0}
        return {"storage_uri": recordings} if service == "downloader" else {}

    def _prepare_folders(self) -> None:
        for folder in (self.options.data, self.options.logs, self.options.data / "files"):
            _make(folder, 0o700)
        _make(self.options.recordings, 0o777)


def _make(folder: Path, mode: int) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=mode)
    except (FileExistsError, NotADirectoryError):
        raise NotADirectoryError(f"{folder} cannot be a folder: there is a file in its place") from None


def choose_port(options: Options) -> int:
    """Where the gateway listens, noted in the data folder, where the command line finds it; raises PortTakenError."""
    if options.port and not port_is_free(options.port):
        raise PortTakenError("gateway", options.port)
    note = options.data / "gateway-port.json"
    preferred = [] if options.port == 0 else [*remembered_port(note), DEFAULT_PORT]
    port = options.port or next((one for one in preferred if port_is_free(one)), None) or free_port()
    note.write_text(json.dumps(port))
    return port


def _set_by_person(service: str, name: str) -> bool:
    """Whether the environment says where files go (``DOWNLOADER_STORAGE_URI=s3://…``): then this system does not."""
    return name in _LEFT_TO_PEOPLE and bool(os.environ.get(f"{service}_{name}".upper()))


def remembered_port(path: Path) -> list[int]:
    """The port of the last start; none when there was no start, or when a crash left half a file."""
    try:
        port = json.loads(path.read_text())
    except (OSError, ValueError):
        return []
    return [port] if isinstance(port, int) and 0 < port < 65536 else []


def stop_signals() -> list[signal.Signals]:
    """What ends the system; under nohup a hang-up stays ignored."""
    hung_up = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGINT, signal.SIGTERM, *hung_up]


def _in_background(work: Callable[[], None]) -> Callable[[], None]:
    """Run something in a thread while the engines start; the result waits for it. Forking waits too, so no thread is left by then."""
    from threading import Thread

    failure: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            failure.append(error)

    thread = Thread(target=guarded, name="preload")
    thread.start()

    def wait() -> None:
        thread.join()
        if failure:
            raise failure[0]

    return wait


def describe(system: EmbeddedSystem) -> dict[str, str]:
    """What a person wants to know after the start."""
    return {
        "gateway": system.url,
        "recordings": str(system.options.recordings),
        "data": str(system.options.data),
        "logs": str(system.options.logs),
    }
