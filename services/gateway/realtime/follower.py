"""One reader of the event store per gateway process, however many clients follow: it keeps the last events and hands them out."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import dropwhile
from uuid import UUID

import structlog
from chassis.database import UNREACHABLE, Pool
from chassis.waiting import wait_for_event

from services.gateway.realtime.mailbox import Mailbox
from services.gateway.store import events
from services.gateway.store.events import StoredEvent

PAGE = 500
POLL_S = 1.0
"""How late an event may be seen when the signal that announces it was lost."""

Wanted = Callable[[StoredEvent], bool]
Outcome = StoredEvent | None
log = structlog.get_logger(__name__)


class Follower:
    """Tails the store by position. What it has seen is committed, and so are the read models that go with it."""

    def __init__(self, pool: Pool, *, ring: int = 5_000, poll_s: float = POLL_S) -> None:
        self.pool, self.poll_s = pool, poll_s
        self.position = 0
        self.complete = 0
        """Up to here nothing that was published together was torn apart."""
        self._ring: deque[StoredEvent] = deque(maxlen=ring)
        self._first = 0
        self._subscribers: dict[Mailbox, Wanted] = {}
        self._causes: dict[UUID, asyncio.Future[Outcome]] = {}
        self._wake, self._moved = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin at the end of the store."""
        self.position = self._first = self.complete = await events.head(self.pool)
        self._task = asyncio.create_task(self._run(), name="follower")

    async def stop(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def projected(self, position: int, pending: int) -> None:
        """The projector committed up to a position; with none pending it is the end of what was published together."""
        self._wake.set()
        if pending == 0 and position > self.complete:
            self.complete = position
            self._move()

    def subscribe(self, box: Mailbox, after: int, wanted: Wanted) -> bool:
        """Deliver every wanted event after a position, without gap or repeat; False when the position is older than what is kept here."""
        if after < self._oldest():
            return False
        for event in dropwhile(lambda event: event.position <= after, self._ring):
            if wanted(event):
                box.offer(event)
        self._subscribers[box] = wanted
        return True

    def unsubscribe(self, box: Mailbox) -> None:
        """Deliver nothing more."""
        self._subscribers.pop(box, None)

    async def reached(self, position: int, timeout_s: float) -> bool:
        """Wait until the read models have a position."""
        return await self._until(lambda: self.position >= position, timeout_s)

    async def whole(self, position: int, timeout_s: float) -> int:
        """Wait for the events that were published together with the one at a position; returns how far the read models are."""
        await self._until(lambda: self.complete >= position, timeout_s)
        return max(position, self.complete)

    async def _until(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not condition():
                    await self._moved.wait()
        return condition()

    def _move(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    @contextmanager
    def expecting(self, command_id: UUID) -> Iterator[asyncio.Future[Outcome]]:
        """A future for the first event that a command causes; its result is ``None`` when the command settled without one."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._causes[command_id] = future
        try:
            yield future
        finally:
            self._causes.pop(command_id, None)
            future.cancel()

    def settled(self, command_id: UUID) -> None:
        """A service says that a command was handled and changed nothing."""
        future = self._causes.get(command_id)
        if future is not None and not future.done():
            future.set_result(None)

    def _oldest(self) -> int:
        return self._ring[0].position - 1 if self._ring else self._first

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                while await self._read():
                    pass
            except UNREACHABLE as error:
                log.warning("follower.failed", error=repr(error))
            except Exception:
                log.exception("follower.failed")
            await wait_for_event(self._wake, self.poll_s)

    async def _read(self) -> bool:
        page = await events.after(self.pool, self.position, PAGE)
        for event in page:
            self._take(event)
        if page:
            self._move()
        return len(page) == PAGE

    def _take(self, event: StoredEvent) -> None:
        self._ring.append(event)
        self.position = event.position
        cause = event.metadata.causation_id
        future = self._causes.get(cause) if cause else None
        if future is not None and not future.done():
            future.set_result(event)
        for box, wanted in self._subscribers.items():
            if wanted(event):
                box.offer(event)
