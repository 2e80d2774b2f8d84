"""Commands over HTTP against a real bus and database."""

from __future__ import annotations

import asyncio

import pytest

from services.gateway.projections.projector import Projector
from tests.deadline import DEADLINE_S
from tests.integration.gateway_stage import logged_in, staged, until

pytestmark = pytest.mark.engines


@pytest.fixture
async def world(nats_url, postgres_dsn, make_database, tmp_path):
    async with staged(nats_url, postgres_dsn, make_database, tmp_path) as stage:
        config = await stage.config()
        gateway = await stage.gateway()
        try:
            async with logged_in(gateway) as client:
                yield stage, gateway, client
        finally:
            await gateway.stop()
            await config.stop()


async def add(client, name="one", **more):
    return await client.post("/api/streamers", json={"url": f"https://live.example.org/{name}", "name": name}, **more)


async def test_adding_a_streamer_waits_for_the_read_model(world):
    _, _, client = world

    created = await add(client)

    assert created.status_code == 201, created.text
    body = created.json()
    assert body["name"] == "one" and body["state"] == "waiting" and body["effective"]["quality"] == "best"
    assert created.headers["location"] == f"/api/streamers/{body['id']}"
    assert int(created.headers["x-event-position"]) >= 1
    again = await client.get(created.headers["location"])
    assert again.json() == body
    assert again.headers["etag"] == f'"{body["version"]}"'


async def test_an_answer_waits_for_all_that_its_command_caused_however_late_it_is_projected(
    nats_url, postgres_dsn, make_database, tmp_path
):
    async with staged(nats_url, postgres_dsn, make_database, tmp_path) as stage:
        config = await stage.config()
        # given a projector that takes one event at a time
        gateway = await stage.gateway(projector_batch=1)
        projector = gateway.resources.get(Projector)
        await until(lambda: _true(projector.active))
        ingest, go = projector.ingest, asyncio.Event()

        async def held(deliveries):
            if deliveries[0].headers["ce-type"].startswith("aircheck.config.streamer.resolved"):
                await go.wait()
            await ingest(deliveries)

        projector._consumer.on_batch = held
        try:
            async with logged_in(gateway) as client:
                adding = asyncio.create_task(add(client))
                await until(lambda: stored(gateway, "config.streamer.added.v1"))
                # when the second of two events of one transaction is not there for a while
                done, _ = await asyncio.wait([adding], timeout=1)
                go.set()
                body = (await adding).json()
        finally:
            go.set()
            await gateway.stop()
            await config.stop()
    assert not done
    assert body["effective"]["quality"] == "best"


async def stored(gateway, type):
    return await gateway.pool.fetchval("select exists (select from store_events where type = $1)", type)


async def _true(value):
    return value


async def test_a_rejected_command_answers_with_the_problem_of_the_service(world):
    _, _, client = world

    refused = await add(client, "taken")

    assert refused.status_code == 409
    assert refused.headers["content-type"] == "application/problem+json"
    problem = refused.json()
    assert problem["title"] == "Already watched" and problem["detail"] == "another streamer has this address"
    assert len(problem["trace_id"]) == 32


async def test_what_a_service_cannot_handle_is_no_success_and_is_found_in_the_dead_letters(world):
    _, _, client = world
    one, poison = (await add(client)).headers["location"], (await add(client, "poison")).headers["location"]

    changed = await client.patch(one, json={"name": "poison"})
    removed = await client.delete(poison, headers={"Idempotency-Key": "once"})
    again = await client.delete(poison, headers={"Idempotency-Key": "once"})
    letters = (await client.get("/api/dead-letters")).json()["items"]

    assert [answer.status_code for answer in (changed, removed, again)] == [500, 500, 500]
    assert changed.headers["content-type"] == "application/problem+json"
    assert "password" not in changed.text
    assert len(letters) == 2
    assert {one["id"] for one in letters} == {one.json()["detail"].rpartition(" ")[2] for one in (changed, removed)}
    assert again.json()["detail"] == removed.json()["detail"]


async def test_what_makes_a_larger_command_than_the_bus_takes_is_refused_with_413(world):
    _, _, client = world

    refused = await client.put("/api/config", json={"filters": {"title_includes": ["x" * 600_000]}})
    whole = await client.put("/api/config", json={"filters": {"title_includes": ["x" * 1_048_500]}})

    assert (refused.status_code, whole.status_code) == (413, 413)
    assert refused.headers["content-type"] == "application/problem+json"
    assert (await client.get("/api/dead-letters")).json()["items"] == []


async def test_if_match_is_the_aggregate_version(world):
    _, _, client = world
    created = await add(client)
    location, tag = created.headers["location"], (await client.get(created.headers["location"])).headers["etag"]

    changed = await client.patch(location, json={"name": "two"}, headers={"If-Match": tag})
    stale = await client.patch(location, json={"name": "three"}, headers={"If-Match": tag})
    malformed = await client.patch(location, json={"name": "three"}, headers={"If-Match": "7"})

    assert changed.status_code == 200 and changed.json()["name"] == "two"
    assert changed.headers["etag"] != tag
    assert stale.status_code == 412
    assert malformed.status_code == 400


