"""Passwords and keys of one installation: made at the first start, kept in one file that only its owner can read."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from chassis.secrets import new_system_key
from contracts import access
from contracts.system import SERVICES

_FILE = "keys.json"


@dataclass(frozen=True)
class Keys:
    """One NATS password per user, one PostgreSQL password per role, and the key that seals secrets between services."""

    nats: dict[str, str]
    postgres: dict[str, str]
    system_key: str


def load_or_make(folder: Path) -> Keys:
    """Read the keys of a data folder, making them at the first start (mode 0600)."""
    path = folder / _FILE
    if not path.exists():
        _write(path, _fresh())
    stored = json.loads(path.read_text(encoding="utf-8"))
    return Keys(stored["nats"], stored["postgres"], stored["system_key"])


def _fresh() -> Keys:
    return Keys(
        nats={user: secrets.token_urlsafe(24) for user in (*SERVICES, access.PROVISIONER)},
        postgres={service: secrets.token_urlsafe(24) for service in SERVICES},
        system_key=new_system_key(),
    )


def _write(path: Path, keys: Keys) -> None:
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"nats": keys.nats, "postgres": keys.postgres, "system_key": keys.system_key}, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
