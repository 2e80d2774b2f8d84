"""A bad line between a source and the engine: every frame that was sent is in the files once, or a gap event tells how much is missing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
from contracts.values import Effective, EndReason, Network
from media.flv.tag import VIDEO

from services.downloader.adapters.engine import EngineEvent, GapClosed, GapOpened, Progress
from services.downloader.standalone import Recorded, record
from tests.deadline import DEADLINE_S
from tests.integration.downloader_rig import left_parts, play
from tests.integration.witness import Told, Viewer, channel, frame_times, viewer
from tests.studio import Studio
from tests.studio.fault_proxy import FaultProxy

STALL_S = 1.0
FRAME_MS = 67
TS_STEP = 6000
"""One frame of the studio in 90 kHz."""
PATIENT_S = 15.0
"""What services wait by default."""
Deed = Callable[["Take", FaultProxy], Awaitable[None]]


class Take:
    """A recording that runs: what it told, and when."""

    def __init__(self) -> None:
        self.told: list[EngineEvent | Progress] = []
        self._changed = asyncio.Event()
        self.stop = asyncio.Event()
        self.recorded: Recorded | None = None

    def hear(self, event: EngineEvent | Progress) -> None:
        self.told.append(event)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def media(self, more_ms: int) -> None:
        wanted = self.recorded_ms + more_ms
        await self.until(lambda: self.recorded_ms >= wanted)

    @property
    def recorded_ms(self) -> int:
        return max((one.duration_ms for one in self.told if isinstance(one, Progress)), default=0)

    @property
    def opened(self) -> list[GapOpened]:
        return [one for one in self.told if isinstance(one, GapOpened)]

    @property
    def closed(self) -> list[GapClosed]:
        return [one for one in self.told if isinstance(one, GapClosed)]

    @property
    def lost_ms(self) -> int:
        return sum(one.lost_ms for one in self.closed)

    @property
    def files(self) -> list[Path]:
        assert self.recorded is not None
        return [one.path for one in self.recorded.segments]


@asynccontextmanager
async def recording(url: str, folder: Path, stall_s: float, segment_s: int) -> AsyncIterator[Take]:
    """Records as long as the block runs."""
    take = Take()
    effective = Effective(file_template="{index:03}", segment_seconds=segment_s, network=Network(stall_s=stall_s))
    running = asyncio.create_task(
        record(url, folder, allow_private=True, on_event=take.hear, effective=effective, stop=take.stop)
    )
    running.add_done_callback(lambda _: take.stop.set())
    try:
        await take.until(lambda: take.recorded_ms > 1000)
        yield take
        take.stop.set()
        take.recorded = await running
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@asynccontextmanager
async def bad_line(
    folder: Path, kind: str, *, stall_s: float = STALL_S, gop_s: float = 1.0, segment_s: int = 2
) -> AsyncIterator[tuple[Take, FaultProxy, Viewer]]:
    async with (
        asyncio.timeout(DEADLINE_S),
        Studio() as studio,
        FaultProxy(studio.url) as line,
    ):
        # A playlist lists a segment for so long that a busy machine cannot miss it.
        await studio.put_on_air("1", formats=list({"flv", kind}), gop_s=gop_s, window=100)
        url = studio.flv_url("1") if kind == "flv" else studio.hls_url("1", kind)
        async with (
            viewer(studio.flv_url("1")) as seen,
            recording(line.through(url), folder, stall_s, segment_s) as take,
        ):
            yield take, line, seen


def check_course(take: Take, folder: Path, *, whole: bool = True) -> None:
    """It went on by itself to the stop, with one numbering, one gap at a time, and files that play."""
    assert take.recorded is not None
    assert take.recorded.reason is EndReason.STOPPED
    assert [one.index for one in take.recorded.segments] == list(range(len(take.recorded.segments)))
    gaps = [type(one) for one in take.told if isinstance(one, GapOpened | GapClosed)]
    assert gaps == [GapOpened, GapClosed] * (len(gaps) // 2)
    assert all(one.cause for one in take.opened)
    if whole:
        assert all(play(path).frames for path in take.files)
    assert left_parts(folder) == []


def recorded_flv(take: Take) -> Told:
    assert take.recorded is not None
    return [frame for one in take.recorded.segments for frame in channel(one.path.read_bytes(), one.start_ms, VIDEO)]


def missing_flv(take: Take, seen: Viewer) -> int:
    """How many ms of what was sent are not in the files as they were sent; every frame that is, is there once and in order."""
    sent = [payload for _, payload in seen.channel(VIDEO)]
    assert len(set(sent)) == len(sent), "frames can be told apart"
    places = {payload: at for at, payload in enumerate(sent)}
    found = [places[payload] for _, payload in recorded_flv(take) if payload in places]
    assert found == sorted(set(found)), "a frame is there twice or out of order"
    return (found[-1] - found[0] + 1 - len(found)) * FRAME_MS


def missing_ts(take: Take) -> int:
    """The same by presentation times, which HLS keeps over gaps."""
    times = [at for path in take.files for at in frame_times(path)]
    assert times == sorted(set(times)), "a frame is there twice or out of order"
    holes = [(b - a) // TS_STEP - 1 for a, b in pairwise(times)]
    return sum(holes) * FRAME_MS


async def reset(take: Take, line: FaultProxy) -> None:
    assert line.reset() > 0


async def break_twice(take: Take, line: FaultProxy) -> None:
    assert line.reset() > 0
    await close_in_the_middle(take, line)


async def close_in_the_middle(take: Take, line: FaultProxy) -> None:
    line.close_after(5000)
    await line.wait_ended()


async def half_open(take: Take, line: FaultProxy) -> None:
    assert line.half_open() > 0


async def outage(take: Take, line: FaultProxy) -> None:
    """Broken in the middle of something, and nobody there until the recorder has noticed."""
    line.close_after(5000)
    await line.wait_ended()
    await line.refuse()
    line.reset()
    await take.until(lambda: bool(take.opened))
    await line.admit()


async def stall(take: Take, line: FaultProxy) -> None:
    """What connects gets nothing either; what was held back comes late, over connections that nobody reads any more."""
    connections = line.accepted
    line.stall()
    await line.wait_accepted(connections + 2)
    line.resume()


async def starve(take: Take, line: FaultProxy) -> None:
    """Half of what the stream needs, late."""
    line.bytes_per_s, line.latency_s = 20_000, 0.05
    await take.media(1000)
    line.bytes_per_s, line.latency_s = None, 0.0


@pytest.mark.parametrize(
    ("deed", "causes"),
    [
        (close_in_the_middle, {"connection broke (ClientPayloadError)"}),
        (half_open, {"no data in time"}),
        (outage, {"connection broke (ClientPayloadError)"}),
        (stall, {"no data in time"}),
        (starve, set()),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_an_flv_stream_outlives_a_bad_line(tmp_path: Path, deed: Deed, causes: set[str]) -> None:
    async with bad_line(tmp_path, "flv") as (take, line, seen):
        await deed(take, line)
        await take.media(2000)
    check_course(take, tmp_path)
    missing = missing_flv(take, seen)
    assert {one.cause for one in take.opened} == causes
    assert missing == pytest.approx(take.lost_ms, abs=FRAME_MS * (1 + len(take.closed)))


async def test_a_connection_that_is_made_anew_at_once_joins_without_a_seam(tmp_path: Path) -> None:
    # given groups of pictures so long that no keyframe passes while nobody is connected
    async with bad_line(tmp_path, "flv", stall_s=PATIENT_S, gop_s=4.0, segment_s=0) as (take, line, seen):
        await reset(take, line)
        await take.media(2000)
    # then what the server repeats from the keyframe on is dropped, and nothing is missing
    check_course(take, tmp_path)
    assert [one.cause for one in take.opened] == ["connection broke (ClientPayloadError)"]
    assert (missing_flv(take, seen), take.lost_ms) == (0, 0)


@pytest.mark.parametrize(
    ("deed", "stall_s"),
    [(break_twice, PATIENT_S), (half_open, PATIENT_S), (outage, PATIENT_S), (stall, STALL_S)],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_nothing_of_a_playlist_is_lost_while_it_is_listed(tmp_path: Path, deed: Deed, stall_s: float) -> None:
    async with bad_line(tmp_path, "ts", stall_s=stall_s) as (take, line, _):
        await deed(take, line)
        await take.media(3000)
    check_course(take, tmp_path)
    assert (missing_ts(take), take.lost_ms) == (0, 0)
    assert bool(take.opened) == (deed is outage), "the rest is nothing but a retry"


async def test_garbled_bytes_cost_what_they_hit(tmp_path: Path) -> None:
    async with bad_line(tmp_path, "flv") as (take, line, seen):
        line.garble(2000)
        await line.wait_ended()
        await take.media(2000)
    check_course(take, tmp_path, whole=False)
    missing = missing_flv(take, seen)
    assert FRAME_MS <= missing <= 5 * FRAME_MS
