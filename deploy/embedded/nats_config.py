"""The configuration of nats-server as text: users with their permissions, JetStream with its limits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

_LOG_LIMIT_BYTES = 10 * 1024 * 1024
_ESCAPES_THAT_DIFFER = ("\\u", "\\b", "\\f", "\\n", "\\r", "\\t")


@dataclass(frozen=True)
class NatsUser:
    """A NATS user and the subjects it may use; wildcards allowed, an empty list means none at all.

    `password` is the plain password or its bcrypt hash (`$2a$…`), as nats-server takes both.
    """

    name: str
    password: str
    publish: Sequence[str] = (">",)
    subscribe: Sequence[str] = (">",)


@dataclass(frozen=True)
class NatsLimits:
    """How much JetStream may take, in bytes; `max_file_bytes` None leaves the server's own rule (75 % of free disk)."""

    max_memory_bytes: int = 256 << 20
    max_file_bytes: int | None = None
    max_payload_bytes: int = 1024 * 1024


@dataclass(frozen=True)
class NatsConfig:
    """Everything that nats-server is told; paths are those of the machine it runs on.

    Without `users` anybody who reaches the port may connect. `sync_always` makes JetStream sync every write before it
    acknowledges; otherwise it syncs every two minutes.
    """

    server_name: str
    host: str
    port: int
    store: PurePath
    users: Sequence[NatsUser] = ()
    limits: NatsLimits = NatsLimits()
    sync_always: bool = False
    monitoring_port: int | None = None
    pid_file: PurePath | None = None
    log_file: PurePath | None = None

    def render(self) -> str:
        """Return the configuration file.

        Its language is a superset of JSON, and JSON's quoting leaves `$` and `#` in a password alone.

        Raises:
            ValueError: a value holds a control character, for which the two languages differ.
        """
        text = json.dumps(self._settings(), ensure_ascii=False, indent=2)
        if any(escape in text.replace("\\\\", "") for escape in _ESCAPES_THAT_DIFFER):
            raise ValueError("a NATS name, password, subject or path holds a control character")
        return text + "\n"

    def _settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "server_name": self.server_name,
            "host": self.host,
            "port": self.port,
            "max_payload": self.limits.max_payload_bytes,
            "jetstream": self._jetstream(),
        }
        if self.pid_file is not None:
            settings["pid_file"] = str(self.pid_file)
        if self.log_file is not None:
            settings |= {"log_file": str(self.log_file), "logfile_size_limit": _LOG_LIMIT_BYTES, "logfile_max_num": 2}
        if self.monitoring_port is not None:
            settings["http"] = f"{self.host}:{self.monitoring_port}"
        if self.users:
            settings["authorization"] = {"users": [_user_settings(user) for user in self.users]}
        return settings

    def _jetstream(self) -> dict[str, Any]:
        jetstream: dict[str, Any] = {"store_dir": str(self.store), "max_memory_store": self.limits.max_memory_bytes}
        if self.limits.max_file_bytes is not None:
            jetstream["max_file_store"] = self.limits.max_file_bytes
        if self.sync_always:
            jetstream["sync_interval"] = "always"
        return jetstream


def _user_settings(user: NatsUser) -> dict[str, Any]:
    return {
        "user": user.name,
        "password": user.password,
        "permissions": {"publish": _allow(user.publish), "subscribe": _allow(user.subscribe)},
    }


def _allow(subjects: Sequence[str]) -> dict[str, list[str]]:
    """An empty `allow` would mean "everything" to nats-server."""
    return {"allow": list(subjects)} if subjects else {"deny": [">"]}
