"""Planned restarts lose no frame: the next owner holds the media before the last one stops, and both files together are the stream."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path

import asyncpg
import pytest
from contracts.downloader import (
    GapClosed,
    GapOpened,
    RecordingEnded,
    RecordingStarted,
    SegmentCompleted,
    SegmentOpened,
    StopRecording,
)
from contracts.values import Artifact, EndReason
from media.flv.tag import AUDIO, VIDEO

from tests.deadline import DEADLINE_S
from tests.integration.downloader_rig import (
    RECORDING,
    Outside,
    check_files,
    ended,
    flv,
    hls,
    looking,
    outside,
    path_of,
    replica,
)
from tests.integration.witness import Viewer, channel, frame_times, frames, viewer
from tests.studio import Studio

pytestmark = [pytest.mark.engines, pytest.mark.chaos]
STOP = StopRecording(recording_id=RECORDING, reason=EndReason.STOPPED)


def found(recorded: list[bytes], sent: list[bytes]) -> int:
    """Where in what was sent a recording begins; one frame alone may have its like, as the beeps of the test card have."""
    begin = recorded[:25]
    places = [at for at in range(len(sent)) if sent[at : at + len(begin)] == begin]
    assert len(places) == 1, f"the beginning is there {len(places)} times"
    return places[0]


def check_flv(world: Outside, seen: Viewer, fetch: Callable[[Artifact], Path] = path_of) -> int:
    """Every tag that was sent while it was recorded is in the files once, at its time; gives how many."""
    files = world.of(SegmentCompleted)
    total = 0
    shifts = set()
    for kind in (VIDEO, AUDIO):
        recorded = [tag for one in files for tag in channel(fetch(one.artifact).read_bytes(), one.start_ms, kind)]
        sent = seen.channel(kind)
        first = found([payload for _, payload in recorded], [payload for _, payload in sent])
        expected = sent[first : first + len(recorded)]
        assert [payload for _, payload in recorded] == [payload for _, payload in expected]
        shifts |= {at - sent_at for (at, _), (sent_at, _) in zip(recorded, expected, strict=True)}
        total += len(recorded)
    assert len(shifts) == 1, "sound and picture keep their times over the joint"
    return total


def check_ts(world: Outside, step: int) -> int:
    times = [at for one in world.of(SegmentCompleted) for at in frame_times(path_of(one.artifact))]
    assert {b - a for a, b in pairwise(times)} == {step}
    return len(times)


def check_fmp4(world: Outside, seen: Viewer) -> int:
    """Every frame is in the files once, in order; each file's times begin at 0."""
    files = world.of(SegmentCompleted)
    recorded = [frame for one in files for frame in frames(path_of(one.artifact))]
    # the tags of the same encoder, without the five bytes in front of the NAL units
    sent = [payload[5:] for _, payload in seen.channel(VIDEO)]
    if recorded[:25] not in [sent[at : at + 25] for at in range(len(sent))]:
        # a playlist may reach further back than a viewer that came before
        recorded = recorded[found(sent, recorded) :]
    first = found(recorded, sent)
    assert recorded == sent[first : first + len(recorded)]
    assert all(a.start_ms + a.duration_ms == pytest.approx(b.start_ms, abs=2) for a, b in pairwise(files))
    return len(recorded)


def check(kind: str, world: Outside, seen: Viewer) -> int:
    """Nothing of a recording of this container is missing, nothing there twice; gives how many frames or tags."""
    if kind == "fmp4":
        return check_fmp4(world, seen)
    return check_flv(world, seen) if kind == "flv" else check_ts(world, 6000)


@pytest.mark.parametrize(
    ("kind", "engine"),
    [("flv", "native"), ("ts", "native"), ("fmp4", "native"), ("flv", "ffmpeg"), ("flv", "streamlink")],
)
async def test_a_rolling_restart_loses_no_frame(
    nats_url: str, postgres_dsn: str, tmp_path: Path, kind: str, engine: str
) -> None:
    # given two replicas that share nothing but database and bus, and a recording
    async with Studio() as studio, outside(nats_url) as world:
        await studio.put_on_air("1")
        world.sources = lambda: (flv(studio) if kind == "flv" else hls(studio, kind),)
        async with (
            viewer(studio.flv_url("1")) as seen,
            replica(nats_url, postgres_dsn, tmp_path / "one", "one") as one,
            replica(nats_url, postgres_dsn, tmp_path / "two", "two") as two,
        ):
            replicas = {"one": one, "two": two}
            await world.start(engine=engine)
            await world.wait(SegmentOpened)
            await looking(postgres_dsn, "one", "two")
            await world.wait_for_media(3000)
            await announced(postgres_dsn, 2)
            # when its owner is restarted
            owner = replicas[world.of(RecordingStarted)[0].worker]
            owner.send_signal(signal.SIGTERM)
            # then it hands over and ends in time
            async with asyncio.timeout(DEADLINE_S):
                assert await owner.wait() == 0
            await world.wait(RecordingStarted, 2)
            await world.wait(SegmentOpened, 2)
            await world.wait_for_media(2000)
            await world.command(STOP)
            await world.wait(RecordingEnded)
            # and both files together are the stream
            assert check(kind, world, seen) > 50
    first, second = world.of(SegmentCompleted)
    assert first.start_ms + first.duration_ms == pytest.approx(second.start_ms, abs=100)
    assert world.of(GapOpened) == []
    assert not first.recovered
    assert ended(world).segments == 2


