"""The recording engine alone beside other recorders: processor time per gigabyte, per stream and second, memory, and how many at a time."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import imageio_ffmpeg

from bench import clip, peers, processes
from bench.benchmark import Benchmark, Scale
from bench.figures import Goal, Line, Series, alternate
from bench.livesource import first_line

GIGABYTE = 1_000_000_000
SHORT = 16_000_000
MB = 1_000_000
MANY, MANY_KBPS = 50, 4_000
CROWD, CROWD_KBPS = 500, 1_000
FEW_KBPS = 6_000
WARM_S = 5
REAL_TIME_ROUNDS = 3
PEER_SCRIPT = (
    "import stream_gears, sys, threading\n"
    "def one(n, url): stream_gears.download(url, {}, f'{sys.argv[1]}/{n}', stream_gears.Segment.by_time(36000), None)\n"
    "some = [threading.Thread(target=one, args=pair) for pair in enumerate(sys.argv[2:])]\n"
    "[one.start() for one in some]; [one.join() for one in some]\n"
)
ABOUT = f"""H.264 with AAC over loopback from a server in a process of its own, whose time does not count. *Processor
per GB*: one recorder process reads an FLV stream of 1 GB (6 Mbit/s) as fast as it can; ours with the whole repair
chain, an index that is kept up to date in the file, and the file synced (no SHA-256, which files of more than
256 MiB do not get); ffmpeg with `-c copy` to FLV, streamlink with `-o`, stream-gears (a recorder in Rust) with a
file. User and system time of the whole process tree, less that of a run over {SHORT // MB} MB: starting does not count. *Per
stream-second*: {MANY} live streams of {MANY_KBPS // 1000} Mbit/s in real time, all in one
process, over 15 s after a warm-up, three times. *Memory*: private memory of a process with 21 recordings of {FEW_KBPS // 1000} Mbit/s less
that with one, by 20. *Recordings at a time*: {CROWD} live streams of {CROWD_KBPS // 1000} Mbit/s in one process for 30 s; counts those whose
file has everything, without a gap, the last media at most a second old when the process was told to stop. *Repair*: `aircheck
media repair` of the 1 GB file, and as peer a copy of it by a Python process in pieces of 1 MiB."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where it happens: a folder that goes away, and the address of the server."""

    folder: Path
    base: str

    def urls(self, count: int) -> list[str]:
        """Addresses of live streams."""
        return [f"{self.base}/live/{n}.flv" for n in range(count)]


async def run(scale: Scale, step: Callable[[int, int], None]) -> list[Line]:
    """One after the other: whole files, then streams in real time."""
    done, total = 0, 4 * scale.rounds + 2 * scale.rounds + 4 * REAL_TIME_ROUNDS

    def advance() -> None:
        nonlocal done
        done += 1
        step(done, total)

    folder = Path(tempfile.mkdtemp(prefix="aircheck-bench-"))
    try:
        whole = await _gigabyte(folder, scale, advance)
        many = await _many(folder, scale, advance)
        memory = await _memory(folder, scale, advance)
        crowd = await _crowd(folder, scale, advance)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder)
    return [*whole, many, memory, crowd]


async def _gigabyte(folder: Path, scale: Scale, advance: Callable[[], None]) -> list[Line]:
    file, size = folder / "big.flv", scale.of(GIGABYTE)
    await asyncio.to_thread(clip.repeat, await clip.encode(FEW_KBPS), file, size=size)
    size = file.stat().st_size
    short = folder / "short.flv"
    await asyncio.to_thread(clip.repeat, await clip.encode(FEW_KBPS), short, size=SHORT)
    async with _stage(folder, file) as stage, _stage(folder, short) as little:
        gears, missing = await _peer("recorders")

        async def cpu_of(command: Callable[[str], tuple[str, ...]]) -> float:
            whole = await _recorded(folder, command(f"{stage.base}/file.flv"), file)
            start = await _recorded(folder, command(f"{little.base}/file.flv"), short)
            return (whole - start) * GIGABYTE / (size - short.stat().st_size)

        cases: dict[str, Callable[[], Awaitable[float]]] = {
            "aircheck": lambda: cpu_of(lambda url: processes.python("bench.recorder", "out", 0, url)),
            "ffmpeg -c copy": lambda: cpu_of(_ffmpeg),
            "streamlink -o": lambda: cpu_of(_streamlink),
        }
        if gears:
            cases["stream-gears"] = lambda: cpu_of(lambda url: (str(gears), "-c", PEER_SCRIPT, ".", url))
        values = dict(zip(cases, await alternate(scale.rounds, list(cases.values()), advance), strict=True))
        repair = await _repair(folder, file, scale, advance)
    ours = Series("aircheck", "CPU s/GB", values.pop("aircheck"))
    goals = {"ffmpeg -c copy": 0.75, "streamlink -o": 0.35, "stream-gears": 0.9}
    lines = [
        Line(f"1 GB recorded, beside {name}", ours, Series(name, "CPU s/GB", some), (Goal("ratio", "at most", goals[name]),))
        for name, some in values.items()
    ]  # fmt: skip
    if missing:
        lines.append(Line(f"1 GB recorded, stream-gears left out: {missing}", ours))
    return [*lines, repair]


async def _recorded(folder: Path, command: tuple[str, ...], source: Path) -> float:
    """Processor seconds of a recorder that must have written what the source has."""
    out = Path(tempfile.mkdtemp(dir=folder))
    spent = await processes.run(command, out)
    written, size = await asyncio.to_thread(_bytes_in, out), await asyncio.to_thread(_bytes_in, source)
    await asyncio.to_thread(shutil.rmtree, out)
    if not 0.9 * size < written < 1.1 * size:
        raise RuntimeError(f"{command[0]} wrote {written} of {size} bytes")
    return spent.cpu_s


def _bytes_in(folder: Path) -> int:
    if folder.is_file():
        return folder.stat().st_size
    return sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())


async def _repair(folder: Path, file: Path, scale: Scale, advance: Callable[[], None]) -> Line:
    copying = "import shutil, sys; shutil.copyfileobj(open(sys.argv[1], 'rb'), open('copy', 'wb'), 1 << 20)"

    async def timed(command: tuple[str, ...]) -> float:
        out = Path(tempfile.mkdtemp(dir=folder))
        spent = await processes.run(command, out)
        await asyncio.to_thread(shutil.rmtree, out)
        return spent.wall_s

    mine, copied = await alternate(
        scale.rounds,
        [
            lambda: timed(processes.python("aircheck", "media", "repair", file, "-o", "out")),
            lambda: timed((sys.executable, "-c", copying, str(file))),
        ],
        advance,
    )
    return Line(
        "1 GB repaired", Series("aircheck media repair", "s", mine), Series("copy", "s", copied), (Goal("ratio", "at most", 3),)
    )  # fmt: skip


async def _many(folder: Path, scale: Scale, advance: Callable[[], None]) -> Line:
    """Processor time per stream and second of many live streams in one process."""
    count, seconds = scale.of(MANY), 15
    gears, _ = await _peer("recorders")
    async with _live(folder, MANY_KBPS, WARM_S + seconds + 10) as stage:

        async def ours() -> float:
            return await _cpu_ms(
                stage, processes.python("bench.recorder", "out", 600, *stage.urls(count)), count, seconds
            )

        async def theirs() -> float:
            return await _cpu_ms(stage, (str(gears), "-c", PEER_SCRIPT, ".", *stage.urls(count)), count, seconds)

        cases = [ours, theirs] if gears else [ours]
        mine, *others = await alternate(REAL_TIME_ROUNDS, cases, advance)
    peer = Series("stream-gears", "CPU ms/stream-s", others[0]) if others else None
    return Line(f"{count} live streams of 4 Mbit/s in one process", Series("aircheck", "CPU ms/stream-s", mine), peer,
                (Goal("figure", "at most", 3),))  # fmt: skip


async def _cpu_ms(stage: Stage, command: tuple[str, ...], count: int, seconds: int) -> float:
    out = Path(tempfile.mkdtemp(dir=stage.folder))
    async with processes.started(command, out) as process:
        await _flowing(stage, count)
        await asyncio.sleep(WARM_S)
        before = processes.cpu_s(process.pid)
        await asyncio.sleep(seconds)
        spent = processes.cpu_s(process.pid) - before
    await asyncio.to_thread(shutil.rmtree, out)
    return 1000 * spent / count / seconds


async def _memory(folder: Path, scale: Scale, advance: Callable[[], None]) -> Line:
    """Private memory that one more recording takes."""
    few, seconds = 21, 10
    values = []
    async with _live(folder, FEW_KBPS, WARM_S + seconds + 10) as stage:
        for _ in range(REAL_TIME_ROUNDS):
            used = []
            for count in (1, few):
                out = Path(tempfile.mkdtemp(dir=stage.folder))
                command = processes.python("bench.recorder", "out", 600, *stage.urls(count))
                async with processes.started(command, out) as process:
                    await _flowing(stage, count)
                    await asyncio.sleep(seconds)
                    used.append(processes.private_bytes(process.pid))
                await asyncio.to_thread(shutil.rmtree, out)
            values.append((used[1] - used[0]) / (few - 1) / MB)
            advance()
    return Line(
        "memory per recording of 6 Mbit/s",
        Series("aircheck", "MB", tuple(values)),
        None,
        (Goal("figure", "at most", 2),),
    )


async def _crowd(folder: Path, scale: Scale, advance: Callable[[], None]) -> Line:
    """How many of a crowd of live streams are recorded whole and on time."""
    count, seconds = scale.of(CROWD), 30
    values = []
    async with _live(folder, CROWD_KBPS, seconds + 30) as stage:
        for _ in range(REAL_TIME_ROUNDS):
            out = Path(tempfile.mkdtemp(dir=stage.folder))
            spent = await processes.run(processes.python("bench.recorder", "out", seconds, *stage.urls(count)), out)
            await asyncio.to_thread(shutil.rmtree, out)
            results = json.loads(spent.last_line)
            # Connecting takes its time too: what counts is that nothing piled up behind the live edge.
            longest = max(one["duration_ms"] for one in results)
            whole = [
                one for one in results if not one["gaps"] and one["files"] == 1 and one["duration_ms"] > longest - 1_000
            ]
            values.append(float(len(whole) if longest > 1000 * seconds * 0.9 else 0))
            advance()
    return Line(f"{count} live streams of 1 Mbit/s in one process: whole and on time", Series("aircheck", "recordings", tuple(values)),
                None, (Goal("figure", "at least", count),))  # fmt: skip


@asynccontextmanager
async def _live(folder: Path, kbps: int, seconds: float) -> AsyncIterator[Stage]:
    file = folder / f"{kbps}.flv"
    await asyncio.to_thread(clip.repeat, await clip.encode(kbps), file, seconds=seconds)
    async with _stage(folder, file) as stage:
        yield stage
    file.unlink()


@asynccontextmanager
async def _stage(folder: Path, file: Path) -> AsyncIterator[Stage]:
    async with processes.started(processes.python("bench.livesource", file), folder) as process:
        yield Stage(folder, f"http://127.0.0.1:{await asyncio.to_thread(first_line, process)}")


async def _flowing(stage: Stage, count: int) -> None:
    """Wait until every stream has its viewer."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(60):
        while True:
            async with session.get(f"{stage.base}/stats") as answer:
                if (await answer.json(content_type=None))["viewers"] >= count:
                    return
            await asyncio.sleep(0.1)


async def _peer(name: str) -> tuple[Path | None, str]:
    try:
        return await peers.environment(name), ""
    except peers.PeerMissing as error:
        return None, str(error)


def _ffmpeg(url: str) -> tuple[str, ...]:
    quiet = ("-hide_banner", "-loglevel", "error", "-nostdin")
    return (imageio_ffmpeg.get_ffmpeg_exe(), *quiet, "-i", url, "-c", "copy", "out.flv")


def _streamlink(url: str) -> tuple[str, ...]:
    return processes.python(
        "streamlink", "--no-config", "--loglevel", "error", "-o", "out.flv", f"httpstream://{url}", "best"
    )


BENCHMARK = Benchmark("media", ABOUT, run)
