"""The work of a confined program: what it gets on its standard input, a line each, and what bounds it. No secret is in its arguments."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Literal

from contracts.message import Value
from contracts.values import Json
from pydantic import Field
from yarl import URL

from chassis.confinement import confine
from chassis.egress import EgressPolicy

OFFLINE_EXIT = 3
"""There is nothing to play at the moment."""
FAILED_EXIT = 4


class Job(Value):
    """What to do and how to reach it. ``login_*`` go to ``login_domains`` and their subdomains only; times in seconds.

    ``purpose``: to ``play`` the media now, or to ``watch`` whether there is any, for which no media address is told. ``media`` is played with
    ``protocol`` where the program does not know the site of ``url``.
    """

    url: str
    purpose: Literal["play", "watch"] = "play"
    protocol: str = "page"
    media: str = ""
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

    @property
    def bounds(self) -> tuple[object, ...]:
        """What a process is bound to for ever: jobs that agree in it may share one, if none of them is personal."""
        return self.policy, self.proxy, self.ffmpeg

    @property
    def personal(self) -> bool:
        """Whether it carries secrets, which no other job may meet in the memory of a process."""
        return bool(self.login_cookies or self.login_headers or (self.proxy and URL(self.proxy).user))

    @property
    def line(self) -> bytes:
        """As a program reads it."""
        return self.model_dump_json().encode() + b"\n"


class Unplayable(Exception):
    """Says why nothing is played; ``code`` is the exit code."""

    def __init__(self, reason: str, code: int = FAILED_EXIT) -> None:
        super().__init__(reason)
        self.code = code


def jobs() -> Iterator[Job]:
    """The jobs of this process. The first one confines it for ever; RuntimeError for a later one that would need other bounds."""
    bounds: tuple[object, ...] | None = None
    for line in sys.stdin.buffer:
        job = Job.model_validate_json(line)
        if bounds is None:
            _confine(job)
            bounds = job.bounds
        elif job.bounds != bounds:
            raise RuntimeError("this process is bound otherwise")
        yield job


def without_addresses(words: str) -> str:
    """One line of what a library says: no address, which may be signed."""
    return " ".join(word for word in words.split() if "://" not in word)[:300]


def refuse(error: Exception) -> int:
    """Say why, in one line on standard error; returns the exit code."""
    sys.stderr.write(f"\n{without_addresses(str(error) or type(error).__name__)}\n")
    return error.code if isinstance(error, Unplayable) else FAILED_EXIT


def _confine(job: Job) -> None:
    proxy = URL(job.proxy) if job.proxy else None
    door = (proxy.host, proxy.port) if proxy is not None and proxy.host and proxy.port else None
    confine(job.policy, proxy=door, programs={job.ffmpeg} if job.ffmpeg else ())
