"""A disk that fills up: what waits, what ends, what is told, and that finished files stay whole."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections import namedtuple
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import pytest
from contracts.downloader import (
    DiskLow,
    DiskRecovered,
    DiskUnavailable,
    RecordingEnded,
    RecordingRequested,
    SegmentCompleted,
    SegmentOpened,
    StopRecording,
)
from contracts.values import EndReason

from services.downloader.adapters import place
from services.downloader.app import build
from tests.deadline import DEADLINE_S
from tests.integration.downloader_rig import (
    RECORDING,
    REPOSITORY,
    check_files,
    ended,
    flv,
    left_parts,
    outside,
    path_of,
    play,
    settings,
)
from tests.integration.harness import eventually, running
from tests.studio import Studio

pytestmark = pytest.mark.engines
STOP = StopRecording(recording_id=RECORDING, reason=EndReason.STOPPED)
Usage = namedtuple("Usage", "total used free")
GB = 10**9


class Disk:
    """The free space that the operating system tells."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free: int) -> None:
        self.free = free
        monkeypatch.setattr(place.shutil, "disk_usage", lambda _: Usage(100 * GB, 100 * GB - self.free, self.free))


async def test_without_room_a_recording_waits_and_begins_by_itself_when_there_is_some(
    nats_url: str, postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch, free=0)
    given = settings(nats_url, postgres_dsn, tmp_path, min_free_mb=500, warn_free_mb=2000, disk_every_s=0.05)
    async with Studio() as studio, outside(nats_url) as world:
        await studio.put_on_air("1")
        world.sources = lambda: (flv(studio),)
        async with running(build(given)) as service:
            # given a full disk
            await world.wait(DiskLow)
            await world.start()
            await world.wait(RecordingRequested)
            assert (await service.health.failures())["disk"] == "RuntimeError('only 0 MB are free')"
            # when there is room for a little more than before, then it still waits; when there is enough, it begins
            disk.free = 550_000_000
            await eventually(lambda: _metric("aircheck_recordings_free_bytes", disk.free))
            assert world.of(SegmentOpened) == []
            disk.free = 5 * GB
            await world.wait(SegmentOpened)
            await world.wait_for_media(1000)
            assert await service.health.failures() == {}
            # and when the disk fills up while it runs, then its file is finished before there is nothing left
            disk.free = 400_000_000
            await world.wait(DiskLow, 2)
            await world.wait_for_media(1000)
            assert world.of(RecordingEnded) == []
            disk.free = 200_000_000
            await world.wait(RecordingEnded)
    assert [(event.level, event.free_bytes) for event in world.of(DiskLow)] == [("stop", 0), ("stop", 400_000_000)]
    assert [event.worker for event in world.of(DiskRecovered)] == ["in-process"]
    over = world.of(RecordingEnded)[0]
    assert (over.reason, over.detail, over.segments) == (EndReason.FAILED, "only 200 MB are free", 1)
    check_files(world)
    assert left_parts(tmp_path) == []


async def _metric(name: str, value: float) -> bool:
    from prometheus_client import REGISTRY

    return REGISTRY.get_sample_value(name) == value


async def test_a_volume_that_is_not_mounted_is_waited_for(nats_url: str, postgres_dsn: str, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    given = settings(
        nats_url,
        postgres_dsn,
        tmp_path,
        storage_uri=volume.as_uri(),
        storage_marker=".aircheck-volume",
        disk_every_s=0.05,
    )
    async with Studio() as studio, outside(nats_url) as world:
        await studio.put_on_air("1")
        world.sources = lambda: (flv(studio),)
        async with running(build(given)):
            # given a volume that is not there
            (told,) = await world.wait(DiskUnavailable)
            await world.start()
            await world.wait(RecordingRequested)
            assert "the marker .aircheck-volume is not in it" in told.reason
            assert not volume.exists()
            # when it is mounted
            volume.mkdir()
            (volume / ".aircheck-volume").touch()
            # then it goes on
            await world.wait(DiskRecovered)
            await world.wait(SegmentOpened)
            await world.wait_for_media(500)
            await world.command(STOP)
            await world.wait(RecordingEnded)
    assert ended(world).segments == 1


def _mounts() -> bool:
    """Whether this process may mount something where nobody else sees it."""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        return False
    tried = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
    return tried.returncode == 0


@asynccontextmanager
async def on_a_small_disk(nats_url: str, dsn: str, folder: Path, megabytes: int) -> AsyncIterator[Path]:
    """A downloader whose folder is a small disk that only its process sees; the path leads there from outside."""
    environment = {
        **os.environ,
        "DOWNLOADER_DATABASE_DSN": dsn,
        "DOWNLOADER_NATS_URL": nats_url,
        "DOWNLOADER_DATA_DIR": str(folder),
        "DOWNLOADER_ALLOW_PRIVATE_SOURCES": "true",
        "DOWNLOADER_MIN_FREE_MB": "0",
        "DOWNLOADER_WARN_FREE_MB": "0",
        "DOWNLOADER_LOST_AFTER_S": "0.5",
        "DOWNLOADER_WORKER": "small",
    }
    mount = f'mount -t tmpfs -o size={megabytes}m none "$1" && shift && exec "$@"'
    command = ["unshare", "-m", "sh", "-c", mount, "sh", str(folder), sys.executable, "-m", "services.downloader"]
    process = await asyncio.create_subprocess_exec(*command, cwd=REPOSITORY, env=environment)
    try:
        yield Path(f"/proc/{process.pid}/root")
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(DEADLINE_S):
                await process.wait()


@pytest.mark.skipif(not _mounts(), reason="needs the right to mount")
async def test_a_disk_that_is_really_full_spoils_no_finished_file(
    nats_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    async with Studio() as studio, outside(nats_url) as world:
        await studio.put_on_air("1")
        world.sources = lambda: (flv(studio),)
        async with on_a_small_disk(nats_url, postgres_dsn, tmp_path, 4) as root:
            # given some finished files on a disk that nobody guards
            await world.start(segment_seconds=1, min_segment_bytes=0)
            await world.wait(SegmentCompleted, 2)
            # when it is full
            ballast = root / tmp_path.relative_to("/") / "ballast"
            with pytest.raises(OSError, match="No space left"), ballast.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            (over,) = await world.wait(RecordingEnded)
            # then the recording ends for that reason, and what was finished before is what was told of it
            assert over.reason is EndReason.FAILED
            finished = world.of(SegmentCompleted)
            for event in finished:
                path = root / path_of(event.artifact).relative_to("/")
                assert sha256(path.read_bytes()).hexdigest() == event.artifact.sha256
                assert play(path).frames > 0
            assert over.segments == len(finished) >= 2
            # and when there is room again, the next recording needs nobody
            ballast.unlink()
            await world.start("r2")
            await world.until(lambda: any(one.recording_id == "r2" for one in world.of(SegmentOpened)), "r2 records")
            await world.command(StopRecording(recording_id="r2", reason=EndReason.STOPPED))
            await world.wait(RecordingEnded, 2)
