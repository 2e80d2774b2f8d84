"""What a test may do with an engine, whichever way it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from deploy.embedded.nats_config import NatsUser


class Engine(Protocol):
    """A server that can be started, stopped, killed and restarted on the same port with the same data."""

    @property
    def running(self) -> bool: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def kill(self) -> None:
        """SIGKILL; returns when it is dead."""

    def restart(self) -> None:
        """Stop if it runs, start again, return when it is ready."""

    def dispose(self) -> None:
        """Stop it for good and delete its data."""


class NatsEngine(Engine, Protocol):
    """A nats-server with JetStream."""

    @property
    def url(self) -> str:
        """`nats://HOST:PORT` without credentials."""

    def url_for(self, user: NatsUser) -> str:
        """The URL with the credentials of a user it was started with."""


class PostgresEngine(Engine, Protocol):
    """A PostgreSQL cluster."""

    @property
    def admin_dsn(self) -> str:
        """The superuser's DSN for the database `postgres`."""


@dataclass(frozen=True)
class Engines:
    """The servers behind `nats_url` and `postgres_dsn`."""

    nats: NatsEngine
    postgres: PostgresEngine
