"""Messages that wait at the same time share a transaction: under load most of its price is paid once for many of them.

Nobody waits for company. While transactions are free a message gets one of its own; what arrives when all are busy is taken up together by the next
one that is free. A group is all or nothing, and when it fails each of its messages is handled alone, where it succeeds or fails for itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog
from contracts.envelope import Envelope
from contracts.message import Message

GROUP = 32
"""Messages per transaction: rows stay locked for as long as all of them take."""
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Item:
    """One message for one consumer, delivered for the ``deliveries``-th time."""

    consumer: str
    message: Message
    envelope: Envelope
    deliveries: int = 1


Alone = Callable[[Item], Awaitable[bool]]
Together = Callable[[Sequence[Item]], Awaitable[list[bool]]]


class Groups:
    """Hands items to ``alone`` or, several at a time, to ``together``; both answer for each item whether it was new."""

    def __init__(self, alone: Alone, together: Together, *, concurrency: int, size: int = GROUP) -> None:
        self._alone, self._together = alone, together
        self._concurrency, self._size = concurrency, size
        self._running = 0
        self._waiting: deque[tuple[Item, asyncio.Future[bool]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, item: Item) -> bool:
        """Handle one item; raises what its handler raised."""
        if self._running < self._concurrency:
            self._running += 1
            try:
                return await self._alone(item)
            finally:
                self._running -= 1
                self._go_on()
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        return await done

    async def end(self) -> None:
        """Cut off what is handled for callers that were cut off themselves; call it when nobody waits any more."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _go_on(self) -> None:
        if self._waiting and self._running < self._concurrency:
            self._running += 1
            task = asyncio.create_task(self._work(), name="group")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._handle(self._next_group())
        finally:
            self._running -= 1
            self._go_on()

    def _next_group(self) -> list[tuple[Item, asyncio.Future[bool]]]:
        group: list[tuple[Item, asyncio.Future[bool]]] = []
        while self._waiting and len(group) < self._size:
            item, done = self._waiting.popleft()
            if not done.done():  # its caller was cut off: it comes again, elsewhere
                group.append((item, done))
        return group

    async def _handle(self, group: list[tuple[Item, asyncio.Future[bool]]]) -> None:
        if len(group) > 1:
            try:
                fresh = await self._together([item for item, _ in group])
            except Exception as error:
                log.info("group.split", messages=len(group), error=repr(error)[:200])
                # Which of them it was shows when each has a transaction to itself.
                await asyncio.gather(*(self._single(item, done) for item, done in group))
            else:
                for (_, done), one in zip(group, fresh, strict=True):
                    _answer(done, one)
            return
        for item, done in group:
            await self._single(item, done)

    async def _single(self, item: Item, done: asyncio.Future[bool]) -> None:
        try:
            fresh = await self._alone(item)
        except Exception as error:
            if not done.done():
                done.set_exception(error)
        else:
            _answer(done, fresh)


def _answer(done: asyncio.Future[bool], fresh: bool) -> None:
    if not done.done():
        done.set_result(fresh)
