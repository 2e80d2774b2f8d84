"""What every platform adapter offers: the one question "is this channel live, and where is its media?"."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Literal, Protocol, runtime_checkable

import aiohttp
from chassis.accounts import Login
from contracts.values import Chat, Network, Source

ProtocolChoice = Literal["any", "flv", "hls"]


class ProbeError(Exception):
    """A check that gave no answer; `fatal` tells that asking again will not help until somebody changes something."""

    fatal = True


class UnsupportedUrl(ProbeError):
    """No adapter understands this address, or the installation does not connect to it."""


class UnknownSite(UnsupportedUrl):
    """This adapter understands such addresses in general, but not what is behind this one: another one may."""


class ChannelNotFound(ProbeError):
    """The platform says that there is no such channel."""


class Refusal(StrEnum):
    """Why a platform does not show a channel that exists."""

    BANNED = "banned"
    AGE = "age"
    REGION = "region"
    PRIVATE = "private"


class ChannelRefused(ProbeError):
    """The platform knows the channel and will not show it to us; `reason` says why."""

    def __init__(self, reason: Refusal, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class ProbeFailed(ProbeError):
    """The platform could not be asked this time; `retry_after` is its own wish in seconds, where it has one."""

    fatal = False

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class ChannelRef:
    """One channel to ask about; `quality` is "best", "worst" or a platform's own name or number for it.

    The session obeys `network` and carries `login` already, to those of its domains that are the platform's (see
    `PlatformAdapter.cookie_domains`); they are here for adapters whose library opens its own connections. `received`: as far as is
    known, the media is being recorded right now.
    """

    url: str
    quality: str = "best"
    protocol: ProtocolChoice = "any"
    network: Network = Network()
    login: Login = Login()
    received: bool = False


@dataclass(frozen=True, slots=True)
class Probe:
    """A platform's answer. `sources` are sorted, best first, and empty where the channel is offline."""

    live: bool
    platform: str
    room_id: str
    canonical_url: str
    title: str = ""
    category: str = ""
    streamer_name: str = ""
    avatar_url: str = ""
    cover_url: str = ""
    started_at: datetime | None = None
    sources: tuple[Source, ...] = ()
    chat: Chat | None = None


@runtime_checkable
class Queueing(Protocol):
    """An adapter that asks few questions at a time."""

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Wait until there is room for one more; the time limit of a check begins after it. Raises a `ProbeError`."""
        ...


@runtime_checkable
class PlatformAdapter(Protocol):
    """One platform. `matches` looks at the text of an address only; all network traffic goes through `session`."""

    name: str

    def matches(self, url: str) -> bool:
        """Whether this adapter understands the address."""
        ...

    def cookie_domains(self, url: str) -> tuple[str, ...]:
        """The platform's domains: what of a login belongs to none of them, nor above or below them, is not sent."""
        ...

    async def probe(self, channel: ChannelRef, session: aiohttp.ClientSession) -> Probe:
        """Ask once; raises a `ProbeError`, of which `UnknownSite` makes the next adapter be asked."""
        ...


def prioritised(sources: Iterable[Source], protocol: ProtocolChoice) -> tuple[Source, ...]:
    """The same sources, those of the wanted protocol first, otherwise in their order, numbered by it."""
    wanted = sorted(sources, key=lambda source: protocol not in ("any", source.protocol))
    return tuple(source.model_copy(update={"priority": index}) for index, source in enumerate(wanted))


def limited(session: aiohttp.ClientSession, total_s: float) -> aiohttp.ClientTimeout:
    """The time limits of a session (to connect, without a byte) with another one for the whole request."""
    own = session.timeout
    return aiohttp.ClientTimeout(
        total=total_s, connect=own.connect, sock_connect=own.sock_connect, sock_read=own.sock_read
    )
