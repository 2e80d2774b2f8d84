"""``remux``: the same audio and video in another container, without encoding anything."""

from __future__ import annotations

from pathlib import Path

from contracts.processors import RemuxOptions
from contracts.values import Artifact, Json

from services.pipeline.adapters.failure import ProcessingRefused
from services.pipeline.adapters.ffmpeg import Ffmpeg, Probe
from services.pipeline.adapters.files import suffix_of
from services.pipeline.adapters.processor import Result, Task, parse
from services.pipeline.adapters.workspace import Report, Workspace
from services.pipeline.domain.destinations import name_of

VIDEO = frozenset([".flv", ".ts", ".m2ts", ".mp4", ".m4v", ".mov", ".mkv", ".webm"])
TOLERANCE_S = 2.0
TOLERANCE = 0.02
_MUXERS = {"mp4": "mp4", "mkv": "matroska"}


class Remux:
    """Copies the streams of each video into a container that plays everywhere; other files are handed on."""

    def __init__(self, ffmpeg: Ffmpeg) -> None:
        self._ffmpeg = ffmpeg

    def check(self, options: Json) -> None:
        """See ``MediaProcessor``."""
        parse(RemuxOptions, options)

    async def run(self, task: Task, workspace: Workspace) -> Result:
        """See ``MediaProcessor``."""
        options = parse(RemuxOptions, task.step.options)
        outputs: list[Artifact] = []
        replaced: list[Artifact] = []
        for number, source in enumerate(task.inputs):
            if suffix_of(source.uri) not in VIDEO - {f".{options.format}"}:
                outputs.append(source)
                continue
            slot = f"{number}-{options.format}"
            report = workspace.share(number, len(task.inputs))
            made = await workspace.published(slot) or await self._remux(source, slot, options, workspace, report)
            outputs.append(made)
            replaced.append(source)
        removed = replaced if options.remove_input else []
        # Only when all of them are safe: a failure in the middle leaves every original where it was.
        for source in removed:
            await workspace.remove(source)
        return Result(tuple(outputs), tuple(source.uri for source in removed))

    async def _remux(
        self, source: Artifact, slot: str, options: RemuxOptions, workspace: Workspace, report: Report
    ) -> Artifact:
        path = await workspace.fetch(source)
        probe = await self._ffmpeg.probe(path, workspace.folder)
        draft = await workspace.draft(source, slot)
        written = await self._ffmpeg.convert(
            path,
            draft,
            # Streams of a broken start may lack timestamps, which the container demands.
            before=("-fflags", "+genpts"),
            options=_output_options(options, probe),
            duration_s=probe.duration_s,
            report=report,
        )
        await self._check_duration(probe, draft, written, workspace.folder)
        name = f"{Path(name_of(source.uri)).stem}.{options.format}"
        return await workspace.publish(draft, source=source, name=name, slot=slot)

    async def _check_duration(self, before: Probe, draft: Path, written: float, folder: Path) -> None:
        """ffmpeg ends with 0 also when it gave up in the middle of a damaged file."""
        after = (await self._ffmpeg.probe(draft, folder)).duration_s or 0.0
        expected = max(written, _least(before))
        if after + TOLERANCE_S + expected * TOLERANCE < expected:
            raise ProcessingRefused(f"the result has {after:.1f} s, the original {expected:.1f} s")


def _output_options(options: RemuxOptions, probe: Probe) -> list[str]:
    chosen = ["-map", "0:v?", "-map", "0:a?", "-c", "copy", "-f", _MUXERS[options.format]]
    if options.format == "mp4":
        chosen += ["-movflags", "+faststart"]
        if probe.codec("video") == "hevc":
            # Apple's players know HEVC by this tag alone.
            chosen += ["-tag:v", "hvc1"]
    return chosen


def _least(probe: Probe) -> float:
    """The seconds there are at least: some containers count from zero, some from their first timestamp."""
    duration = probe.duration_s or 0.0
    return max(min(duration, duration - probe.start_s), 0.0)
