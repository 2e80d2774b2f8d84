"""How a program of `chassis.foreign` is started."""

from __future__ import annotations

import os
import sys

from contracts.values import Json, Network

from chassis.accounts import Login
from chassis.egress import EgressPolicy
from chassis.network import proxy_of


def command(module: str) -> list[str]:
    """The command line; nothing secret belongs there."""
    return [sys.executable, "-m", module]


def search_path() -> str:
    """What this process imports from, for a program of ours."""
    return os.pathsep.join(entry for entry in sys.path if entry)


def connected(policy: EgressPolicy, network: Network, login: Login) -> Json:
    """The fields of a `Job` that say how the world is reached, and with whose login."""
    return {
        "login_domains": login.domains,
        "login_cookies": dict(login.cookies) if login.domains else {},
        "login_headers": dict(login.headers) if login.domains else {},
        "proxy": proxy_of(network, login),
        "verify": not network.allow_invalid_certificate,
        "ip_version": network.ip_version,
        "allow_private": policy.allow_private,
        "allowed_networks": policy.allowed_networks,
    }
