"""Two replicas receive one session: when the one that writes is gone, with or without its disk, the files miss no frame."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from contracts.downloader import (
    GapClosed,
    RecordingEnded,
    RecordingStarted,
    SegmentCompleted,
    SegmentDiscarded,
    SegmentOpened,
)

from tests.chaos.test_downloader_handover import STOP, check_flv, check_ts, standing
from tests.integration.downloader_rig import check_files, flv, hls, outside, replica
from tests.integration.witness import viewer
from tests.studio import Studio

pytestmark = [pytest.mark.engines, pytest.mark.chaos]


@pytest.mark.parametrize(
    ("kind", "shared"), [("flv", True), ("ts", True), ("flv", False)], ids=["flv", "ts", "flv-with-its-disk"]
)
async def test_a_killed_primary_leaves_no_hole(
    nats_url: str, postgres_dsn: str, tmp_path: Path, kind: str, shared: bool
) -> None:
    # given a streamer that two replicas receive, on one folder or each on its own
    async with Studio() as studio, outside(nats_url) as world, AsyncExitStack() as stack:
        await studio.put_on_air("1")
        world.sources = lambda: (flv(studio) if kind == "flv" else hls(studio, kind),)
        seen = await stack.enter_async_context(viewer(studio.flv_url("1")))
        replicas = {
            name: await stack.enter_async_context(
                replica(nats_url, postgres_dsn, tmp_path if shared else tmp_path / name, name)
            )
            for name in ("one", "two")
        }
        await world.start(dual_capture=True, segment_seconds=6)
        await world.wait(SegmentOpened)
        shadow = await standing(postgres_dsn, "successor is not null and holds is not null")
        await world.wait(SegmentOpened, 2)
        await world.wait_for_media(2000)
        # when the one that writes is killed
        (started,) = world.of(RecordingStarted)
        replicas[started.worker].kill()
        # then the other one goes on
        (_, again) = await world.wait(RecordingStarted, 2)
        await world.wait(GapClosed)
        await world.wait_for_media(1000)
        await world.command(STOP)
        await world.wait(RecordingEnded)
        assert again.worker == shadow != started.worker
        # and nothing is missing, nothing there twice
        assert (check_flv(world, seen) if kind == "flv" else check_ts(world, 6000)) > 200
    (gap,) = world.of(GapClosed)
    assert gap.lost_ms <= 100
    assert bool(world.of(SegmentDiscarded)) is not shared
    assert [one.recovered for one in world.of(SegmentCompleted)].count(True) == (1 if shared else 0)
    check_files(world)
