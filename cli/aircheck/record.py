"""``aircheck record``: the recording engine alone, without any server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

console = Console()


def record(
    url: Annotated[str, typer.Argument(help="Address of a live .flv or .m3u8 stream.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the files; made if missing.")],
    duration: Annotated[
        float | None, typer.Option(min=1, help="Stop after this many seconds; without it, when the stream ends.")
    ] = None,
    segment_seconds: Annotated[
        int, typer.Option(min=0, help="Begin a new file after this time, at a keyframe; 0 = one file.")
    ] = 0,
    allow_private: Annotated[bool, typer.Option(help="Admit addresses in private networks.")] = False,
) -> None:
    """Record one stream into files, with repair and index, until it ends, the time is up or Ctrl-C."""
