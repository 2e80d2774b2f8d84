"""One trace from the command to the event to the next command, in the stored metadata and, where an endpoint is set, in exported spans."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from chassis import telemetry
from chassis.service import Service
from chassis.telemetry import new_metadata, trace_id
from contracts import config
from contracts.config import AddStreamer
from contracts.downloader import StopRecording
from contracts.envelope import Envelope, Metadata
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.deadline import DEADLINE_S
from tests.integration.harness import (
    STREAMER,
    Wire,
    add_streamer,
    append_name,
    eventually,
    handlers_of,
    running,
    settings,
    streamer_added,
    wire,
)

pytestmark = pytest.mark.engines


async def add(command: AddStreamer, work) -> None:
    at = await work.load(STREAMER, command.streamer_id)
    await work.append(at, [streamer_added(), config.StreamerRemoved(streamer_id=command.streamer_id)])


async def react(event: config.StreamerRemoved, work) -> None:
    await work.send(StopRecording(recording_id="r1", reason="stopped"))


def services(nats_url: str, make_database) -> tuple[Service, Service]:
    return (
        Service(settings("config", make_database(), nats_url), handlers_of("config", {AddStreamer: add})),
        Service(
            settings("scheduler", make_database(), nats_url), handlers_of("scheduler", {config.StreamerRemoved: react})
        ),
    )


async def last_command(on: Wire) -> Envelope:
    async def find():
        return [one for one in await on.messages("COMMANDS") if one.subject.startswith("cmd.downloader.")]

    [raw] = await eventually(find)
    return Envelope.from_headers(raw.headers, raw.data)


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list]:
    """An OTLP endpoint that keeps the spans it is sent."""
    spans: list = []

    async def take(request: web.Request) -> web.Response:
        batch = ExportTraceServiceRequest.FromString(await request.read())
        for resource in batch.resource_spans:
            names = {a.key: a.value.string_value for a in resource.resource.attributes}
            spans.extend((names["service.name"], span) for scope in resource.scope_spans for span in scope.spans)
        return web.Response(content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{runner.addresses[0][1]}")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    yield spans
    await runner.cleanup()


async def test_the_story_is_one_from_command_to_event_to_command(nats_url: str, make_database) -> None:
    first, second = services(nats_url, make_database)
    async with wire(nats_url) as on, running(first), running(second):
        metadata = new_metadata(actor="user 主播")
        sent = await on.send(add_streamer(), metadata=metadata)
        command = await last_command(on)
        added, removed = await on.events()
    # the same correlation and trace, each caused by the one before, with a span of its own
    assert added.metadata.causation_id == removed.metadata.causation_id == sent.id
    assert command.metadata.causation_id == removed.id
    for one in (added, removed, command):
        assert one.metadata.correlation_id == metadata.correlation_id
        assert trace_id(one.metadata.traceparent) == trace_id(metadata.traceparent)
        assert one.metadata.actor == "user 主播"
    assert len({metadata.traceparent, added.metadata.traceparent, command.metadata.traceparent}) == 3


async def test_spans_are_exported_and_linked_when_an_endpoint_is_set(
    nats_url: str, make_database, collector: list
) -> None:
    first, second = services(nats_url, make_database)
    async with wire(nats_url) as on:
        metadata = Metadata(
            new_metadata().correlation_id, traceparent=f"00-{'ab' * 16}-{'cd' * 8}-01", tracestate="vendor=1"
        )
        async with running(first), running(second):
            sent = await on.send(add_streamer(), metadata=metadata)
            command = await last_command(on)
            events = await on.events()

        async def exported() -> bool:
            return len(collector) >= 2

        await eventually(exported)
    by_name = {span.name: (service, span) for service, span in collector}
    _, handling = by_name["process cmd.config.add_streamer.v1"]
    _, reacting = by_name["process evt.config.streamer.{id}.removed.v1"]
    assert {handling.trace_id.hex(), reacting.trace_id.hex()} == {"ab" * 16}
    assert handling.parent_span_id.hex() == "cd" * 8
    assert handling.trace_state == "vendor=1"
    assert reacting.parent_span_id == handling.span_id, "the event was appended inside the span of its command"
    assert events[0].metadata.traceparent == f"00-{'ab' * 16}-{handling.span_id.hex()}-01"
    assert command.metadata.traceparent == f"00-{'ab' * 16}-{reacting.span_id.hex()}-01"
    attributes = {a.key: a.value.string_value for a in handling.attributes}
    assert attributes["messaging.system"] == "nats"
    assert attributes["messaging.destination.template"] == "cmd.config.add_streamer.v1"
    assert attributes["messaging.message.id"] == str(sent.id)


async def test_nothing_is_recorded_without_an_endpoint(
    nats_url: str, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert telemetry.start_tracing("config") is None
    service = Service(settings("config", postgres_dsn, nats_url), handlers_of("config", {AddStreamer: append_name}))
    async with wire(nats_url), running(service):
        assert telemetry._tracer is None


async def test_a_collector_that_is_away_holds_nothing_up(
    nats_url: str, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    service = Service(settings("config", postgres_dsn, nats_url), handlers_of("config", {AddStreamer: append_name}))
    async with wire(nats_url) as on:
        await service.start()
        await on.send(add_streamer())
        await on.holds(1)
        async with asyncio.timeout(DEADLINE_S):
            await service.stop()


@pytest.mark.parametrize("traceparent", ["garbage", "00-xyz-1-01", "", "00-" + "0" * 300, "a-b-c-d"])
async def test_a_trace_context_that_is_none_stops_nothing(nats_url: str, postgres_dsn: str, traceparent: str) -> None:
    service = Service(settings("config", postgres_dsn, nats_url), handlers_of("config", {AddStreamer: append_name}))
    async with wire(nats_url) as on, running(service):
        await on.send(add_streamer(), metadata=Metadata(new_metadata().correlation_id, traceparent=traceparent))
        await on.holds(1)
        [event] = await on.events()
        assert len(trace_id(event.metadata.traceparent)) == 32
