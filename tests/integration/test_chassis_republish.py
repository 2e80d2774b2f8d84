"""A service can publish a range of its own log again: same ids, same order, marked as replayed."""

from __future__ import annotations

import json

import pytest
from chassis.ids import new_key
from chassis.service import Service
from contracts import system
from contracts.config import AddStreamer

from tests.integration.harness import (
    STREAMER,
    Wire,
    add_streamer,
    append_name,
    handlers_of,
    running,
    settings,
    streamer_changed,
    wire,
)

pytestmark = pytest.mark.engines
REPUBLISH = system.of("config", system.Republish)


def service_of(postgres_dsn: str, nats_url: str) -> Service:
    return Service(settings("config", postgres_dsn, nats_url), handlers_of("config", {AddStreamer: append_name}))


async def fill(on: Wire, service: Service, count: int = 12) -> list:
    for number in range(count):
        await on.send(add_streamer(f"s{number % 3}", f"n{number}"))
    await on.holds(count)
    await on.settled("config")
    return await service.pool.fetch(
        "select position, event_id, stream, version, data ->> 'name' as name from events order by position"
    )


async def forget(on: Wire) -> None:
    """A bus that lost what it had: the stream is empty and knows no ids."""
    config = (await on.js.stream_info("EVENTS")).config
    await on.js.delete_stream("EVENTS")
    await on.js.add_stream(config)


async def replayed(on: Wire, count: int) -> list:
    found = [one for one in await on.holds(count + 1) if one.headers.get("Aircheck-Replayed") == "true"]
    assert len(found) == count
    return found


@pytest.mark.parametrize(("first", "last"), [(0, 0), (4, 9), (4, 0), (0, 5)])
async def test_a_range_goes_out_again_with_the_same_ids_in_order(
    nats_url: str, postgres_dsn: str, first: int, last: int
) -> None:
    async with wire(nats_url) as on, running(service_of(postgres_dsn, nats_url)) as service:
        rows = await fill(on, service)
        before = {one.headers["ce-id"]: one for one in await on.messages()}
        await forget(on)
        # when
        request = new_key()
        await on.send(REPUBLISH(request_id=request, from_position=first, to_position=last))
        # then
        wanted = [row for row in rows if row["position"] >= first and (not last or row["position"] <= last)]
        found = await replayed(on, len(wanted))
        assert [one.headers["ce-id"] for one in found] == [str(row["event_id"]) for row in wanted]
        for one in found:
            original = before[one.headers["ce-id"]]
            assert one.subject == original.subject
            assert json.loads(one.data) == json.loads(original.data)
            ignored = {
                "Aircheck-Replayed",
                "Nats-Expected-Stream",
                "Nats-Batch-Id",
                "Nats-Batch-Sequence",
                "Nats-Batch-Commit",
            }
            headers = [{k: v for k, v in m.headers.items() if k not in ignored} for m in (one, original)]
            assert headers[0] == headers[1]
        answer = (await on.messages())[-1]
        assert answer.headers["ce-type"] == "aircheck.config.log.republished.v1"
        assert json.loads(answer.data) == {"request_id": request, "events": len(wanted)}


async def test_one_stream_from_a_version(nats_url: str, postgres_dsn: str) -> None:
    async with wire(nats_url) as on, running(service_of(postgres_dsn, nats_url)) as service:
        await fill(on, service)
        await forget(on)
        await on.send(REPUBLISH(request_id=new_key(), stream="streamer-s1", from_version=3))
        found = await replayed(on, 2)
        assert [(one.headers["ce-subject"], one.headers["ce-sequence"]) for one in found] == [
            ("streamer/s1", "3"),
            ("streamer/s1", "4"),
        ]


async def test_what_the_bus_still_knows_is_not_stored_twice(nats_url: str, postgres_dsn: str) -> None:
    async with wire(nats_url) as on, running(service_of(postgres_dsn, nats_url)) as service:
        await fill(on, service, 6)
        await on.send(REPUBLISH(request_id=new_key()))
        assert [one.headers["ce-type"] for one in (await on.holds(7))[6:]] == ["aircheck.config.log.republished.v1"]


async def test_a_type_that_no_class_reads_any_more_goes_out_too(nats_url: str, postgres_dsn: str) -> None:
    async with wire(nats_url) as on, running(service_of(postgres_dsn, nats_url)) as service:
        await service.pool.execute(
            "insert into events (stream, version, event_id, type, data, meta, recorded_at) values"
            " ('streamer-s9', 1, gen_random_uuid(), 'config.streamer.retired.v1', '{\"old\": true}', $1, now())",
            {"correlationid": "01a200c0-37c6-71f6-9d1d-e9532ed43108"},
        )
        await on.send(REPUBLISH(request_id=new_key()))
        [found] = await replayed(on, 1)
        assert found.subject == "evt.config.streamer.s9.retired.v1"
        assert found.headers["ce-type"] == "aircheck.config.streamer.retired.v1"
        assert found.headers["ce-subject"] == "streamer/s9"
        assert json.loads(found.data) == {"old": True}


async def test_a_range_larger_than_one_page_and_ids_with_dashes(nats_url: str, postgres_dsn: str, monkeypatch) -> None:
    from chassis import eventlog

    monkeypatch.setattr(eventlog, "REPUBLISH_PAGE", 7)
    async with wire(nats_url) as on, running(service_of(postgres_dsn, nats_url)) as service:
        for streamer in ("streamer-x", "a-b_c"):
            async with service.unit() as work:
                at = await work.load(STREAMER, streamer)
                await work.append(at, [streamer_changed(streamer, f"{n}") for n in range(10)])
        await on.holds(20)
        await forget(on)
        await on.send(REPUBLISH(request_id=new_key()))
        found = await replayed(on, 20)
        assert [one.subject.split(".")[3] for one in found] == ["streamer-x"] * 10 + ["a-b_c"] * 10
        assert [json.loads(one.data)["name"] for one in found] == [str(n) for n in range(10)] * 2
