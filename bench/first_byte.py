"""From the check that sees a broadcast to media on the disk, through a whole running system."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import aiohttp

from bench import clip, processes
from bench.benchmark import Benchmark, Scale
from bench.figures import Goal, Line, Series, percentile
from bench.livesource import first_line
from bench.system import call, embedded_system

CHANNELS = 60
KBPS = 4_000
ABOUT = f"""A whole embedded system, and a server of live FLV streams of {KBPS // 1000} Mbit/s. {CHANNELS} times, one after the other, a channel
that is live is added. The clock begins at the time stamp of `monitor.session.opened`, which the check that saw the broadcast
appends, and stops when the file of that recording has its first byte on disk, as another process sees it. Between the two: relay,
scheduler, relay, downloader, lease, connection, the first group of media."""


class Watcher(threading.Thread):
    """Notes when the first byte of each recording's file is seen, by the recording's folder."""

    def __init__(self, partial: Path) -> None:
        super().__init__(daemon=True)
        self._partial, self._over = partial, threading.Event()
        self.seen: dict[str, float] = {}

    def run(self) -> None:
        """Look about every millisecond; only at recordings that have nothing yet."""
        while not self._over.wait(0.001):
            folders = self._partial.iterdir() if self._partial.is_dir() else ()
            for folder in folders:
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
            values = []
            async with system.http() as session:
                for n in range(count):
                    values.append(await _first_byte_ms(session, watcher, f"{base}/live/{n}.flv"))
                    step(n + 1, count)
            watcher.close()
    finally:
        await asyncio.to_thread(shutil.rmtree, folder)
    return [
        Line(f"seen live to first byte on disk, {name}", Series("system", "ms", (percentile(values, share),)), None,
             (Goal("figure", "at most", limit),) if limit else ())
        for name, share, limit in (("p50", 0.5, 0), ("p99", 0.99, 500))
    ]  # fmt: skip


async def _first_byte_ms(session: aiohttp.ClientSession, watcher: Watcher, url: str) -> float:
    added = await call(session, "POST", "/api/streamers", {"url": url})
    async with asyncio.timeout(60):
        opened = await _event(session, "monitor.session.opened.v1", added["id"])
        requested = await _event(session, "downloader.recording.requested.v1", added["id"])
        recording = requested["data"]["recording_id"]
        await asyncio.to_thread(watcher.wait_for, recording)
    await call(session, "POST", f"/api/streamers/{added['id']}/stop")
    return 1000 * (watcher.seen[recording] - datetime.fromisoformat(opened["time"]).timestamp())


async def _event(session: aiohttp.ClientSession, kind: str, streamer_id: str) -> dict[str, object]:
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
