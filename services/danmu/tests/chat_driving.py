"""Steps that the tests of all chat drivers share: take items from a source and say what they were."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import aiohttp

from services.danmu.adapters import open_source
from services.danmu.adapters.driver import Pace
from services.danmu.adapters.messages import ChatMessage
from services.danmu.adapters.source import ChatSource, ConnectionChange
from tests.deadline import DEADLINE_S
from tests.studio import Studio

SOON = {"backoff_initial_s": 0.01, "backoff_max_s": 0.05}
Items = AsyncIterator[ChatMessage | ConnectionChange]


async def items_of(source: ChatSource) -> AsyncGenerator[ChatMessage | ConnectionChange, None]:
    """What a source says, message by message."""
    async with aclosing(source.heard()) as all_heard:  # type: ignore[type-var]
        async for heard in all_heard:
            if isinstance(heard, ConnectionChange):
                yield heard
                continue
            assert heard, "nothing was heard"
            for message in heard:
                yield message


@asynccontextmanager
async def studio_and_session() -> AsyncIterator[tuple[Studio, aiohttp.ClientSession]]:
    """A running studio, and a session to reach it, under one deadline."""
    async with asyncio.timeout(DEADLINE_S), Studio() as studio, aiohttp.ClientSession() as session:
        yield studio, session


@asynccontextmanager
async def listening(
    kind: str, descriptor: dict[str, object], session: aiohttp.ClientSession, **options: Any
) -> AsyncIterator[tuple[ChatSource, Items]]:
    """An opened source with its items; closed at the end. However often it beats, no silence ends a connection, unless `times` says so."""
    options["pace"] = Pace(
        **{
            "heartbeat_s": 30.0,
            "silence_s": DEADLINE_S,
            "connect_timeout_s": DEADLINE_S,
            **SOON,
            **options.pop("times", {}),
        }
    )
    opened = open_source(kind, descriptor, session, **options)
    async with aclosing(items_of(opened)) as items:
        yield opened, items
    await opened.close()


def described(item: ChatMessage | ConnectionChange) -> str:
    """A message's text or action, a change's state."""
    if isinstance(item, ConnectionChange):
        return item.state.value
    return item.text or item.action


async def take(items: Items, count: int) -> list[str]:
    """The next items, described."""
    return [described(await anext(items)) for _ in range(count)]


async def next_message(items: Items) -> ChatMessage:
    """The next message; a change of the connection before it is a failure."""
    item = await anext(items)
    assert isinstance(item, ChatMessage), item
    return item


async def until(items: Items, wanted: str) -> list[str]:
    """What came until, and with, the wanted one."""
    seen = [described(await anext(items))]
    while seen[-1] != wanted:
        seen.append(described(await anext(items)))
    return seen
