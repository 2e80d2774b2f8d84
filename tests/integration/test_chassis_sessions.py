"""What stays with a connection that goes back into the pool, and who is woken after a commit."""

from __future__ import annotations

import asyncio

import pytest
from chassis.database import end_session
from chassis.dispatcher import Dispatcher
from chassis.work import Resources, Work
from contracts.config import AddStreamer

from tests.integration.harness import (
    add_streamer,
    append_name,
    connection,
    database,
    delivery_of,
    eventually,
    handlers_of,
)

pytestmark = pytest.mark.engines
LOCK = 42
TRY = "select pg_try_advisory_xact_lock($1)"


async def test_a_transaction_that_was_left_open_is_undone_before_the_connection_is_used_again(
    postgres_dsn: str,
) -> None:
    async with database(postgres_dsn, max_size=1) as pool:
        # given a borrower that gives its connection back in the middle of a transaction
        complaints: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
        borrowed = await pool.acquire()
        await borrowed.execute("begin")
        await borrowed.execute("create table half_done (n integer)")
        # when the only connection of the pool goes back
        await pool.release(borrowed)
        # then nothing of it is left, and somebody is told
        assert await pool.fetchval("select to_regclass('half_done')") is None
        assert len(complaints) == 1


async def test_a_session_lock_is_given_back_with_the_session(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool, connection(postgres_dsn) as other:
        async with pool.acquire() as holder:
            await holder.execute("select pg_advisory_lock($1)", LOCK)
            assert not await other.fetchval(TRY, LOCK)
            # when the session is ended
            await end_session(holder)
        # then anybody may have the lock
        assert await other.fetchval(TRY, LOCK)


async def test_a_session_that_cannot_be_reset_is_closed_with_its_lock(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool, connection(postgres_dsn) as other:
        async with pool.acquire() as holder:
            await holder.execute("select pg_advisory_lock($1)", LOCK)
            # when there is no time to reset it
            with pytest.raises(TimeoutError):
                await end_session(holder, timeout_s=0)
            # then it is closed, which can be said again
            await end_session(holder)
        await eventually(lambda: other.fetchval(TRY, LOCK), "the lock is free")


@pytest.mark.parametrize(("effect", "told"), [(True, ["committed"]), (False, ["handled"])])
async def test_the_relay_is_woken_for_what_was_left_to_send_alone(
    postgres_dsn: str, effect: bool, told: list[str]
) -> None:
    # given a handler with an event to send, or with none
    async def keep_it(command: AddStreamer, work: Work) -> None:
        await work.begin()

    calls: list[str] = []
    async with database(postgres_dsn) as pool:
        dispatcher = Dispatcher(
            handlers_of("config", {AddStreamer: append_name if effect else keep_it}),
            pool,
            Resources(),
            committed=lambda: calls.append("committed"),
            handled=lambda: calls.append("handled"),
        )
        # when it has handled a command
        await dispatcher.deliver("commands-config", delivery_of(add_streamer()))
    # then whoever sends is woken only when there is something
    assert calls == told
