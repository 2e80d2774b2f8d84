"""The secrets of an account, asked of their owner when connections are made, kept in memory alone, and sent where they belong."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import structlog
from contracts import subjects
from contracts.config import CredentialTold, Secrets, TellCredential
from contracts.message import Command, Message
from pydantic import ValidationError

from chassis.secrets import SecretUnreadable, SystemKey

log = structlog.get_logger(__name__)


class AccountUnavailable(Exception):
    """The secrets of an account cannot be had now; the message says why and names none."""


class Signals(Protocol):
    """What this needs of the bus."""

    async def listen(self, subject: str, handler: Callable[[str, Message], Awaitable[None]]) -> Any: ...

    async def send_direct(self, command: Command) -> None: ...


class NoSuchAccount(AccountUnavailable):
    """Its owner says that there is no such account (any more)."""


@dataclass(frozen=True, slots=True)
class Login:
    """The secrets of an account, open; they go to ``domains`` and their subdomains and to nobody else."""

    domains: tuple[str, ...] = ()
    cookies: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    proxy_user: str = ""
    proxy_password: str = field(default="", repr=False)
    stream_key: str = field(default="", repr=False)
    passphrase: str = field(default="", repr=False)

    def covers(self, host: str) -> bool:
        """Whether a host may see this login."""
        return any(_below(host, domain) for domain in self.domains)

    def limited_to(self, platform: Collection[str]) -> Login:
        """The same login for those of its domains alone that a platform's domains lie in or above; the proxy's part stays."""
        shared = (one for one in self.domains if any(_below(one, own) or _below(own, one) for own in platform))
        return replace(self, domains=tuple(shared))

    def cookies_for(self, host: str) -> Mapping[str, str]:
        """The cookies that a host may see, for who writes the header itself."""
        return self.cookies if self.covers(host) else {}


def _below(host: str, domain: str) -> bool:
    return host == domain or host.endswith(f".{domain}")


class Accounts:
    """Asks the config service over the bus; answers are sealed with the system key.

    ``fresh_s``: how long an answer serves again without asking; 0 asks each time. ``setting`` names the system key's setting in messages.
    """

    def __init__(
        self, signals: Signals, key: str, *, setting: str, timeout_s: float = 5.0, fresh_s: float = 0.0
    ) -> None:
        self._signals, self._timeout_s, self._fresh_s, self._setting = signals, timeout_s, fresh_s, setting
        self._key = SystemKey(key) if key else None
        self._known: dict[str, tuple[float, Login]] = {}

    async def login(self, account: str) -> Login:
        """The secrets of an account, open; raises AccountUnavailable, after which asking again may help."""
        if self._key is None:
            raise AccountUnavailable(f"accounts need the system key: {self._setting}")
        told_at, known = self._known.get(account, (0.0, None))
        if known is not None and time.monotonic() - told_at < self._fresh_s:
            return known
        self._known.pop(account, None)
        login = _opened(await self._ask(account), self._key)
        if self._fresh_s:
            self._known[account] = (time.monotonic(), login)
        return login

    async def _ask(self, account: str) -> CredentialTold:
        answered: asyncio.Future[CredentialTold] = asyncio.get_running_loop().create_future()

        async def receive(_: str, message: Message) -> None:
            if isinstance(message, CredentialTold) and not answered.done():
                answered.set_result(message)

        subscription = None
        try:
            subscription = await self._signals.listen(subjects.signal(CredentialTold, account), receive)
            await self._signals.send_direct(TellCredential(credential_id=account))
            async with asyncio.timeout(self._timeout_s):
                return await answered
        except Exception as error:  # the bus has its own errors; whichever it is, asking again comes next
            log.warning("accounts.not_told", account=account, error=type(error).__name__)
            raise AccountUnavailable(f"nobody tells the credential {account}") from None
        finally:
            if subscription is not None:
                with contextlib.suppress(Exception):
                    await subscription.unsubscribe()


def _opened(told: CredentialTold, key: SystemKey) -> Login:
    if not told.sealed:
        raise NoSuchAccount(f"there is no credential {told.credential_id}")
    try:
        secrets = Secrets.model_validate_json(key.open(told.sealed))
    except (SecretUnreadable, ValidationError):
        raise AccountUnavailable(f"the credential {told.credential_id} cannot be opened: another system key") from None
    return Login(told.domains, **secrets.model_dump())
