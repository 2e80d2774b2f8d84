"""What a runner writes: events of one chat under the fence of its lease, with the rows that go with them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from chassis.database import Connection
from chassis.leases import Lease
from chassis.service import Service
from contracts.envelope import Metadata
from contracts.message import Event

from services.danmu import store
from services.danmu.domain import CHAT, Chat
from services.danmu.store import Mark, View

Decide = Callable[[Chat], list[Event]]
Also = Callable[[Connection], Awaitable[None]]


class Ledger:
    """The database as the runner sees it. Everything raises what :data:`chassis.database.UNREACHABLE` names."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def view(self, session_id: str) -> View | None:
        """The plan and the cut points of a session, or ``None`` when there is nothing to do for it (any more)."""
        async with self._service.pool.acquire() as connection:
            return await store.load(connection, session_id)

    async def statistics(self, session_id: str) -> bytes | None:
        """See :func:`services.danmu.store.statistics`."""
        async with self._service.pool.acquire() as connection:
            return await store.statistics(connection, session_id)

    async def mark(self, session_id: str, mark: Mark, epoch: int) -> None:
        """Tell the other owner of a session how far this one is."""
        async with self._service.pool.acquire() as connection:
            await store.mark(connection, session_id, mark, epoch)

    async def append(self, lease: Lease, metadata: Metadata, decide: Decide, also: Also | None = None) -> None:
        """Append what ``decide`` says and do what belongs to it in one transaction. Raises LeaseLost."""
        work = self._service.work(metadata)
        work.fence = lease.fence
        try:
            at = await work.load(CHAT, lease.id)
            await work.append(at, decide(at.state))
            if also is not None:
                await also(work.connection)
            await work.commit()
        finally:
            await work.rollback()
        self._service.committed()
