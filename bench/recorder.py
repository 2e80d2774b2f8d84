"""Our engine alone, as a process to be measured.

``python -m bench.recorder FOLDER SECONDS URL [URL …]`` records each address into a folder of its own.
With 0 seconds it stops when the first connection has ended. The last line it prints is a summary as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import uvloop
from chassis import logs
from contracts.values import Effective

from services.downloader.adapters.engine import GapOpened
from services.downloader.settings import DownloaderSettings
from services.downloader.standalone import record


async def one(url: str, folder: Path, seconds: float) -> dict[str, Any]:
    """Record one address; returns what came of it."""
    stop, gaps = asyncio.Event(), 0

    def on_event(event: Any) -> None:
        nonlocal gaps
        if isinstance(event, GapOpened):
            gaps += 1
            if not seconds:
                stop.set()

    recorded = await record(
        url,
        folder,
        duration_s=seconds or None,
        on_event=on_event,
        effective=Effective(segment_seconds=0, segment_bytes=0, file_template="{streamer} {index:03}"),
        allow_private=True,
        stop=stop,
        hash_max_bytes=DownloaderSettings.model_fields["hash_max_bytes"].default,
    )
    return {
        "gaps": gaps,
        "files": len(recorded.segments),
        "bytes": sum(segment.bytes for segment in recorded.segments),
        "duration_ms": sum(segment.duration_ms for segment in recorded.segments),
    }


async def main(folder: Path, seconds: float, urls: list[str]) -> None:
    """All of them at the same time."""
    results = await asyncio.gather(*(one(url, folder / str(n), seconds) for n, url in enumerate(urls)))
    print(json.dumps(results), flush=True)


if __name__ == "__main__":
    logs.configure("bench", level="ERROR")
    uvloop.run(main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
