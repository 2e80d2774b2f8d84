"""Recordings that go into a bucket while they are written: no local disk, and a lost owner's file is finished from the bucket."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from contracts.downloader import GapClosed, RecordingEnded, RecordingStarted, SegmentCompleted, SegmentOpened
from contracts.envelope import Envelope
from contracts.values import Artifact, Source
from media.flv.tag import VIDEO

from services.uploader.tests.s3_server import ACCESS_KEY, REGION, SECRET_KEY, S3Server
from tests.chaos.test_downloader_handover import STOP, check_flv, found, standing
from tests.deadline import DEADLINE_S
from tests.integration.downloader_rig import Outside, flv, hls, left_parts, looking, outside, replica
from tests.integration.witness import Viewer, channel, frame_times, viewer
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


@dataclass(frozen=True)
class Scene:
    """Two replicas that share nothing but a bucket, and a viewer of what they record."""

    bucket: S3Server
    world: Outside
    seen: Viewer
    replicas: dict[str, asyncio.subprocess.Process]
    dsn: str

    async def record(self, **settings: Any) -> None:
        """Begin, and go on until two parts of the file are in the bucket and the other replica could take over."""
        await self.world.start(**settings)
        await self.world.wait(SegmentOpened)
        await looking(self.dsn, *self.replicas)
        await parts_noted(self.dsn, 2)

    def kill_owner(self) -> str:
        (started,) = self.world.of(RecordingStarted)
        self.replicas[started.worker].kill()
        return started.worker

    async def go_on_and_end(self) -> None:
        """Until the other one has recorded on, and the recording is over."""
        await self.world.wait(SegmentOpened, 2)
        await self.world.wait_for_media(1000)
        await self.world.command(STOP)
        await self.world.wait(RecordingEnded)


@asynccontextmanager
async def two_without_a_disk(
    nats_url: str,
    postgres_dsn: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: Callable[[Any], Source],
    **room: Any,
) -> AsyncIterator[Scene]:
    """Everything stands, and nothing is recorded yet."""
    bucket = S3Server("archive", smallest_part=PART)
    async with bucket.running(), Studio() as studio, outside(nats_url) as world:
        stream_into(bucket, monkeypatch)
        await studio.put_on_air("1", **room)
        world.sources = lambda: (source(studio),)
        async with (
            viewer(studio.flv_url("1")) as seen,
            replica(nats_url, postgres_dsn, folder / "one", "one") as one,
            replica(nats_url, postgres_dsn, folder / "two", "two") as two,
        ):
            yield Scene(bucket, world, seen, {"one": one, "two": two}, postgres_dsn)


def envelope_of(world: Outside, event: RecordingStarted | SegmentOpened) -> Envelope:
    return world.envelopes[world.events.index(event)]


async def test_another_replica_finishes_from_the_bucket_and_loses_no_frame(
    nats_url: str, postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a source whose playlist is long
    room = {"video_kbps": 12_000, "window": 60}
    async with two_without_a_disk(
        nats_url, postgres_dsn, tmp_path, monkeypatch, lambda studio: hls(studio, "ts"), **room
    ) as scene:
        await scene.record()
        # when its owner is killed
        owner = scene.kill_owner()
        # then nothing of it lies on a disk
        assert [path for path in (tmp_path / owner).rglob("*.part") if path.is_file()] == []
        await scene.world.wait(SegmentCompleted)
        await scene.go_on_and_end()
    # then what had reached the bucket is a file, and the rest follows without a hole
    first, second = scene.world.of(SegmentCompleted)
    assert first.recovered
    assert first.artifact.size > PART
    times = [at for each in (first, second) for at in frame_times(fetched(scene.bucket, each.artifact, tmp_path))]
    assert {b - a for a, b in pairwise(times)} == {6000}
    assert scene.bucket.uploads == {}


async def test_an_flv_of_a_killed_owner_is_finished_from_the_bucket_and_what_is_missing_is_told(
    nats_url: str, postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_without_a_disk(nats_url, postgres_dsn, tmp_path, monkeypatch, flv, **RICH) as scene:
        world = scene.world
        await scene.record()
        # when the owner of a live stream is killed
        scene.kill_owner()
        await scene.go_on_and_end()
        payloads = [payload for _, payload in scene.seen.channel(VIDEO)]
    # then what had reached the bucket is a file
    first, second = world.of(SegmentCompleted)
    assert (first.recovered, first.artifact.size > PART, second.recovered) == (True, True, False)
    # and each file is a part of what was sent, without a hole inside; something is missing between them
    places = []
    for each in (first, second):
        file = fetched(scene.bucket, each.artifact, tmp_path).read_bytes()
        frames = [payload for _, payload in channel(file, each.start_ms, VIDEO)]
        at = found(frames, payloads)
        assert frames == payloads[at : at + len(frames)]
        places.append((at, at + len(frames)))
    assert places[0][1] < places[1][0]
    # and that is told, from the end of the one to the beginning of the other
    (gap,) = world.of(GapClosed)
    assert gap.at_ms - gap.lost_ms == first.start_ms + first.duration_ms
    assert gap.at_ms == second.start_ms
    # which lies as far behind the first as the clock on the wall says: its media came behind the take-over and before its file was told
    passed_ms = [
        (envelope_of(world, event).time - datetime.fromisoformat(first.started_at)).total_seconds() * 1000
        for event in (world.of(RecordingStarted)[1], world.of(SegmentOpened)[1])
    ]
    assert math.floor(passed_ms[0]) <= second.start_ms - first.start_ms <= math.ceil(passed_ms[1])
    assert scene.bucket.uploads == {}


async def test_a_second_capture_fills_what_a_killed_owner_had_not_sent(
    nats_url: str, postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_without_a_disk(nats_url, postgres_dsn, tmp_path, monkeypatch, flv, **RICH) as scene:
        world = scene.world
        # given two replicas that receive one session and have no disk
        await scene.record(dual_capture=True)
        await standing(postgres_dsn, "successor is not null and holds is not null")
        # when the one that writes is killed
        scene.kill_owner()
        await scene.go_on_and_end()
        # then nothing is missing, nothing there twice
        assert check_flv(world, scene.seen, lambda artifact: fetched(scene.bucket, artifact, tmp_path)) > 200
    first, _ = world.of(SegmentCompleted)
    assert first.recovered
    assert sum(gap.lost_ms for gap in world.of(GapClosed)) <= 100
    assert scene.bucket.uploads == {}
    assert left_parts(tmp_path) == []
