"""Fixtures for every test below this folder: real engines, see `tests/engines`."""

from tests.engines.fixtures import (
    _owner_password,
    engines,
    make_database,
    nats_engine,
    nats_url,
    postgres_admin_dsn,
    postgres_dsn,
    postgres_engine,
    postgres_server,
    start_nats,
)

__all__ = [
    "_owner_password",
    "engines",
    "make_database",
    "nats_engine",
    "nats_url",
    "postgres_admin_dsn",
    "postgres_dsn",
    "postgres_engine",
    "postgres_server",
    "start_nats",
]
