"""Which address a recording uses: another one when the first goes silent, a fresh one when a signature is over."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from contracts.downloader import (
    GapClosed,
    GapOpened,
    ReconfigureRecording,
    RecordingEnded,
    RecordingRequested,
    SegmentCompleted,
    SegmentOpened,
    StopRecording,
)
from contracts.values import EndReason, Network, Source

from services.downloader.app import build
from tests.integration.downloader_rig import RECORDING, check_files, ended, flv, outside, path_of, settings
from tests.integration.harness import running
from tests.integration.witness import frame_times
from tests.studio import Studio
from tests.studio.fault_proxy import FaultProxy
from tests.studio.options import MediaFormat

pytestmark = pytest.mark.engines
STOP = StopRecording(recording_id=RECORDING, reason=EndReason.STOPPED)
LIFE_S = 3


def signed(studio: Studio, media: MediaFormat, life_s: int) -> Source:
    """An address as a platform gives it: good for a while."""
    room = studio._rooms["1"]
    path, expires = room.media_path(media), int(time.time()) + life_s
    url = f"{studio.url}{path}?expires={expires}&sign={room.urls.sign(path, expires)}"
    return Source(url=url, protocol="flv" if media == "flv" else "hls", container=media)


async def test_a_source_that_failed_is_not_returned_to_while_another_one_is_well(
    nats_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    async with (
        Studio() as studio,
        FaultProxy(studio.url) as first,
        FaultProxy(studio.url) as second,
        outside(nats_url) as world,
    ):
        await studio.put_on_air("1", formats=["flv"])
        source = flv(studio)
        world.sources = lambda: (
            source.model_copy(update={"url": first.through(source.url)}),
            source.model_copy(update={"url": second.through(source.url), "priority": 1}),
        )
        async with running(build(settings(nats_url, postgres_dsn, tmp_path, stall_s=1))):
            # given a recording of the better one of two sources
            await world.start()
            await world.wait(SegmentOpened)
            await world.wait_for_media(1000)
            assert (first.accepted, second.accepted) == (1, 0)
            # when it goes silent, then the other one goes on
            first.stall()
            await second.wait_accepted(1)
            await world.wait(GapClosed)
            # and when the first one is well again and a connection has to be made anew, it is the healthier one's
            first.resume()
            effective = world.of(RecordingRequested)[0].effective
            wanted = effective.model_copy(update={"network": Network(referer="http://example.org/")})
            await world.command(ReconfigureRecording(recording_id=RECORDING, effective=wanted))
            await second.wait_accepted(2)
            await world.wait(GapClosed, 2)
            await world.wait_for_media(1000)
            await world.command(STOP)
            await world.wait(RecordingEnded)
    assert first.accepted == 1
    assert [one.cause for one in world.of(GapOpened)] == ["no data in time", "the configuration changed"]
    assert [one.index for one in world.of(SegmentCompleted)] == [0, 1]
    check_files(world)


async def test_a_playlist_whose_signature_ends_again_and_again_is_recorded_without_a_gap(
    nats_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    async with Studio() as studio, outside(nats_url) as world:
        await studio.put_on_air("1", formats=["flv", "ts"])
        world.sources = lambda: (signed(studio, "ts", LIFE_S),)
        async with running(build(settings(nats_url, postgres_dsn, tmp_path))):
            # when it is recorded for longer than two addresses live
            await world.start()
            await world.until(lambda: world.checks >= 3, "fresh addresses are asked for")
            await world.wait(GapClosed, 2)
            await world.command(STOP)
            await world.wait(RecordingEnded)
    # then every segment is there once, in one file
    assert {(one.cause) for one in world.of(GapOpened)} == {"HTTP 403"}
    assert {one.lost_ms for one in world.of(GapClosed)} == {0}
    (segment,) = world.of(SegmentCompleted)
    times = frame_times(path_of(segment.artifact))
    assert times == list(range(times[0], times[-1] + 1, 6000))
    check_files(world)


async def test_a_stream_whose_signature_is_void_goes_on_at_a_fresh_address(
    nats_url: str, postgres_dsn: str, tmp_path: Path
) -> None:
    async with Studio() as studio, FaultProxy(studio.url) as line, outside(nats_url) as world:
        await studio.put_on_air("1", formats=["flv"])

        def sources() -> tuple[Source, ...]:
            source = signed(studio, "flv", 3600)
            return (source.model_copy(update={"url": line.through(source.url)}),)

        world.sources = sources
        await world.announce()
        async with running(build(settings(nats_url, postgres_dsn, tmp_path))):
            await world.start()
            await world.wait(SegmentOpened)
            await world.wait_for_media(1000)
            assert world.checks == 0
            # when the platform takes back what it signed, and the connection breaks
            await studio.fault("1", "expired_url")
            line.reset()
            await world.wait(GapClosed)
            await world.wait_for_media(1000)
            await world.command(STOP)
            await world.wait(RecordingEnded)
    # then the monitor was asked once, and the same file went on
    assert world.checks == 1
    assert ended(world).segments == 1
    check_files(world)
