"""Rule 6: a message that may have ended its process is handled alone under a mark, and only a mark whose process died counts against it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from chassis.dispatcher import Dispatcher
from chassis.housekeeping import Housekeeping
from chassis.retries import Policy
from chassis.work import Resources
from contracts import monitor
from contracts.config import AddStreamer
from contracts.message import Message

from tests.integration.harness import add_streamer, append_name, database, delivery_of, handlers_of, within

pytestmark = pytest.mark.engines
CONSUMER = "commands-config"
COUNTED = "select crashes from suspects"
ANOTHER_LIFE = "a process that is gone"


def dispatcher_of(pool: Any, handler: Any = append_name, **options: Any) -> Dispatcher:
    return Dispatcher(handlers_of("config", {AddStreamer: handler}), pool, Resources(), **options)


def suspect(name: str = "x", message: Message | None = None, *, sequence: int = 7, deliveries: int = 3) -> Any:
    return delivery_of(message or add_streamer("suspect", name), sequence=sequence, deliveries=deliveries)


async def leave_a_mark(pool: Any, delivery: Any, life: str = ANOTHER_LIFE, begun_at: str = "infinity") -> None:
    """What a process leaves behind that ended in the middle of a handling. Made late, so that no server was started after it."""
    await pool.execute(
        "insert into suspects (consumer, message_id, handler, begun_at) values ($1, $2, $3, $4::text::timestamptz) "
        "on conflict (consumer, message_id) do update set handler = $3, begun_at = $4::text::timestamptz",
        CONSUMER, delivery.headers["ce-id"], life, begun_at,
    )  # fmt: skip


class Watching:
    """A handler that notes what stands in the database while it runs, and waits to be let go where it is told to."""

    def __init__(self, pool: Any, hold: str = "") -> None:
        self.pool, self.hold = pool, hold
        self.marks: dict[str, int] = {}
        self.order: list[str] = []
        self.begun, self.go = asyncio.Event(), asyncio.Event()

    async def __call__(self, command: AddStreamer, work: Any) -> None:
        name = command.name or ""
        self.order.append(name)
        self.marks[name] = await self.pool.fetchval("select count(*) from suspects where handler is not null")
        if name == self.hold:
            self.begun.set()
            await within(self.go)
        await append_name(command, work)


async def test_what_comes_again_for_a_known_reason_is_no_suspect(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        failing = [RuntimeError()] * 4

        async def handler(command: AddStreamer, work: Any) -> None:
            assert await pool.fetchval("select count(*) from suspects") == 0
            if failing:
                raise failing.pop()
            await append_name(command, work)

        dispatcher = dispatcher_of(pool, handler)
        again = [delivery_of(add_streamer(), sequence=7, deliveries=count) for count in range(1, 6)]
        for one in again:
            await dispatcher.deliver(CONSUMER, one)
        assert [one.raw.settled[0][0] for one in again] == ["nak"] * 4 + ["ack"]


async def test_one_redelivery_that_nobody_saw_is_not_enough(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        watching = Watching(pool)
        one = suspect(deliveries=2)
        await dispatcher_of(pool, watching).deliver(CONSUMER, one)
        assert (one.raw.settled, watching.marks) == ([("ack", 0.0)], {"x": 0})


async def test_a_suspect_is_handled_alone_under_a_mark_that_goes_with_the_end_of_it(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        watching = Watching(pool, hold="before")
        dispatcher = dispatcher_of(pool, watching)
        deliveries = [
            delivery_of(add_streamer("s1", "before"), sequence=1),
            suspect("alone"),
            delivery_of(add_streamer("s2", "after"), sequence=2),
        ]
        tasks = [asyncio.create_task(dispatcher.deliver(CONSUMER, deliveries[0]))]
        await within(watching.begun)
        tasks += [asyncio.create_task(dispatcher.deliver(CONSUMER, one)) for one in deliveries[1:]]
        await asyncio.sleep(0)
        # then nobody joins the one in hand
        assert watching.order == ["before"]
        watching.go.set()
        await asyncio.gather(*tasks)
        assert watching.order == ["before", "alone", "after"]
        assert watching.marks == {"before": 0, "alone": 1, "after": 0}
        assert [one.raw.settled for one in deliveries] == [[("ack", 0.0)]] * 3
        assert await pool.fetchval("select count(*) from suspects") == 0


async def test_a_suspect_that_fails_or_cannot_be_read_leaves_no_mark_either(postgres_dsn: str) -> None:
    async def handler(command: AddStreamer, work: Any) -> None:
        raise RuntimeError("an ordinary failure")

    async with database(postgres_dsn) as pool:
        dispatcher = dispatcher_of(pool, handler)
        failing, unreadable = suspect(), suspect()
        unreadable.headers["ce-type"] = "aircheck.config.add_streamer.v9"
        for one in (failing, unreadable):
            await dispatcher.deliver(CONSUMER, one)
        assert [one.raw.settled[0][0] for one in (failing, unreadable)] == ["nak", "term"]
        assert await pool.fetchval("select count(*) from suspects") == 0
        assert await pool.fetchval("select error_type from dead_letters") == "UnknownMessage"


async def test_each_mark_of_a_dead_process_counts_once_and_backs_off_and_the_last_one_buries(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        first = suspect()
        settled = []
        for crashes in (1, 2, 3):
            # given a process that died while it handled the message
            await leave_a_mark(pool, first)
            watching = Watching(pool)
            dispatcher = dispatcher_of(pool, watching, policy=Policy(base_s=1.0, max_crashes=3))
            # when it comes to another one
            first.raw.settled.clear()
            await dispatcher.deliver(CONSUMER, first)
            settled += first.raw.settled
            # then it is not handled at once
            assert watching.order == []
            assert await pool.fetchval(COUNTED) == crashes
        (_, once), (_, twice), last = settled
        assert once >= 2
        assert twice >= 4
        assert last == ("term", 0.0)
        letter = await pool.fetchrow("select * from dead_letters")
        assert letter["error"] == "its handling ended the process 3 times"
        assert (letter["error_type"], letter["message_id"]) == ("ProcessEnded", first.headers["ce-id"])
        # and if its term was lost it is not handled once more
        first.raw.settled.clear()
        await dispatcher_of(pool, Watching(pool)).deliver(CONSUMER, first)
        assert first.raw.settled == [("term", 0.0)]
        assert await pool.fetchval("select count(*) from dead_letters") == 1


async def test_after_a_crash_it_gets_its_next_chance_alone_and_may_use_it(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        one = suspect()
        await leave_a_mark(pool, one)
        watching = Watching(pool)
        dispatcher = dispatcher_of(pool, watching)
        await dispatcher.deliver(CONSUMER, one)
        await dispatcher.deliver(CONSUMER, suspect_again(one))
        assert watching.marks == {"x": 1}
        assert [how for how, _ in one.raw.settled] == ["nak", "ack"]
        assert await pool.fetchval("select count(*) from events") == 1


def suspect_again(one: Any) -> Any:
    return type(one)(one.raw, one.subject, one.headers, one.data, one.sequence, one.deliveries + 1)


async def test_the_successors_of_its_key_wait_for_one_that_backs_off(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        one = suspect()
        await leave_a_mark(pool, one)
        dispatcher = dispatcher_of(pool)
        await dispatcher.deliver(CONSUMER, one)
        successor = delivery_of(add_streamer("suspect", "later"), sequence=8)
        await dispatcher.deliver(CONSUMER, successor)
        assert [how for how, _ in successor.raw.settled] == ["nak"]


async def test_while_a_living_replica_has_it_in_hand_it_is_left_alone(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as mine, database(postgres_dsn) as theirs:
        watching = Watching(mine, hold="x")
        one = suspect()
        handling = asyncio.create_task(dispatcher_of(mine, watching).deliver(CONSUMER, one))
        await within(watching.begun)
        # when the broker lost patience and gave it to somebody else
        elsewhere = suspect_again(delivery_of(add_streamer(), sequence=7, deliveries=3))
        elsewhere.headers["ce-id"] = one.headers["ce-id"]
        await dispatcher_of(theirs).deliver(CONSUMER, elsewhere)
        assert [how for how, _ in elsewhere.raw.settled] == ["nak"]
        watching.go.set()
        await handling
        assert one.raw.settled == [("ack", 0.0)]
        assert await mine.fetchval("select count(*) from suspects") == 0


@pytest.mark.parametrize("of", ["this life", "before the server was started"])
async def test_a_mark_that_proves_no_death_does_not_count(postgres_dsn: str, of: str) -> None:
    async with database(postgres_dsn) as pool:
        one, watching = suspect(), Watching(pool)
        dispatcher = dispatcher_of(pool, watching, policy=Policy(max_crashes=1))
        if of == "this life":
            await leave_a_mark(pool, one, life=dispatcher._suspects._life)
        else:
            await leave_a_mark(pool, one, begun_at="2000-01-01")
        await dispatcher.deliver(CONSUMER, one)
        assert (one.raw.settled, watching.marks) == ([("ack", 0.0)], {"x": 1})


async def test_what_a_planned_stop_interrupts_is_no_crash(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        watching = Watching(pool, hold="x")
        dispatcher = dispatcher_of(pool, watching)
        handling = asyncio.create_task(dispatcher.deliver(CONSUMER, suspect()))
        await within(watching.begun)
        # when somebody wants the process to end
        await dispatcher.leave()
        # then nothing is left to count if it is killed now, and no other suspect is begun
        assert await pool.fetchval("select count(*) from suspects") == 0
        late = suspect("late", sequence=8)
        waiting = asyncio.create_task(dispatcher.deliver(CONSUMER, late))
        watching.go.set()
        await asyncio.gather(handling, waiting)
        assert [how for how, _ in late.raw.settled] == ["nak"]
        assert watching.order == ["x"]


async def test_a_cancelled_handling_takes_its_mark_along(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        watching = Watching(pool, hold="x")
        handling = asyncio.create_task(dispatcher_of(pool, watching).deliver(CONSUMER, suspect()))
        await within(watching.begun)
        handling.cancel()
        await asyncio.gather(handling, return_exceptions=True)
        assert await pool.fetchval("select count(*) from suspects") == 0


async def test_one_that_cannot_be_alone_in_time_comes_again(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chassis.dispatcher.ALONE_WITHIN_S", 0.01)
    async with database(postgres_dsn) as pool:
        watching = Watching(pool, hold="slow")
        dispatcher = dispatcher_of(pool, watching)
        slow = asyncio.create_task(dispatcher.deliver(CONSUMER, delivery_of(add_streamer("s1", "slow"), sequence=1)))
        await within(watching.begun)
        one = suspect()
        await dispatcher.deliver(CONSUMER, one)
        assert [how for how, _ in one.raw.settled] == ["nak"]
        watching.go.set()
        await slow
        assert watching.order == ["slow"]


async def test_a_direct_command_does_not_run_while_others_are_kept_waiting(postgres_dsn: str) -> None:
    check = monitor.CheckChannel(streamer_id="s1", url="https://example.org/live.flv", name="x", offline_grace_s=60)
    begun, go = asyncio.Event(), asyncio.Event()

    async def handler(command: monitor.CheckChannel, work: Any) -> None:
        begun.set()
        await within(go)

    async with database(postgres_dsn) as pool:
        dispatcher = Dispatcher(handlers_of("monitor", {monitor.CheckChannel: handler}), pool, Resources())
        one = suspect(message=check)
        await dispatcher.deliver("commands-monitor", one)
        await within(begun)
        assert one.raw.settled == [("ack", 0.0)]
        assert await pool.fetchval("select count(*) from suspects") == 0
        go.set()
        await dispatcher.drain()


async def test_old_suspects_are_forgotten(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        old, young = suspect("old"), suspect("young")
        await leave_a_mark(pool, old, begun_at="2000-01-01")
        await leave_a_mark(pool, young, begun_at="now")
        await Housekeeping(pool, 86_400).purge()
        assert [row["message_id"] for row in await pool.fetch("select message_id from suspects")] == [
            young.headers["ce-id"]
        ]
