"""What an idle system costs: memory, processor time, and how fast it starts again."""

from __future__ import annotations

import asyncio
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import psutil
from contracts.system import SERVICES

from bench.benchmark import Benchmark, Scale
from bench.engines import Engines, engines
from bench.figures import Goal, Line, Series, alternate
from bench.system import System, embedded_system
from deploy.embedded.footprint import footprint

IDLE_S, QUICK_IDLE_S = 30, 5
MB = 1_000_000
ABOUT = f"""`aircheck up` without streamers: supervisor, NATS, PostgreSQL and the {len(SERVICES)} services. *Second
start*: from the command to "Aircheck is running", on a folder that was used before; the peer starts the two
engines alone, one after the other, on a folder that was used before. *Memory*: the proportional set size of the
whole process tree after {IDLE_S} idle seconds; the peer is the same two engines, idle and empty, and
{len(SERVICES)} interpreters that have each imported one service and do nothing: what separate processes cost
before they open a connection. *Processor*: user and system time of the whole tree over {IDLE_S} idle seconds."""
_IMPORT = "import importlib, sys; importlib.import_module(sys.argv[1]); print(flush=True); sys.stdin.read()"


async def run(scale: Scale, step: Callable[[int, int], None]) -> list[Line]:
    """Start again and again, then sit still."""
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        step(done, 4 * scale.rounds)

    async with embedded_system() as system, engines() as bare:
        await system.start()
        starts = await _starts(system, bare, scale, advance)
        idle = await _idle(system, bare, scale, advance)
    return [starts, *idle]


async def _starts(system: System, bare: Engines, scale: Scale, advance: Callable[[], None]) -> Line:
    async def ours() -> float:
        await system.stop()
        return await system.start()

    async def theirs() -> float:
        await bare.stop()
        begun = time.perf_counter()
        await asyncio.to_thread(bare.nats.start)
        await asyncio.to_thread(bare.postgres.start)
        return time.perf_counter() - begun

    mine, others = await alternate(scale.rounds, [ours, theirs], advance)
    peer = Series("engines alone", "s", others)
    return Line("second start", Series("system", "s", mine), peer, (Goal("figure", "at most", 6),))


async def _idle(system: System, bare: Engines, scale: Scale, advance: Callable[[], None]) -> list[Line]:
    shares: list[float] = []
    seconds = QUICK_IDLE_S if scale.quick else IDLE_S
    # What a start leaves to be done is over by then.
    await asyncio.sleep(seconds)
    async with _importers() as importers:
        engines_of_peer = (bare.nats.pid, bare.postgres.pid)

        async def ours() -> float:
            before, begun = _cpu_s(system.pid), time.perf_counter()
            await asyncio.sleep(seconds)
            shares.append(100 * (_cpu_s(system.pid) - before) / (time.perf_counter() - begun))
            return footprint(system.pid).total_bytes / MB

        async def theirs() -> float:
            return footprint(*(pid for pid in (*engines_of_peer, *importers) if pid)).total_bytes / MB

        memory, others = await alternate(scale.rounds, [ours, theirs], advance)
    return [
        Line(
            "memory, idle", Series("system", "MB", memory), Series("separate interpreters", "MB", others),
            (Goal("figure", "at most", 350),),
        ),
        Line("processor, idle", Series("system", "% of a core", tuple(shares)), None, (Goal("figure", "at most", 3),)),
    ]  # fmt: skip


def _cpu_s(root: int) -> float:
    """User and system seconds of a process tree so far, with those of children that have ended."""
    process, total = psutil.Process(root), 0.0
    for member in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = member.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


@asynccontextmanager
async def _importers() -> AsyncIterator[list[int]]:
    """One interpreter per service that has imported it and waits."""
    started: list[Process] = []
    try:
        for service in SERVICES:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _IMPORT, f"services.{service}.app", stdin=PIPE, stdout=PIPE
            )
            started.append(process)
            assert process.stdout is not None
            if not await process.stdout.readline():
                raise RuntimeError(f"services.{service}.app cannot be imported")
        yield [process.pid for process in started]
    finally:
        for process in started:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


BENCHMARK = Benchmark("footprint", ABOUT, run)
