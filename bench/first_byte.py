"""From the check that sees a broadcast to media on the disk, through a whole running system."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp

from bench import clip, processes
from bench.benchmark import Benchmark, Scale
from bench.figures import Goal, Line, Series, percentile
from bench.livesource import TICK_MS, first_line
from bench.system import call, embedded_system

CHANNELS = 60
KBPS = 4_000
ABOUT = f"""A whole embedded system, and a server of live FLV streams of {KBPS // 1000} Mbit/s. In each round {CHANNELS} channels that are live are
added, one after the other. The clock begins at the time stamp of `monitor.session.opened`, which the check that saw the broadcast
appends, and stops when the file of that recording has its first byte on disk, as another process sees it. The streams begin with a keyframe
and come in real time, in ticks of {TICK_MS} ms, without the burst that a content network sends from its cache: until enough media for a file is
there, the recorder can only wait. The other lines show where the time goes. Each p50 is that of a round; each p99 is that of all
channels of all rounds."""
HOPS = (
    ("seen live to requested: relay, scheduler, relay, downloader", "requested"),
    ("requested to asked for media: lease, choice of the source, connection", "asked"),
    ("asked to first media sent: the source", "media"),
    ("first media sent to first byte on disk", "byte"),
)
"""What ends each hop; the next begins there."""


@dataclass(frozen=True, slots=True)
class Trip:
    """The moments of one recording, Unix time."""

    seen: float
    requested: float
    asked: float
    media: float
    byte: float

    @property
    def hops_ms(self) -> tuple[float, ...]:
        """Its parts, as in `HOPS`."""
        moments = (self.seen, *(getattr(self, name) for _, name in HOPS))
        return tuple(1000 * (later - earlier) for earlier, later in pairwise(moments))

    @property
    def total_ms(self) -> float:
        """All of it."""
        return 1000 * (self.byte - self.seen)


class Watcher(threading.Thread):
    """Notes when the first byte of each recording's file is seen, by the recording's folder."""

    def __init__(self, partial: Path) -> None:
        super().__init__(daemon=True)
        self._partial, self._over = partial, threading.Event()
        self.seen: dict[str, float] = {}

    def run(self) -> None:
        """Look about every millisecond; only at recordings that have nothing yet."""
        while not self._over.wait(0.001):
            with suppress(FileNotFoundError):  # folders come and go
                self._look()

    def _look(self) -> None:
        for folder in self._partial.iterdir():
            if folder.name not in self.seen and any(_has_bytes(file) for file in folder.glob("*.part")):
                self.seen[folder.name] = time.time()

    def wait_for(self, recording: str) -> None:
        """Until its first byte was seen; blocking."""
        while recording not in self.seen and self.is_alive():
            time.sleep(0.005)

    def close(self) -> None:
        """Stop looking."""
        self._over.set()
        self.join()


async def run(scale: Scale, step: Callable[[int, int], None]) -> list[Line]:
    """Add live channels one after the other."""
    count = scale.of(CHANNELS)
    folder = Path(tempfile.mkdtemp(prefix="aircheck-bench-"))
    try:
        file = folder / "live.flv"
        await asyncio.to_thread(clip.repeat, await clip.encode(KBPS), file, seconds=60)
        async with (
            processes.started(processes.python("bench.livesource", file), folder) as server,
            embedded_system() as system,
        ):
            base = f"http://127.0.0.1:{await asyncio.to_thread(first_line, server)}"
            await system.start(AIRCHECK_ALLOW_PRIVATE_SOURCES="true")
            watcher = Watcher(system.recordings / ".partial")
            watcher.start()
            rounds: list[list[Trip]] = []
            async with system.http() as session:
                for round_ in range(scale.rounds):
                    rounds.append([])
                    for n in range(count):
                        rounds[-1].append(await _trip(session, watcher, base, f"{round_}-{n}.flv"))
                        step(round_ * count + n + 1, scale.rounds * count)
            watcher.close()
    finally:
        await asyncio.to_thread(shutil.rmtree, folder)
    return _lines(rounds)


def _lines(rounds: Sequence[Sequence[Trip]]) -> list[Line]:
    totals = [[trip.total_ms for trip in some] for some in rounds]
    lines = _percentiles("seen live to first byte on disk", totals, 500)
    for hop, (name, _) in enumerate(HOPS):
        lines += _percentiles(f"of it, {name}", [[trip.hops_ms[hop] for trip in some] for some in rounds])
    return lines


def _percentiles(what: str, rounds: Sequence[Sequence[float]], limit: float = 0) -> list[Line]:
    every = [value for some in rounds for value in some]
    goals = (Goal("figure", "at most", limit),) if limit else ()
    return [
        Line(f"{what}, p50", Series("system", "ms", tuple(percentile(some, 0.5) for some in rounds))),
        Line(f"{what}, p99 of {len(every)}", Series("system", "ms", (percentile(every, 0.99),)), None, goals),
    ]


async def _trip(session: aiohttp.ClientSession, watcher: Watcher, base: str, name: str) -> Trip:
    added = await call(session, "POST", "/api/streamers", {"url": f"{base}/live/{name}"})
    async with asyncio.timeout(60):
        opened = await _event(session, "monitor.session.opened.v1", added["id"])
        requested = await _event(session, "downloader.recording.requested.v1", added["id"])
        recording = requested["data"]["recording_id"]
        await asyncio.to_thread(watcher.wait_for, recording)
    await call(session, "POST", f"/api/streamers/{added['id']}/stop")
    async with session.get(f"{base}/viewers/{name}") as response:
        viewers = await response.json()
    requested_at = _time(requested)
    # The monitor looks at the stream too, before.
    recorder = next(one for one in viewers if one["asked_at"] >= requested_at)
    return Trip(_time(opened), requested_at, recorder["asked_at"], recorder["media_at"], watcher.seen[recording])


def _time(event: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()


async def _event(session: aiohttp.ClientSession, kind: str, streamer_id: str) -> dict[str, Any]:
    while True:
        found = await call(session, "GET", f"/api/events?type={kind}&order=desc&limit=20")
        for one in found["items"]:
            if one["data"]["streamer_id"] == streamer_id:
                return dict(one)
        await asyncio.sleep(0.05)


def _has_bytes(file: Path) -> bool:
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:
        return False


BENCHMARK = Benchmark("first-byte", ABOUT, run)
