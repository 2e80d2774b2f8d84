"""More broadcasts than slots: who goes first, how many at a time, and what happens to a request that waited."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from contracts.downloader import (
    ReconfigureRecording,
    RecordingEnded,
    RecordingStarted,
    SegmentOpened,
    SetSlots,
    SlotsChanged,
    StopRecording,
)
from contracts.values import Effective, EndReason, Source
from prometheus_client import REGISTRY

from services.downloader.app import build
from tests.integration.downloader_rig import Outside, flv, outside, settings
from tests.integration.harness import eventually, running, wire
from tests.studio import Studio

pytestmark = pytest.mark.engines


def started(world: Outside) -> list[str]:
    return [event.recording_id for event in world.of(RecordingStarted)]


async def stop(world: Outside, recording: str) -> None:
    await world.command(StopRecording(recording_id=recording, reason=EndReason.STOPPED))


async def handled(nats_url: str) -> None:
    """Until the downloader has taken every command."""
    async with wire(nats_url) as bus:
        await bus.settled("downloader")


async def test_the_queue_goes_by_priority_then_age_and_slots_change_at_run_time(
    nats_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    async with Studio() as studio, outside(nats_url) as world:
        await studio.put_on_air("1")
        world.sources = lambda: (flv(studio),)
        given = settings(nats_url, postgres_dsn, tmp_path, slots=1, extra_high_slots=1)
        async with running(build(given)):
            # given a slot that is taken, and requests behind it
            await world.start("first")
            await world.wait(RecordingStarted)
            for recording, priority in (("low", "low"), ("normal", "normal"), ("later", "normal"), ("raised", "low")):
                await world.start(recording, priority=priority)
            # then one of high priority begins beside it
            await world.start("high", priority="high")
            await world.wait(RecordingStarted, 2)
            assert started(world) == ["first", "high"]
            # and when slots are free, the rest begins by priority as it is now, and by age
            await world.command(ReconfigureRecording(recording_id="raised", effective=Effective(priority="high")))
            await handled(nats_url)
            for number, recording in enumerate(("first", "raised", "normal"), 3):
                await stop(world, recording)
                await world.wait(RecordingStarted, number)
            assert started(world) == ["first", "high", "raised", "normal", "later"]
            # and when there are more slots, more begins
            await world.command(SetSlots(scope="all", slots=2))
            await world.wait(RecordingStarted, 6)
            for recording in ("high", "later", "low"):
                await stop(world, recording)
            await world.wait(RecordingEnded, 6)


async def test_slots_that_were_set_survive_a_restart(nats_url: str, postgres_dsn: str, tmp_path: Path) -> None:
    def replica() -> Any:
        return build(settings(nats_url, postgres_dsn, tmp_path, slots=4, worker="a.b"))

    async with Studio() as studio, outside(nats_url) as world:
        await studio.put_on_air("1")
        world.sources = lambda: (flv(studio),)
        async with running(replica()):
            await world.command(SetSlots(scope="all", slots=0, extra_high=0))
            await world.wait(SlotsChanged)
        async with running(replica()) as service:
            await world.start("r1")
            await handled(nats_url)
            (runner,) = service._runners
            assert (runner.concurrency, runner.extra_high) == (0, 0)
            assert started(world) == []
            # what is set for one replica goes before what is set for all
            await world.command(SetSlots(scope="a-b", slots=1))
            await world.wait(RecordingStarted)
            assert (runner.concurrency, runner.extra_high) == (1, 0)
            await world.command(SetSlots(scope="a-b"))
            await world.command(SetSlots(scope="all"))

            async def as_in_its_settings() -> bool:
                return (runner.concurrency, runner.extra_high) == (4, 2)

            await eventually(as_in_its_settings)
            await stop(world, "r1")
            await world.wait(RecordingEnded)


@pytest.mark.parametrize("live", [True, False])
async def test_after_a_long_wait_the_monitor_is_asked_before_anything_is_recorded(
    nats_url: str, postgres_dsn: str, tmp_path: Path, live: bool
) -> None:
    async with Studio() as studio, outside(nats_url) as world:
        await studio.put_on_air("1")
        world.sources = lambda: (flv(studio),)
        given = settings(nats_url, postgres_dsn, tmp_path, slots=1, queue_freshness_s=0)
        async with running(build(given)):
            # given an answer of the monitor that is fresh by its date, and a request that waited too long
            await world.announce()
            world.live = live
            await world.start("r1")
            if live:
                await world.wait(SegmentOpened)
                await stop(world, "r1")
            (ended,) = await world.wait(RecordingEnded)
    # then it was asked all the same, and a broadcast that is over ends the request
    assert world.checks == 1
    assert (ended.reason, ended.segments) == ((EndReason.STOPPED, 1) if live else (EndReason.SOURCE_ENDED, 0))


async def test_an_engine_that_fails_everywhere_is_left_alone_until_one_tries(
    nats_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    async with Studio() as studio, outside(nats_url) as world:
        await studio.put_on_air("1")
        # given two servers that nobody answers on
        dead = [Source(url=f"http://{host}:9/1.flv", protocol="flv") for host in ("127.0.0.1", "localhost")]
        world.sources = lambda: tuple(dead)
        given = settings(
            nats_url, postgres_dsn, tmp_path, breaker_failures=2, breaker_cool_down_s=8, reconnect_cap_s=0.2
        )
        async with running(build(given)):
            await world.start("r1")
            await eventually(lambda: _open_breakers("native"))
            # when another recording is asked for, then it waits (the metric is told every five seconds: the cool-down is longer)
            await world.start("r2")
            await handled(nats_url)
            assert started(world) == ["r1"]
            # when the media is there, then the one that tries all the time closes the breaker, and the other one begins
            world.sources = lambda: (flv(studio),)
            await world.wait(RecordingStarted, 2)
            await world.wait(SegmentOpened, 2)
            for recording in ("r1", "r2"):
                await stop(world, recording)
            await world.wait(RecordingEnded, 2)
    assert started(world) == ["r1", "r2"]


async def _open_breakers(engine: str) -> bool:
    return bool(REGISTRY.get_sample_value("aircheck_engine_breakers_open", {"engine": engine}))
