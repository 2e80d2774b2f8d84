"""What every way of telling somebody offers: send one notification and say plainly what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

Json = dict[str, Any]
Severity = Literal["info", "success", "warning", "failure"]


class InvalidTarget(ValueError):
    """An address or secret that cannot work; the message says what to write instead and repeats no secret."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send; both fields are secrets, as addresses of chat services carry their token."""

    address: str = field(repr=False)
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Notification:
    """One message. `id` is the same for every attempt; `event` is the CloudEvent it tells of, in structured form."""

    id: str
    title: str
    body: str
    event: Json
    severity: Severity = "info"


@dataclass(frozen=True, slots=True)
class Delivered:
    """The other side confirmed the message."""

    detail: str = ""


@dataclass(frozen=True, slots=True)
class Transient:
    """It may work later; `retry_after` is the other side's wish in seconds, where it has one."""

    reason: str
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Permanent:
    """It will not work until somebody changes something."""

    reason: str


Outcome = Delivered | Transient | Permanent


@runtime_checkable
class Channel(Protocol):
    """One way of telling. `send` answers with an outcome and does not raise for anything the other side does."""

    kind: str

    def check(self, target: Target) -> None:
        """Raise `InvalidTarget` for what cannot work, without sending anything."""
        ...

    def host(self, target: Target) -> str:
        """What may be shown of the address; never a token. Raises `InvalidTarget`."""
        ...

    async def send(self, target: Target, notification: Notification) -> Outcome:
        """Send once."""
        ...


class Channels:
    """The channel of each kind of target."""

    def __init__(self, *channels: Channel) -> None:
        self._by_kind = {channel.kind: channel for channel in channels}

    def of(self, kind: str) -> Channel:
        """The channel of a kind; raises KeyError for a kind that ``app.py`` did not wire."""
        return self._by_kind[kind]
