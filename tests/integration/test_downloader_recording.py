"""Recordings of a live studio, end to end: from the command to files that play."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from contracts.downloader import (
    CutRecording,
    GapClosed,
    GapOpened,
    ReconfigureRecording,
    RecordingEnded,
    RecordingRequested,
    RecordingStarted,
    SegmentCompleted,
    SegmentOpened,
    StopRecording,
)
from contracts.values import EndReason, EngineName

from services.downloader.app import build
from tests.deadline import DEADLINE_S
from tests.integration.downloader_rig import (
    RECORDING,
    check_files,
    ended,
    flv,
    hls,
    left_parts,
    outside,
    path_of,
    settings,
)
from tests.integration.harness import running
from tests.studio import Studio

pytestmark = pytest.mark.engines
STOP = StopRecording(recording_id=RECORDING, reason=EndReason.STOPPED)


@pytest.mark.parametrize("kind", ["flv", "ts", "fmp4"])
async def test_a_live_stream_is_recorded_until_it_is_stopped(
    nats_url: str, postgres_dsn: str, tmp_path: Path, kind: str
) -> None:
    # given a channel on air
    async with Studio() as studio, outside(nats_url) as world:
        await studio.put_on_air("1")
        world.sources = lambda: (flv(studio) if kind == "flv" else hls(studio, kind),)
        async with running(build(settings(nats_url, postgres_dsn, tmp_path))):
            # when it is recorded for a few seconds
            request = await world.start()
            await world.wait(SegmentOpened)
            await world.wait_for_media(3000)
            await world.command(STOP)
            await world.wait(RecordingEnded)
    # then one file plays for as long as it says, and the events tell the whole story
    assert [type(event) for event in world.events[:3]] == [RecordingRequested, RecordingStarted, SegmentOpened]
    (segment,), (opened,) = world.of(SegmentCompleted), world.of(SegmentOpened)
    assert (ended(world).reason, ended(world).segments, ended(world).next_index) == (EndReason.STOPPED, 1, 1)
    assert ended(world).bytes == segment.artifact.size
    assert segment.duration_ms >= 3000
    assert segment.artifact.uri == opened.uri
    assert (
        path_of(segment.artifact)
        == tmp_path / "recordings" / "Ann & _Bob_" / f"a_show 000.{path_of(segment.artifact).suffix[1:]}"
    )
    assert len(segment.artifact.sha256) == 64
    assert check_files(world)[0].frames >= 30
    assert left_parts(tmp_path) == []
    assert {one.metadata.correlation_id for one in world.envelopes} >= {request.metadata.correlation_id}
    started = next(one for one in world.envelopes if one.type == RecordingStarted.full_type())
    requested = next(one for one in world.envelopes if one.type == RecordingRequested.full_type())
    assert started.metadata.causation_id == requested.id
    assert started.metadata.correlation_id == request.metadata.correlation_id


async def test_a_dropped_connection_goes_on_as_the_same_recording(
    nats_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    async with Studio() as studio, outside(nats_url) as world:
        await studio.put_on_air("1")
        world.sources = lambda: (flv(studio),)
        async with running(build(settings(nats_url, postgres_dsn, tmp_path))):
            await world.start()
            await world.wait(SegmentOpened)
            await world.wait_for_media(1000)
            # when the server cuts the connection
            began = time.monotonic()
            await studio.fault("1", "drop")
            (closed,) = await world.wait(GapClosed)
            passed_ms = (time.monotonic() - began) * 1000
            await world.wait_for_media(1000)
            await world.command(STOP)
            await world.wait(RecordingEnded)
    # then the same file goes on, and the gap is told
    (opened,) = world.of(GapOpened)
    assert closed.lost_ms < passed_ms + 1000, "no more than was on air meanwhile, and the group of pictures before"
    assert opened.at_ms > 0
    assert ended(world).segments == 1
    assert check_files(world)[0].frames >= 15


async def test_a_stalled_source_is_left_for_another_one(nats_url: str, postgres_dsn: str, tmp_path: Path) -> None:
    async with Studio() as studio, Studio() as other, outside(nats_url) as world:
        await studio.put_on_air("1")
        await other.put_on_air("1")
        world.sources = lambda: (flv(studio), flv(other).model_copy(update={"priority": 1}))
        async with running(build(settings(nats_url, postgres_dsn, tmp_path, stall_s=1))):
            await world.start()
            await world.wait(SegmentOpened)
            # when the better source stalls for good
            await studio.fault("1", "stall")
            # then the other one goes on
            await other.wait_for_room("1", viewers=1, timeout=DEADLINE_S)
            (gap,) = await world.wait(GapOpened)
            await world.wait(GapClosed)
            await world.command(STOP)
            await world.wait(RecordingEnded)
            await studio.clear_faults("1")
    assert gap.cause == "no data in time"
    check_files(world)


async def test_an_expired_address_is_replaced_by_a_fresh_one(nats_url: str, postgres_dsn: str, tmp_path: Path) -> None:
    async with Studio() as studio, outside(nats_url) as world:
        await studio.put_on_air("1")
        world.sources = lambda: (flv(studio),)
        await world.announce()
        async with running(build(settings(nats_url, postgres_dsn, tmp_path))):
            await world.start()
            await world.wait(SegmentOpened)
            assert world.checks == 0, "a fresh signal is used without asking"
            # when the address answers 403 after a drop
            await studio.fault("1", "status", status=403, n=1)
            await studio.fault("1", "drop")
            await world.wait(GapClosed)
            await world.command(STOP)
            await world.wait(RecordingEnded)
    # then the monitor was asked once
    assert world.checks == 1
    check_files(world)


@pytest.mark.parametrize("kind", ["flv", "ts"])
async def test_the_end_of_the_broadcast_ends_the_recording(
    nats_url: str, postgres_dsn: str, tmp_path: Path, kind: str
) -> None:
    async with Studio() as studio, outside(nats_url) as world:
        await studio.put_on_air("1")
        world.sources = lambda: (flv(studio) if kind == "flv" else hls(studio, kind),)
        async with running(build(settings(nats_url, postgres_dsn, tmp_path))):
            await world.start()
            await world.wait(SegmentOpened)
            await world.wait_for_media(1000)
            world.live = False
            await studio.put_off_air("1")
            await world.wait(RecordingEnded)
    assert ended(world).reason is EndReason.SOURCE_ENDED
    check_files(world)


async def test_a_cut_begins_a_new_file_without_a_seam(nats_url: str, postgres_dsn: str, tmp_path: Path) -> None:
    async with Studio() as studio, outside(nats_url) as world:
        await studio.put_on_air("1")
        world.sources = lambda: (flv(studio),)
        async with running(build(settings(nats_url, postgres_dsn, tmp_path))):
            await world.start()
            await world.wait(SegmentOpened)
            await world.wait_for_media(1000)
            await world.command(CutRecording(recording_id=RECORDING))
            await world.wait(SegmentOpened, 2)
            await world.wait_for_media(1000)
            await world.command(STOP)
            await world.wait(RecordingEnded)
    first, second = world.of(SegmentCompleted)
    assert (first.index, second.index, first.split_reason) == (0, 1, "cut")
    assert abs(first.start_ms + first.duration_ms - second.start_ms) < 150
    assert not world.of(GapOpened)
    check_files(world)


async def test_another_engine_takes_over_in_the_next_file(nats_url: str, postgres_dsn: str, tmp_path: Path) -> None:
    # given an HLS recording of our own engine
    async with Studio() as studio, outside(nats_url) as world:
        await studio.put_on_air("1", formats=["flv", "ts"])
        world.sources = lambda: (hls(studio, "ts"),)
        async with running(build(settings(nats_url, postgres_dsn, tmp_path))):
            await world.start()
            await world.wait_for_media(2000)
            # when its configuration names another engine
            wanted = world.of(RecordingRequested)[0].effective.model_copy(update={"engine": EngineName.FFMPEG})
            await world.command(ReconfigureRecording(recording_id=RECORDING, effective=wanted))
            await world.wait(SegmentOpened, 2)
            await world.wait_for_media(1500)
            await world.command(STOP)
            await world.wait(RecordingEnded)
    # then that one wrote the next file of the same recording, and the change is told as a gap
    assert [path_of(one.artifact).suffix for one in world.of(SegmentCompleted)] == [".ts", ".flv"]
    assert [one.index for one in world.of(SegmentCompleted)] == [0, 1]
    assert [one.cause for one in world.of(GapOpened)] == ["the configuration changed"]
    assert len(world.of(GapClosed)) == 1
    assert len(check_files(world)) == 2


async def test_a_stop_before_the_start_is_remembered(nats_url: str, postgres_dsn: str, tmp_path: Path) -> None:
    async with outside(nats_url) as world, running(build(settings(nats_url, postgres_dsn, tmp_path))):
        # given a stop that overtook its start
        await world.command(STOP)
        await world.until(lambda: bool(world.events), "the stop")
        await world.start()
        await world.wait(RecordingEnded)
    # then the recording is over without having begun
    assert ended(world).reason is EndReason.STOPPED
    assert not world.of(RecordingStarted)
    assert [path for path in (tmp_path / "recordings").rglob("*") if path.is_file()] == []


async def test_of_two_replicas_one_records(nats_url: str, postgres_dsn: str, tmp_path: Path) -> None:
    async with Studio() as studio, outside(nats_url) as world:
        await studio.put_on_air("1")
        world.sources = lambda: (flv(studio),)
        one = build(settings(nats_url, postgres_dsn, tmp_path, worker="one"))
        two = build(settings(nats_url, postgres_dsn, tmp_path, worker="two"))
        async with running(one), running(two):
            await world.start()
            await world.wait(SegmentOpened)
            await world.wait_for_media(1500)
            assert (await studio.room("1"))["viewers"] == 1
            await world.command(STOP)
            await world.wait(RecordingEnded)
    assert len(world.of(RecordingStarted)) == 1
    check_files(world)


async def test_a_replica_that_leaves_hands_the_recording_over(nats_url: str, postgres_dsn: str, tmp_path: Path) -> None:
    async with Studio() as studio, outside(nats_url) as world:
        await studio.put_on_air("1")
        world.sources = lambda: (hls(studio, "ts"),)
        async with running(build(settings(nats_url, postgres_dsn, tmp_path, worker="one"))):
            await world.start()
            await world.wait(SegmentOpened)
            await world.wait_for_media(1000)
        # then its file is finished, and the recording is not over
        await world.wait(SegmentCompleted)
        assert not world.of(RecordingEnded)
        async with running(build(settings(nats_url, postgres_dsn, tmp_path, worker="two"))):
            await world.wait(SegmentOpened, 2)
            await world.wait_for_media(1000)
            await world.command(STOP)
            await world.wait(RecordingEnded)
    # and nothing of the playlist was lost in between, or written twice
    first, second = world.of(SegmentCompleted)
    (gap,) = world.of(GapClosed)
    assert gap.lost_ms == 0
    assert second.start_ms == first.start_ms + first.duration_ms
    assert [one.worker for one in world.of(RecordingStarted)] == ["one", "two"]
    assert ended(world).segments == 2
    check_files(world)


async def test_the_recording_outlives_an_outage_of_the_database(
    nats_url: str, postgres_dsn: str, tmp_path: Path, engines: object
) -> None:
    async with Studio() as studio, outside(nats_url) as world:
        await studio.put_on_air("1")
        world.sources = lambda: (flv(studio),)
        async with running(build(settings(nats_url, postgres_dsn, tmp_path))):
            await world.start(segment_seconds=2)
            await world.wait(SegmentOpened)
            # when the database is away for several segments, and for longer than a lease lives
            engines.postgres.kill()
            await world.wait_for_media(14_000)
            engines.postgres.restart()
            # then every file is told once it is back
            await world.wait(SegmentCompleted, 6)
            await world.command(STOP)
            await world.wait(RecordingEnded)
    assert len(world.of(RecordingStarted)) == 1
    segments = world.of(SegmentCompleted)
    assert [one.index for one in segments] == list(range(len(segments)))
    assert not any(one.recovered for one in segments)
    assert not world.of(GapOpened)
    check_files(world)
