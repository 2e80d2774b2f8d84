"""Many at a time, or one alone, in the order in which they came."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class SharedLock:
    """A readers–writer lock that is fair: whoever comes later waits behind one that waits to be alone, so that nobody overtakes anybody."""

    def __init__(self) -> None:
        self._inside = 0
        self._alone = False
        self._queue: deque[tuple[asyncio.Future[None], bool]] = deque()

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Be inside together with others."""
        await self._enter(alone=False)
        try:
            yield
        finally:
            self._leave(alone=False)

    @asynccontextmanager
    async def exclusive(self, within_s: float) -> AsyncIterator[bool]:
        """Be inside alone; False, and outside, when those inside did not leave within ``within_s`` seconds."""
        try:
            async with asyncio.timeout(within_s):
                await self._enter(alone=True)
        except TimeoutError:
            yield False
            return
        try:
            yield True
        finally:
            self._leave(alone=True)

    async def _enter(self, *, alone: bool) -> None:
        if not self._queue and self._has_room(alone):
            self._take(alone)
            return
        turn = asyncio.get_running_loop().create_future()
        self._queue.append((turn, alone))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._queue.remove((turn, alone))
                self._admit()
            else:
                # It was let in at the moment when it gave up.
                self._leave(alone=alone)
            raise

    def _has_room(self, alone: bool) -> bool:
        return not self._alone and not (alone and self._inside)

    def _take(self, alone: bool) -> None:
        if alone:
            self._alone = True
        else:
            self._inside += 1

    def _leave(self, *, alone: bool) -> None:
        if alone:
            self._alone = False
        else:
            self._inside -= 1
        self._admit()

    def _admit(self) -> None:
        while self._queue and self._has_room(self._queue[0][1]):
            turn, alone = self._queue[0]
            if turn.cancelled():
                # Its task removes it when it runs next.
                return
            self._queue.popleft()
            self._take(alone)
            turn.set_result(None)
