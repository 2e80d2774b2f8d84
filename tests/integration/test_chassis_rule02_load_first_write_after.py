"""Rule 2: load first, write after. A transaction gets its place in the order with its first write, so nothing is written before the load."""

from __future__ import annotations

import asyncio

import pytest
from chassis.dispatcher import Dispatcher
from chassis.work import Resources
from contracts.config import AddStreamer

from tests.integration.harness import STREAMER, add_streamer, database, delivery_of, handlers_of, streamer_changed

pytestmark = pytest.mark.engines
PLACE = "select pg_current_xact_id_if_assigned()::text"


async def test_a_transaction_has_no_place_in_the_order_before_the_handler_appends(postgres_dsn: str) -> None:
    places: list[str | None] = []

    async def handler(command: AddStreamer, work) -> None:
        at = await work.load(STREAMER, command.streamer_id)
        places.append(await work.connection.fetchval(PLACE))
        await work.append(at, [streamer_changed()])
        places.append(await work.connection.fetchval(PLACE))

    async with database(postgres_dsn) as pool:
        dispatcher = Dispatcher(handlers_of("config", {AddStreamer: handler}), pool, Resources())
        await dispatcher.deliver("commands-config", delivery_of(add_streamer()))
    assert places[0] is None
    assert places[1] is not None


async def test_transactions_that_load_alike_are_ordered_as_their_appends(postgres_dsn: str) -> None:
    """The one that loaded first and is slow must not have an older place than the one that overtook it."""
    slow_loaded, fast_done = asyncio.Event(), asyncio.Event()

    async def slow(command: AddStreamer, work) -> None:
        at = await work.load(STREAMER, command.streamer_id)
        slow_loaded.set()
        await fast_done.wait()
        await work.append(at, [streamer_changed(name="slow")])

    async def fast(command: AddStreamer, work) -> None:
        await slow_loaded.wait()
        at = await work.load(STREAMER, command.streamer_id)
        await work.append(at, [streamer_changed(name="fast")])

    async with database(postgres_dsn) as pool:
        tortoise = Dispatcher(handlers_of("config", {AddStreamer: slow}), pool, Resources())
        hare = Dispatcher(handlers_of("config", {AddStreamer: fast}), pool, Resources())
        running = asyncio.create_task(tortoise.deliver("commands-config", delivery_of(add_streamer(), sequence=1)))
        await hare.deliver("commands-config", delivery_of(add_streamer(), sequence=2))
        fast_done.set()
        await running
        rows = await pool.fetch(
            "select version, data ->> 'name' as name, xmin::text::bigint as place from events order by version"
        )
    assert [row["name"] for row in rows] == ["fast", "slow"]
    assert rows[0]["place"] < rows[1]["place"]
