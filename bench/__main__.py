"""``python -m bench``: measure, show the table, and with ``--write`` put it into docs/benchmarks.md."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop
from chassis import logs
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bench import append, chain, chat, first_byte, footprint, handover, media, projection, relay, report
from bench.benchmark import Benchmark, Scale
from bench.figures import Line

BENCHMARKS: tuple[Benchmark, ...] = (
    relay.BENCHMARK,
    append.BENCHMARK,
    projection.BENCHMARK,
    chain.BENCHMARK,
    first_byte.BENCHMARK,
    footprint.BENCHMARK,
    media.BENCHMARK,
    handover.BENCHMARK,
    chat.BENCHMARK,
)
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit 0 when every goal is met, 1 when one is missed, 2 when a benchmark failed."""
    options = _parse(arguments)
    console = Console(width=None if sys.stdout.isatty() else 200)
    chosen = [one for one in BENCHMARKS if not options.only or one.name in options.only]
    load = os.getloadavg()[0]
    scale = Scale(options.quick, 3 if options.quick else options.rounds)
    results, failed = _measure(chosen, scale, console)
    lines = [line for some in results.values() for line in some]
    console.print(report.table(lines))
    for name, error in failed.items():
        console.print(f"{name} failed: {error!r}", markup=False)
    if failed:
        return 2
    if options.write:
        PAGE.write_text(report.page(results, chosen, scale.rounds, load), encoding="utf-8")
        console.print(f"wrote {PAGE.relative_to(Path.cwd()) if PAGE.is_relative_to(Path.cwd()) else PAGE.name}")
    return 1 if any(line.met is False for line in lines) else 0


def _measure(
    chosen: Sequence[Benchmark], scale: Scale, console: Console
) -> tuple[dict[str, list[Line]], dict[str, Exception]]:
    results: dict[str, list[Line]] = {}
    failed: dict[str, Exception] = {}
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:12}"),
        BarColumn(),
        TextColumn("{task.fields[count]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        for benchmark in chosen:
            task = progress.add_task(benchmark.name, total=None, count="")

            def step(done: int, of: int, task: object = task) -> None:
                progress.update(task, completed=done, total=of, count=f"{done}/{of}")  # type: ignore[arg-type]

            try:
                results[benchmark.name] = uvloop.run(benchmark.run(scale, step))
            except Exception as error:  # the others are still worth measuring
                console.print_exception()
                failed[benchmark.name] = error
    return results, failed


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [one.name for one in BENCHMARKS]
    parser = argparse.ArgumentParser(
        prog="bench", description="Measure Aircheck, each case against a peer in the same run."
    )
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        choices=names,
        help=f"only this one, may be repeated: {', '.join(names)}",
    )
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of everything: shows that it runs, measures little"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        choices=range(3, 21),
        default=5,
        metavar="N",
        help="how often each case runs, 3 to 20; default 5",
    )
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md; not with --only or --quick")
    options = parser.parse_args(arguments)
    if options.write and (options.only or options.quick):
        parser.error("the page shows one whole run: --write goes with neither --only nor --quick")
    return options


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    # What was started is stopped on SIGTERM too, as on Ctrl-C.
    signal.signal(signal.SIGTERM, _interrupt)
    logs.configure("bench", level="ERROR")
    sys.exit(main())