async def announced(dsn: str, count: int) -> None:
    """Until so many replicas take recordings: an owner that leaves before the other one is up leaves alone."""
    connection = await asyncpg.connect(dsn)
    try:
        async with asyncio.timeout(DEADLINE_S):
            while await connection.fetchval("select count(*) from replicas") < count:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        await connection.close()


async def standing(dsn: str, what: str = "successor is not null") -> str:
    """The replica that stands by for the recording, once it does; nobody else is told."""
    connection = await asyncpg.connect(dsn)
    try:
        async with asyncio.timeout(DEADLINE_S):
            while True:
                found = await connection.fetchval(f"select successor from handovers where {what}")
                if found is not None:
                    return str(found)
                await asyncio.sleep(0.05)
    finally:
        await connection.close()


async def test_a_successor_that_dies_is_replaced_before_the_owner_stops(
    nats_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    async with Studio() as studio, outside(nats_url) as world, AsyncExitStack() as stack:
        await studio.put_on_air("1")
        world.sources = lambda: (flv(studio),)
        seen = await stack.enter_async_context(viewer(studio.flv_url("1")))
        replicas = {
            name: await stack.enter_async_context(replica(nats_url, postgres_dsn, tmp_path / name, name))
            for name in ("one", "two", "three")
        }
        await world.start()
        await world.wait(SegmentOpened)
        await looking(postgres_dsn, "one", "two", "three")
        await world.wait_for_media(3000)
        owner = world.of(RecordingStarted)[0].worker
        # given an owner that leaves, and a successor that cannot connect
        await studio.fault("1", "status", target="flv", n=1000)
        replicas[owner].send_signal(signal.SIGTERM)
        first = await standing(postgres_dsn)
        # when the successor is killed
        replicas[first].kill()
        await studio.clear_faults("1")
        assert await replicas[owner].wait() == 0
        # then the third one goes on, and nothing is missing
        (_, again) = await world.wait(RecordingStarted, 2)
        await world.wait(SegmentOpened, 2)
        await world.wait_for_media(2000)
        await world.command(STOP)
        await world.wait(RecordingEnded)
        assert again.worker not in (owner, first)
        assert check_flv(world, seen) > 50
    assert world.of(GapOpened) == []


async def test_an_owner_that_dies_while_it_hands_over_is_succeeded_as_after_any_crash(
    nats_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    async with Studio() as studio, outside(nats_url) as world, AsyncExitStack() as stack:
        # given groups so long that the one that stands by, which begins with the group on air, mostly gets the torn one whole
        await studio.put_on_air("1", gop_s=4)
        world.sources = lambda: (flv(studio),)
        replicas = {
            name: await stack.enter_async_context(replica(nats_url, postgres_dsn, tmp_path, name))
            for name in ("one", "two")
        }
        await world.start()
        await world.wait(SegmentOpened)
        await looking(postgres_dsn, "one", "two")
        await world.wait_for_media(5000)
        owner = world.of(RecordingStarted)[0].worker
        await studio.fault("1", "status", target="flv", n=1000)
        replicas[owner].send_signal(signal.SIGTERM)
        first = await standing(postgres_dsn)
        # when the owner is killed before the successor holds anything
        replicas[owner].kill()
        await studio.clear_faults("1")
        (_, again) = await world.wait(RecordingStarted, 2)
        # then the one that stood by goes on with the same recording, and what is missing is told
        assert again.worker == first
        await world.wait(GapClosed)
        await world.wait_for_media(1000)
        await world.command(STOP)
        await world.wait(RecordingEnded)
    segments = world.of(SegmentCompleted)
    (gap,) = world.of(GapClosed)
    assert [one.index for one in segments] == [0, 1]
    assert segments[0].recovered
    assert gap.at_ms - gap.lost_ms == segments[0].start_ms + segments[0].duration_ms
    # and each file plays from its beginning, also where nothing is missing between them
    assert all(channel(path_of(one.artifact).read_bytes(), 0, VIDEO)[0][1][0] >> 4 == 1 for one in segments)
    check_files(world)
