"""One active replica for work that is not offered piece by piece: a projector, a purge, a clock.

The lease is one named row of the service's ``leases`` table. A leader that cannot renew it in time steps down by itself, before another
replica may claim it; who writes under the lease is fenced by the epoch or by a lock of the database all the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from chassis.database import UNREACHABLE, Pool
from chassis.leases import EXPIRY_S, HEARTBEAT_S, QUERIES, Lease
from chassis.waiting import wait_for_event

log = structlog.get_logger(__name__)
Elected = Callable[[Lease], Awaitable[None]]
Deposed = Callable[[], Awaitable[None]]


class Election:
    """Stands for a named lease: calls ``elected(lease)`` when it is won and ``deposed()`` when it is lost or given back.

    ``elected`` starts the work and returns; when it raises, the lease is given back and tried again after a heartbeat.
    """

    def __init__(
        self,
        pool: Pool,
        name: str,
        *,
        owner: str,
        elected: Elected,
        deposed: Deposed,
        heartbeat_s: float = HEARTBEAT_S,
        expiry_s: float = EXPIRY_S,
    ) -> None:
        self.pool, self.name, self.owner = pool, name, owner
        self.heartbeat_s, self.expiry_s = heartbeat_s, expiry_s
        self._elected, self._deposed = elected, deposed
        self._lease: Lease | None = None
        self._renewed = 0.0
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def lease(self) -> Lease | None:
        """The lease while this replica leads."""
        return self._lease

    async def start(self) -> None:
        """Begin to stand; the first attempt is made at once."""
        self._task = asyncio.create_task(self._run(), name=f"election-{self.name}")

    async def stop(self) -> None:
        """Step down, give the lease back so that another replica need not wait for its expiry."""
        self._stopping.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while not self._stopping.is_set():
            if self._lease is None:
                await self._campaign()
            elif not await self._renew(self._lease):
                await self._step_down(self._lease)
            await wait_for_event(self._stopping, self.heartbeat_s)
        if self._lease is not None:
            await self._give_back(self._lease)

    async def _campaign(self) -> None:
        asked = time.monotonic()
        try:
            statement = QUERIES["claim_named"]
            epoch = await self.pool.fetchval(
                statement, self.name, self.name.split(":", 1)[0], self.owner, self.expiry_s
            )
        except UNREACHABLE as error:
            log.warning("election.claim_failed", name=self.name, error=repr(error))
            return
        if epoch is None:
            return
        lease = self._lease = Lease(self.name, epoch)
        self._renewed = asked
        log.info("election.won", name=self.name, epoch=epoch, owner=self.owner)
        try:
            # Beside the heartbeat: beginning may take longer than the lease lasts.
            await self._while_renewing(lease)
        except Exception:
            log.exception("election.start_failed", name=self.name)
            await self._give_back(lease)
            return
        if lease.lost.is_set():
            # Only now: what goes on beginning while it is ended might begin after all, and nobody would end it.
            await self._step_down(lease)

    async def _while_renewing(self, lease: Lease) -> None:
        beginning = asyncio.ensure_future(self._elected(lease))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            while not (beginning.done() or stopping.done() or lease.lost.is_set()):
                await asyncio.wait([beginning, stopping], timeout=self.heartbeat_s, return_when=asyncio.FIRST_COMPLETED)
                if not beginning.done() and not stopping.done() and not await self._renew(lease):
                    lease.lost.set()
            if beginning.done():
                beginning.result()
        finally:
            for task in (beginning, stopping):
                task.cancel()
            await asyncio.gather(beginning, stopping, return_exceptions=True)

    async def _renew(self, lease: Lease) -> bool:
        """Whether the lease may still be taken for ours."""
        asked = time.monotonic()
        try:
            async with asyncio.timeout(max(self.expiry_s - self.heartbeat_s, self.heartbeat_s)):
                rows = await self.pool.fetch(QUERIES["beat"], self.owner, self.expiry_s, [lease.name], [lease.epoch])
        except UNREACHABLE as error:
            log.warning("election.heartbeat_failed", name=self.name, error=repr(error))
            return time.monotonic() - self._renewed <= self.expiry_s - self.heartbeat_s
        if rows:
            self._renewed = asked
        return bool(rows)

    async def _step_down(self, lease: Lease) -> None:
        log.warning("election.lost", name=self.name, epoch=lease.epoch)
        lease.lost.set()
        self._lease = None
        await self._deposed()

    async def _give_back(self, lease: Lease) -> None:
        lease.handing_over.set()
        self._lease = None
        await self._deposed()
        with suppress(*UNREACHABLE):  # the lease expires by itself
            await self.pool.execute(QUERIES["release"], lease.name, lease.epoch, self.owner)
