"""Loopback TCP ports for the engines of one machine."""

from __future__ import annotations

import random
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"
_LOWEST_PORT = 10_240
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_DEFAULT_EPHEMERAL_START = 32_768
_ATTEMPTS = 200


class NoFreePortError(RuntimeError):
    """Every port that was tried on loopback is in use."""


def free_port() -> int:
    """Return a loopback TCP port that nobody listens on.

    The port is below the kernel's ephemeral range. A client that reconnects to a dead port *inside* that range can be
    given the same number as its source, connects to itself, and keeps the engine from ever binding again.

    Raises:
        NoFreePortError: none of the ports tried was free.
    """
    highest = _ephemeral_start()
    for _ in range(_ATTEMPTS):
        port = random.randrange(_LOWEST_PORT, highest)
        if port_is_free(port):
            return port
    raise NoFreePortError(f"no free port between {_LOWEST_PORT} and {highest} on {LOOPBACK}")


def port_is_free(port: int) -> bool:
    """Tell whether a server could bind `port` on loopback now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the engines do: connections in TIME_WAIT do not make a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _ephemeral_start() -> int:
    try:
        start = int(_EPHEMERAL_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _DEFAULT_EPHEMERAL_START
    return start if start > _LOWEST_PORT + 1000 else _DEFAULT_EPHEMERAL_START
