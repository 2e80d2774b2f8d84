"""The login of one room: asked of its owner each time the chat is joined."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog
from chassis.accounts import AccountUnavailable, Login, NoSuchAccount

AccountOf = Callable[[str], Awaitable[Login]]
"""The secrets of an account, open; raises AccountUnavailable while they cannot be had."""

LoginOf = Callable[[], Awaitable[Login]]
"""What a driver gets as its keyword ``account``: the login of its room as it is now, an empty one for a visitor. Raises nothing."""

log = structlog.get_logger(__name__)


class RoomAccount:
    """Chat that is missed is gone for good: while the account cannot be had its last login serves, and a visitor's part before there is one."""

    def __init__(self, account_of: AccountOf, account: str) -> None:
        self._account_of, self._account = account_of, account
        self._last = Login()

    async def login(self) -> Login:
        """The login to join with now."""
        try:
            self._last = await self._account_of(self._account)
        except AccountUnavailable as error:
            if isinstance(error, NoSuchAccount):
                self._last = Login()
            log.warning("chat.account_unavailable", reason=str(error), joins_with_the_last=bool(self._last.cookies))
        return self._last
