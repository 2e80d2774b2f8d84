"""Fetching from a durable consumer: nothing that has arrived waits for anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from chassis.bus import Bus
from chassis.pull import FetchRefused, Pull
from chassis.service import Service
from contracts.config import AddStreamer
from contracts.topology import PROJECTOR

from tests.deadline import DEADLINE_S
from tests.integration.harness import Wire, add_streamer, append_name, eventually, handlers_of, running, settings, wire

pytestmark = pytest.mark.engines
SUBJECT = "evt.config.streamer.s1.changed.v1"
LONG_S = 10 * DEADLINE_S
"""A fetch may wait much longer than the test does."""


@asynccontextmanager
async def pulling(nats_url: str) -> AsyncIterator[tuple[Wire, Pull]]:
    async with wire(nats_url) as on:
        pull = Pull(Bus(on.client, "gateway"), "EVENTS", PROJECTOR)
        await pull.start()
        yield on, pull
        await pull.unsubscribe()


async def fetched(pull: Pull, batch: int = 10, timeout: float = LONG_S) -> list[int]:
    async with asyncio.timeout(DEADLINE_S):
        messages = await pull.fetch(batch, timeout)
    for message in messages:
        await message.ack()
    return [int(message.data) for message in messages]


async def requested(on: Wire) -> None:
    """Until a request waits at the server."""

    async def waiting() -> bool:
        return bool((await on.js.consumer_info("EVENTS", PROJECTOR)).num_waiting)

    await eventually(waiting)


async def late_end(on: Wire, inbox: str) -> None:
    """The server's word that an earlier request is over."""
    await on.client.publish(inbox, b"", headers={"Status": "408", "Description": "Request Timeout"})


async def test_what_waits_comes_at_once_in_order_and_in_batches(nats_url: str) -> None:
    async with pulling(nats_url) as (on, pull):
        for number in range(5):
            await on.raw(SUBJECT, b"%d" % number)
        batches = [await fetched(pull, batch=3)]
        while sum(map(len, batches)) < 5:
            batches.append(await fetched(pull, batch=3))
        assert [number for batch in batches for number in batch] == [0, 1, 2, 3, 4]
        assert all(1 <= len(batch) <= 3 for batch in batches)


async def test_the_first_that_comes_ends_the_fetch(nats_url: str) -> None:
    async with pulling(nats_url) as (on, pull):
        fetching = asyncio.create_task(fetched(pull))
        await requested(on)
        await on.raw(SUBJECT, b"7")
        assert await fetching == [7]


async def test_the_late_end_of_an_earlier_request_delays_nothing(nats_url: str) -> None:
    async with pulling(nats_url) as (on, pull):
        assert await fetched(pull, timeout=0.2) == []
        fetching = asyncio.create_task(fetched(pull))
        await requested(on)
        await late_end(on, f"{pull._inbox}.1")
        await on.client.flush()
        await on.raw(SUBJECT, b"7")
        assert await fetching == [7]


async def test_a_message_for_a_fetch_that_is_over_belongs_to_the_next(nats_url: str) -> None:
    async with pulling(nats_url) as (on, pull):
        # given up by the client, but not by the server
        abandoned = asyncio.create_task(pull.fetch(10, LONG_S))
        await requested(on)
        abandoned.cancel()
        await asyncio.gather(abandoned, return_exceptions=True)
        await on.raw(SUBJECT, b"7")
        assert await fetched(pull) == [7]


async def test_what_nobody_fetched_is_given_back_at_the_end(nats_url: str) -> None:
    async with pulling(nats_url) as (on, pull):
        # given a bus that would wait much longer than this test for an acknowledgement
        await on.let_wait("EVENTS", PROJECTOR, LONG_S)
        # given two messages for fetches that were given up, one of them when it had been taken
        for message in (b"7", b"8"):
            await pull._request(10, LONG_S)
            await on.raw(SUBJECT, message)
            # not only the word that the request before is over
            await eventually(partial(_has, pull, message), "it has arrived")
            if message == b"7":
                pull._take_left_over(1)
        # when the puller leaves, then another one has both at once
        await pull.unsubscribe()
        other = Pull(Bus(on.client, "gateway"), "EVENTS", PROJECTOR)
        await other.start()
        found = await fetched(other)
        while len(found) < 2:
            found += await fetched(other)
        assert sorted(found) == [7, 8]
        await other.unsubscribe()


async def _has(pull: Pull, message: bytes) -> bool:
    return any(one.data == message for one in pull._arrived._queue)


async def test_a_consumer_that_goes_away_ends_the_fetch_with_an_error(nats_url: str) -> None:
    async with pulling(nats_url) as (on, pull):
        fetching: asyncio.Task[Any] = asyncio.create_task(fetched(pull))
        await requested(on)
        await on.js.delete_consumer("EVENTS", PROJECTOR)
        with pytest.raises(FetchRefused, match="409"):
            await fetching


async def test_a_service_has_no_subscription_that_nobody_reads(nats_url: str, postgres_dsn: str) -> None:
    """Closing a connection waits, up to half a minute, until what came for every subscription was read."""
    service = Service(settings("config", postgres_dsn, nats_url), handlers_of("config", {AddStreamer: append_name}))
    async with wire(nats_url) as on, running(service):
        await on.send(add_streamer())
        await on.holds(1)
        assert [one.subject for one in service.bus.client._subs.values() if one._cb is None] == []
