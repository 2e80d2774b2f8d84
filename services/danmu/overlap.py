"""Two owners of one chat during a planned restart: the new one joins the room before the old one leaves it, and no line is missed.

The old owner releases its lease, listens on, and leaves when it hears that the new one is in the room. What both heard is in both journals
and is dropped once when a file is made. The new owner makes no file before the journal of the old one lies in the store.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, Protocol

import structlog
from chassis.database import UNREACHABLE
from chassis.leases import Lease
from chassis.waiting import wait_for_event

from services.danmu.store import Mark, Overlap, View

LOOK_S: Final = 1.0
"""At the latest; usually the follower tells, with one query for all chats of this replica."""
JOIN_S: Final = 8.0
"""How long a successor that has claimed the chat may take to join: a connection attempt is given up after ten."""
LINGER_S: Final = 1.0
"""A line that was sent before the successor was in the room has come by then."""
ARRIVAL_S: Final = 25.0
"""How long a new owner waits for the journal of one that was leaving: longer than a leaving one is given."""

log = structlog.get_logger(__name__)


class Marks(Protocol):
    """What the overlap reads and writes of the database."""

    async def view(self, session_id: str) -> View | None: ...

    async def mark(self, session_id: str, mark: Mark, epoch: int) -> None: ...


class Departure:
    """The old owner's side. ``claim_s``: how long to wait for somebody who claims the chat; 0: nobody else is there.

    ``changed`` is set when the row of the chat has changed.
    """

    def __init__(self, marks: Marks, lease: Lease, changed: asyncio.Event, claim_s: float) -> None:
        self._marks, self._lease, self._changed, self._claim_s = marks, lease, changed, claim_s
        self.joined = False
        """Whether a successor is in the room."""

    async def wait_for_successor(self) -> None:
        """Release the lease and return when a successor is in the room, or when none comes in time."""
        if not self._claim_s:
            return
        try:
            await self._marks.mark(self._lease.id, "leaving", self._lease.epoch)
            await self._lease.release()
            self.joined = await self._succeeded()
        except UNREACHABLE as error:
            log.warning("chat.successor_unknown", error=repr(error), next="left without waiting")

    async def departed(self) -> None:
        """This owner has left the room and its journal is where the successor looks for it."""
        if self._lease.released:
            try:
                await self._marks.mark(self._lease.id, "departed", self._lease.epoch)
            except UNREACHABLE as error:
                log.warning(
                    "chat.departure_not_told", error=repr(error), next=f"the next owner waits {ARRIVAL_S:.0f} s"
                )

    async def _succeeded(self) -> bool:
        epoch = self._lease.epoch
        if not await self._until(lambda overlap: overlap.holding > epoch, self._claim_s):
            log.info("chat.no_successor", waited_s=self._claim_s)
            return False
        return await self._until(lambda overlap: overlap.joined > epoch, JOIN_S)

    async def _until(self, reached: Callable[[Overlap], bool], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while True:
            view = await self._marks.view(self._lease.id)
            if view is None or reached(view.plan.overlap):
                return view is not None
            left_s = end - time.monotonic()
            if left_s <= 0:
                return False
            if await wait_for_event(self._changed, min(left_s, LOOK_S)):
                self._changed.clear()


class Arrival:
    """The new owner's side: whether it has to wait for one that is leaving, and for how long."""

    def __init__(self, marks: Marks, lease: Lease, overlap: Overlap) -> None:
        self._marks, self._lease = marks, lease
        self._expects = overlap.departed < overlap.leaving < lease.epoch
        self._told = False
        self._end = time.monotonic() + ARRIVAL_S

    async def joined(self) -> None:
        """This owner is in the room: the old one may leave."""
        if self._expects and not self._told:
            await self._marks.mark(self._lease.id, "joined", self._lease.epoch)
            self._told = True

    def waits(self, overlap: Overlap) -> bool:
        """Whether the journal of the old owner is still to come."""
        if self._expects and (overlap.departed >= overlap.leaving or time.monotonic() >= self._end):
            self._expects = False
        return self._expects
