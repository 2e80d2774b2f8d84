"""Rule 6: acknowledge after commit; a transient failure backs off; poison and hopeless messages go to the dead letters."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from uuid import uuid4

import asyncpg
import pytest
from chassis import in_hand
from chassis.dispatcher import Dispatcher
from chassis.errors import Poison
from chassis.ids import new_id
from chassis.retries import Policy
from chassis.service import Service
from chassis.telemetry import new_metadata
from chassis.work import Resources
from contracts import config, subjects, system
from contracts.aggregate import Rejected
from contracts.config import AddStreamer
from contracts.envelope import wrap
from contracts.registry import REGISTRY
from contracts.system import of as system_of
from pydantic import BaseModel

from tests.deadline import DEADLINE_S
from tests.integration.harness import (
    STREAMER,
    add_streamer,
    append_name,
    database,
    delivery,
    delivery_of,
    eventually,
    handlers_of,
    healthy,
    names,
    running,
    settings,
    streamer_changed,
    wire,
    within,
)

pytestmark = pytest.mark.engines


def service_of(postgres_dsn: str, nats_url: str, handler, **overrides) -> Service:
    return Service(
        settings("config", postgres_dsn, nats_url, **overrides), handlers_of("config", {AddStreamer: handler})
    )


async def letters(pool) -> list:
    return await pool.fetch("select * from dead_letters order by buried_at")


async def test_the_acknowledgement_follows_the_commit(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        seen_at_ack: list[int] = []
        one = delivery_of(add_streamer())
        genuine = one.raw.ack

        async def ack() -> None:
            seen_at_ack.append(await pool.fetchval("select count(*) from events"))
            await genuine()

        one.raw.ack = ack
        await Dispatcher(handlers_of("config", {AddStreamer: append_name}), pool, Resources()).deliver(
            "commands-config", one
        )
        assert seen_at_ack == [1]


async def test_a_transient_failure_comes_again_later_and_later_and_then_succeeds(
    nats_url: str, postgres_dsn: str
) -> None:
    at: list[float] = []

    async def handler(command: AddStreamer, work) -> None:
        at.append(time.monotonic())
        if len(at) < 4:
            raise RuntimeError("not yet")
        await append_name(command, work)

    async with wire(nats_url) as on, running(service_of(postgres_dsn, nats_url, handler)) as service:
        await on.send(add_streamer(name="at last"))
        [event] = await on.holds(1)
        assert b"at last" in event.data
        # then each pause is at least base * 2^n
        pauses = [later - earlier for earlier, later in itertools.pairwise(at)]
        assert len(pauses) == 3
        for number, pause in enumerate(pauses, 1):
            assert pause >= 0.05 * 2**number
        await on.settled("config")
        assert await letters(service.pool) == []


async def test_nothing_of_a_failed_attempt_remains(nats_url: str, postgres_dsn: str) -> None:
    attempts: list[str] = []

    async def handler(command: AddStreamer, work) -> None:
        attempts.append(command.streamer_id)
        await append_name(command, work)
        if command.streamer_id == "s1":
            await work.send(add_streamer("other", "follows"))
        if len(attempts) == 1:
            raise RuntimeError("after the append")

    async with wire(nats_url) as on, running(service_of(postgres_dsn, nats_url, handler)) as service:
        await on.send(add_streamer(name="first"))
        # then there is one event of the one that succeeded, and one of the one command that it sent
        await on.holds(2)
        assert names(await on.events()) == ["first", "follows"]
        await on.settled("config")
        assert attempts == ["s1", "s1", "other"]
        assert await service.pool.fetchval("select count(*) from events") == 2
        assert await on.count() == 2


async def test_what_is_in_hand_for_long_is_not_delivered_again(
    nats_url: str, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_hand, "EVERY_S", 0.1)
    go = asyncio.Event()

    async def handler(command: AddStreamer, work) -> None:
        await go.wait()
        await append_name(command, work)

    async with wire(nats_url) as on:
        await on.let_wait("COMMANDS", "config", 3)
        async with running(service_of(postgres_dsn, nats_url, handler)), on.in_progress("COMMANDS", "config") as told:
            # given one in its handler and one that waits behind it
            await on.send(add_streamer(name="first"))
            await on.send(add_streamer(name="second"))
            # when both have been told so often that the bus would have stopped waiting
            await eventually(told.at_least(2 * 40))
            go.set()
            await on.holds(2)
            assert names(await on.events()) == ["first", "second"]
            await on.settled("config")
        assert (await on.js.consumer_info("COMMANDS", "config")).delivered.consumer_seq == 2


@pytest.mark.parametrize("failure", [Poison("bad"), "invalid"], ids=["poison", "validation"])
async def test_poison_is_buried_at_once_with_its_reason(nats_url: str, postgres_dsn: str, failure) -> None:
    attempts: list[int] = []

    class Strict(BaseModel):
        number: int

    async def handler(command: AddStreamer, work) -> None:
        attempts.append(1)
        if failure == "invalid":
            Strict(number="no number")
        raise failure

    async with wire(nats_url) as on, running(service_of(postgres_dsn, nats_url, handler)) as service:
        sent = await on.send(add_streamer())
        [event] = await on.holds(1)
        [copy] = await on.holds(1, "DLQ")
        await on.settled("config")
        assert len(attempts) == 1
        await on.emptied("COMMANDS")
        # the table
        [letter] = await letters(service.pool)
        assert letter["consumer"] == "commands-config"
        assert letter["message_id"] == str(sent.id)
        assert letter["payload"] == sent.data
        assert letter["deliveries"] == 1
        assert letter["error"]
        # the event, caused by the message
        assert event.headers["ce-type"] == "aircheck.config.dead_letter.buried.v1"
        assert event.headers["ce-causationid"] == str(sent.id)
        body = json.loads(event.data)
        assert body["letter_id"] == letter["letter_id"]
        assert body["letter_type"] == "aircheck.config.add_streamer.v1"
        assert body["error_type"] == letter["error_type"] == ("ValidationError" if failure == "invalid" else "Poison")
        # the copy on the stream
        assert copy.subject == "dlq.config.commands-config"
        assert copy.data == sent.data
        assert copy.headers["ce-id"] == str(sent.id)
        assert copy.headers["Aircheck-Letter"] == letter["letter_id"]
        assert copy.headers["Aircheck-Subject"] == "cmd.config.add_streamer.v1"


async def test_a_message_that_fails_too_often_is_buried(nats_url: str, postgres_dsn: str) -> None:
    attempts: list[int] = []

    async def handler(command: AddStreamer, work) -> None:
        attempts.append(1)
        raise RuntimeError("always")

    service = service_of(postgres_dsn, nats_url, handler, max_deliveries=3, retry_base_s=0.02)
    async with wire(nats_url) as on, running(service):
        await on.send(add_streamer())
        await on.holds(1)
        assert len(attempts) == 3
        [letter] = await letters(service.pool)
        assert (letter["error_type"], letter["error"]) == ("RuntimeError", "always")


@pytest.mark.parametrize(
    ("subject", "headers", "body", "error_type"),
    [
        ("cmd.config.add_streamer.v9", {"ce-type": "aircheck.config.add_streamer.v9"}, b"{}", "UnknownMessage"),
        ("cmd.config.add_streamer.v1", {}, b'{"broken', "ValidationError"),
        ("cmd.config.add_streamer.v1", {}, b"\xff\xfe\x00", "ValidationError"),
        ("cmd.config.add_streamer.v1", {}, b"[]", "ValidationError"),
        ("cmd.config.add_streamer.v1", {"ce-id": "not a uuid"}, b"{}", "MalformedEnvelope"),
        ("cmd.config.add_streamer.v1", {"ce-time": "yesterday"}, b"{}", "MalformedEnvelope"),
        ("cmd.config.add_streamer.v1", {"ce-type": "aircheck.config.streamer.added.v1"}, b"{}", "ValidationError"),
        ("cmd.config.add_streamer.v1", None, b"{}", "MalformedEnvelope"),
        ("cmd.config.anything", None, b"\x00" * 100, "MalformedEnvelope"),
    ],
    ids=[
        "unknown major",
        "broken json",
        "not utf-8",
        "not an object",
        "bad id",
        "bad time",
        "of another kind",
        "no headers",
        "rubbish",
    ],
)
async def test_what_cannot_be_read_is_buried_and_the_service_goes_on(
    nats_url: str, postgres_dsn: str, subject: str, headers: dict | None, body: bytes, error_type: str
) -> None:
    async with wire(nats_url) as on, running(service_of(postgres_dsn, nats_url, append_name)) as service:
        whole = {
            **wrap(add_streamer(), id=new_id(), metadata=new_metadata(), source="x").to_headers(),
            **(headers or {}),
        }
        await on.raw(subject, body, None if headers is None else whole)
        await on.holds(1)
        await on.send(add_streamer(name="after it"))
        assert b"after it" in (await on.holds(2))[1].data
        [letter] = await letters(service.pool)
        assert letter["error_type"] == error_type
        assert letter["payload"] == body
        [copy] = await on.holds(1, "DLQ")
        assert copy.data == body


async def test_poison_as_large_as_the_bus_takes_does_not_block_the_relay(nats_url: str, postgres_dsn: str) -> None:
    async with wire(nats_url) as on, running(service_of(postgres_dsn, nats_url, append_name)) as service:
        body = b"x" * ((1 << 20) - 200)
        await on.raw("cmd.config.add_streamer.v1", body, {"X-Odd": "y"})
        [copy] = await on.holds(1, "DLQ")
        assert copy.headers["Aircheck-Truncated"] == str(len(body))
        assert (copy.data or b"") == b""
        [letter] = await letters(service.pool)
        assert letter["payload"] == body
        await on.send(add_streamer(name="after it"))
        assert b"after it" in (await on.holds(2))[1].data


async def test_poison_whose_headers_the_database_cannot_hold_is_buried_all_the_same(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        one = delivery(wrap(add_streamer(), id=new_id(), metadata=new_metadata(), source="x"))
        one.headers.update({"ce-type": "zero\0", "ce-odd": "half \ud800 a pair"})
        await Dispatcher(handlers_of("config"), pool, Resources()).deliver("commands-config", one)
        assert one.raw.settled == [("term", 0.0)]
        [letter] = await letters(pool)
        assert letter["headers"]["ce-odd"] == "half ? a pair"


async def test_an_upcaster_that_fails_is_poison_too(postgres_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def step(data: dict) -> dict:
        return {"url": data["address"]}

    monkeypatch.setitem(REGISTRY._upcasters, "config.add_streamer.v0", ("config.add_streamer.v1", step))
    async with database(postgres_dsn) as pool:
        envelope = wrap(add_streamer(), id=new_id(), metadata=new_metadata(), source="x")
        one = delivery(envelope)
        one.headers["ce-type"] = "aircheck.config.add_streamer.v0"
        await Dispatcher(handlers_of("config"), pool, Resources()).deliver("commands-config", one)
        assert one.raw.settled == [("term", 0.0)]
        assert [letter["error_type"] for letter in await letters(pool)] == ["KeyError"]


async def test_a_message_is_buried_once_even_when_its_term_was_lost(postgres_dsn: str) -> None:
    async with database(postgres_dsn) as pool:
        dispatcher = Dispatcher(handlers_of("config"), pool, Resources())
        for headers in ({}, {"ce-id": str(uuid4())}):
            again = [delivery(wrap(add_streamer(), id=new_id(), metadata=new_metadata(), source="x")) for _ in range(2)]
            for one in again:
                one.headers.clear()
                one.headers.update(headers)
            await asyncio.gather(*(dispatcher.deliver("commands-config", one) for one in again))
            assert [one.raw.settled for one in again] == [[("term", 0.0)]] * 2
        assert len(await letters(pool)) == 2
        assert await pool.fetchval("select count(*) from events") == 2


async def test_a_rejected_command_is_answered_and_changes_nothing(nats_url: str, postgres_dsn: str) -> None:
    async def handler(command: AddStreamer, work) -> None:
        await append_name(command, work)
        raise Rejected("Taken", status=409, detail="by somebody")

    async with wire(nats_url) as on, running(service_of(postgres_dsn, nats_url, handler)) as service:
        sent = await on.send(add_streamer())
        [answer] = await on.holds(1)
        assert answer.headers["ce-type"] == "aircheck.config.command.rejected.v1"
        assert answer.headers["ce-causationid"] == str(sent.id)
        body = json.loads(answer.data)
        assert body["command_id"] == sent.id.hex
        assert (body["problem"]["title"], body["problem"]["status"]) == ("Taken", 409)
        await on.settled("config")
        assert await letters(service.pool) == []


async def test_a_command_that_changes_nothing_is_announced_as_settled(nats_url: str, postgres_dsn: str) -> None:
    async def handler(command: AddStreamer, work) -> None:
        await work.load(STREAMER, command.streamer_id)

    async with wire(nats_url) as on, running(service_of(postgres_dsn, nats_url, handler)):
        sent = await on.send(add_streamer())
        [signal] = await on.holds(1, "SIGNALS")
        assert signal.subject == subjects.signal(system_of("config", system.CommandSettled), sent.id.hex)
        assert await on.count() == 0


async def test_a_signal_that_cannot_be_sent_does_not_undo_the_command(postgres_dsn: str) -> None:
    async def broken(signal) -> None:
        raise ConnectionError("no bus")

    async with database(postgres_dsn) as pool:
        one = delivery_of(add_streamer())
        await Dispatcher(handlers_of("config"), pool, Resources(), announce=broken).deliver("commands-config", one)
        assert one.raw.settled == [("ack", 0.0)]


async def test_an_event_that_a_reaction_rejects_is_a_defect_to_be_seen(postgres_dsn: str) -> None:
    async def handler(event, work) -> None:
        raise Rejected("No such streamer", detail="odd")

    async with database(postgres_dsn) as pool:
        removed = config.StreamerRemoved(streamer_id="s1")
        one = delivery_of(removed)
        dispatcher = Dispatcher(handlers_of("scheduler", {config.StreamerRemoved: handler}), pool, Resources())
        await dispatcher.deliver("events-scheduler", one)
        assert one.raw.settled == [("term", 0.0)]
        [letter] = await letters(pool)
        assert "No such streamer" in letter["error"]


@pytest.mark.parametrize(
    "failure",
    [
        TimeoutError("their server"),
        ConnectionRefusedError("their server"),
        FileNotFoundError("file"),
        asyncpg.InternalClientError("?"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_outside_failure_that_looks_like_an_outage_counts_while_the_database_answers(
    postgres_dsn: str, failure
) -> None:
    async def handler(command, work) -> None:
        raise failure

    async with database(postgres_dsn) as pool:
        dispatcher = Dispatcher(
            handlers_of("config", {AddStreamer: handler}), pool, Resources(), policy=Policy(max_deliveries=2)
        )
        one = delivery_of(add_streamer())
        await dispatcher.deliver("commands-config", one)
        await dispatcher.deliver("commands-config", one)
        assert [how for how, _ in one.raw.settled] == ["nak", "term"]


async def test_a_value_that_fits_no_column_counts_too(postgres_dsn: str) -> None:
    """The driver calls it an interface error, as it does a lost connection."""

    async def handler(command, work) -> None:
        await (await work.begin()).fetchval("select $1::integer", 1 << 40)

    async with database(postgres_dsn) as pool:
        dispatcher = Dispatcher(
            handlers_of("config", {AddStreamer: handler}), pool, Resources(), policy=Policy(max_deliveries=1)
        )
        one = delivery_of(add_streamer())
        await dispatcher.deliver("commands-config", one)
        assert one.raw.settled == [("term", 0.0)]
        assert (await letters(pool))[0]["error_type"] == "DataError"


async def test_an_outage_of_the_database_never_counts(postgres_dsn: str) -> None:
    async def handler(command, work) -> None:
        raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    async with database(postgres_dsn) as pool:
        dispatcher = Dispatcher(
            handlers_of("config", {AddStreamer: handler}), pool, Resources(), policy=Policy(max_deliveries=1)
        )
        one = delivery_of(add_streamer(), deliveries=500)
        for _ in range(5):
            await dispatcher.deliver("commands-config", one)
        assert [how for how, _ in one.raw.settled] == ["nak"] * 5
        assert await letters(pool) == []


async def test_waiting_behind_another_message_never_counts(postgres_dsn: str) -> None:
    """The broker has delivered it hundreds of times because it was held back; its own first failure is its first."""

    async def handler(command, work) -> None:
        raise RuntimeError("first")

    async with database(postgres_dsn) as pool:
        dispatcher = Dispatcher(
            handlers_of("config", {AddStreamer: handler}), pool, Resources(), policy=Policy(max_deliveries=2)
        )
        one = delivery_of(add_streamer(), deliveries=300)
        await dispatcher.deliver("commands-config", one)
        [(how, delay)] = one.raw.settled
        assert how == "nak"
        assert delay < 3, "the pause after the first failure, not the longest one"


async def test_a_deadlock_is_tried_again_at_once(postgres_dsn: str) -> None:
    attempts: list[int] = []

    async def handler(command: AddStreamer, work) -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise asyncpg.DeadlockDetectedError("deadlock detected")
        await append_name(command, work)

    async with database(postgres_dsn) as pool:
        one = delivery_of(add_streamer())
        await Dispatcher(handlers_of("config", {AddStreamer: handler}), pool, Resources()).deliver(
            "commands-config", one
        )
        assert one.raw.settled == [("ack", 0.0)]
        assert len(attempts) == 2


async def test_starting_a_service_changes_no_stream_and_no_consumer(nats_url: str, postgres_dsn: str) -> None:
    """FastStream would declare streams with its own defaults and terminate what fails: neither is in use."""
    from faststream import AckPolicy

    async with wire(nats_url) as on:
        # given streams that differ from every default, by a hand that is not ours
        current = (await on.js.stream_info("COMMANDS")).config
        await on.js.update_stream(current.evolve(max_age=3600.0, duplicate_window=77.0, max_bytes=123_456_789))
        before = [(await on.js.stream_info(name)).config for name in ("EVENTS", "COMMANDS", "SIGNALS", "DLQ")]
        consumer = (await on.js.consumer_info("COMMANDS", "config")).config
        # when
        async with running(service_of(postgres_dsn, nats_url, append_name)) as service:
            await on.send(add_streamer())
            await on.holds(1)
            subscribers = list(service._broker.faststream.subscribers)
            assert [one.ack_policy for one in subscribers] == [AckPolicy.MANUAL]
            assert [one.stream.declare for one in subscribers] == [False]
        # then
        assert [(await on.js.stream_info(name)).config for name in ("EVENTS", "COMMANDS", "SIGNALS", "DLQ")] == before
        assert (await on.js.consumer_info("COMMANDS", "config")).config == consumer


async def test_a_header_that_asks_for_a_reply_gets_none(nats_url: str, postgres_dsn: str) -> None:
    """FastStream answers on the subject a `reply_to` header names; that would let any sender make a service publish."""
    async with wire(nats_url) as on, running(service_of(postgres_dsn, nats_url, append_name)):
        answers: list[object] = []
        heard = asyncio.Event()

        async def hear(message) -> None:
            answers.append(message)
            heard.set()

        await on.client.subscribe("anywhere", cb=hear)
        envelope = wrap(add_streamer(), id=new_id(), metadata=new_metadata(), source="x")
        await on.raw("cmd.config.add_streamer.v1", envelope.data, {**envelope.to_headers(), "reply_to": "anywhere"})
        await on.holds(1)
        await on.settled("config")
        await on.client.publish("anywhere", b"marker")
        await within(heard)
        assert [one.data for one in answers] == [b"marker"]


async def test_handlers_beyond_the_pool_wait_and_none_starves(nats_url: str, postgres_dsn: str) -> None:
    """More concurrent messages than connections, each of which asks the pool for another one inside its transaction."""

    async def handler(command: AddStreamer, work) -> None:
        await work.begin()
        assert await work.pool.fetchval("select 1") == 1
        await append_name(command, work)

    async with wire(nats_url) as on:
        for number in range(40):
            await on.send(add_streamer(f"s{number}", f"n{number}"))
        async with running(service_of(postgres_dsn, nats_url, handler, pool_size=4)):
            await on.holds(40)
        assert sorted(names(await on.events())) == sorted(f"n{number}" for number in range(40))


async def test_relay_and_health_get_a_connection_while_every_handler_holds_one(
    nats_url: str, postgres_dsn: str
) -> None:
    go, busy = asyncio.Event(), asyncio.Event()
    inside: list[int] = []

    async def handler(command: AddStreamer, work) -> None:
        await work.begin()
        inside.append(1)
        if len(inside) >= 2:
            busy.set()
        await go.wait()

    async with wire(nats_url) as on:
        for number in range(20):
            await on.send(add_streamer(f"s{number}"))
        async with running(service_of(postgres_dsn, nats_url, handler, pool_size=4)) as service:
            await within(busy)
            # all connections that handlers may have are taken: the rest still works
            await healthy(service)
            async with service.unit() as work:
                at = await work.load(STREAMER, "elsewhere")
                await work.append(at, [streamer_changed("elsewhere", "relayed")])
            await on.holds(1)
            go.set()
            await on.settled("config")


async def test_a_stop_cuts_off_handlers_that_hang_and_begins_none_of_those_that_wait(
    nats_url: str, postgres_dsn: str
) -> None:
    begun: list[str] = []
    busy = asyncio.Event()

    async def handler(command: AddStreamer, work) -> None:
        begun.append(command.streamer_id)
        if len(begun) == 2:
            busy.set()
        if command.name == "hangs":
            await asyncio.Event().wait()

    async with wire(nats_url) as on:
        # given one that ends and two that hang in the transaction behind it, and more behind them, with one transaction at a time
        for number in range(40):
            await on.send(add_streamer(f"s{number}", "hangs" if number else "ends"))
        service = service_of(postgres_dsn, nats_url, handler, pool_size=3, stop_timeout_s=0.2)
        await service.start()
        await within(busy)
        # when the service is stopped, then it ends
        async with asyncio.timeout(DEADLINE_S):
            await service.stop()
        assert begun == ["s0", "s1"]


async def test_deliveries_are_counted_by_their_outcome(postgres_dsn: str) -> None:
    from chassis.telemetry import DELIVERIES

    def count(outcome: str) -> float:
        return DELIVERIES.labels("config", "commands-counted", outcome)._value.get()

    async def handler(command: AddStreamer, work) -> None:
        if command.name == "bad":
            raise Poison("bad")

    async with database(postgres_dsn) as pool:
        dispatcher = Dispatcher(handlers_of("config", {AddStreamer: handler}), pool, Resources())
        good = delivery_of(add_streamer("s1"), sequence=1)
        for one in (good, good, delivery_of(add_streamer("s2", "bad"), sequence=2)):
            await dispatcher.deliver("commands-counted", one)
    assert (count("handled"), count("duplicate"), count("buried")) == (1, 1, 1)
