"""``aircheck record``: the recording engine alone, without any server."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from contracts.values import EngineName
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from contracts.values import Effective

    from services.downloader import standalone

console = Console()
_TEMPLATE = "{streamer} {date} {time} {index:03}"


def record(
    url: Annotated[
        str,
        typer.Argument(
            help="Address of a live stream: .flv, .m3u8, .ts, .mp4, rtmp:// or srt://; a page for some engines. "
            "- reads it from standard input: others see arguments."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files; made if missing.")],
    duration: Annotated[
        float | None, typer.Option(min=1, help="Stop after this many seconds; without it, when the stream ends.")
    ] = None,
    segment_seconds: Annotated[
        int, typer.Option(min=0, help="Begin a new file after this time, at a keyframe; 0 = one file.")
    ] = 0,
    name: Annotated[str, typer.Option(help="How the files begin.")] = "recording",
    engine: Annotated[
        EngineName, typer.Option(help="What plays the stream; rtmp and srt are always played by ffmpeg.")
    ] = EngineName.NATIVE,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="Admit addresses in private networks.")
    ] = False,
) -> None:
    """Record one stream into files, repaired and with an index, until it ends, the time is up or Ctrl-C.

    Examples:

    aircheck record https://example.org/live.m3u8 -o videos --segment-seconds 3600

    aircheck record https://www.twitch.tv/name -o videos --engine streamlink --duration 600

    Exit code 0: at least one file was finished. 1: nothing could be recorded.
    """
    # Imported here, because every other command can do without the engine.
    from chassis import logs
    from chassis.egress import MAX_URL_LENGTH, EgressPolicy, RefusedAddress, check_url
    from contracts.values import Effective, EndReason

    logs.configure("record", level="WARNING")
    url = sys.stdin.readline(MAX_URL_LENGTH + 2).strip() if url == "-" else url
    effective = Effective(file_template=_TEMPLATE, segment_seconds=segment_seconds, engine=engine)
    try:
        check_url(url, EgressPolicy(allow_private=allow_private), ("http", "https", "rtmp", "rtmps", "srt"))
        output.mkdir(parents=True, exist_ok=True)
        result = asyncio.run(_record(url, output, duration, name, effective, allow_private))
    except (ValueError, RefusedAddress, OSError) as error:
        refused = isinstance(error, RefusedAddress) and "private" in str(error)
        hint = "; here: --allow-private" if refused else ""
        console.print(f"[red]cannot record:[/] {error}{hint}", highlight=False)
        raise typer.Exit(1) from error
    for segment in result.segments:
        console.print(
            f"{segment.path}  {segment.duration_ms / 1000:.1f} s  {_size(segment.bytes)}", highlight=False, markup=False
        )
    if result.reason not in (EndReason.STOPPED, EndReason.SOURCE_ENDED, EndReason.OFFLINE):
        console.print(f"[yellow]ended: {result.reason} {result.detail}[/]", highlight=False)
    if not result.segments:
        console.print("[red]nothing was recorded[/]")
        raise typer.Exit(1)


async def _record(
    url: str, output: Path, duration: float | None, name: str, effective: Effective, allow_private: bool
) -> standalone.Recorded:
    from services.downloader import standalone

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("connecting …", total=duration)
        return await standalone.record(
            url,
            output,
            duration_s=duration,
            on_event=lambda event: _show(progress, task, event),
            name=name,
            effective=effective,
            allow_private=allow_private,
            stop=stop,
        )


def _show(progress: Progress, task: TaskID, event: object) -> None:

    from services.downloader.adapters import engine

    if isinstance(event, engine.Progress):
        text = f"file {event.index}  {_size(event.bytes)}  {event.duration_ms / 1000:.0f} s"
        progress.update(task, completed=event.duration_ms / 1000, description=text)
    elif isinstance(event, engine.GapOpened):
        progress.console.print(f"[yellow]the source is away: {event.cause}[/]", highlight=False)
    elif isinstance(event, engine.GapClosed):
        progress.console.print(f"[green]it is back[/], {event.lost_ms / 1000:.1f} s are missing", highlight=False)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return ""