async def test_starting_and_stopping_carry_the_version_of_the_caller(world):
    _, _, client = world
    location = (await add(client)).headers["location"]

    for action in ("start", "stop"):
        stale = await client.post(f"{location}/{action}", headers={"If-Match": '"1"'})
        current = await client.post(f"{location}/{action}", headers={"If-Match": '"2"'})
        assert (stale.status_code, current.status_code) == (412, 200)


async def test_a_command_that_changes_nothing_answers_at_once(world):
    _, _, client = world
    location = (await add(client)).headers["location"]

    async with asyncio.timeout(30):  # less than the time after which 202 is answered
        same = await client.patch(location, json={"name": "one"})

    assert same.status_code == 200 and same.json()["name"] == "one"


async def test_removing_answers_204_and_the_streamer_is_gone(world):
    _, _, client = world
    location = (await add(client)).headers["location"]

    removed = await client.delete(location)
    after = await client.get(location)

    assert removed.status_code == 204 and removed.content == b""
    assert after.status_code == 404 and after.headers["content-type"] == "application/problem+json"


async def test_the_same_idempotency_key_does_it_once(world):
    _, _, client = world
    key = {"Idempotency-Key": "first-try"}

    first = await add(client, headers=key)
    second = await add(client, headers=key)
    other = await add(client, "other", headers=key)

    assert first.status_code == second.status_code == 201
    assert second.json() == first.json() and second.headers["etag"] == first.headers["etag"]
    assert second.headers["idempotency-replayed"] == "true" and "idempotency-replayed" not in first.headers
    assert other.status_code == 422
    assert len((await client.get("/api/streamers")).json()["items"]) == 1


async def test_a_second_request_meanwhile_is_told_to_wait(world):
    _, gateway, client = world
    publish, gate, reached = gateway.bus.publish, asyncio.Event(), asyncio.Event()

    async def slow(*args, **kwargs):
        reached.set()
        await gate.wait()
        await publish(*args, **kwargs)

    gateway.bus.publish = slow
    first = asyncio.create_task(add(client, headers={"Idempotency-Key": "k"}))
    async with asyncio.timeout(DEADLINE_S):
        await reached.wait()

    second = await add(client, headers={"Idempotency-Key": "k"})
    gate.set()

    assert second.status_code == 409
    assert (await first).status_code == 201


async def test_a_failed_attempt_is_repeated_with_the_same_command_id(world):
    _, gateway, client = world
    publish = gateway.bus.publish

    async def lost_acknowledgement(*args, **kwargs):
        gateway.bus.publish = publish
        await publish(*args, **kwargs)
        raise TimeoutError

    gateway.bus.publish = lost_acknowledgement
    first = await add(client, headers={"Idempotency-Key": "k"})
    second = await add(client, headers={"Idempotency-Key": "k"})

    assert first.status_code == 503
    assert second.status_code == 201
    assert [item["id"] for item in (await client.get("/api/streamers")).json()["items"]] == [second.json()["id"]]


async def test_without_an_answer_in_time_the_command_is_accepted(nats_url, postgres_dsn, make_database, tmp_path):
    async with staged(nats_url, postgres_dsn, make_database, tmp_path) as stage:
        gateway = await stage.gateway(command_wait_s=0.2)
        try:
            async with logged_in(gateway) as client:
                answer = await add(client)
        finally:
            await gateway.stop()

    assert answer.status_code == 202
    assert answer.json()["status"] == "accepted" and answer.headers["location"].startswith("/api/streamers/")


async def test_a_private_address_is_refused_before_anything_is_sent(world):
    stage, _, client = world

    refused = await client.post("/api/streamers", json={"url": "http://169.254.169.254/latest"})

    assert refused.status_code == 422 and "link-local" in refused.json()["detail"]
    assert (await stage.client.jetstream(timeout=DEADLINE_S).stream_info("COMMANDS")).state.messages == 0


async def test_the_global_layer_is_saved_and_counted(world):
    _, _, client = world

    blank = await client.get("/api/config")
    saved = await client.put("/api/config", json={"quality": "720p"})

    assert blank.headers["etag"] == '"0"' and blank.json()["layer"]["quality"] is None
    assert saved.status_code == 200 and saved.json()["layer"]["quality"] == "720p"
    assert saved.headers["etag"] == '"1"'


async def test_a_command_carries_its_actor_and_the_trace_of_the_caller(world):
    _, _, client = world
    trace = "0af7651916cd43dd8448eb211c80319c"

    created = await add(client, headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    event = (await client.get(f"/api/events/{created.headers['x-event-position']}")).json()

    assert event["type"] == "aircheck.config.streamer.resolved.v1", "the position covers the whole transaction"
    assert event["actor"] == "admin" and event["traceparent"].split("-")[1] == trace
    assert event["causationid"]
