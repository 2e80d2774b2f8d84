"""How an owner leaves its recording: somebody else holds its media before it stops, and goes on exactly where it ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog
from chassis.database import UNREACHABLE
from chassis.leases import Again, Lease
from chassis.waiting import wait_for_event
from contracts.values import Json

from services.downloader.adapters.capture import Capture, Ended
from services.downloader.handovers import Handovers

POLL_S, LOOK_S = 0.1, 0.5
BROKEN_S = 2.0
"""Without media for this long, a recording goes to the standby that has it."""
FLOWING_S = 3.0
RESERVED_S = 5.0
"""How long a recording that was left waits for its successor before anybody may claim it."""
log = structlog.get_logger(__name__)


class Leaving:
    """The hand-over of one recording by its owner."""

    def __init__(
        self,
        handovers: Handovers,
        lease: Lease,
        capture: Capture,
        *,
        broken: Callable[[], bool] = lambda: False,
        longest_s: float,
    ) -> None:
        self._handovers, self._lease, self._capture, self._longest_s = handovers, lease, capture, longest_s
        self._broken = broken

    async def run(self) -> None:
        """Wait until it is time to leave; record on until a successor has all that follows, at most ``longest_s``; stop. Never returns."""
        better = await self._until_time()
        try:
            async with asyncio.timeout(self._longest_s):
                if better is not None:
                    log.info("leaving.to_who_has_media")
                    await self._capture.leave({**better, "mark": None})
                else:
                    await self._find_and_leave()
        except TimeoutError:
            log.warning("leaving.without_successor", waited_s=self._longest_s)
        except UNREACHABLE as error:
            log.warning("leaving.without_database", error=repr(error)[:200])
        self._capture.stop(Ended(None))
        await asyncio.Event().wait()

    async def _until_time(self) -> Json | None:
        """Until asked to leave (None), or until media is missing here that a standby has (what it holds)."""
        broken_at = 0.0
        while not await wait_for_event(self._lease.handing_over, LOOK_S):
            if not self._broken():
                broken_at = 0.0
                continue
            broken_at = broken_at or time.monotonic()
            if time.monotonic() - broken_at < BROKEN_S:
                continue
            try:
                found = await self._handovers.successor(self._lease.id)
            except UNREACHABLE:
                continue
            if found is not None and found[1] is not None and found[1].get("until", 0) > time.time() - FLOWING_S:
                return found[1]
        return None

    async def _find_and_leave(self) -> None:
        handovers, lease = self._handovers, self._lease
        if await handovers.successor(lease.id) is None:
            await handovers.offer(lease.id, lease.epoch, lasting=False, cursor=self._capture.cursor)
        while True:
            found = await handovers.successor(lease.id)
            if found is not None and found[1] is not None:
                log.info("leaving.to", successor=found[0])
                await self._capture.leave(found[1])
                return
            if found is None and not await handovers.others_are_free():
                log.info("leaving.alone")
                return
            await asyncio.sleep(POLL_S)

    async def settle(self) -> Again:
        """Say where the media ended, once it is filed; a successor that stands by is the first who may go on."""
        joint = {"tail": self._capture.tail, "cursor": self._capture.cursor}
        try:
            await self._handovers.leave(self._lease.id, self._lease.epoch, joint)
            awaited = await self._handovers.successor(self._lease.id)
        except UNREACHABLE:
            return Again()
        return Again(RESERVED_S if awaited else 0.0)
