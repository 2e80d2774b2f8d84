"""Engines in containers, for machines with a Docker engine."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

# Before testcontainers is imported, which reads them once. Its reaper is one more image to pull and every fixture
# removes what it started; published ports are reached at the address of the Docker host.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
os.environ.setdefault("TESTCONTAINERS_CONNECTION_MODE", "docker_host")

from docker.errors import APIError
from testcontainers.core.container import DockerContainer

from deploy.embedded.nats_config import NatsConfig, NatsUser
from deploy.embedded.nats_server import credentials_url, read_info
from deploy.embedded.ports import free_port
from tests.engines import databases
from tests.engines.choice import nats_image, postgres_image

_NATS_PORT = 4222
_POSTGRES_PORT = 5432
_READY_SECONDS = 60.0
_POLL_SECONDS = 0.05
_PORT_ATTEMPTS = 5
# What the engine says when another container has the port, and when any other process has it.
_SIGNS_OF_A_TAKEN_PORT = ("port is already allocated", "address already in use")
_NATS_CONFIG = "/etc/aircheck-nats.conf"


class _Container:
    """A container with one published port, which is fixed: Docker gives a random one anew at each restart."""

    def __init__(self, define: Callable[[], DockerContainer], port: int) -> None:
        self._define = define
        self._inner_port = port
        self._outer_port: int | None = None
        self._definition: DockerContainer | None = None

    @property
    def port(self) -> int:
        """The published port; raises RuntimeError before the first start, which picks it."""
        if self._outer_port is None:
            raise RuntimeError("a container has no port before its first start")
        return self._outer_port

    @property
    def host(self) -> str:
        # "localhost" may resolve to ::1 first, where nothing is published.
        host = self._started.get_container_host_ip()
        return "127.0.0.1" if host == "localhost" else host

    @property
    def running(self) -> bool:
        if self._definition is None:
            return False
        container = self._definition.get_wrapped_container()
        container.reload()
        return bool(container.status == "running")

    def start(self, is_ready: Callable[[], bool]) -> None:
        if self._definition is None:
            self._start_on_some_port()
        else:
            self._definition.get_wrapped_container().start()
        deadline = time.monotonic() + _READY_SECONDS
        while not is_ready():
            if time.monotonic() > deadline or not self.running:
                logs = self._started.get_wrapped_container().logs(tail=20).decode("utf-8", "replace")
                raise RuntimeError(f"the container was not ready in time:\n{logs}")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        if self.running:
            self._started.get_wrapped_container().stop(timeout=20)

    def kill(self) -> None:
        if self.running:
            container = self._started.get_wrapped_container()
            container.kill("SIGKILL")
            container.wait(timeout=20)

    def dispose(self) -> None:
        if self._definition is not None:
            self._definition.stop()

    @property
    def _started(self) -> DockerContainer:
        if self._definition is None:
            raise RuntimeError("the container was not started")
        return self._definition

    def _start_on_some_port(self) -> None:
        """A port that was free when it was picked may be taken when Docker publishes it."""
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            port = free_port()
            definition = self._define().with_bind_ports(self._inner_port, port)
            try:
                definition.start()
            except BaseException as error:
                definition.stop()
                if attempt == _PORT_ATTEMPTS or not _tells_of_a_taken_port(error):
                    raise
            else:
                self._definition, self._outer_port = definition, port
                return


def _tells_of_a_taken_port(error: BaseException) -> bool:
    return isinstance(error, APIError) and any(sign in str(error) for sign in _SIGNS_OF_A_TAKEN_PORT)


class ContainerNats:
    """A nats-server in a container of its own; its data goes with the container."""

    def __init__(self, users: Sequence[NatsUser] = (), *, sync_always: bool = False) -> None:
        config = NatsConfig(
            server_name="aircheck-test",
            host="0.0.0.0",
            port=_NATS_PORT,
            store=PurePosixPath("/data"),
            users=users,
            sync_always=sync_always,
        )

        def define() -> DockerContainer:
            definition = DockerContainer(nats_image()).with_command(["--config", _NATS_CONFIG])
            return definition.with_copy_into_container(config.render().encode(), _NATS_CONFIG)

        self.users = tuple(users)
        self._container = _Container(define, _NATS_PORT)

    @property
    def url(self) -> str:
        return f"nats://{self._container.host}:{self._container.port}"

    def url_for(self, user: NatsUser) -> str:
        return credentials_url(user, self._container.host, self._container.port)

    @property
    def running(self) -> bool:
        return self._container.running

    def start(self) -> None:
        self._container.start(lambda: bool(read_info(self._container.port, self._container.host).get("jetstream")))

    def stop(self) -> None:
        self._container.stop()

    def kill(self) -> None:
        self._container.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def dispose(self) -> None:
        self._container.dispose()


class ContainerPostgres:
    """A cluster in a container of its own; it does not sync, so that tests are fast."""

    def __init__(self) -> None:
        self._password = secrets.token_urlsafe(16)
        settings = ("fsync=off", "full_page_writes=off", "max_connections=80", "jit=off")
        command = ["postgres", *(part for setting in settings for part in ("-c", setting))]
        self._container = _Container(
            lambda: (
                DockerContainer(postgres_image()).with_command(command).with_env("POSTGRES_PASSWORD", self._password)
            ),
            _POSTGRES_PORT,
        )

    @property
    def admin_dsn(self) -> str:
        return f"postgresql://postgres:{self._password}@{self._container.host}:{self._container.port}/postgres"

    @property
    def running(self) -> bool:
        return self._container.running

    def start(self) -> None:
        # The image serves its own set-up on a unix socket first: over TCP only the final server answers.
        self._container.start(lambda: databases.accepts_connections(self.admin_dsn))

    def stop(self) -> None:
        self._container.stop()

    def kill(self) -> None:
        self._container.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def dispose(self) -> None:
        self._container.dispose()
