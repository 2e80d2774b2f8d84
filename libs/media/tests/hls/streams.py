"""Real HLS streams, made once per run by ffmpeg, and the small loop that a downloader would run around the library."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import imageio_ffmpeg
from media.hls import (
    Assembler,
    HlsPlanner,
    HlsRecorder,
    Init,
    Limits,
    Media,
    SegmentCompleted,
    SegmentOpened,
    SegmentTask,
    StreamItem,
)
from media.segments import Lost, SegmentEvent

BASE = "https://cdn.example/live/index.m3u8"


@dataclass
class Source:
    """A finished HLS stream: its playlist and its files."""

    folder: Path

    @property
    def playlist(self) -> str:
        return (self.folder / "index.m3u8").read_text()

    def read(self, url: str, byte_range: Any = None) -> bytes:
        data = (self.folder / url.rpartition("/")[2]).read_bytes()
        return data[byte_range.offset : byte_range.end] if byte_range else data

    def items(self) -> list[StreamItem]:
        """The whole stream as the assembler hands it to the recorder."""
        planner, assembler = HlsPlanner(), Assembler()
        items = assembler.plan(tasks := planner.update(self.playlist, BASE, 0.0), 0.0)
        for task in tasks:
            assert isinstance(task, SegmentTask)
            if (section := assembler.needs_init(task)) is not None:
                items += assembler.init_completed(section, self.read(section.uri, section.byte_range), 0.0)
            items += assembler.completed(task, self.read(task.url, task.byte_range), 0.0)
        assert planner.ended
        return items + assembler.finish(0.0)


class KeptFile(io.BytesIO):
    """A file whose bytes can be read after the recorder closed it."""

    kept = b""

    def close(self) -> None:
        self.kept = self.getvalue()
        super().close()


@dataclass
class Output:
    """What a recording wrote."""

    files: dict[int, KeptFile] = field(default_factory=dict)
    extensions: dict[int, str] = field(default_factory=dict)
    opened: list[SegmentOpened] = field(default_factory=list)
    completed: list[SegmentCompleted] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)

    def open(self, index: int, extension: str) -> KeptFile:
        self.files[index] = KeptFile()
        self.extensions[index] = extension
        return self.files[index]

    def take(self, events: list[SegmentEvent]) -> None:
        for event in events:
            match event:
                case SegmentOpened():
                    self.opened.append(event)
                case SegmentCompleted():
                    self.completed.append(event)
                case Lost():
                    self.lost.append(event)


def record(
    items: list[StreamItem], limits: Limits | Callable[[], Limits] | None = None, cut_before: set[int] | None = None
) -> Output:
    """Write items through a recorder; ``cut_before`` are positions among the media items."""
    output = Output()
    recorder = HlsRecorder(output.open, limits)
    position = 0
    for item in items:
        if isinstance(item, Media):
            if position in (cut_before or set()):
                recorder.cut()
            position += 1
        output.take(recorder.write(item))
    output.take(recorder.finish())
    assert recorder.finish() == []
    assert recorder.bytes_written == sum(event.bytes for event in output.completed)
    return output


@dataclass
class Decoded:
    """What a real decoder got out of a file; times in seconds."""

    video_frames: int
    audio_frames: int
    start: float
    duration: float
    first_is_key: bool
    container_duration: float


def decode(data: bytes, *, whole: bool = True) -> Decoded:
    """Decode every frame; raises on any error, where the stream is ``whole`` also when a packet is missing."""
    with av.open(io.BytesIO(data), options={"err_detect": "explode"}) as container:
        video: list[Any] = []
        audio = 0
        container_duration = (container.duration or 0) / av.time_base
        for stream in container.streams:
            stream.codec_context.options = {"err_detect": "explode"}
        for packet in container.demux():
            assert not packet.is_corrupt or not whole
            for frame in packet.decode():
                if isinstance(frame, av.VideoFrame):
                    assert not frame.is_corrupt
                    video.append((frame.pts * frame.time_base, frame.key_frame))
                else:
                    audio += 1
    times = [float(time) for time, _ in video]
    step = (max(times) - min(times)) / (len(times) - 1)
    return Decoded(len(video), audio, min(times), max(times) - min(times) + step, bool(video[0][1]), container_duration)


def ffmpeg(*arguments: str) -> None:
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *arguments],
        check=True,
        timeout=120,
    )


def make_stream(
    folder: Path, *arguments: str, size: str = "160x120", seconds: int = 8, codec: str = "libx264"
) -> Source:
    """Four segments of two seconds, a key frame each second, 25 pictures each second, with B-frames."""
    folder.mkdir(parents=True, exist_ok=True)
    ffmpeg(
        *("-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25:duration={seconds}"),
        *("-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=44100:duration={seconds}"),
        *("-c:v", codec, "-preset", "veryfast", "-g", "25", "-keyint_min", "25", "-threads", "1"),
        *(("-bf", "2", "-sc_threshold", "0") if codec == "libx264" else ("-x265-params", "log-level=error:keyint=25")),
        *("-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "48k", "-f", "hls", "-hls_time", "2", "-hls_list_size", "0"),
        *arguments,
        str(folder / "index.m3u8"),
    )
    return Source(folder)


def media(items: list[StreamItem]) -> list[Media]:
    return [item for item in items if isinstance(item, Media)]


def inits(items: list[StreamItem]) -> list[Init]:
    return [item for item in items if isinstance(item, Init)]
