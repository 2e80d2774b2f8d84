"""Downloaders killed in the middle of a recording: another replica goes on with it, and nothing that was written is lost."""

from __future__ import annotations

import asyncio
import signal
from itertools import pairwise
from pathlib import Path

import pytest
from chassis import leases
from contracts.downloader import (
    GapClosed,
    GapOpened,
    RecordingEnded,
    RecordingStarted,
    SegmentCompleted,
    SegmentDiscarded,
    SegmentOpened,
    StopRecording,
)
from contracts.values import EndReason

from services.downloader.app import build
from tests.deadline import DEADLINE_S
from tests.integration.downloader_rig import (
    RECORDING,
    check_files,
    ended,
    flv,
    hls,
    left_parts,
    looking,
    outside,
    path_of,
    replica,
    settings,
)
from tests.integration.harness import running
from tests.studio import Studio

pytestmark = [pytest.mark.engines, pytest.mark.chaos]
STOP = StopRecording(recording_id=RECORDING, reason=EndReason.STOPPED)


def test_what_is_left_is_taken_over_within_fifteen_seconds() -> None:
    # What the design promises, as the leases keep it: one expires, and every replica looks once in the time between two heartbeats.
    assert leases.EXPIRY_S + leases.HEARTBEAT_S <= 15


@pytest.mark.parametrize("kind", ["flv", "ts", "fmp4"])
async def test_another_replica_takes_a_killed_ones_recording_over(
    nats_url: str, postgres_dsn: str, tmp_path: Path, kind: str
) -> None:
    # given two replicas on one folder, and a recording in its second file
    async with Studio() as studio, outside(nats_url) as world:
        # whose playlist reaches back to before the take-over: nothing of it may be missing
        await studio.put_on_air("1", window=100)
        world.sources = lambda: (flv(studio) if kind == "flv" else hls(studio, kind),)
        async with (
            replica(nats_url, postgres_dsn, tmp_path, "one") as one,
            replica(nats_url, postgres_dsn, tmp_path, "two") as two,
        ):
            await world.start(segment_seconds=4)
            await world.wait(SegmentOpened, 2)
            await looking(postgres_dsn, "one", "two")
            await world.wait_for_media(2000)
            done_before = list(world.of(SegmentCompleted))
            (started,) = world.of(RecordingStarted)
            victim = {"one": one, "two": two}[started.worker]
            # when its owner is killed
            victim.send_signal(signal.SIGKILL)
            await victim.wait()
            # then the other one goes on
            (_, again) = await world.wait(RecordingStarted, 2)
            opened_before = len(world.of(SegmentOpened))
            await world.wait(GapClosed)
            await world.wait(SegmentOpened, opened_before + 1)
            await world.wait_for_media(1000)
            await world.command(STOP)
            await world.wait(RecordingEnded)
    segments = world.of(SegmentCompleted)
    recovered = [one for one in segments if one.recovered]
    # as the same recording: numbers and timeline go on, the gap is told
    assert again.worker != started.worker
    assert again.epoch > started.epoch
    assert [one.index for one in segments] == list(range(len(segments)))
    assert [one.index for one in world.of(SegmentOpened)] == list(range(len(segments)))
    assert all(a.start_ms + a.duration_ms <= b.start_ms + 50 for a, b in pairwise(segments))
    (gap_opened,), (gap_closed,) = world.of(GapOpened), world.of(GapClosed)
    assert gap_opened.at_ms == recovered[0].start_ms + recovered[0].duration_ms
    assert gap_closed.at_ms == gap_opened.at_ms + gap_closed.lost_ms
    assert (gap_closed.lost_ms > 0) is (kind == "flv")
    # what was finished before is untouched, what was being written is recovered
    assert segments[: len(done_before)] == done_before
    assert len(recovered) == 1
    assert recovered[0].duration_ms >= 1000
    assert not world.of(SegmentDiscarded)
    assert ended(world).segments == len(segments)
    check_files(world)
    assert left_parts(tmp_path) == []


