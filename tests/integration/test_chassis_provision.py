"""Provisioning: the only place that declares streams; idempotent, shows what it would do, refuses to guess."""

from __future__ import annotations

import asyncio

import pytest
from chassis import provision
from contracts import streams
from nats.js import api
from nats.js.errors import NotFoundError

from tests.deadline import DEADLINE_S
from tests.integration.harness import client

pytestmark = pytest.mark.engines


async def test_it_creates_everything_and_then_has_nothing_to_do(nats_url: str) -> None:
    async with client(nats_url) as connected:
        js = connected.jetstream(timeout=DEADLINE_S)
        first = await provision.provision(js)
        assert len(first.changes) == len(streams.STREAMS) + len(streams.consumers())
        assert (await provision.provision(js)).changes == []
        for spec in streams.STREAMS:
            config = (await js.stream_info(spec.name)).config
            assert tuple(config.subjects) == spec.subjects
            assert config.max_age == spec.max_age_s
            assert config.discard == spec.discard
            assert config.storage == spec.storage
            assert config.max_bytes == spec.max_bytes
        events = (await js.stream_info("EVENTS")).config
        assert (events.retention, events.duplicate_window, events.max_age) == ("limits", 1800.0, 30 * 86_400.0)
        assert (await js.stream_info("COMMANDS")).config.retention == "workqueue"
        for consumer in streams.consumers():
            config = (await js.consumer_info(consumer.stream, consumer.name)).config
            assert (config.ack_policy, config.max_deliver, config.deliver_subject) == ("explicit", -1, None)
            assert sorted(config.filter_subjects or [config.filter_subject]) == sorted(consumer.filters)


async def test_a_dry_run_says_everything_and_changes_nothing(nats_url: str) -> None:
    async with client(nats_url) as connected:
        js = connected.jetstream(timeout=DEADLINE_S)
        plan = await provision.provision(js, dry_run=True)
        assert any(line.startswith("+ stream EVENTS (evt.>)") for line in plan.changes)
        assert any(line.startswith("+ consumer COMMANDS/config") for line in plan.changes)
        assert await js.streams_info() == []


async def test_an_update_changes_what_differs_and_keeps_what_nobody_declared(nats_url: str) -> None:
    async with client(nats_url) as connected:
        js = connected.jetstream(timeout=DEADLINE_S)
        await provision.provision(js)
        current = (await js.stream_info("EVENTS")).config
        await js.update_stream(current.evolve(max_age=60.0, max_msg_size=777_777, duplicate_window=30.0))
        consumer = (await js.consumer_info("COMMANDS", "config")).config
        await js.add_consumer("COMMANDS", consumer.evolve(ack_wait=5.0))
        # when
        plan = await provision.provision(js)
        # then
        assert len(plan.changes) == 2
        assert "max_age 60.0 → 2592000.0" in plan.changes[0]
        repaired = (await js.stream_info("EVENTS")).config
        assert (repaired.max_age, repaired.duplicate_window) == (30 * 86_400.0, 1800.0)
        assert repaired.max_msg_size == 777_777
        assert (await js.consumer_info("COMMANDS", "config")).config.ack_wait == 10.0


async def test_what_cannot_be_changed_in_place_is_refused_before_anything_is_changed(nats_url: str) -> None:
    async with client(nats_url) as connected:
        js = connected.jetstream(timeout=DEADLINE_S)
        await js.add_stream(api.StreamConfig(name="DLQ", subjects=["dlq.>"], storage=api.StorageType.MEMORY))
        with pytest.raises(provision.Drift, match="DLQ: storage"):
            await provision.provision(js)
        with pytest.raises(NotFoundError):
            await js.stream_info("EVENTS")


async def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = await asyncio.to_thread(provision.main, list(arguments))
    out = capsys.readouterr()
    return code, out.out, out.err


async def test_the_command_line_answers_with_an_exit_code(nats_url: str, monkeypatch, capsys) -> None:
    monkeypatch.delenv("NATS_USER", raising=False)
    code, out, _ = await run(capsys, "--url", nats_url, "--dry-run")
    assert code == 0
    assert "+ stream EVENTS" in out
    code, out, _ = await run(capsys, "--url", nats_url)
    assert code == 0
    code, out, _ = await run(capsys, "--url", nats_url)
    assert (code, out.strip()) == (0, "everything is as declared")
    async with client(nats_url) as connected:
        js = connected.jetstream(timeout=DEADLINE_S)
        await js.delete_stream("DLQ")
        await js.add_stream(api.StreamConfig(name="DLQ", subjects=["dlq.>"], storage=api.StorageType.MEMORY))
    code, _, err = await run(capsys, "--url", nats_url)
    assert code == 2
    assert "refused: stream DLQ" in err


async def test_the_command_line_does_not_wait_for_ever_for_a_bus(monkeypatch, capsys) -> None:
    monkeypatch.setattr(provision, "CONNECT_S", 0.3)
    code, _, err = await run(capsys, "--url", "nats://127.0.0.1:9")
    assert code == 1
    assert "no answer from the bus" in err
