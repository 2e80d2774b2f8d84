"""When an owner leaves its recording, to whom, and how."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from chassis.leases import Again, Lease

from services.downloader import leaving
from services.downloader.adapters.capture import Ended
from services.downloader.leaving import RESERVED_S, Leaving
from tests.deadline import DEADLINE_S


class Handovers:
    """The table, as far as the owner reads it."""

    def __init__(self, holds: dict[str, Any] | None = None, *, others: bool = True) -> None:
        self.holds, self.others = holds, others
        self.offers = 0
        self.joint: dict[str, Any] | None = None

    async def successor(self, recording_id: str) -> tuple[str, dict[str, Any]] | None:
        return ("two", self.holds) if self.holds is not None else None

    async def others_are_free(self) -> bool:
        return self.others

    async def offer(self, recording_id: str, epoch: int, *, lasting: bool, cursor: Any) -> None:
        self.offers += 1

    async def leave(self, recording_id: str, epoch: int, joint: dict[str, Any]) -> None:
        self.joint = joint


class Capture:
    """What the owner records with."""

    def __init__(self) -> None:
        self.left: dict[str, Any] | None = None
        self.stopped = asyncio.Event()
        self.cursor, self.tail = {"sequence": 7}, {"tags": []}

    async def leave(self, holds: dict[str, Any]) -> None:
        self.left = holds

    def stop(self, ended: Ended) -> None:
        assert ended == Ended(None)
        self.stopped.set()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaving, "LOOK_S", 0.01)
    monkeypatch.setattr(leaving, "POLL_S", 0.01)
    monkeypatch.setattr(leaving, "BROKEN_S", 0.02)


async def run(handovers: Handovers, *, told: bool = True, broken: bool = False, longest_s: float = 5.0) -> Capture:
    """Run until the owner stops; ``told``: it is asked to hand over."""
    capture, lease = Capture(), Lease("recording:r1", 3)
    if told:
        lease.handing_over.set()
    one = Leaving(handovers, lease, capture, broken=lambda: broken, longest_s=longest_s)  # type: ignore[arg-type]
    task = asyncio.create_task(one.run())
    try:
        async with asyncio.timeout(DEADLINE_S):
            await capture.stopped.wait()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return capture


async def test_an_owner_leaves_to_whoever_holds_its_media() -> None:
    holds = {"protocol": "flv", "mark": 5}
    assert (await run(Handovers(holds))).left == holds


async def test_an_owner_that_is_alone_stops_at_once() -> None:
    handovers = Handovers(others=False)
    assert (await run(handovers, longest_s=3600)).left is None
    assert handovers.offers == 1


async def test_an_owner_waits_for_a_successor_only_so_long() -> None:
    assert (await run(Handovers(), longest_s=0.05)).left is None


async def test_an_owner_without_media_leaves_to_a_standby_that_has_it() -> None:
    # given a source that is broken here and flows elsewhere
    holds = {"protocol": "flv", "mark": 5, "until": time.time() + 60}
    # then the owner leaves at its last group, unasked
    assert (await run(Handovers(holds), told=False, broken=True)).left == {**holds, "mark": None}


async def test_an_owner_without_media_stays_when_the_standby_has_none_either() -> None:
    holds = {"protocol": "flv", "mark": 5, "until": time.time() - 60}
    handovers, capture, lease = Handovers(holds), Capture(), Lease("recording:r1", 3)
    looked = asyncio.Event()
    asked = 0

    def broken() -> bool:
        nonlocal asked
        asked += 1
        if asked > 20:
            looked.set()
        return True

    one = Leaving(handovers, lease, capture, broken=broken, longest_s=5)  # type: ignore[arg-type]
    task = asyncio.create_task(one.run())
    async with asyncio.timeout(DEADLINE_S):
        await looked.wait()
    assert not capture.stopped.is_set()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(("holds", "delay_s"), [({"mark": 5}, RESERVED_S), (None, 0.0)])
async def test_what_was_left_waits_for_its_successor(holds: dict[str, Any] | None, delay_s: float) -> None:
    handovers, capture = Handovers(holds), Capture()
    one = Leaving(handovers, Lease("recording:r1", 3), capture, longest_s=5)  # type: ignore[arg-type]
    assert await one.settle() == Again(delay_s)
    assert handovers.joint == {"tail": {"tags": []}, "cursor": {"sequence": 7}}
