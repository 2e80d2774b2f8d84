"""The event store and its read models: order, gaps, rebuilds, one active projector."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace

import asyncpg
import pytest
from chassis.ids import new_id, new_key
from chassis.leases import Lease
from contracts import config, danmu, downloader, monitor, notifier, pipeline, scheduler, subjects, system, uploader
from contracts.envelope import Metadata, wrap
from contracts.message import Event
from contracts.values import Artifact, Effective, EndReason, Layer, Processor, Step

from services.gateway.projections import MODELS
from services.gateway.projections.model import Folded
from services.gateway.projections.projector import LEASE, Healer, Projector
from services.gateway.projections.rebuild import ensure, outdated, rebuild
from services.gateway.store.events import QUERIES
from tests.deadline import DEADLINE_S
from tests.integration.gateway_stage import config_handlers, logged_in, projecting, staged, until

pytestmark = pytest.mark.engines


@pytest.fixture
async def stage(nats_url, postgres_dsn, make_database, tmp_path):
    async with staged(nats_url, postgres_dsn, make_database, tmp_path) as stage:
        yield stage


@pytest.fixture
async def gateway(stage):
    service = await stage.gateway()
    await stored(service, 0)
    yield service
    await service.stop()


def broadcast(number: int) -> dict[str, list[Event]]:
    """A whole recording as every service tells it, by stream."""
    ids = {"session_id": f"session{number}", "streamer_id": f"streamer{number % 3}"}
    here = {"recording_id": f"recording{number}", **ids}
    snapshot = {"streamer_name": "One", "url": "https://live.example.org/1", "platform": "direct", "title": "T"}
    file = Artifact(uri="file:///a.flv", media_type="video/x-flv", size=1000 + number)
    started = "2026-01-01T00:00:00+00:00"
    run = {"run_id": f"run{number}", "session_id": ids["session_id"]}
    step = Step(id="remux", processor=Processor.REMUX)
    job = {**run, "job_id": f"job{number}"}
    upload = {"upload_id": f"upload{number}", "session_id": ids["session_id"]}
    return {
        "session": [
            monitor.SessionOpened(**ids, **snapshot, category="", started_at=started),
            monitor.SessionSuspended(**ids, grace_s=5, suspended_at=started),
            monitor.SessionResumed(**ids),
            monitor.SessionClosed(**ids, reason=EndReason.OFFLINE),
        ],
        "process": [
            scheduler.RecordingPlanned(**here, **snapshot, category="", effective=Effective(), started_at=started),
            scheduler.ProcessCompleted(**ids, recordings=(here["recording_id"],), segments=1),
        ],
        "recording": [
            downloader.RecordingRequested(**here, **snapshot, effective=Effective(), first_index=0),
            downloader.RecordingStarted(**here, worker="w", epoch=1, engine="flv"),
            downloader.SegmentOpened(**here, index=0, uri=file.uri, start_ms=0, started_at=started),
            downloader.GapOpened(**here, at_ms=10, cause="eof"),
            downloader.GapClosed(**here, at_ms=10, lost_ms=7),
            downloader.SegmentCompleted(
                **here, index=0, artifact=file, start_ms=0, duration_ms=60_000, started_at=started, split_reason="end"
            ),
            downloader.RecordingEnded(
                **here,
                reason=EndReason.OFFLINE,
                detail="",
                segments=1,
                next_index=1,
                duration_ms=60_000,
                bytes=file.size,
            ),
        ],
        "run": [
            pipeline.RunPlanned(**run, kind="segment", index=0, steps=(step,), inputs=(file,)),
            pipeline.JobReleased(**job, step=step, inputs=(file,)),
            pipeline.JobStarted(**job, step_id="remux", worker="w", epoch=1),
            pipeline.JobCompleted(**job, step_id="remux", outputs=(file,), seconds=1.5),
            pipeline.RunCompleted(**run, kind="segment", index=0, outputs=(file,)),
        ],
        "upload": [
            uploader.UploadRequested(**upload, source=file, destination="s3://b/a.flv"),
            uploader.UploadCompleted(**upload, artifact=file, seconds=2.25),
        ],
    }


def everything_else() -> list[list[Event]]:
    """What the read models need that no broadcast tells, stream by stream."""
    streamer, session = {"streamer_id": "streamer0"}, {"session_id": "session0", "streamer_id": "streamer0"}
    file = Artifact(uri="file:///a.flv", media_type="video/x-flv", size=1000)
    added = {**streamer, "url": "https://live.example.org/1", "name": "One", "platform": "direct"}
    counted = {"messages": 2, "kinds": {"chat": 2}, "first_ms": 0, "last_ms": 9, "chatters": 1, "rate_from_ms": 0}
    listed = dict.fromkeys(("talkers", "words", "gifts", "paid", "highlights"), ())
    statistics = danmu.Statistics(**counted, bucket_s=10, rate=(2,), **listed)
    sent = {"notification_id": "sent1", "target_id": "target1", "event_type": "aircheck.pipeline.session.finished.v1"}
    reasons = {"error_type": "Poison", "error": "broken", "deliveries": 3}
    letter = {
        "letter_id": "letter1",
        "consumer": "commands-config",
        "message_id": "m",
        "letter_type": "t",
        "subject": "s",
    }
    return [
        [
            config.StreamerAdded(**added),
            config.StreamerResolved(**added, enabled=True, effective=Effective(), provenance={"quality": "global"}),
            config.StreamerStopped(**streamer),
        ],
        [
            monitor.ChannelWentLive(**streamer, title="T", category=""),
            monitor.ChannelFailed(**streamer, error="e", fatal=False),
        ],
        [config.CredentialSaved(credential_id="c1", name="Ann", domains=("example.org",), holds=("cookies",))],
        [config.LayerSaved(layer_id="global", kind="global", name="global", layer=Layer(quality="best"))],
        [
            danmu.ChatStarted(**session, chat_kind="bilibili", worker="w", epoch=1),
            danmu.ChatFileCompleted(
                **session,
                recording_id="recording0",
                index=0,
                log=file,
                xml=file,
                lines=2,
                started_at="2026-01-01T00:00:00+00:00",
            ),
            danmu.ChatSummarised(**session, statistics=statistics),
            danmu.ChatEnded(**session, reason=EndReason.OFFLINE, files=1, lines=2),
        ],
        [
            pipeline.SessionFinished(
                **session, segments=1, duration_ms=1, chat_lines=2, failed_runs=0, manifest=(file,)
            ),
            pipeline.ReclaimStarted(**session, reason="age", files=(file,)),
            pipeline.SessionReclaimed(**session, files=1, bytes=1000),
        ],
        [
            pipeline.ReclaimRequested(request_id="r1", dry_run=False),
            pipeline.ReclaimPlanned(request_id="r1", items=(), sessions=1, files=1, bytes=1000),
            pipeline.ReclaimCompleted(request_id="r1", sessions=1, bytes=1000),
        ],
        [
            notifier.TargetSaved(
                target_id="target1", kind="webhook", name="hook", host="example.org", events=("*",), enabled=True
            )
        ],
        [notifier.NotificationRequested(**sent, event_id="e1"), notifier.NotificationDelivered(**sent, attempts=2)],
        [system.of("config", system.DeadLetterBuried)(**letter, **reasons)],
    ]


async def position(service) -> int:
    return await service.pool.fetchval("select position from store_head")


async def stored(service, count: int) -> None:
    """Wait for so many events beside the one that tells of the first administrator."""

    async def enough():
        return await position(service) >= count + 1

    await until(enough)


async def dump(service) -> dict[str, list[str]]:
    """Every row of every read model as PostgreSQL writes it."""
    found = {}
    for model in MODELS:
        for table in model.tables:
            rows = await service.pool.fetch(f"select t::text as row from rm_{table} t order by 1")
            found[table] = [row["row"] for row in rows]
    return found


async def test_positions_are_gapless_and_repeats_are_stored_once(stage, gateway):
    events = broadcast(1)["recording"]
    sent = await stage.publish(*events)

    for event, envelope in zip(events, sent, strict=True):
        # Outside the duplicate window of the bus: another message id, the same event.
        headers = {**envelope.to_headers(), "Nats-Msg-Id": new_key(), "Aircheck-Replayed": "true"}
        await stage.client.jetstream(timeout=DEADLINE_S).publish(subjects.of(event), envelope.data, headers=headers)
    await stage.publish(*broadcast(2)["session"])
    await stored(gateway, len(events) + 4)

    rows = await gateway.pool.fetch("select position, event_id, version from store_events order by position")
    assert [row["position"] for row in rows] == list(range(1, len(events) + 6))
    assert [row["event_id"] for row in rows][1 : len(events) + 1] == [envelope.id for envelope in sent]


async def test_the_store_refuses_to_forget(stage, gateway):
    await stage.publish(*broadcast(1)["session"])
    await stored(gateway, 4)

    for statement in ("update store_events set type = ''", "delete from store_events", "truncate store_events cascade"):
        with pytest.raises(asyncpg.PostgresError, match="append-only"):
            await gateway.pool.execute(statement)

    assert await position(gateway) == 5


async def test_a_broadcast_reads_as_one_session(stage, gateway):
    for events in broadcast(1).values():
        await stage.publish(*events)
    await stored(gateway, 20)

    async with logged_in(gateway) as client:
        session = (await client.get("/api/sessions/session1")).json()
        recording = (await client.get("/api/recordings/recording1")).json()
        run = (await client.get("/api/pipelines/run1")).json()
        upload = (await client.get("/api/uploads/upload1")).json()
        timeline = (await client.get("/api/sessions/session1/timeline")).json()["items"]

    assert (session["state"], session["reason"], session["recordings"]) == ("closed", "offline", ["recording1"])
    assert (session["segments"], session["duration_ms"], session["bytes"], session["lost_ms"]) == (1, 60_000, 1001, 7)
    assert recording["state"] == "ended" and recording["gaps"][0]["lost_ms"] == 7
    assert recording["files"][0]["artifact"]["size"] == 1001
    assert run["state"] == "completed" and run["jobs"][0]["state"] == "completed"
    assert upload["state"] == "completed" and upload["seconds"] == 2.25
    assert [item["position"] for item in timeline] == sorted(item["position"] for item in timeline)
    assert len(timeline) == 20


async def test_a_rebuild_gives_the_same_rows(stage, gateway):
    streams = [events for number in range(7) for events in broadcast(number).values()]
    rounds = itertools.zip_longest(
        *[[(event, version) for version, event in enumerate(events, 1)] for events in streams]
    )
    for event, version in (one for each in rounds for one in each if one):
        await stage.publish(event, first=version)
    for events in everything_else():
        await stage.publish(*events)
    total = sum(len(events) for events in [*streams, *everything_else()])
    await stored(gateway, total)
    before = await dump(gateway)

    built = [await rebuild(gateway.pool, model.name) for model in MODELS]

    assert await dump(gateway) == before
    assert [name for name, rows in before.items() if not rows] == [], "an empty table would prove nothing"
    assert {one.position for one in built} == {total + 1}


async def test_events_before_a_missing_version_wait_and_are_applied_in_order(stage, gateway):
    opened, suspended, resumed, closed = broadcast(1)["session"]
    await stage.publish(opened)
    await stage.publish(resumed, closed, first=3)
    await stored(gateway, 3)
    async with logged_in(gateway) as client:
        during = (await client.get("/api/sessions/session1")).json()
        health = (await client.get("/api/health")).json()

        await stage.publish(suspended, first=2)
        await stored(gateway, 4)
        after = (await client.get("/api/sessions/session1")).json()

    assert (during["state"], during["version"]) == ("open", 1) and health["parked_events"] == 2
    assert (after["state"], after["version"]) == ("closed", 4)
    before = await dump(gateway)
    await rebuild(gateway.pool, "sessions")
    assert await dump(gateway) == before


async def test_a_gap_makes_its_owner_publish_again(stage, gateway, engines):
    config_service = await stage.config(config_handlers())
    js = stage.client.jetstream(timeout=DEADLINE_S)
    second = None
    try:
        await gateway.resources.get(Projector).stop()  # nobody reads while the bus loses an event
        command = config.AddStreamer(streamer_id="lost", url="https://live.example.org/1", name="one")
        await config_service.bus.send_direct(command)

        async def published():
            return (await js.stream_info("EVENTS")).state.messages == 3

        await until(published)
        await js.delete_msg("EVENTS", 2)
        # As after a crash: the bus forgets the ids of messages it lost, within its window it would drop them as repeats.
        await asyncio.to_thread(engines.nats.restart)

        second = await stage.gateway(worker="second")
        async with logged_in(second) as client:

            async def healed():
                answer = await client.get("/api/streamers/lost")
                return answer.status_code == 200 and answer.json()

            streamer = await until(healed, 60)
            assert streamer["version"] == 2 and streamer["effective"]
            assert (await client.get("/api/health")).json()["parked_events"] == 0
    finally:
        if second is not None:
            await second.stop()
        await config_service.stop()


async def test_a_healer_asks_once_and_then_backs_off(stage, gateway):
    await stage.publish(*broadcast(1)["session"][1:], first=2)
    await stored(gateway, 3)
    healer = Healer(gateway.pool, gateway.bus, grace_s=0)

    first, second = await healer.heal(), await healer.heal()

    assert first == [("monitor", "session-session1")] and second == []


async def test_what_can_never_be_stored_is_buried_and_holds_up_nothing(stage, gateway):
    event = broadcast(1)["session"][0]
    good = wrap(event, id=new_id(), metadata=Metadata(correlation_id=new_id()), source="monitor", sequence=1)
    js = stage.client.jetstream(timeout=DEADLINE_S)
    await js.publish(subjects.of(event), b"{}", headers={"Nats-Msg-Id": "a"})
    nul = replace(good, id=new_id(), data=good.data.replace(b'"T"', b'"\\u0000"'))
    await stage.send(event, nul)
    await js.publish("evt.nobody.session.x.opened.v1", good.data, headers={**good.to_headers(), "Nats-Msg-Id": "b"})
    await stage.send(event, good)
    rival = replace(good, id=new_id())
    await stage.send(event, rival)  # a second event for the same version

    async with logged_in(gateway) as client:

        async def buried():
            items = (await client.get("/api/dead-letters")).json()["items"]
            return len(items) == 4 and items

        letters = await until(buried)
        assert (await client.get("/api/sessions/session1")).json()["title"] == "T"
        dropped = await client.delete(f"/api/dead-letters/{letters[0]['id']}")
        assert dropped.status_code == 204, dropped.text
        assert (await client.get(f"/api/dead-letters/{letters[0]['id']}")).json()["state"] == "dropped"

    errors = " ".join(letter["error"] for letter in letters)
    assert "ce-specversion" in errors and "there is no service" not in errors and "two events for version 1" in errors
    assert str(good.id) in [
        str(row["event_id"]) for row in await gateway.pool.fetch("select event_id from store_events")
    ]


async def test_types_of_a_newer_release_are_stored_and_not_projected(stage, gateway):
    event = broadcast(1)["session"][0]
    known = wrap(event, id=new_id(), metadata=Metadata(correlation_id=new_id()), source="monitor", sequence=1)
    newer = replace(known, type="aircheck.monitor.session.opened.v9")
    await stage.send(event, newer)
    await stage.publish(*broadcast(2)["session"])
    await stored(gateway, 5)

    async with logged_in(gateway) as client:
        item = (await client.get("/api/events/2")).json()
        other = await client.get("/api/sessions/session2")

    assert item["type"] == "aircheck.monitor.session.opened.v9" and item["data"]["session_id"] == "session1"
    assert other.json()["state"] == "closed"


async def test_a_defect_in_one_read_model_stops_neither_the_store_nor_the_others(stage, gateway):
    await gateway.pool.execute("alter table rm_sessions add constraint broken check (title <> 'T')")
    for events in broadcast(1).values():
        await stage.publish(*events)
    await stored(gateway, 20)

    async with logged_in(gateway) as client:
        recording = await client.get("/api/recordings/recording1")
        projections = {one["name"]: one for one in (await client.get("/api/projections")).json()["items"]}
        rebuilt = await client.post("/api/projections/sessions/rebuild")
        session = await client.get("/api/sessions/session1")

    assert recording.json()["state"] == "ended"
    assert projections["sessions"]["state"] == "failed" and "broken" in projections["sessions"]["error"]
    assert projections["recordings"]["position"] == 21
    assert rebuilt.status_code == 200 and rebuilt.json()["position"] == 21
    assert session.json()["state"] == "closed"


async def test_a_new_version_is_built_from_history_and_swapped_in(stage, gateway):
    await stage.publish(*broadcast(1)["session"])
    await stored(gateway, 4)
    newer = [
        replace(model, version=model.version + 1) if model.name == "sessions" else model
        for model in MODELS
        if isinstance(model, Folded)
    ]

    assert await outdated(gateway.pool, newer) == ["sessions"]
    built = await rebuild(gateway.pool, "sessions", newer)

    (sessions,) = [model for model in newer if model.name == "sessions"]
    assert (built.version, built.position, built.events) == (sessions.version, 5, 4)
    assert await outdated(gateway.pool, newer) == []
    await ensure(gateway.pool, newer)
    assert await gateway.pool.fetchval("select state from rm_sessions") == "closed"


async def test_one_replica_projects_and_another_takes_over(stage):
    first = await stage.gateway(worker="first")
    second = await stage.gateway(worker="second")
    stopped = False
    try:

        async def decided():
            return projecting(first) != projecting(second)

        await until(decided)
        leader, other = (first, second) if projecting(first) else (second, first)
        await stage.publish(*broadcast(1)["session"])
        await stored(leader, 4)

        await leader.stop()
        stopped = True

        async def taken_over():
            return projecting(other)

        await until(taken_over)
        await stage.publish(*broadcast(2)["session"])
        await stored(other, 8)
        rows = await other.pool.fetch("select position from store_events order by position")
        assert [row["position"] for row in rows] == list(range(1, 10))
        assert await other.pool.fetchval("select epoch from leases where name = $1", LEASE) > 1
        first = second = other
    finally:
        for service in {first, second} if not stopped else {other}:
            await service.stop()


async def test_two_projectors_at_once_leave_no_gap(stage):
    """A leader that does not know yet that it was deposed: the lock on the head keeps positions gapless."""
    first = await stage.gateway(worker="first")
    second = await stage.gateway(worker="second", project=False)
    try:
        await second.resources.get(Projector)._begin(Lease(LEASE, 0))
        streams = [broadcast(number)["recording"] for number in range(40)]
        await asyncio.gather(*(stage.publish(*events) for events in streams))
        await stored(first, 280)

        rows = await first.pool.fetch("select position from store_events order by position")
        assert [row["position"] for row in rows] == list(range(1, 282))

        async def applied():
            return await first.pool.fetchval("select count(*) from rm_recordings where state = 'ended'") == 40

        await until(applied)
        assert await first.pool.fetch(QUERIES["gaps"]) == []
    finally:
        await second.resources.get(Projector)._end()
        await second.stop()
        await first.stop()


async def test_republish_over_http_tells_how_many_events_went_out(stage, gateway):
    config_service = await stage.config()
    try:
        async with logged_in(gateway) as client:
            await client.post("/api/streamers", json={"url": "https://live.example.org/1", "name": "one"})
            answer = await client.post("/api/republish", json={"service": "config"})
            unknown = await client.post("/api/republish", json={"service": "nobody"})
    finally:
        await config_service.stop()

    assert answer.status_code == 200 and answer.json()["events"] == 2 and answer.json()["service"] == "config"
    assert unknown.status_code == 422
    assert system.SERVICES  # the choice of the field is the list of services
