"""What the chain is compared with: the same trip made by nats-py and asyncpg alone, one message and one transaction at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from chassis.bus import Bus
from chassis.database import Pool
from chassis.ids import new_id, new_key
from chassis.telemetry import new_metadata
from contracts import subjects
from contracts.config import ChangeStreamer, StreamerChanged
from contracts.envelope import wrap
from contracts.message import Message
from contracts.topology import PROJECTOR

TRIP_S = 60
"""After that something is broken; a benchmark must end."""
TABLES = """
create table naive_log (event_id uuid primary key, stream text not null, data jsonb not null);
create table naive_store (position bigint generated always as identity primary key, event_id uuid not null unique, data jsonb not null);
"""
STORE = "insert into naive_store (event_id, data) values ($1, $2) on conflict do nothing returning position"


class NaiveChain:
    """A command is fetched, an event is committed to a log and published, fetched again and committed to a store; each commit is synced."""

    def __init__(self, pool: Pool, bus: Bus) -> None:
        self.pool, self.bus = pool, bus
        self.stored = self._until = 0
        self._all = asyncio.Event()
        self._waiting: dict[UUID, asyncio.Future[None]] = {}

    async def trip(self) -> None:
        """Send one command and wait until the event it causes is in the store."""
        command = ChangeStreamer(streamer_id=new_key(), name="another name")
        id = new_id()
        arrived = self._waiting[id] = asyncio.get_running_loop().create_future()
        await self._publish(command, id)
        async with asyncio.timeout(TRIP_S):
            await arrived

    async def trips(self, count: int) -> None:
        """Send many commands at once and wait until the last event is in the store."""
        self._until, self._all = self.stored + count, asyncio.Event()
        for _ in range(count):
            await self._publish(ChangeStreamer(streamer_id=new_key(), name="another name"), new_id())
        async with asyncio.timeout(TRIP_S):
            await self._all.wait()

    async def decide(self) -> None:
        """The service: from commands to events."""
        async for message in self._messages("COMMANDS", "config"):
            command = ChangeStreamer.from_json(message.data)
            event = StreamerChanged(streamer_id=command.streamer_id, name=command.name or "", template=None)
            event_id = UUID(message.headers["ce-id"])
            async with self.pool.acquire() as connection, connection.transaction():
                await connection.execute(
                    "insert into naive_log values ($1, $2, $3) on conflict do nothing",
                    event_id,
                    event.stream,
                    event.to_json().decode(),
                )
            await self._publish(event, event_id)
            await message.ack()

    async def project(self) -> None:
        """The projector: from events to rows."""
        async for message in self._messages("EVENTS", PROJECTOR):
            event_id = UUID(message.headers["ce-id"])
            async with self.pool.acquire() as connection, connection.transaction():
                stored = await connection.fetchval(STORE, event_id, message.data.decode())
            self.stored += stored is not None
            if self.stored == self._until:
                self._all.set()
            await message.ack()
            if (waiting := self._waiting.pop(event_id, None)) is not None:
                waiting.set_result(None)

    async def _publish(self, message: Message, id: UUID) -> None:
        envelope = wrap(message, id=id, metadata=new_metadata(), source="bench")
        # An event of a log of one entry each: the version is always the first.
        headers = {**envelope.to_headers(), "ce-sequence": "1"}
        await self.bus.jetstream.publish(subjects.of(message), envelope.data, headers=headers, timeout=5)

    async def _messages(self, stream: str, durable: str) -> AsyncIterator[Any]:
        subscription = await self.bus.jetstream.pull_subscribe_bind(durable=durable, stream=stream)
        while True:
            try:
                messages: Sequence[Any] = await subscription.fetch(100, timeout=2)
            except TimeoutError:
                continue
            for message in messages:
                yield message


@asynccontextmanager
async def naive_chain(pool: Pool, bus: Bus) -> AsyncIterator[NaiveChain]:
    """Run both ends until the block ends."""
    await pool.execute(TABLES)
    chain = NaiveChain(pool, bus)
    # An end that fails ends the block instead of letting it wait.
    async with asyncio.TaskGroup() as group:
        ends = [group.create_task(chain.decide()), group.create_task(chain.project())]
        yield chain
        for end in ends:
            end.cancel()
