"""ffmpeg: found, run with progress, its failures told apart. Facts about its options: ffmpeg(1), ffmpeg-formats(1), ffmpeg-protocols(1)."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chassis.programs import Exit, locate_ffmpeg, run_program

from services.pipeline.adapters.failure import ProcessingInterrupted, ProcessingRefused

MAX_COMPLAINT = 1000
# Only containers a recording can have: a "segment" that is really a playlist must not make ffmpeg open other files.
_INPUT = ("-protocol_whitelist", "file,pipe", "-format_whitelist", "flv,mpegts,mov,matroska")
_QUIET = ("-nostdin", "-hide_banner", "-nostats")
_DURATION = re.compile(r"^\s*Duration: (?:N/A|(\d+):(\d\d):(\d\d(?:\.\d+)?)), start: (-?\d+(?:\.\d+)?)", re.MULTILINE)
_STREAM = re.compile(r"^\s*Stream #\d+:\d+.*?: (Video|Audio|Subtitle|Data): (\w+)", re.MULTILINE)
_PASSING = ("No space left on device", "Cannot allocate memory", "Input/output error", "Too many open files")


@dataclass(frozen=True, slots=True)
class Probe:
    """What a container says of itself: seconds (``None`` when it does not say) and its streams as (type, codec) in lower case."""

    duration_s: float | None
    start_s: float
    streams: tuple[tuple[str, str], ...]

    @property
    def has_video(self) -> bool:
        """Whether there is a picture."""
        return any(kind == "video" for kind, _ in self.streams)

    def codec(self, kind: str) -> str:
        """The codec of the first stream of a type, or an empty text."""
        return next((codec for found, codec in self.streams if found == kind), "")


class Ffmpeg:
    """One ffmpeg executable."""

    def __init__(self, executable: str, *, niceness: int = 0) -> None:
        self.executable, self._niceness = executable, niceness

    async def probe(self, source: Path, folder: Path) -> Probe:
        """Read what a file says of itself; raises ProcessingRefused when it is no media."""
        # Without an output ffmpeg describes the input on standard error and exits with 1.
        done = await self._run([*_QUIET, *_INPUT, "-i", _local(source)], folder)
        streams = tuple((kind.lower(), codec.lower()) for kind, codec in _STREAM.findall(done.complaints))
        found = _DURATION.search(done.complaints)
        if found is None or not streams:
            raise ProcessingRefused(f"{source.name} is no media that can be read: {_last(done.complaints)}")
        hours, minutes, seconds, start = found.groups()
        duration = int(hours) * 3600 + int(minutes) * 60 + float(seconds) if hours else None
        return Probe(duration, float(start), streams)

    async def convert(
        self,
        source: Path,
        target: Path,
        *,
        before: Sequence[str] = (),
        options: Sequence[str],
        duration_s: float | None = None,
        report: Callable[[float], Awaitable[None]] | None = None,
    ) -> float:
        """Write ``target`` from ``source``; returns the seconds written. ``before`` are input options, ``report`` gets the fraction done.

        Raises ProcessingInterrupted when ffmpeg was killed or the disk is full, ProcessingRefused for anything else it complains about.
        """
        written = 0.0

        async def progress(line: str) -> None:
            nonlocal written
            name, _, value = line.partition("=")
            if name != "out_time_us" or not value.lstrip("-").isdigit():
                return
            written = max(written, int(value) / 1e6)
            if report is not None:
                await report(min(written / duration_s, 1.0) if duration_s else -1.0)

        arguments = [*_QUIET, "-loglevel", "warning", "-progress", "pipe:1", *before, *_INPUT, "-i", _local(source)]
        done = await self._run([*arguments, *options, "-y", _local(target)], target.parent, progress)
        if done.code != 0:
            raise _failure(done)
        return written

    async def _run(
        self, arguments: Sequence[str], folder: Path, on_line: Callable[[str], Awaitable[None]] | None = None
    ) -> Exit:
        return await run_program([self.executable, *arguments], folder=folder, niceness=self._niceness, on_line=on_line)


def locate(path: str) -> str:
    """The ffmpeg to use: ``path`` when given, else the packaged one. Raises RuntimeError when there is none."""
    return locate_ffmpeg(path, setting="PIPELINE_FFMPEG")


def _local(path: Path) -> str:
    # With its protocol, so that no character of a name is taken for another one or for an option.
    return f"file:{path}"


def _failure(done: Exit) -> ProcessingInterrupted | ProcessingRefused:
    reason = _last(done.complaints)
    if done.code < 0:
        return ProcessingInterrupted(f"ffmpeg was killed by signal {-done.code}: {reason}")
    if any(words in done.complaints for words in _PASSING):
        return ProcessingInterrupted(f"ffmpeg: {reason}")
    return ProcessingRefused(f"ffmpeg failed with {done.code}: {reason}")


def _last(complaints: str) -> str:
    return complaints[-MAX_COMPLAINT:].strip() or "it said nothing"
