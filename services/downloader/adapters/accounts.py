"""The secrets of an account, asked of their owner whenever connections are made anew and kept nowhere."""

from __future__ import annotations

import asyncio
import contextlib

import structlog
from chassis.secrets import SecretUnreadable, SystemKey
from contracts import subjects
from contracts.config import CredentialTold, Secrets, TellCredential
from contracts.message import Message
from pydantic import ValidationError

from services.downloader.adapters.engine import SourcesUnavailable
from services.downloader.adapters.network import Login
from services.downloader.adapters.sources import Signals

log = structlog.get_logger(__name__)


class Accounts:
    """Asks the config service over the bus; answers are sealed with the system key."""

    def __init__(self, signals: Signals, key: str, *, timeout_s: float = 5.0) -> None:
        self._signals, self._timeout_s = signals, timeout_s
        self._key = SystemKey(key) if key else None

    async def login(self, account: str) -> Login:
        """The secrets of an account, open; raises SourcesUnavailable, which says why and is tried again."""
        if self._key is None:
            raise SourcesUnavailable("accounts need the system key: DOWNLOADER_SECRET_KEY")
        told = await self._ask(account)
        if not told.sealed:
            raise SourcesUnavailable(f"there is no credential {account}")
        try:
            secrets = Secrets.model_validate_json(self._key.open(told.sealed))
        except (SecretUnreadable, ValidationError):
            raise SourcesUnavailable(f"the credential {account} cannot be opened: another system key") from None
        return Login(told.domains, secrets.cookies, secrets.headers, secrets.proxy_user, secrets.proxy_password)

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
            raise SourcesUnavailable(f"nobody tells the credential {account}") from None
        finally:
            if subscription is not None:
                with contextlib.suppress(Exception):
                    await subscription.unsubscribe()
