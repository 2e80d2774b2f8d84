"""The engine alone: an address in, files out, nothing else running."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from contracts.values import Effective, EndReason

from services.downloader.adapters.engine import GapClosed, GapOpened, Progress, SegmentOpened
from services.downloader.standalone import record
from tests.deadline import DEADLINE_S
from tests.integration.downloader_rig import left_parts, play
from tests.studio import Studio


@pytest.mark.parametrize("kind", ["flv", "ts", "fmp4"])
async def test_an_address_is_recorded_for_a_while(tmp_path: Path, kind: str) -> None:
    told: list[object] = []
    async with Studio() as studio:
        await studio.put_on_air("1")
        url = studio.flv_url("1") if kind == "flv" else studio.hls_url("1", kind)
        recorded = await record(url, tmp_path, duration_s=4, allow_private=True, on_event=told.append)
    (segment,) = recorded.segments
    assert recorded.reason is EndReason.STOPPED
    assert segment.path.parent == tmp_path
    assert segment.bytes == segment.path.stat().st_size
    assert abs(play(segment.path).duration_ms - segment.duration_ms) < 400
    assert segment.duration_ms > 2500
    assert {SegmentOpened, Progress} <= {type(event) for event in told}
    assert files_in(tmp_path) == [segment.path]


def files_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_a_dropped_connection_does_not_end_it_and_the_end_of_the_stream_does(tmp_path: Path) -> None:
    told: list[object] = []
    opened, closed = asyncio.Event(), asyncio.Event()

    def listen(event: object) -> None:
        told.append(event)
        if isinstance(event, SegmentOpened):
            opened.set()
        if isinstance(event, GapClosed):
            closed.set()

    async with Studio() as studio, asyncio.timeout(DEADLINE_S):
        await studio.put_on_air("1")
        running = asyncio.create_task(
            record(studio.flv_url("1"), tmp_path, allow_private=True, on_event=listen, effective=Effective())
        )
        await opened.wait()
        await studio.fault("1", "drop")
        await closed.wait()
        await studio.put_off_air("1")
        recorded = await running
    assert recorded.reason is EndReason.SOURCE_ENDED
    assert [type(event) for event in told if isinstance(event, GapOpened | GapClosed)][:2] == [GapOpened, GapClosed]
    (segment,) = recorded.segments
    assert play(segment.path).frames > 10
    assert left_parts(tmp_path) == []


async def test_it_can_be_stopped_and_cut_by_time(tmp_path: Path) -> None:
    stop, second = asyncio.Event(), asyncio.Event()

    def listen(event: object) -> None:
        if isinstance(event, SegmentOpened) and event.index == 1:
            second.set()

    async with Studio() as studio, asyncio.timeout(DEADLINE_S):
        await studio.put_on_air("1")
        effective = Effective(segment_seconds=2, file_template="{streamer} {index:02}")
        running = asyncio.create_task(
            record(
                studio.flv_url("1"), tmp_path, allow_private=True, on_event=listen, effective=effective,
                name="ann", stop=stop,
            )
        )  # fmt: skip
        await second.wait()
        stop.set()
        recorded = await running
    assert [one.path.name for one in recorded.segments] == ["ann 00.flv", "ann 01.flv"]


async def test_other_addresses_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ends in none"):
        await record("http://127.0.0.1/page", tmp_path)
    recorded = await record("http://127.0.0.1:9/live.flv", tmp_path, duration_s=0.2)
    assert recorded.segments == ()
