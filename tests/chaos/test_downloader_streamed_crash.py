"""Recordings that go into a bucket while they are written: no local disk, and a lost owner's file is finished from the bucket."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

import asyncpg
import pytest
from contracts.downloader import RecordingEnded, RecordingStarted, SegmentCompleted, SegmentOpened
from contracts.values import Artifact

from services.uploader.tests.s3_server import ACCESS_KEY, REGION, SECRET_KEY, S3Server
from tests.chaos.test_downloader_handover import STOP
from tests.deadline import DEADLINE_S
from tests.integration.downloader_rig import hls, outside, replica
from tests.integration.witness import frame_times
from tests.studio import Studio

pytestmark = [pytest.mark.engines, pytest.mark.chaos]
PART = 5 << 20


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


async def test_another_replica_finishes_from_the_bucket_and_loses_no_frame(
    nats_url: str, postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given two replicas that share nothing but a bucket, and a source whose playlist is long
    bucket = S3Server("archive", smallest_part=PART)
    async with bucket.running(), Studio() as studio, outside(nats_url) as world:
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
        await studio.put_on_air("1", video_kbps=12_000, window=60)
        world.sources = lambda: (hls(studio, "ts"),)
        async with (
            replica(nats_url, postgres_dsn, tmp_path / "one", "one") as one,
            replica(nats_url, postgres_dsn, tmp_path / "two", "two") as two,
        ):
            await world.start()
            await world.wait(SegmentOpened)
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
