"""Opens the chat of a channel with the options this installation gives to its driver."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
from chassis.egress import EgressPolicy, open_session
from contracts.values import Chat

from services.danmu.adapters.accounts import AccountOf, RoomAccount
from services.danmu.adapters.registry import open_source, takes_account, takes_egress, text_options
from services.danmu.adapters.source import ChatSource

_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, connect=10)


class Rooms:
    """One guarded HTTP session per room, so that a crowded one takes no connection from another."""

    def __init__(
        self, policy: EgressPolicy, options: Mapping[str, Mapping[str, str]], account_of: AccountOf | None = None
    ) -> None:
        """Raises UnknownChatKind, or ValueError naming an option that its driver does not take."""
        for kind, given in options.items():
            if unknown := given.keys() - text_options(kind):
                raise ValueError(f"chat of kind {kind!r} has no option {', '.join(sorted(unknown))}")
        self._policy, self._options, self._account_of = policy, options, account_of

    @asynccontextmanager
    async def open(self, chat: Chat, account: str | None = None) -> AsyncIterator[ChatSource]:
        """The source of a chat; it connects when it is iterated, with an account where its driver can. Raises UnknownChatKind, InvalidDescriptor."""
        async with open_session(self._policy, timeout=_TIMEOUT) as session:
            options: dict[str, Any] = dict(self._options.get(chat.kind, {}))
            if takes_egress(chat.kind):
                options["egress"] = self._policy
            if account and self._account_of is not None and takes_account(chat.kind):
                options["account"] = RoomAccount(self._account_of, account).login
            yield open_source(chat.kind, chat.descriptor, session, **options)
