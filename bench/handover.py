"""What a recording loses when its replica goes: frames at a planned restart, seconds after a crash."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from contracts.downloader import RecordingEnded, RecordingStarted, SegmentCompleted, SegmentOpened
from media.flv.tag import AUDIO, VIDEO

from bench.benchmark import Benchmark, Scale
from bench.figures import Goal, Line, Series
from deploy.embedded.nats_server import NatsServer
from deploy.embedded.postgres_server import PostgresServer
from deploy.embedded.provision import provision_database
from tests.chaos.test_downloader_handover import STOP, Viewer, channel, viewer
from tests.integration.downloader_rig import Outside, flv, outside, path_of, replica
from tests.studio import Studio

ROUNDS = 3
PASSWORD = "bench-password"
ABOUT = """Two replicas of the downloader as processes of their own, which share a database, a bus and a folder, and a live
HTTP-FLV stream of the studio, recorded by one of them; somebody else watches the same stream. *Planned*: the owner gets SIGTERM
in the middle; counts the tags (picture and sound) that the viewer saw between the first and the last that was recorded and that
are in none of the files. *Crash*: the owner gets SIGKILL; seconds until the other replica has opened its file. Three times each."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A recording that runs, and everybody around it."""

    world: Outside
    seen: Viewer
    owner: asyncio.subprocess.Process


async def run(_: Scale, step: Callable[[int, int], None]) -> list[Line]:
    """Restart and kill by turns."""
    # The replicas inherit it: what they log belongs to no table.
    os.environ["DOWNLOADER_LOG_LEVEL"] = "CRITICAL"
    missing, seconds = [], []
    for round_ in range(ROUNDS):
        missing.append(float(await _planned()))
        step(2 * round_ + 1, 2 * ROUNDS)
        seconds.append(await _crash())
        step(2 * round_ + 2, 2 * ROUNDS)
    return [
        Line("lost at a planned restart", Series("aircheck", "frames", tuple(missing)), None, (Goal("figure", "at most", 0),)),
        Line("taken over after SIGKILL", Series("aircheck", "s", tuple(seconds)), None, (Goal("figure", "at most", 15),)),
    ]  # fmt: skip


async def _planned() -> int:
    async with _recording() as stage:
        stage.owner.send_signal(signal.SIGTERM)
        await _goes_on(stage.world)
        await stage.world.command(STOP)
        await stage.world.wait(RecordingEnded)
        files = stage.world.of(SegmentCompleted)
        return sum(_missing(files, stage.seen, kind) for kind in (VIDEO, AUDIO))


async def _crash() -> float:
    async with _recording() as stage:
        begun = time.monotonic()
        stage.owner.kill()
        await stage.world.wait(SegmentOpened, 2)
        return time.monotonic() - begun


async def _goes_on(world: Outside) -> None:
    await world.wait(RecordingStarted, 2)
    await world.wait(SegmentOpened, 2)
    await world.wait_for_media(2000)


def _missing(files: list[SegmentCompleted], seen: Viewer, kind: int) -> int:
    """How many tags of a channel the viewer saw in the time of the files that are in none of them."""
    recorded = [
        payload for one in files for _, payload in channel(path_of(one.artifact).read_bytes(), one.start_ms, kind)
    ]
    sent = [payload for _, payload in seen.channel(kind)]
    first, last = sent.index(recorded[0]), len(sent) - 1 - sent[::-1].index(recorded[-1])
    return last - first + 1 - len(recorded)


@asynccontextmanager
async def _recording() -> AsyncIterator[Stage]:
    folder = Path(tempfile.mkdtemp(prefix="aircheck-bench-"))
    nats, postgres = NatsServer(folder / "nats"), PostgresServer(folder / "postgres")
    try:
        await asyncio.to_thread(nats.start)
        await asyncio.to_thread(postgres.start)
        await provision_database(postgres.admin_dsn, {"downloader": PASSWORD}, database="bench")
        dsn = postgres.dsn("bench", "downloader", PASSWORD)
        async with Studio() as studio, outside(nats.url) as world:
            await studio.put_on_air("1")
            world.sources = lambda: (flv(studio),)
            async with (
                viewer(studio.flv_url("1")) as seen,
                replica(nats.url, dsn, folder / "shared", "one") as one,
                replica(nats.url, dsn, folder / "shared", "two") as two,
            ):
                await world.start()
                await world.wait(SegmentOpened)
                await world.wait_for_media(3000)
                yield Stage(world, seen, {"one": one, "two": two}[world.of(RecordingStarted)[0].worker])
    finally:
        await asyncio.to_thread(nats.stop)
        await asyncio.to_thread(postgres.stop)
        await asyncio.to_thread(shutil.rmtree, folder)


BENCHMARK = Benchmark("handover", ABOUT, run)
