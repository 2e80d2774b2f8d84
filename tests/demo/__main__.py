"""``python -m tests.demo``: exit code 0 only if an independent probe finds everything as promised."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.demo.broadcast import Broadcast
from tests.demo.proof import findings
from tests.studio import StudioProcess
from tests.system import SystemFailed, SystemProcess

console = Console()
QUIET = ("notifier.notification.requested", "config.", "gateway.", "scheduler.watch")
STAGES = {
    "monitor.channel.went_live.v1": "live",
    "downloader.recording.started.v1": "recording",
    "downloader.recording.segment_completed.v1": "segments",
    "danmu.chat.file_completed.v1": "chat file",
    "pipeline.run.job_completed.v1": "mp4 + thumbnail",
    "uploader.upload.completed.v1": "uploaded",
    "notifier.notification.delivered.v1": "webhook",
    "pipeline.session.finished.v1": "session finished",
}


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        prog="make demo", description="Record a broadcast of the local studio and check every file."
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the room is on air (default 20)")
    parser.add_argument(
        "--folder", type=Path, help="where everything goes (default: a fresh temporary folder, which is kept)"
    )
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="aircheck-demo-"))
    try:
        return asyncio.run(demo(folder.absolute(), options.seconds))
    except (SystemFailed, TimeoutError) as error:
        console.print(f"[red]the demo failed:[/] {error}", markup=True, highlight=False)
        console.print(f"logs: {folder / 'data' / 'logs'}", highlight=False)
        return 1


async def demo(folder: Path, seconds: float) -> int:
    """The whole show."""
    bucket = folder / "bucket"
    bucket.mkdir(parents=True)
    console.rule("starting the studio and Aircheck")
    async with StudioProcess() as studio:
        system = SystemProcess(
            folder,
            AIRCHECK_ALLOW_PRIVATE_SOURCES="true",
            MONITOR_PLATFORMS__BILIBILI__API=studio.url,
            MONITOR_PLATFORMS__BILIBILI__NAV=studio.url,
            MONITOR_PLATFORMS__BILIBILI__PAGES=f"{studio.url.removeprefix('http://')}/bili",
            DANMU_SOURCES__BILIBILI__MAIN_API=studio.url,
            UPLOADER_ROOTS=f'["{bucket.as_uri()}"]',
        )
        async with system, system.gateway() as gateway:
            console.print(f"gateway {system.url}   studio {studio.url}", highlight=False)
            broadcast = Broadcast(studio, gateway, bucket, seconds)
            await broadcast.prepare()
            console.rule("on air")
            await perform(broadcast)
            console.rule("independent checks")
            failed = report(await findings(broadcast))
    shutil.rmtree(folder / "data", ignore_errors=True) if not failed else None
    console.print(f"\nrecordings  {system.recordings}\nuploads     {bucket}", highlight=False)
    return 1 if failed else 0


async def perform(broadcast: Broadcast) -> None:
    """Run the broadcast and show each event as it happens, until the session is finished and its webhook delivered."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        show = asyncio.create_task(_show(broadcast, progress))
        try:
            await broadcast.go_on_air()
            await broadcast.wait_for("pipeline.session.finished.v1", 90)
            finished = "session.finished.v1"
            await broadcast.wait_for_all(
                "notifier.notification.delivered.v1", lambda one: one["event_type"].endswith(finished), 60
            )
        finally:
            show.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await show


async def _show(broadcast: Broadcast, progress: Progress) -> None:
    task = progress.add_task("waiting for the broadcast", total=len(STAGES))
    reached: set[str] = set()
    async for event in broadcast.gateway.follow():
        await broadcast.note(event)
        kind = str(event["type"]).removeprefix("aircheck.")
        if kind in STAGES and kind not in reached:
            reached.add(kind)
            progress.update(task, completed=len(reached), description=STAGES[kind])
        if not kind.startswith(QUIET):
            progress.console.print(f"[dim]{str(event['time'])[11:23]}[/] {_line(kind, event['data'])}", highlight=False)


def _line(kind: str, data: dict[str, Any]) -> str:
    service, rest = kind.split(".", 1)
    name = rest.rsplit(".v", 1)[0].replace(".", " ").replace("_", " ")
    interesting = ("title", "index", "duration_ms", "lines", "step_id", "reason", "error", "event_type", "segments")
    details = "  ".join(f"{key}={data[key]}" for key in interesting if data.get(key) not in (None, ""))
    return f"[cyan]{service:<10}[/] {name:<28} [dim]{details}[/]"


def report(found: list[Any]) -> int:
    """Print what was checked; returns how many checks failed."""
    table = Table("", "What", "Finding", show_edge=False)
    for one in found:
        table.add_row("[green]✓[/]" if one.passed else "[red]✗[/]", one.subject, one.detail)
    console.print(table)
    return sum(not one.passed for one in found)


if __name__ == "__main__":
    sys.exit(main())
