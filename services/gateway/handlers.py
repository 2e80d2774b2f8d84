"""What the gateway reacts to on the bus: the maintenance commands, which the chassis adds. Everything else comes over HTTP."""

from __future__ import annotations

from chassis.handlers import Handlers


def handlers() -> Handlers:
    """A fresh set of handlers."""
    return Handlers("gateway")
