"""The queue of recordings, its slots and the cut over HTTP, with the real downloader behind it."""

from __future__ import annotations

import pytest
from contracts.downloader import CutRequested, RecordingStarted, SegmentCompleted, SlotsChanged

from services.downloader.app import build
from tests.integration.downloader_rig import flv, outside, settings
from tests.integration.gateway_stage import logged_in, staged
from tests.integration.harness import eventually, running
from tests.studio import Studio

pytestmark = pytest.mark.engines


async def test_what_waits_is_seen_slots_are_set_and_a_recording_is_cut(nats_url, postgres_dsn, make_database, tmp_path):
    async with (
        Studio() as studio,
        staged(nats_url, postgres_dsn, make_database, tmp_path) as stage,
        outside(nats_url) as world,
        running(build(settings(nats_url, make_database(), tmp_path, slots=1, extra_high_slots=0))),
    ):
        await studio.put_on_air("1")
        world.sources = lambda: (flv(studio),)
        gateway = await stage.gateway()
        try:
            async with logged_in(gateway) as client:

                async def shown(recording):
                    found = await client.get(f"/api/recordings/{recording}")
                    return found.json() if found.status_code == 200 else {}

                # given one that runs and three that wait
                await world.start("running")
                await world.wait(RecordingStarted)
                for recording, priority in (("low", "low"), ("first", "normal"), ("second", "normal")):
                    await world.start(recording, priority=priority)

                async def all_wait():
                    return (await client.get("/api/recordings/slots")).json()["waiting"] == 3

                await eventually(all_wait)
                places = {one: (await shown(one))["queue_position"] for one in ("running", "low", "first", "second")}
                assert places == {"running": None, "low": 3, "first": 1, "second": 2}

                # when somebody gives it more slots, then what waited first begins, and the replica says what it has
                changed = await client.patch("/api/recordings/slots", json={"slots": 2})
                assert changed.status_code == 200, changed.text
                assert [event.slots for event in world.of(SlotsChanged)] == [2]
                await world.wait(RecordingStarted, 2)

                async def told():
                    found = (await client.get("/api/recordings/slots")).json()
                    return [(one["worker"], one["slots"], one["running"]) for one in found["replicas"]] == [
                        ("in-process", 2, 2)
                    ]

                await eventually(told)
                assert (await shown("second"))["queue_position"] == 1
                refused = await client.patch("/api/recordings/slots", json={"slots": -1})
                assert refused.status_code == 422

                # when somebody cuts, then a file ends for that reason
                await world.wait_for_media(1000)
                cut = await client.post("/api/recordings/running/cut")
                assert cut.status_code == 200, cut.text
                assert [event.cause for event in world.of(CutRequested)] == ["command"]
                (segment, *_) = await world.wait(SegmentCompleted)
                assert (segment.recording_id, segment.split_reason) == ("running", "cut")
                waiting = await client.post("/api/recordings/low/cut")
                assert waiting.status_code == 409
        finally:
            await gateway.stop()
