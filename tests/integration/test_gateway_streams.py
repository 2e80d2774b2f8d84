"""Server-sent events and the WebSocket."""

from __future__ import annotations

import asyncio
import json

import pytest
import websockets
from contracts import subjects
from contracts.downloader import RecordingProgress
from contracts.monitor import SessionClosed, SessionOpened, SourcesResolved
from contracts.values import EndReason

from services.gateway.realtime.follower import Follower
from tests.deadline import DEADLINE_S
from tests.integration.gateway_stage import data_of, logged_in, sse, staged, until, url_of

pytestmark = pytest.mark.engines


@pytest.fixture
async def stage(nats_url, postgres_dsn, make_database, tmp_path):
    async with staged(nats_url, postgres_dsn, make_database, tmp_path) as stage:
        yield stage


@pytest.fixture
async def gateway(stage):
    service = await stage.gateway(ring_events=100)
    await followed(service, 1)  # the event of the first administrator
    yield service
    await service.stop()


@pytest.fixture
async def client(gateway):
    async with logged_in(gateway) as client:
        yield client


def opened(number: int) -> SessionOpened:
    return SessionOpened(
        session_id=f"session{number}", streamer_id=f"streamer{number % 2}", streamer_name="One", platform="direct",
        url="https://live.example.org/1", title="T", category="", started_at="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


async def followed(gateway, position: int) -> None:
    async def reached():
        return gateway.resources.get(Follower).position >= position

    await until(reached)


async def test_a_client_that_comes_back_misses_nothing(stage, gateway, client):
    for number in range(6):
        await stage.publish(opened(number))
    await followed(gateway, 7)

    first = await sse(client, 3, params={"last_event_id": "1"})
    rest = asyncio.create_task(sse(client, 4, headers={"Last-Event-ID": first[-1]["id"]}))
    await stage.publish(opened(6))

    frames = first + await rest
    assert [int(frame["id"]) for frame in frames] == [2, 3, 4, 5, 6, 7, 8]
    assert frames[0]["event"] == "monitor.session.opened.v1"
    event = data_of(frames[0])
    assert event["specversion"] == "1.0" and event["data"]["session_id"] == "session0" and event["position"] == 2


async def test_history_older_than_the_ring_comes_from_the_store(stage, gateway, client):
    for number in range(150):
        await stage.publish(opened(number))
    await followed(gateway, 151)

    frames = await sse(client, 151, params={"last_event_id": "0"})

    assert [int(frame["id"]) for frame in frames] == list(range(1, 152))


async def test_filters_leave_the_rest_out(stage, gateway, client):
    for number in range(4):
        await stage.publish(opened(number))
    await stage.publish(
        SessionClosed(session_id="session1", streamer_id="streamer1", reason=EndReason.OFFLINE), first=2
    )
    await followed(gateway, 6)

    frames = await sse(client, 2, params={"last_event_id": "0", "session_id": "session1"})
    by_type = await sse(client, 1, params={"last_event_id": "0", "type": "monitor.session.closed"})

    assert [data_of(frame)["data"]["session_id"] for frame in frames] == ["session1", "session1"]
    assert by_type[0]["event"] == "monitor.session.closed.v1"


async def test_a_position_ahead_of_the_store_is_reset(stage, gateway, client):
    frames = await sse(client, 1, headers={"Last-Event-ID": "4711"})

    assert frames[0]["event"] == "reset" and json.loads(frames[0]["data"])["position"] == int(frames[0]["id"]) < 4711


async def test_the_head_of_a_stream(gateway, client):
    async with client.stream("GET", "/api/events/stream") as response:
        first = await anext(response.aiter_lines())

    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-accel-buffering"] == "no" and response.headers["cache-control"] == "no-store"
    assert first == "retry: 3000"


async def test_a_slow_client_is_dropped_and_the_others_go_on(stage):
    service = await stage.gateway(client_queue=10)
    await followed(service, 1)
    try:
        async with logged_in(service) as client:
            follower = service.resources.get(Follower)
            async with client.stream("GET", "/api/events/stream") as slow:
                lines = slow.aiter_lines()
                await anext(lines)

                async def subscribed():
                    return follower._subscribers

                box = next(iter(await until(subscribed)))
                for _ in range(11):
                    box.offer(object())  # nobody reads between: the event loop is not given back
                ended = [line async for line in lines]
            await stage.publish(opened(1))
            frames = await sse(client, 1, params={"last_event_id": "1"})
    finally:
        await service.stop()

    assert ended == [""]
    assert data_of(frames[0])["data"]["session_id"] == "session1"


async def test_too_many_clients_are_turned_away(stage):
    service = await stage.gateway(max_clients=1)
    try:
        async with logged_in(service) as client, client.stream("GET", "/api/events/stream") as first:
            lines = first.aiter_lines()
            assert await anext(lines) == "retry: 3000"
            second = await client.get("/api/events/stream")
    finally:
        await service.stop()

    assert second.status_code == 503


async def test_stopping_ends_open_streams(stage):
    service = await stage.gateway()
    await followed(service, 1)
    async with logged_in(service) as client, client.stream("GET", "/api/events/stream") as stream:
        lines = stream.aiter_lines()
        await anext(lines)
        async with asyncio.timeout(DEADLINE_S):
            await service.stop()
            assert [line async for line in lines if line] == []


def socket_url(gateway, query: str = "") -> str:
    return f"{url_of(gateway).replace('http', 'ws', 1)}/api/ws{query}"


async def receive(socket, kind: str) -> dict:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            message = json.loads(await socket.recv())
            if message["type"] == kind:
                return message


async def test_a_socket_carries_events_signals_and_chat(stage, gateway, client):
    token = client.headers["Authorization"].split()[1]
    async with websockets.connect(socket_url(gateway)) as socket:
        await socket.send(json.dumps({"type": "auth", "token": token}))
        ready = await receive(socket, "ready")
        await socket.send(json.dumps({"type": "subscribe", "events": True, "signals": True, "chat": ["session1"]}))
        await socket.send("nonsense")
        error = await receive(socket, "error")  # answered in order: it is asked for now
        await gateway.bus.ping()  # and the bus knows of it

        await stage.publish(opened(1))
        event = await receive(socket, "event")
        sources = SourcesResolved(streamer_id="s", live=True, sources=(), resolved_at="2026-01-01T00:00:00+00:00")
        progress = RecordingProgress(
            recording_id="r", session_id="session1", streamer_id="s", index=0, bytes=5, duration_ms=6, bitrate=7
        )
        for signal in (sources, progress):
            await stage.client.publish(subjects.of(signal), signal.to_json(), headers={"ce-type": signal.full_type()})
        shown = await receive(socket, "signal")
        await stage.client.publish(subjects.chat_of("session1"), b'{"text": "hello"}\n{"text": "again"}\n')
        chat = [await receive(socket, "chat"), await receive(socket, "chat")]

    assert ready["position"] >= 0 and error["problem"]["status"] == 422
    assert event["event"]["data"]["session_id"] == "session1"
    assert shown["name"] == "downloader.progress.v1" and shown["data"]["bitrate"] == 7
    assert [one["line"]["text"] for one in chat] == ["hello", "again"]


async def test_every_replica_carries_the_whole_live_chat(stage, gateway, client):
    other = await stage.gateway()
    try:
        token = client.headers["Authorization"].split()[1]
        async with (
            websockets.connect(socket_url(gateway, f"?token={token}")) as here,
            websockets.connect(socket_url(other, f"?token={token}")) as there,
        ):
            for socket in (here, there):
                await socket.send(json.dumps({"type": "subscribe", "chat": ["session1"]}))
                await socket.send("nonsense")
                await receive(socket, "error")  # answered in order: it is asked for now
            for service in (gateway, other):
                await service.bus.ping()  # and the bus knows of it
            lines = [f"line {number}" for number in range(20)]
            for line in lines:
                await stage.client.publish(subjects.chat_of("session1"), json.dumps({"text": line}).encode() + b"\n")
            seen = [[(await receive(socket, "chat"))["line"]["text"] for _ in lines] for socket in (here, there)]
    finally:
        await other.stop()
    assert seen == [lines, lines]


async def test_a_program_logs_in_to_a_socket_as_it_does_everywhere_else(gateway, client):
    headers = {"Authorization": client.headers["Authorization"]}
    async with websockets.connect(socket_url(gateway), additional_headers=headers) as socket:
        assert (await receive(socket, "ready"))["position"] >= 0


async def test_a_socket_without_a_valid_token_is_closed(gateway, client):
    for query in ("?token=wrong", ""):
        async with websockets.connect(socket_url(gateway, query)) as socket:
            if not query:
                await socket.send(json.dumps({"type": "auth", "token": "wrong"}))
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await asyncio.wait_for(socket.recv(), DEADLINE_S)
        assert closed.value.rcvd.code == 4401


async def test_a_running_recording_shows_its_speed(stage, gateway, client):
    from contracts.downloader import RecordingRequested, RecordingStarted
    from contracts.values import Effective

    ids = {"recording_id": "r", "session_id": "session1", "streamer_id": "s"}
    requested = RecordingRequested(
        **ids,
        streamer_name="One",
        url="https://live.example.org/1",
        platform="direct",
        title="T",
        effective=Effective(),
        first_index=0,
    )
    await stage.publish(requested, RecordingStarted(**ids, worker="w", epoch=1, engine="flv"))
    progress = RecordingProgress(**ids, index=0, bytes=5_000, duration_ms=6, bitrate=7_000)
    await stage.client.publish(subjects.of(progress), progress.to_json(), headers={"ce-type": progress.full_type()})

    async def shown():
        items = (await client.get("/api/recordings", params={"active": "true"})).json()["items"]
        return items and items[0]["progress"] and items[0]["state"] == "recording" and items[0]

    recording = await until(shown)
    assert recording["progress"]["bitrate"] == 7_000
