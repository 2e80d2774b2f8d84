"""``thumbnail``: one picture of each video."""

from __future__ import annotations

import asyncio
from pathlib import Path

from contracts.processors import ThumbnailOptions
from contracts.values import Artifact, Json

from services.pipeline.adapters.failure import ProcessingRefused
from services.pipeline.adapters.ffmpeg import Ffmpeg
from services.pipeline.adapters.files import suffix_of
from services.pipeline.adapters.processor import Result, Task, parse
from services.pipeline.adapters.remux import VIDEO
from services.pipeline.adapters.workspace import Workspace
from services.pipeline.domain.destinations import name_of


class Thumbnail:
    """Hands every file on and adds a JPEG for each video."""

    def __init__(self, ffmpeg: Ffmpeg) -> None:
        self._ffmpeg = ffmpeg

    def check(self, options: Json) -> None:
        """See ``MediaProcessor``."""
        parse(ThumbnailOptions, options)

    async def run(self, task: Task, workspace: Workspace) -> Result:
        """See ``MediaProcessor``."""
        options = parse(ThumbnailOptions, task.step.options)
        outputs: list[Artifact] = []
        for number, source in enumerate(task.inputs):
            outputs.append(source)
            slot = f"{number}-jpg"
            if suffix_of(source.uri) in VIDEO:
                made = await workspace.published(slot) or await self._picture(source, slot, options, workspace)
                outputs += [made] if made is not None else []
            await workspace.report((number + 1) / len(task.inputs))
        return Result(tuple(outputs))

    async def _picture(
        self, source: Artifact, slot: str, options: ThumbnailOptions, workspace: Workspace
    ) -> Artifact | None:
        path = await workspace.fetch(source)
        probe = await self._ffmpeg.probe(path, workspace.folder)
        if not probe.has_video:
            return None  # a broadcast without a picture
        draft = await workspace.draft(source, slot)
        wanted = [] if probe.duration_s is not None and probe.duration_s <= options.at_s else [options.at_s]
        for at_s in (*wanted, 0.0):
            if await self._take(path, draft, at_s, options):
                name = f"{Path(name_of(source.uri)).stem}.jpg"
                return await workspace.publish(draft, source=source, name=name, slot=slot)
        raise ProcessingRefused("no frame of the video can be decoded")

    async def _take(self, path: Path, draft: Path, at_s: float, options: ThumbnailOptions) -> bool:
        """Take the picture at a place; False when the video has none there: ffmpeg then fails, or writes nothing and ends with 0."""
        try:
            await self._ffmpeg.convert(path, draft, before=("-ss", f"{at_s:.3f}"), options=_output_options(options))
        except ProcessingRefused:
            return False
        return await asyncio.to_thread(_holds_something, draft)


def _holds_something(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _output_options(options: ThumbnailOptions) -> list[str]:
    # -2: the height that keeps the shape, rounded to an even number. JPEG knows full-range colours only.
    scale = f"scale={options.width}:-2:out_range=full,format=yuv420p"
    picture = ["-frames:v", "1", "-vf", scale, "-q:v", str(options.quality)]
    return ["-map", "0:v:0", *picture, "-f", "image2", "-update", "1"]