async def test_a_machine_that_comes_back_brings_its_file(nats_url: str, postgres_dsn: str, tmp_path: Path) -> None:
    # given an owner whose folder nobody else has, killed while it records
    async with Studio() as studio, outside(nats_url) as world:
        await studio.put_on_air("1")
        world.sources = lambda: (flv(studio),)
        here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
        async with replica(nats_url, postgres_dsn, here, "one") as victim:
            await world.start()
            await world.wait(SegmentOpened)
            await world.wait_for_media(4000)
            victim.kill()
            await victim.wait()
        async with running(build(settings(nats_url, postgres_dsn, elsewhere, worker="two"))):
            # when another machine has taken over, and then the first one is back
            await world.wait(SegmentOpened, 2)
            assert not world.of(SegmentCompleted)
            async with replica(nats_url, postgres_dsn, here, "one again"):
                (brought,) = await world.wait(SegmentCompleted)
                await world.command(STOP)
                await world.wait(RecordingEnded)
    # then its file is part of the recording
    assert (brought.index, brought.recovered) == (0, True)
    assert path_of(brought.artifact).is_relative_to(here)
    assert not world.of(SegmentDiscarded)
    assert ended(world).segments == 2
    check_files(world)


async def test_a_file_that_stays_away_is_told_to_be_lost_and_kept_for_a_person(
    nats_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    async with Studio() as studio, outside(nats_url) as world:
        await studio.put_on_air("1")
        world.sources = lambda: (flv(studio),)
        here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
        async with replica(nats_url, postgres_dsn, here, "one") as victim:
            await world.start()
            await world.wait(SegmentOpened)
            await world.wait_for_media(4000)
            victim.kill()
            await victim.wait()
        async with running(build(settings(nats_url, postgres_dsn, elsewhere, worker="two"))):
            await world.wait(SegmentOpened, 2)
            await world.command(STOP)
            await world.wait(RecordingEnded)
        (lost,) = world.of(SegmentDiscarded)
        assert (lost.index, lost.reason) == (0, "lost with worker one")
        # when the machine is back after the end
        async with replica(nats_url, postgres_dsn, here, "one again"):
            async with asyncio.timeout(DEADLINE_S):
                while not list((here / "recordings" / "recovered").rglob("*.flv")):  # noqa: ASYNC110 - nobody announces it
                    await asyncio.sleep(0.05)
    # then its media is not thrown away
    assert left_parts(tmp_path) == []
    assert isinstance(world.events[-1], RecordingEnded)


async def test_an_owner_that_was_frozen_writes_nothing_when_it_wakes(
    nats_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    async with Studio() as studio, outside(nats_url) as world:
        await studio.put_on_air("1")
        world.sources = lambda: (flv(studio),)
        async with replica(nats_url, postgres_dsn, tmp_path, "frozen") as frozen:
            await world.start()
            await world.wait(SegmentOpened)
            await world.wait_for_media(4000)
            # when it stands still until somebody else has its recording
            frozen.send_signal(signal.SIGSTOP)
            try:
                async with running(build(settings(nats_url, postgres_dsn, tmp_path, worker="two"))):
                    await world.wait(SegmentOpened, 2)
                    frozen.send_signal(signal.SIGCONT)
                    # then its file, once it has let go of it, is the new owner's to complete
                    (first,) = await world.wait(SegmentCompleted)
                    await world.wait_for_media(1000)
                    await world.command(STOP)
                    await world.wait(RecordingEnded)
            finally:
                frozen.send_signal(signal.SIGCONT)
    assert (first.index, first.recovered) == (0, True)
    assert [one.worker for one in world.of(RecordingStarted)] == ["frozen", "two"]
    assert ended(world).segments == 2
    check_files(world)
    assert left_parts(tmp_path) == []
