"""One unit of work: everything a handler does for one message, in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from contracts.aggregate import Aggregate
from contracts.envelope import Envelope, Metadata
from contracts.message import Command, Event

from chassis import eventlog
from chassis.database import Connection, Pool
from chassis.eventlog import Fence, Loaded
from chassis.leases import offer
from chassis.states import States

S = TypeVar("S")
T = TypeVar("T")


class Resources:
    """What ``app.py`` wires and handlers ask for by type: adapters, stores, settings."""

    def __init__(self) -> None:
        self._by_type: dict[type[Any], Any] = {}

    def provide(self, resource: object, kind: type[Any] | None = None) -> None:
        """Offer a resource under its own class or under an interface it implements."""
        self._by_type[kind or type(resource)] = resource

    def get(self, kind: type[T]) -> T:
        """The resource of a type; raises LookupError naming what ``app.py`` forgot."""
        try:
            return self._by_type[kind]  # type: ignore[no-any-return]
        except KeyError:
            raise LookupError(f"app.py provides no {kind.__name__}") from None


@dataclass
class Work:
    """The handle a handler gets. Load first, write after: the first write is what gives the transaction its place in the order of the log."""

    service: str
    metadata: Metadata
    resources: Resources
    pool: Pool
    fence: Fence | None = None
    message: Envelope | None = None
    gate: asyncio.Semaphore | None = None
    """Bounds how many transactions run at a time."""
    states: States | None = None
    """Where folded states are remembered between transactions."""
    appended: list[Envelope] = field(default_factory=list)
    sent: int = 0
    _connection: Any = None
    _transaction: Any = None
    _aggregates: dict[str, Aggregate[Any]] = field(default_factory=dict)
    _seen: dict[str, Loaded[Any]] = field(default_factory=dict)

    @property
    def connection(self) -> Connection:
        """The connection inside the transaction; raises RuntimeError before :meth:`begin`."""
        if self._connection is None:
            raise RuntimeError("no transaction yet: await work.begin() first")
        return self._connection  # type: ignore[no-any-return]

    async def begin(self) -> Connection:
        """Open the transaction if it is not open. Handlers of direct commands do this after their slow outside calls."""
        if self._connection is None:
            if self.gate is not None:
                await self.gate.acquire()
            try:
                connection = await self.pool.acquire()
            except BaseException:
                self._leave()
                raise
            transaction = connection.transaction()
            try:
                await transaction.start()
            except BaseException:
                await self._give_back(connection)
                raise
            self._connection, self._transaction = connection, transaction
        return self.connection

    async def load(self, aggregate: Aggregate[S], id: str) -> Loaded[S]:
        """Fold one stream of this service's log."""
        stream = aggregate.stream(id)
        known = self._seen.get(stream) or (self.states.get(stream) if self.states else None)
        loaded = await eventlog.load(await self.begin(), aggregate, id, known)
        self._aggregates[stream], self._seen[stream] = aggregate, loaded
        return loaded

    async def append(self, at: Loaded[S], events: Sequence[Event]) -> None:
        """Append to a loaded stream; nothing happens for no events. Raises Conflict or LeaseLost, which the caller need not catch."""
        envelopes = await eventlog.append(
            await self.begin(), self.service, at, events, metadata=self.metadata, fence=self.fence
        )
        self.appended += envelopes
        aggregate = self._aggregates.get(at.stream)
        if envelopes and aggregate is not None:
            version = at.version + len(envelopes)
            self._seen[at.stream] = Loaded(at.stream, aggregate.fold(events, at.state), version)

    async def send(self, command: Command, *, id: UUID | None = None) -> None:
        """Send a command to another service through the outbox, in this transaction."""
        await eventlog.enqueue(await self.begin(), self.service, command, metadata=self.metadata, id=id)
        self.sent += 1

    async def offer(self, kind: str, name: str, *, delay_s: float = 0, priority: int = 0) -> None:
        """Offer long work to whichever replica claims it, not before ``delay_s`` from now. Offering it again changes nothing."""
        await offer(await self.begin(), kind, name, delay_s=delay_s, priority=priority)
        self.sent += 1

    def resource(self, kind: type[T]) -> T:
        """What ``app.py`` provided for a type."""
        return self.resources.get(kind)

    def join(self, other: Work) -> None:
        """Work inside the transaction of another, which ends it for both: neither commit nor rollback here reaches the database."""
        self._connection, self._transaction = other.connection, None

    async def commit(self) -> None:
        """Commit and give the connection back."""
        await self._end(commit=True)
        if self.states is not None:
            self.states.keep(self._seen.values())

    async def rollback(self) -> None:
        """Undo everything and give the connection back."""
        await self._end(commit=False)
        if self.states is not None:
            self.states.forget(self._seen)
        self._seen.clear()

    async def _end(self, *, commit: bool) -> None:
        if self._connection is None:
            return
        connection, transaction = self._connection, self._transaction
        self._connection = self._transaction = None
        if transaction is None:
            return
        try:
            await (transaction.commit() if commit else transaction.rollback())
        finally:
            await self._give_back(connection)

    async def _give_back(self, connection: Any) -> None:
        try:
            await self.pool.release(connection)
        finally:
            self._leave()

    def _leave(self) -> None:
        if self.gate is not None:
            self.gate.release()
