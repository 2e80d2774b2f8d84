"""Twelve-factor settings: one prefix per service (``MONITOR_…``), secrets also from files (``MONITOR_DATABASE_DSN_FILE``)."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from chassis.redaction import without_credentials

S = TypeVar("S", bound="ServiceSettings")


class ServiceSettings(BaseSettings):
    """What every service needs. A subclass sets ``env_prefix`` and adds its own fields."""

    model_config = SettingsConfigDict(extra="ignore", env_nested_delimiter="__")

    service: str
    database_dsn: SecretStr
    nats_url: str = "nats://127.0.0.1:4222"
    nats_user: str = ""
    nats_password: SecretStr = SecretStr("")
    secret_key: SecretStr = SecretStr("")
    """The system key that seals secrets between services: 32 bytes, URL-safe base64."""
    health_host: str = "127.0.0.1"
    health_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Where /livez, /readyz and /metrics answer; 0 chooses a free port."""
    log_level: str = "INFO"
    worker: str = Field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")
    """The name of this replica in leases and events."""
    pool_size: Annotated[int, Field(ge=3, le=100)] = 6
    """Connections to the database; two of them are kept free of handlers."""
    retry_base_s: Annotated[float, Field(gt=0)] = 1.0
    max_deliveries: Annotated[int, Field(ge=1)] = 12
    """How often a message may fail in one process before it goes to the dead letters."""
    max_crashes: Annotated[int, Field(ge=1)] = 3
    """How many processes a message may end while it is handled alone before it goes to the dead letters."""
    stop_timeout_s: Annotated[float, Field(gt=0)] = 20.0
    """How long messages in hand, and then leases in hand, may take to end after SIGTERM."""
    allow_private_sources: bool = False
    """Allow media, chat and webhook addresses in private networks. Off: server-side request forgery is refused."""
    data_dir: Path = Path("data")
    """Where files are written that have not become artifacts yet, and artifacts when ``storage_uri`` is empty."""
    inbox_retention_s: Annotated[float, Field(gt=0)] = 7 * 86_400.0


def load(cls: type[S], **overrides: Any) -> S:
    """Read settings from the environment, with ``<PREFIX><FIELD>_FILE`` naming a file that holds the value.

    Raises pydantic.ValidationError with every problem at once.
    """
    prefix = cls.model_config.get("env_prefix", "")
    for field in cls.model_fields:
        path = os.environ.get(f"{prefix}{field}_FILE".upper())
        if path and field not in overrides:
            overrides[field] = Path(path).read_text(encoding="utf-8").strip()
    return cls(**overrides)


def redacted(settings: ServiceSettings) -> dict[str, Any]:
    """What ``--print-config`` shows: secrets as stars, addresses without credentials."""
    return {name: without_credentials(value) for name, value in settings.model_dump(mode="json").items()}
