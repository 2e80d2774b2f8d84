"""Builds FLV streams for the tests of `media.flv` and `media.repair`, and records them into memory."""

from __future__ import annotations

import io
import struct
import subprocess
from functools import cache

from imageio_ffmpeg import get_ffmpeg_exe
from media.flv.parser import FlvParser
from media.flv.recorder import FlvRecorder, SegmentCompleted
from media.flv.tag import AUDIO, SCRIPT, VIDEO, FlvHeader, Junk, Tag

FILE_HEADER = b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00"
SPS = bytes.fromhex("6742c01ed900a03db011000003000100000300 3c0f162e48".replace(" ", ""))
OTHER_SPS = bytes.fromhex("6742c00dda0507e84000000300400000 0c a3c60a80".replace(" ", ""))
# SPS with the same coding parameters and another num_units_in_tick in its VUI.
HINTED_SPS = SPS[:-4] + bytes([SPS[-4] ^ 0x04]) + SPS[-3:]
PPS = bytes.fromhex("68cb83cb20")


def raw_tag(tag_type: int, timestamp: int, payload: bytes) -> bytes:
    timestamp &= 0xFFFFFFFF
    head = struct.pack(">II3x", tag_type << 24 | len(payload), (timestamp & 0xFFFFFF) << 8 | timestamp >> 24)
    return head + payload + struct.pack(">I", len(payload) + 11)


def raw(tag: Tag) -> bytes:
    return raw_tag(tag.type, tag.timestamp, bytes(tag.payload))


def avc_record(sps: bytes = SPS, pps: bytes = PPS, length_size: int = 4) -> bytes:
    return (
        b"\x01" + sps[1:4] + bytes([0xFC | length_size - 1, 0xE1])
        + struct.pack(">H", len(sps)) + sps + b"\x01" + struct.pack(">H", len(pps)) + pps
    )  # fmt: skip


def avc_header(timestamp: int = 0, record: bytes | None = None) -> Tag:
    return Tag.of(VIDEO, timestamp, b"\x17\x00\x00\x00\x00" + (avc_record() if record is None else record))


def aac_header(timestamp: int = 0, config: bytes = b"\x12\x10") -> Tag:
    return Tag.of(AUDIO, timestamp, b"\xaf\x00" + config)


def avc_end(timestamp: int = 0) -> Tag:
    return Tag.of(VIDEO, timestamp, b"\x17\x02\x00\x00\x00")


def nal(kind: int, body: bytes) -> bytes:
    return struct.pack(">IB", len(body) + 1, kind) + body


def video(timestamp: int, content: int, *, key: bool = False, extra: bytes = b"") -> Tag:
    body = nal(0x65 if key else 0x41, content.to_bytes(4) + b"v" * (content % 7))
    return Tag.of(VIDEO, timestamp, (b"\x17" if key else b"\x27") + b"\x01\x00\x00\x00" + body + extra)


def audio(timestamp: int, content: int) -> Tag:
    return Tag.of(AUDIO, timestamp, b"\xaf\x01" + content.to_bytes(4) + b"a" * (content % 5))


def gop(start: int, content: int, *, frames: int = 10, step: int = 40, audio_step: int = 23) -> list[Tag]:
    """One GOP with its audio, interleaved by time; `content` makes it differ from every other."""
    tags = [video(start + n * step, content * 1000 + n, key=n == 0) for n in range(frames)]
    sounds = range(0, frames * step, audio_step)
    tags += [audio(start + at, content * 1000 + 500 + n) for n, at in enumerate(sounds)]
    return sorted(tags, key=lambda tag: tag.timestamp)


def gops(start: int, contents: range | list[int], *, length: int = 400, **kwargs: int) -> list[Tag]:
    return [tag for n, content in enumerate(contents) for tag in gop(start + n * length, content, **kwargs)]


def stream(*tags: Tag, headers: bool = True) -> bytes:
    """The bytes of one connection."""
    opening = [avc_header(), aac_header()] if headers else []
    return FILE_HEADER + b"".join(raw(tag) for tag in [*opening, *tags])


class MemoryFile(io.BytesIO):
    """A file that remembers its bytes after it was closed."""

    content = b""

    def close(self) -> None:
        if not self.closed:
            self.content = self.getvalue()
        super().close()


class Recording:
    """Feeds connections to a recorder and keeps events and files."""

    def __init__(self, **kwargs) -> None:
        self.files: dict[int, MemoryFile] = {}
        self.events: list = []
        self.recorder = FlvRecorder(self._open, **kwargs)

    def _open(self, index: int) -> MemoryFile:
        assert index not in self.files
        self.files[index] = MemoryFile()
        return self.files[index]

    def feed(self, data: bytes, *, chunk: int = 1 << 16, received_at: float | None = None) -> Recording:
        for at in range(0, len(data), chunk):
            self.events += self.recorder.feed(data[at : at + chunk], received_at)
        return self

    def reconnect(self, offline_ms: int | None = None) -> Recording:
        self.events += self.recorder.reconnected(offline_ms)
        return self

    def finish(self) -> Recording:
        self.events += self.recorder.finish()
        return self

    def of(self, event_type: type) -> list:
        return [event for event in self.events if isinstance(event, event_type)]

    @property
    def contents(self) -> list[bytes]:
        return [self.files[index].content for index in sorted(self.files)]

    @property
    def repairs(self) -> list:
        return [repair for event in self.of(SegmentCompleted) for repair in event.repairs]


def record(*connections: bytes, chunk: int = 1 << 16, **kwargs) -> Recording:
    recording = Recording(**kwargs)
    for number, data in enumerate(connections):
        if number:
            recording.reconnect()
        recording.feed(data, chunk=chunk)
    return recording.finish()


def parse(data: bytes, chunk: int | None = None) -> list[Tag | FlvHeader | Junk]:
    parser = FlvParser()
    chunk = chunk or max(1, len(data))
    items = [item for at in range(0, len(data), chunk) for item in parser.feed(data[at : at + chunk])]
    return items + parser.finish()


def media(data: bytes) -> list[Tag]:
    return [item for item in parse(data) if isinstance(item, Tag) and item.is_media]


def scripts(data: bytes) -> list[Tag]:
    return [item for item in parse(data) if isinstance(item, Tag) and item.type == SCRIPT]


def sequence_headers(data: bytes) -> list[Tag]:
    return [item for item in parse(data) if isinstance(item, Tag) and item.is_sequence_header]


@cache
def ffmpeg_flv(
    seconds: int = 6, *, video_args: tuple[str, ...] = ("-c:v", "libx264", "-g", "25"), size: str = "160x120"
) -> bytes:
    """A small real file: test picture at 25 fps and a tone. `video_args=()` makes it audio only."""
    inputs = ["-f", "lavfi", "-i", f"sine=duration={seconds}"]
    if video_args:
        inputs += ["-f", "lavfi", "-i", f"testsrc=size={size}:rate=25:duration={seconds}"]
    command = [get_ffmpeg_exe(), "-v", "error", *inputs, *video_args, "-threads", "1", "-c:a", "aac", "-f", "flv", "-"]
    return subprocess.run(command, capture_output=True, check=True).stdout
