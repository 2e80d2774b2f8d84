"""Recordings that go into a bucket while they are written: no local disk, and a lost owner's file is finished from the bucket."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

import asyncpg
import pytest
from contracts.downloader import GapClosed, RecordingEnded, RecordingStarted, SegmentCompleted, SegmentOpened
from contracts.values import Artifact
from media.flv.tag import VIDEO

from services.uploader.tests.s3_server import ACCESS_KEY, REGION, SECRET_KEY, S3Server
from tests.chaos.test_downloader_handover import STOP, check_flv, found, standing
from tests.deadline import DEADLINE_S
from tests.integration.downloader_rig import flv, hls, left_parts, looking, outside, replica
from tests.integration.witness import channel, frame_times, viewer
from tests.studio import Studio

pytestmark = [pytest.mark.engines, pytest.mark.chaos]
PART = 5 << 20
RICH = {"width": 1280, "height": 720, "fps": 30, "gop_s": 0.4, "video_kbps": 24_000}
"""Two parts in four seconds, also of a recorder that takes the filler out of FLV: the picture is worth its bits."""


def fetched(bucket: S3Server, artifact: Artifact, folder: Path) -> Path:
    key = artifact.uri.removeprefix("s3://archive/").replace("%20", " ").replace("%26", "&")
    target = folder / key.rpartition("/")[2]
    target.write_bytes(bucket.objects[key].data)
    assert target.stat().st_size == artifact.size
    return target


async def parts_noted(dsn: str, count: int) -> None:
    """Until so many parts of a file are in the bucket, and noted; nobody is told."""
    connection = await asyncpg.connect(dsn)
    query = "select max(jsonb_array_length(sent->'parts')) from streamed_files"
    try:
        async with asyncio.timeout(DEADLINE_S):
            while (await connection.fetchval(query) or 0) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    except asyncpg.UndefinedTableError as error:
        raise AssertionError("no replica has come up") from error
    finally:
        await connection.close()


def stream_into(bucket: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replicas that begin from now on send their files into the bucket while they write them."""
    for name, value in {
        "AWS_ENDPOINT_URL": bucket.endpoint,
        "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "DOWNLOADER_STORAGE_URI": "s3://archive/live",
        "DOWNLOADER_STREAM_TO_STORAGE": "true",
        "DOWNLOADER_STREAM_PART_MB": "5",
    }.items():
        monkeypatch.setenv(name, value)


