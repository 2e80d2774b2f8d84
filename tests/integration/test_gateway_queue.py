"""The queue of recordings, its slots and the cut over HTTP, with the real downloader behind it."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE

import pytest
from contracts.downloader import CutRequested, RecordingStarted, SegmentCompleted, SlotsChanged

from services.downloader.app import build
from tests.integration.downloader_rig import flv, outside, settings
from tests.integration.gateway_stage import PASSWORD, logged_in, staged, url_of
from tests.integration.harness import eventually, running
from tests.studio import Studio

pytestmark = pytest.mark.engines


async def aircheck(gateway, *arguments):
    """What the command line says."""
    environment = {
        **os.environ,
        "AIRCHECK_URL": url_of(gateway),
        "AIRCHECK_USER": "admin",
        "AIRCHECK_PASSWORD": PASSWORD,
    }
    command = [sys.executable, "-m", "aircheck", *arguments]
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=PIPE, stderr=PIPE)
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


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
                # Told to the one who asked, and here, over two connections.
                assert [event.slots for event in await world.wait(SlotsChanged)] == [2]
                await world.wait(RecordingStarted, 2)

                async def told():
                    found = (await client.get("/api/recordings/slots")).json()
                    return [(one["worker"], one["slots"], one["running"]) for one in found["replicas"]] == [
                        ("in-process", 2, 2)
                    ]

                await eventually(told)

                async def moved_up():
                    return (await shown("second"))["queue_position"] == 1

                # What replicas say of themselves comes as a signal, places come with the events.
                await eventually(moved_up)
                # and the command line shows and does the same
                shown = await aircheck(gateway, "recordings", "list")
                assert "waits, 1. in the queue" in shown and "waits, 2. in the queue" in shown
                assert "in-process" in await aircheck(gateway, "recordings", "slots", "2", "--extra-high", "0")
                told = await world.wait(SlotsChanged, 2)
                assert [(event.slots, event.extra_high) for event in told] == [(2, None), (2, 0)]
                refused = await client.patch("/api/recordings/slots", json={"slots": -1})
                assert refused.status_code == 422

                # when somebody cuts, then a file ends for that reason
                await world.wait_for_media(1000)
                assert "a new file begins" in await aircheck(gateway, "recordings", "cut", "running")
                assert [event.cause for event in await world.wait(CutRequested)] == ["command"]
                (segment, *_) = await world.wait(SegmentCompleted)
                assert (segment.recording_id, segment.split_reason) == ("running", "cut")
                waiting = await client.post("/api/recordings/low/cut")
                assert waiting.status_code == 409
        finally:
            await gateway.stop()
