"""Drives a chat source in tests: opens it against a studio, takes what it says, and gives up after a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from services.danmu.adapters import open_source
from services.danmu.adapters.driver import ChatDriver
from services.danmu.adapters.messages import ChatMessage
from services.danmu.adapters.source import ChatSource, ConnectionChange, ConnectionState
from services.danmu.tests.chat_driving import items_of
from tests.deadline import DEADLINE_S
from tests.studio import Studio


@dataclass
class Opened:
    """A source that is being listened to."""

    source: ChatSource
    items: AsyncIterator[ChatMessage | ConnectionChange]

    async def change(self, state: ConnectionState) -> ConnectionChange:
        """The next change to this state; what comes before it is thrown away."""
        async for item in self.items:
            if isinstance(item, ConnectionChange) and item.state is state:
                return item
        raise AssertionError("the source ended")

    async def messages(self, count: int) -> list[ChatMessage]:
        """So many messages; changes of the connection are thrown away."""
        taken: list[ChatMessage] = []
        while len(taken) < count:
            item = await anext(self.items)
            if isinstance(item, ChatMessage):
                taken.append(item)
        return taken


@asynccontextmanager
async def studio_running() -> AsyncIterator[Studio]:
    """A studio, for as long as a test may take."""
    async with asyncio.timeout(DEADLINE_S), Studio() as studio:
        yield studio


@asynccontextmanager
async def opened(kind: str, room_id: str, **options: Any) -> AsyncIterator[Opened]:
    """The source of a room, which begins to connect when it is first waited for. However often it beats, no silence ends a connection."""
    async with aiohttp.ClientSession() as session:
        source = open_source(kind, {"room_id": room_id}, session, **{"backoff_initial_s": 0.01, **options})
        assert isinstance(source, ChatDriver)
        source.pace = replace(source.pace, silence_s=DEADLINE_S, connect_timeout_s=DEADLINE_S)
        async with aclosing(items_of(source)) as items:
            yield Opened(source, items)
