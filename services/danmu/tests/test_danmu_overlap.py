"""How an owner that leaves and one that comes wait for each other, without a database."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from chassis.leases import Lease

from services.danmu import overlap
from services.danmu.overlap import Arrival, Departure
from services.danmu.store import Overlap, View
from services.danmu.tests.test_danmu_runner import PLAN
from tests.deadline import DEADLINE_S


class Marks:
    """The four marks; what is set is seen by both."""

    def __init__(self, **marks: int) -> None:
        self.overlap = Overlap(**marks)
        self.gone = False
        self.fails: Exception | None = None
        self.changed = asyncio.Event()

    async def view(self, session_id: str) -> View | None:
        return None if self.gone else View(replace(PLAN, overlap=self.overlap), (), {})

    async def mark(self, session_id: str, mark: str, epoch: int) -> None:
        if self.fails:
            raise self.fails
        self.overlap = replace(self.overlap, **{mark: epoch})
        self.changed.set()


def lease(epoch: int) -> tuple[Lease, list[int]]:
    given_up: list[int] = []

    async def give_up(one: Lease) -> None:
        given_up.append(one.epoch)

    return Lease("chat:s", epoch, give_up=give_up), given_up


async def test_the_old_owner_releases_and_waits_until_the_new_one_is_in_the_room() -> None:
    marks, (held, given_up) = Marks(), lease(3)
    departure = Departure(marks, held, marks.changed, claim_s=10)
    async with asyncio.timeout(DEADLINE_S):
        leaving = asyncio.create_task(departure.wait_for_successor())
        while not given_up:  # noqa: ASYNC110 - the event is the waiting task's to clear
            await asyncio.sleep(0)
        assert (marks.overlap.leaving, held.released) == (3, True) and given_up == [3]
        await marks.mark("s", "holding", 7)
        await asyncio.sleep(0)
        assert not leaving.done()
        await marks.mark("s", "joined", 7)
        await leaving
    assert departure.joined
    await departure.departed()
    assert marks.overlap.departed == 3


async def test_nobody_comes() -> None:
    marks, (held, given_up) = Marks(), lease(3)
    departure = Departure(marks, held, marks.changed, claim_s=0.05)
    await departure.wait_for_successor()
    assert not departure.joined and given_up == [3]


async def test_a_successor_that_does_not_get_into_the_room_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(overlap, "JOIN_S", 0.05)
    marks, (held, _) = Marks(holding=7), lease(3)
    departure = Departure(marks, held, marks.changed, claim_s=10)
    await departure.wait_for_successor()
    assert not departure.joined


async def test_a_chat_that_ended_meanwhile_needs_no_successor() -> None:
    marks, (held, _) = Marks(), lease(3)
    marks.gone = True
    departure = Departure(marks, held, marks.changed, claim_s=10)
    await departure.wait_for_successor()
    assert not departure.joined


async def test_where_there_is_one_replica_nothing_is_released_early() -> None:
    marks, (held, given_up) = Marks(), lease(3)
    departure = Departure(marks, held, marks.changed, claim_s=0)
    await departure.wait_for_successor()
    await departure.departed()
    assert (given_up, held.released, marks.overlap) == ([], False, Overlap())


async def test_without_a_database_the_old_owner_leaves_as_before() -> None:
    marks, (held, _) = Marks(), lease(3)
    marks.fails = OSError("away")
    departure = Departure(marks, held, marks.changed, claim_s=10)
    await departure.wait_for_successor()
    assert not departure.joined and not held.released


@pytest.mark.parametrize(
    ("marks", "waits"),
    [
        ({}, False),
        ({"leaving": 3}, True),
        ({"leaving": 3, "departed": 3}, False),
        ({"leaving": 9}, False),
        ({"leaving": 3, "departed": 2}, True),
    ],
)
async def test_the_new_owner_waits_for_one_that_is_leaving_only(marks: dict[str, Any], waits: bool) -> None:
    arrival = Arrival(Marks(**marks), lease(7)[0], Overlap(**marks))
    assert arrival.waits(Overlap(**marks)) is waits


async def test_the_new_owner_says_once_that_it_is_in_and_goes_on_when_the_old_one_has_left() -> None:
    marks = Marks(leaving=3)
    arrival = Arrival(marks, lease(7)[0], marks.overlap)
    await arrival.joined()
    assert marks.overlap.joined == 7
    assert arrival.waits(marks.overlap)
    await marks.mark("s", "departed", 3)
    assert not arrival.waits(marks.overlap)


async def test_an_old_owner_that_dies_while_it_leaves_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(overlap, "ARRIVAL_S", 0.0)
    arrival = Arrival(Marks(leaving=3), lease(7)[0], Overlap(leaving=3))
    assert not arrival.waits(Overlap(leaving=3))
