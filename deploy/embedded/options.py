"""Where one installation lives and what it listens on, from the few environment variables that people set."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DEFAULT_PORT = 8720


class BadOption(ValueError):
    """An environment variable or flag that cannot be used; the message says how to set it right."""


@dataclass(frozen=True)
class Options:
    """One embedded system. ``port`` 0 chooses a free one; ``None`` prefers the default and falls back to a free one."""

    data: Path
    recordings: Path
    port: int | None = None
    host: str = "127.0.0.1"
    admin_password: str = field(default="", repr=False)
    allow_private_sources: bool = False
    verbose: bool = False
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Further settings by service, for the demo and tests."""

    @property
    def logs(self) -> Path:
        """One file per service."""
        return self.data / "logs"


def from_environment(environment: Mapping[str, str] = os.environ, **overrides: object) -> Options:
    """Read ``AIRCHECK_DATA``, ``AIRCHECK_RECORDINGS``, ``AIRCHECK_PORT``, ``AIRCHECK_HOST``, ``AIRCHECK_ADMIN_PASSWORD`` and
    ``AIRCHECK_ALLOW_PRIVATE_SOURCES``; raises :class:`BadOption`."""
    data = Path(environment.get("AIRCHECK_DATA") or default_data_folder()).expanduser().absolute()
    values: dict[str, object] = {
        "data": data,
        "recordings": Path(environment.get("AIRCHECK_RECORDINGS") or data / "recordings").expanduser().absolute(),
        "port": _port(environment.get("AIRCHECK_PORT", "")),
        "host": environment.get("AIRCHECK_HOST") or "127.0.0.1",
        "admin_password": environment.get("AIRCHECK_ADMIN_PASSWORD", ""),
        "allow_private_sources": _flag(environment.get("AIRCHECK_ALLOW_PRIVATE_SOURCES", "")),
    }
    chosen = {name: value for name, value in overrides.items() if value is not None}
    return Options(**{**values, **chosen})  # type: ignore[arg-type]


def default_data_folder() -> Path:
    """``aircheck`` below the user's data folder (XDG base directories; Library/Application Support on macOS)."""
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "aircheck"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "aircheck"


def _port(text: str) -> int | None:
    if not text:
        return None
    if not text.isdigit() or int(text) > 65535:
        raise BadOption(f"AIRCHECK_PORT={text!r} is not a port: give a number from 1 to 65535, or 0 for any free one")
    return int(text)


def _flag(text: str) -> bool:
    if text.lower() in ("", "0", "no", "false", "off"):
        return False
    if text.lower() in ("1", "yes", "true", "on"):
        return True
    raise BadOption(f"AIRCHECK_ALLOW_PRIVATE_SOURCES={text!r}: say true or false")
