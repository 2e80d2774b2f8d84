"""What waits for one slow client: bounded, because the client may be dropped and the server may not."""

from __future__ import annotations

import asyncio
from typing import Any

from services.gateway import metrics


class Gone(Exception):
    """Nothing more will come. ``too_slow`` says that the client is the reason."""

    def __init__(self, *, too_slow: bool) -> None:
        super().__init__("too slow" if too_slow else "closing")
        self.too_slow = too_slow


class TooManyClients(RuntimeError):
    """This replica has as many open streams as it is allowed to have."""


class Mailbox:
    """A queue with one reader. When it is full, or closed, the reader gets :class:`Gone`."""

    def __init__(self, limit: int) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue(limit)
        self._gone = asyncio.Event()
        self._too_slow = False

    def offer(self, item: Any) -> None:
        """Put something in; a full box ends the client's stream."""
        if self._gone.is_set():
            return
        try:
            self._queue.put_nowait(item)
        except asyncio.QueueFull:
            self._too_slow = True
            metrics.DROPPED.inc()
            self._gone.set()

    def close(self) -> None:
        """End the stream in an orderly way."""
        self._gone.set()

    async def get(self, timeout_s: float) -> Any:
        """The next item, or ``None`` when there is none in time; raises :class:`Gone`."""
        if not self._gone.is_set() and not self._queue.empty():
            return self._queue.get_nowait()
        item, gone = asyncio.ensure_future(self._queue.get()), asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait([item, gone], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if self._gone.is_set():
                raise Gone(too_slow=self._too_slow)
            return item.result() if item.done() else None
        finally:
            item.cancel()
            gone.cancel()


class Clients:
    """The open streams of this replica."""

    def __init__(self, limit: int, queue: int) -> None:
        self.limit, self.queue = limit, queue
        self._open: set[Mailbox] = set()
        self._closing = False

    def open(self) -> Mailbox:
        """A mailbox for a new client; raises :class:`TooManyClients`."""
        if self._closing or len(self._open) >= self.limit:
            raise TooManyClients
        box = Mailbox(self.queue)
        self._open.add(box)
        return box

    def forget(self, box: Mailbox) -> None:
        """The client is gone."""
        self._open.discard(box)

    def close(self) -> None:
        """End every stream: the server is stopping."""
        self._closing = True
        for box in self._open:
            box.close()
