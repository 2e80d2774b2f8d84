"""Recordings that go into a bucket: the finished file is uploaded, then told, then removed here."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from contracts.downloader import CutRecording, RecordingEnded, SegmentCompleted, SegmentOpened, StopRecording
from contracts.values import EndReason

from services.downloader.app import build
from services.uploader.tests.s3_server import ACCESS_KEY, REGION, SECRET_KEY, S3Server
from tests.integration.downloader_rig import RECORDING, ended, flv, left_parts, outside, settings
from tests.integration.harness import running
from tests.studio import Studio

pytestmark = pytest.mark.engines


async def test_finished_files_are_uploaded(
    nats_url: str, postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = S3Server("archive")
    async with bucket.running(), Studio() as studio, outside(nats_url) as world:
        for name, value in {
            "AWS_ENDPOINT_URL": bucket.endpoint,
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        }.items():
            monkeypatch.setenv(name, value)
        await studio.put_on_air("1")
        world.sources = lambda: (flv(studio),)
        async with running(build(settings(nats_url, postgres_dsn, tmp_path, storage_uri="s3://archive/live"))):
            await world.start()
            await world.wait(SegmentOpened)
            await world.wait_for_media(1500)
            await world.command(CutRecording(recording_id=RECORDING))
            await world.wait(SegmentCompleted)
            await world.wait_for_media(1500)
            await world.command(StopRecording(recording_id=RECORDING, reason=EndReason.STOPPED))
            await world.wait(RecordingEnded)
    first, second = sorted(world.of(SegmentCompleted), key=lambda one: one.index)
    assert first.artifact.uri == "s3://archive/live/Ann%20%26%20_Bob_/a_show%20000.flv"
    for one in (first, second):
        stored = bucket.objects[one.artifact.uri.removeprefix("s3://archive/").replace("%20", " ").replace("%26", "&")]
        assert hashlib.sha256(stored.data).hexdigest() == one.artifact.sha256
        assert len(stored.data) == one.artifact.size
    assert ended(world).segments == 2
    assert left_parts(tmp_path) == []
