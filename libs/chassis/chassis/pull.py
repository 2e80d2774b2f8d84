"""Fetching from a durable consumer: what waits there, or the first that comes.

The client's own ``fetch`` waits for the server's word that a request is over. When that word about the request before comes late, the client
takes it for an answer to the present one and asks a second time; a message that arrives then is kept until a batch is full that nobody fills, up
to the whole timeout. That happens to every idle consumer now and then. Here each request has a reply subject of its own, and nothing in hand waits.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any, Final

from nats.errors import Error as NatsError

from chassis.bus import Bus
from chassis.delivery import Delivery

_EARLIER_S: Final = 0.1
"""The server ends a request this long before the client gives it up: a request that outlives its fetch delivers to nobody."""
_LAST_WORD_S: Final = 1.0
"""Behind the last message the server says at once that there are no more; a connection that breaks meanwhile takes that word along."""
_NO_MESSAGES, _REQUEST_TIMEOUT = "404", "408"


class FetchRefused(NatsError):
    """The server answered a request with another status than that there is nothing: the consumer is gone, or moves to another server."""


class Pull:
    """One puller of a durable consumer that exists; :meth:`fetch` is for one task at a time."""

    def __init__(self, bus: Bus, stream: str, durable: str) -> None:
        self._client = bus.client
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._inbox = bus.client.new_inbox()
        self._requests = 0
        self._arrived: asyncio.Queue[Any] = asyncio.Queue()
        self._taken: list[Any] = []
        """Messages of the present fetch, and of one that was given up."""
        self._subscription: Any = None

    async def start(self) -> None:
        """Subscribe to the answers."""
        self._subscription = await self._client.subscribe(f"{self._inbox}.*", cb=self._arrived.put)

    async def fetch(self, batch: int, timeout: float) -> list[Any]:
        """At most ``batch`` messages that wait, else the first that comes within ``timeout`` seconds, else none.

        Raises FetchRefused, and what the client raises when its connection is closed.
        """
        self._take_left_over(batch)
        if not self._taken:
            await self._ask(batch, timeout)
        messages, self._taken = self._taken, []
        return messages

    async def unsubscribe(self) -> None:
        """Take no more messages, and give back what has arrived and nobody fetched, for another puller to have at once.

        A closed connection takes none anyway.
        """
        if self._subscription is None:
            return
        with suppress(NatsError):
            await self._subscription.unsubscribe()
            self._take_left_over(len(self._taken) + self._arrived.qsize())
            while self._taken:
                await Delivery.of(self._taken.pop(0)).give_back()

    async def _ask(self, batch: int, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout
        reply = await self._request(batch, timeout)
        while len(self._taken) < batch:
            message = await self._next_one(until - loop.time())
            if message is None:
                break
            status = _status(message)
            if status is None:
                self._taken.append(message)
                until = loop.time() + _LAST_WORD_S
            elif message.subject == reply:
                if not self._taken and status not in (_NO_MESSAGES, _REQUEST_TIMEOUT):
                    raise FetchRefused(f"{status} {message.headers.get('Description', '')}".strip())
                break

    async def _request(self, batch: int, timeout: float) -> str:
        """Ask for what is there; where nothing is, the server waits for one message."""
        self._requests += 1
        reply = f"{self._inbox}.{self._requests}"
        expires_s = max(timeout - _EARLIER_S, timeout / 2)
        wanted = {"batch": batch, "expires": round(expires_s * 1e9), "no_wait": True}
        await self._client.publish(self._subject, json.dumps(wanted).encode(), reply)
        return reply

    def _take_left_over(self, batch: int) -> None:
        """Messages that came after the fetch that asked for them was over."""
        while len(self._taken) < batch and not self._arrived.empty():
            message = self._arrived.get_nowait()
            if _status(message) is None:
                self._taken.append(message)

    async def _next_one(self, timeout: float) -> Any:
        if not self._arrived.empty():
            return self._arrived.get_nowait()
        try:
            async with asyncio.timeout(timeout):
                return await self._arrived.get()
        except TimeoutError:
            return None


def _status(message: Any) -> str | None:
    """The status of an answer that is no message of the stream (ADR-13 of NATS)."""
    return message.headers.get("Status") if message.headers and not message.data else None