async def test_another_replica_finishes_from_the_bucket_and_loses_no_frame(
    nats_url: str, postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given two replicas that share nothing but a bucket, and a source whose playlist is long
    bucket = S3Server("archive", smallest_part=PART)
    async with bucket.running(), Studio() as studio, outside(nats_url) as world:
        stream_into(bucket, monkeypatch)
        await studio.put_on_air("1", video_kbps=12_000, window=60)
        world.sources = lambda: (hls(studio, "ts"),)
        async with (
            replica(nats_url, postgres_dsn, tmp_path / "one", "one") as one,
            replica(nats_url, postgres_dsn, tmp_path / "two", "two") as two,
        ):
            await world.start()
            await world.wait(SegmentOpened)
            await looking(postgres_dsn, "one", "two")
            await parts_noted(postgres_dsn, 2)
            (started,) = world.of(RecordingStarted)
            # then nothing of it lies on a disk
            home = tmp_path / started.worker
            assert [path for path in home.rglob("*.part") if path.is_file()] == []
            # when its owner is killed
            {"one": one, "two": two}[started.worker].kill()
            (first,) = await world.wait(SegmentCompleted)
            await world.wait(SegmentOpened, 2)
            await world.wait_for_media(1000)
            await world.command(STOP)
            await world.wait(RecordingEnded)
    # then what had reached the bucket is a file, and the rest follows without a hole
    assert first.recovered
    assert first.artifact.size > PART
    second = world.of(SegmentCompleted)[1]
    times = [at for each in (first, second) for at in frame_times(fetched(bucket, each.artifact, tmp_path))]
    assert {b - a for a, b in pairwise(times)} == {6000}
    assert bucket.uploads == {}


async def test_an_flv_of_a_killed_owner_is_finished_from_the_bucket_and_what_is_missing_is_told(
    nats_url: str, postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = S3Server("archive", smallest_part=PART)
    async with bucket.running(), Studio() as studio, outside(nats_url) as world:
        stream_into(bucket, monkeypatch)
        await studio.put_on_air("1", **RICH)
        world.sources = lambda: (flv(studio),)
        async with (
            viewer(studio.flv_url("1")) as seen,
            replica(nats_url, postgres_dsn, tmp_path / "one", "one") as one,
            replica(nats_url, postgres_dsn, tmp_path / "two", "two") as two,
        ):
            await world.start()
            await world.wait(SegmentOpened)
            await looking(postgres_dsn, "one", "two")
            await parts_noted(postgres_dsn, 2)
            # when the owner of a live stream is killed
            (started,) = world.of(RecordingStarted)
            {"one": one, "two": two}[started.worker].kill()
            await world.wait(SegmentOpened, 2)
            await world.wait_for_media(1000)
            await world.command(STOP)
            await world.wait(RecordingEnded)
            sent = seen.channel(VIDEO)
    # then what had reached the bucket is a file
    first, second = world.of(SegmentCompleted)
    assert (first.recovered, first.artifact.size > PART, second.recovered) == (True, True, False)
    # and each file is a part of what was sent, without a hole inside
    payloads = [payload for _, payload in sent]
    places = []
    for each in (first, second):
        file = fetched(bucket, each.artifact, tmp_path).read_bytes()
        frames = [payload for _, payload in channel(file, each.start_ms, VIDEO)]
        at = found(frames, payloads)
        assert frames == payloads[at : at + len(frames)]
        places.append((at, at + len(frames)))
    # and what is missing between them is told, as long as it was on air
    (gap,) = world.of(GapClosed)
    missing_ms = sent[places[1][0]][0] - sent[places[0][1]][0]
    assert gap.lost_ms == pytest.approx(missing_ms, abs=500)
    assert gap.at_ms - gap.lost_ms == first.start_ms + first.duration_ms
    assert bucket.uploads == {}


async def test_a_second_capture_fills_what_a_killed_owner_had_not_sent(
    nats_url: str, postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = S3Server("archive", smallest_part=PART)
    async with bucket.running(), Studio() as studio, outside(nats_url) as world:
        stream_into(bucket, monkeypatch)
        await studio.put_on_air("1", **RICH)
        world.sources = lambda: (flv(studio),)
        async with (
            viewer(studio.flv_url("1")) as seen,
            replica(nats_url, postgres_dsn, tmp_path / "one", "one") as one,
            replica(nats_url, postgres_dsn, tmp_path / "two", "two") as two,
        ):
            # given two replicas that receive one session and have no disk
            await world.start(dual_capture=True)
            await world.wait(SegmentOpened)
            await standing(postgres_dsn, "successor is not null and holds is not null")
            await parts_noted(postgres_dsn, 2)
            # when the one that writes is killed
            (started,) = world.of(RecordingStarted)
            {"one": one, "two": two}[started.worker].kill()
            await world.wait(SegmentOpened, 2)
            await world.wait_for_media(1000)
            await world.command(STOP)
            await world.wait(RecordingEnded)
            # then nothing is missing, nothing there twice
            assert check_flv(world, seen, lambda artifact: fetched(bucket, artifact, tmp_path)) > 200
    first, _ = world.of(SegmentCompleted)
    assert first.recovered
    assert sum(gap.lost_ms for gap in world.of(GapClosed)) <= 100
    assert bucket.uploads == {}
    assert left_parts(tmp_path) == []
