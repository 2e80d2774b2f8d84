"""The work of a confined program: what it gets on its standard input, and how it says that it failed. No secret is in its arguments."""

from __future__ import annotations

import sys
from typing import Literal

from chassis.confinement import confine
from chassis.egress import EgressPolicy
from contracts.message import Value
from contracts.values import Json
from pydantic import Field
from yarl import URL

OFFLINE_EXIT = 3
"""There is nothing to play at the moment."""
FAILED_EXIT = 4


class Job(Value):
    """What to play and how to reach it. ``login_*`` go to ``login_domains`` and their subdomains only; times in seconds."""

    url: str
    protocol: str = "page"
    quality: str = "best"
    options: Json = Field(default_factory=dict)
    headers: dict[str, str] = Field(default_factory=dict)
    login_domains: tuple[str, ...] = ()
    login_cookies: dict[str, str] = Field(default_factory=dict)
    login_headers: dict[str, str] = Field(default_factory=dict)
    proxy: str | None = None
    verify: bool = True
    ip_version: Literal["any", "4", "6"] = "any"
    connect_timeout_s: float = 10.0
    stall_s: float = 15.0
    ffmpeg: str = ""
    allow_private: bool = False
    allowed_networks: tuple[str, ...] = ()

    def covers(self, host: str) -> bool:
        """Whether a host may see the login."""
        return any(host == domain or host.endswith(f".{domain}") for domain in self.login_domains)

    @property
    def policy(self) -> EgressPolicy:
        """What may be connected to."""
        return EgressPolicy(allow_private=self.allow_private, allowed_networks=self.allowed_networks)


class Unplayable(Exception):
    """Says why nothing is played; ``code`` is the exit code."""

    def __init__(self, reason: str, code: int = FAILED_EXIT) -> None:
        super().__init__(reason)
        self.code = code


def take() -> Job:
    """Read the job of this process and confine it to what the job allows."""
    job = Job.model_validate_json(sys.stdin.buffer.read())
    proxy = URL(job.proxy) if job.proxy else None
    door = (proxy.host, proxy.port) if proxy is not None and proxy.host and proxy.port else None
    confine(job.policy, proxy=door, programs={job.ffmpeg} if job.ffmpeg else ())
    return job


def refuse(error: Exception) -> int:
    """Say why, in one line on standard error; returns the exit code."""
    words = [word for word in (str(error) or type(error).__name__).split() if "://" not in word]
    sys.stderr.write("\n" + " ".join(words)[:300] + "\n")
    return error.code if isinstance(error, Unplayable) else FAILED_EXIT
