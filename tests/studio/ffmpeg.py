"""Running the bundled ffmpeg: one test card encoded once, muxed into all outputs of a room."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg

from tests.deadline import DEADLINE_S

from .feed import LiveFeed
from .flv import TagReader
from .options import RoomOptions

_READ_BYTES = 1 << 16
_COMMON = ("-hide_banner", "-loglevel", "warning", "-nostats", "-nostdin")
log = logging.getLogger("studio.ffmpeg")


def test_card(options: RoomOptions) -> list[str]:
    graph = f"testsrc2=size={options.width}x{options.height}:rate={options.fps}[out0]"
    if options.audio:
        graph += ";sine=frequency=440:beep_factor=4:sample_rate=48000[out1]"
    return ["-f", "lavfi", "-i", graph]


def codecs(options: RoomOptions) -> list[str]:
    gop = str(max(1, round(options.fps * options.gop_s)))
    rate = f"{options.video_kbps}k"
    library = {"h264": "libx264", "hevc": "libx265"}[options.video]
    video = ["-c:v", library, "-preset", "ultrafast", "-tune", "zerolatency", "-pix_fmt", "yuv420p", "-threads", "1"]
    video += ["-g", gop, "-keyint_min", gop, "-b:v", rate, "-minrate", rate, "-maxrate", rate, "-bufsize", rate]
    if options.video == "h264":
        # A constant rate with filler: a benchmark that asks for N Mbit/s gets N whatever the picture costs.
        video += ["-sc_threshold", "0", "-x264-params", "nal-hrd=cbr"]
    else:
        video += ["-x265-params", f"scenecut=0:open-gop=0:keyint={gop}:min-keyint={gop}:pools=1:log-level=error"]
    audio = ["-c:a", "aac", "-b:a", f"{options.audio_kbps}k", "-ac", "2"] if options.audio else ["-an"]
    return [*video, *audio, "-flags", "+global_header", "-map", "0:v", *(["-map", "0:a"] if options.audio else [])]


def _outputs(options: RoomOptions) -> str:
    hls = (
        f"f=hls:hls_time={options.segment_s}:hls_list_size={options.window}:hls_delete_threshold=10"
        ":hls_start_number_source=epoch"
        ":hls_flags=delete_segments+program_date_time+independent_segments+temp_file"
    )
    outputs = {
        "flv": r"[f=flv:flvflags=no_duration_filesize:fflags=+flush_packets]pipe\:1",
        "ts": f"[{hls}:hls_segment_filename=ts/%d.ts]ts/index.m3u8",
        "fmp4": f"[{hls}:hls_segment_type=fmp4:hls_fmp4_init_filename=init.mp4"
        ":hls_segment_filename=fmp4/%d.m4s]fmp4/index.m3u8",
    }
    return "|".join(outputs[name] for name in options.formats)


async def encode_once(options: RoomOptions, seconds: float) -> bytes:
    """`seconds` of the test card as one FLV in memory, as fast as the machine can; RuntimeError with ffmpeg's words."""
    process = await asyncio.create_subprocess_exec(
        imageio_ffmpeg.get_ffmpeg_exe(),
        *_COMMON,
        *test_card(options),
        "-t",
        str(seconds),
        *codecs(options),
        *("-flvflags", "no_duration_filesize+no_sequence_end", "-f", "flv", "pipe:1"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        stdout, stderr = await process.communicate()
    except asyncio.CancelledError:
        _kill_group(process)
        await process.wait()
        raise
    if process.returncode != 0:
        raise RuntimeError(f"ffmpeg failed: {stderr.decode(errors='replace')[-2000:]}")
    return stdout


class LiveEncoder:
    """One ffmpeg in real time: FLV over its standard output into `feed`, HLS into `directory`/ts and /fmp4.

    No orphan is left behind: ffmpeg writes to the studio's pipe about sixty times a second, so it dies of the
    broken pipe when the studio was killed; a clean stop terminates its process group.
    """

    def __init__(self, options: RoomOptions, directory: Path, feed: LiveFeed, on_exit: Callable[[], None]) -> None:
        self._options = options
        self._directory = directory
        self._feed = feed
        self._on_exit = on_exit
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process id of ffmpeg while it runs."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if self._process and running else None

    async def start(self) -> None:
        """Start ffmpeg; tags arrive in the feed from now on."""
        for name in self._options.formats:
            (self._directory / name).mkdir(parents=True, exist_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            imageio_ffmpeg.get_ffmpeg_exe(),
            *_COMMON,
            # The burst makes the first segments at once: a room is playable 0.2 s after it went on air.
            *("-readrate", "1", "-readrate_initial_burst", str(self._options.segment_s * 1.5)),
            *test_card(self._options),
            *codecs(self._options),
            *("-f", "tee", _outputs(self._options)),
            cwd=self._directory,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self._reading = asyncio.create_task(self._read(self._process), name="studio-encoder")

    async def stop(self) -> None:
        """Let ffmpeg finish its files (ENDLIST, the last segment); kill it when it does not in time."""
        if self._process is None or self._reading is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(DEADLINE_S):
                await asyncio.shield(self._reading)
        except TimeoutError:
            _kill_group(self._process)
            await self._reading

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        complaints = asyncio.create_task(_log_lines(process.stderr))
        reader = TagReader()
        try:
            while data := await process.stdout.read(_READ_BYTES):
                tags = reader.feed(data)
                self._feed.begin(reader.header)
                for tag in tags:
                    self._feed.publish(tag)
        finally:
            await complaints
            await process.wait()
            self._feed.end()
            self._on_exit()


async def _log_lines(stream: asyncio.StreamReader) -> None:
    async for line in stream:
        log.warning("%s", line.decode(errors="replace").rstrip())


def _kill_group(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
