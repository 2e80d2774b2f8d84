"""Rule 10: a command that follows from an event goes through the outbox, in the transaction that decided it, in its order."""

from __future__ import annotations

import json

import pytest
from chassis.dispatcher import Dispatcher
from chassis.ids import new_id
from chassis.service import Service
from chassis.work import Resources
from contracts import config, streams
from contracts.config import AddStreamer
from contracts.downloader import StopRecording

from tests.integration.harness import (
    STREAMER,
    add_streamer,
    database,
    delivery_of,
    eventually,
    handlers_of,
    running,
    settings,
    streamer_changed,
    wire,
)

pytestmark = pytest.mark.engines


def stop(number: int) -> StopRecording:
    return StopRecording(recording_id=f"r{number}", reason="stopped")


async def test_a_command_is_committed_with_the_events_or_not_at_all(postgres_dsn: str) -> None:
    async def handler(event: config.StreamerRemoved, work) -> None:
        await work.send(stop(1))
        if event.streamer_id == "bad":
            raise RuntimeError

    async with database(postgres_dsn) as pool:
        dispatcher = Dispatcher(handlers_of("scheduler", {config.StreamerRemoved: handler}), pool, Resources())
        await dispatcher.deliver("events-scheduler", delivery_of(config.StreamerRemoved(streamer_id="bad"), sequence=1))
        assert await pool.fetchval("select count(*) from outbox") == 0
        await dispatcher.deliver(
            "events-scheduler", delivery_of(config.StreamerRemoved(streamer_id="good"), sequence=2)
        )
        assert await pool.fetchval("select count(*) from outbox") == 1


async def test_commands_and_events_leave_in_the_order_they_were_written(nats_url: str, postgres_dsn: str) -> None:
    """A command may be received only after the event that explains it, in whatever stream each of them is."""
    left: list[str] = []

    async def handler(command: AddStreamer, work) -> None:
        at = await work.load(STREAMER, command.streamer_id)
        for number in range(4):
            await work.append(at, [streamer_changed(command.streamer_id, f"e{number}")])
            await work.send(add_streamer(f"target{number}", f"c{number}"))
            at = await work.load(STREAMER, command.streamer_id)

    async with database(postgres_dsn) as pool:
        dispatcher = Dispatcher(handlers_of("config", {AddStreamer: handler}), pool, Resources())
        await dispatcher.deliver("commands-config", delivery_of(add_streamer()))
        rows = await pool.fetch("select subject, payload from outbox order by id")
        left = [f"{streams.stream_of(row['subject'])} {json.loads(row['payload'])['name']}" for row in rows]
    assert left == [text for n in range(4) for text in (f"EVENTS e{n}", f"COMMANDS c{n}")]


async def test_the_relay_keeps_that_order_across_streams(
    nats_url: str, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from chassis import relay as relaying

    published: list[str] = []
    genuine = relaying.publish_one_by_one

    async def noting(bus, batch) -> int:
        published.extend(one.subject.split(".")[0] for one in batch)
        return await genuine(bus, batch)

    monkeypatch.setattr(relaying, "publish_one_by_one", noting)

    async def handler(command: AddStreamer, work) -> None:
        for number in range(3):
            at = await work.load(STREAMER, command.streamer_id)
            await work.append(at, [streamer_changed(command.streamer_id, f"e{number}")])
            await work.send(stop(number))

    service = Service(settings("config", postgres_dsn, nats_url), handlers_of("config", {AddStreamer: handler}))
    async with wire(nats_url) as on, running(service):
        await on.send(add_streamer())
        await on.holds(3, "EVENTS")
        await on.holds(3, "COMMANDS")
        assert published == ["evt", "cmd"] * 3


async def test_a_command_carries_the_story_of_the_message_that_led_to_it(nats_url: str, postgres_dsn: str) -> None:
    async def handler(command: AddStreamer, work) -> None:
        await work.send(stop(1), id=chosen)

    chosen = new_id()
    service = Service(settings("config", postgres_dsn, nats_url), handlers_of("config", {AddStreamer: handler}))
    async with wire(nats_url) as on, running(service):
        sent = await on.send(add_streamer())

        async def find():
            return [one for one in await on.messages("COMMANDS") if one.subject == "cmd.downloader.stop_recording.v1"]

        [command] = await eventually(find)
        assert command.headers["ce-id"] == str(chosen)
        assert command.headers["ce-causationid"] == str(sent.id)
        assert command.headers["ce-correlationid"] == str(sent.metadata.correlation_id)
        assert command.headers["ce-sequence"] == "0"


async def test_only_declared_commands_are_handled_without_inbox(nats_url: str, postgres_dsn: str) -> None:
    from chassis.handlers import Handlers

    with pytest.raises(TypeError, match="DIRECT"):
        Handlers("config").direct(AddStreamer)
