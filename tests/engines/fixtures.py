"""The fixtures of every test that needs real engines; `tests/conftest.py` offers them to `tests/**`."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator

import pytest

from tests.engines import choice, databases
from tests.engines.handles import Engines, NatsEngine, PostgresEngine

# Docker's port proxy accepts connections before nats-server listens and after it has ended, and drops them; nats-py leaves
# its side of an attempt that got no INFO to the garbage collector. On engines from wheels no socket may be left open.
_DROPPED_BY_THE_PROXY = r"unclosed (transport <_SelectorSocket|<socket\.socket|<StreamWriter)"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresEngine]:
    """One cluster per session, that is one per xdist worker."""
    server = choice.new_postgres()
    try:
        server.start()
        yield server
    finally:
        server.dispose()


@pytest.fixture(scope="session")
def _owner_password(postgres_server: PostgresEngine) -> str:
    return databases.prepare_owner(postgres_server.admin_dsn)


@pytest.fixture
def postgres_engine(postgres_server: PostgresEngine) -> Iterator[PostgresEngine]:
    """The session's cluster, alive before the test and again after a test that killed it."""
    yield postgres_server
    if not postgres_server.running:
        postgres_server.restart()


@pytest.fixture
def start_nats() -> Iterator[Callable[..., NatsEngine]]:
    """Start fresh nats-servers: `start_nats(users=[NatsUser(...)], sync_always=False)`."""
    started: list[NatsEngine] = []
    if choice.use_containers():
        # Until the end of this test: pytest restores the filters then.
        warnings.filterwarnings("ignore", _DROPPED_BY_THE_PROXY, ResourceWarning)

    def start(**options: object) -> NatsEngine:
        server = choice.new_nats(**options)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.dispose()
    if choice.use_containers():
        # Now, or they would surface in a test that is not to blame.
        gc.collect()


@pytest.fixture
def nats_engine(start_nats: Callable[..., NatsEngine]) -> NatsEngine:
    """A fresh nats-server, empty and without users."""
    return start_nats()


@pytest.fixture
def engines(nats_engine: NatsEngine, postgres_engine: PostgresEngine) -> Engines:
    """The handles of the servers behind `nats_url` and `postgres_dsn`, for tests that kill and restart them."""
    return Engines(nats_engine, postgres_engine)


@pytest.fixture
def nats_url(nats_engine: NatsEngine) -> str:
    """The URL of a nats-server that only this test uses."""
    return nats_engine.url


@pytest.fixture
def postgres_admin_dsn(postgres_engine: PostgresEngine) -> str:
    """The superuser's DSN for the database `postgres`."""
    return postgres_engine.admin_dsn


@pytest.fixture
def make_database(postgres_engine: PostgresEngine, _owner_password: str) -> Iterator[Callable[[], str]]:
    """Make fresh, empty databases; each call returns the DSN of one, as its owner, who is no superuser."""
    made: list[str] = []

    def make() -> str:
        made.append(databases.create_database(postgres_engine.admin_dsn, _owner_password))
        return made[-1]

    yield make
    if not postgres_engine.running:
        postgres_engine.restart()
    for dsn in made:
        databases.drop_database(postgres_engine.admin_dsn, dsn)


@pytest.fixture
def postgres_dsn(make_database: Callable[[], str]) -> str:
    """The DSN of a fresh, empty database that only this test uses."""
    return make_database()
