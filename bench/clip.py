"""Media to record: a noisy test card that needs the bitrate it is given, encoded once and repeated with later timestamps."""

from __future__ import annotations

import asyncio
from pathlib import Path

import imageio_ffmpeg

from tests.studio.flv import Tag, TagReader

LAP_MS = 40_000
"""A multiple of 8 s, which 375 AAC frames of 1024 samples at 48 kHz last exactly; longer than the 16 groups of pictures in which a recorder
looks for repeats, because no broadcast shows the same picture twice in a while."""


async def encode(kbps: int) -> bytes:
    """One lap of H.264 and AAC as FLV. The noise leaves the encoder nothing to pad: there is no filler in it."""
    picture = f"testsrc2=size=1280x720:rate=30,noise=alls={_noise(kbps)}:allf=t"
    command = (
        f"-hide_banner -loglevel error -nostdin -f lavfi -i {picture} -f lavfi -i sine=frequency=440:sample_rate=48000"
        f" -t {LAP_MS / 1000 + 0.5} -c:v libx264 -preset ultrafast -tune zerolatency -pix_fmt yuv420p -g 60 -keyint_min 60"
        f" -b:v {kbps - 128}k -maxrate {kbps}k -bufsize {kbps}k -c:a aac -b:a 128k -ac 2 -flags +global_header"
        " -flvflags no_duration_filesize+no_sequence_end -f flv pipe:1"
    )
    process = await asyncio.create_subprocess_exec(
        imageio_ffmpeg.get_ffmpeg_exe(),
        *command.split(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"ffmpeg ended with {process.returncode}")
    return output


def repeat(clip: bytes, path: Path, *, size: int = 0, seconds: float = 0) -> float:
    """Write the clip over and over until a file has ``size`` bytes or ``seconds`` of media; returns its seconds. Blocking."""
    reader = TagReader()
    tags = reader.feed(clip)
    head = [tag for tag in tags if tag.kind == 18 or tag.is_sequence_header]
    media = [tag for tag in tags if tag.kind != 18 and not tag.is_sequence_header]
    first = {kind: min(tag.timestamp for tag in media if tag.kind == kind) for kind in (8, 9)}
    rebased = [Tag(tag.kind, tag.timestamp - first[tag.kind], tag.body) for tag in media]
    lap = sorted((tag for tag in rebased if tag.timestamp < LAP_MS), key=lambda tag: (tag.timestamp, -tag.kind))
    offset = 0
    with path.open("wb") as file:
        file.write(reader.header + b"".join(tag.encode(0) for tag in head))
        while file.tell() < size or offset < 1000 * seconds:
            file.write(b"".join(tag.encode(tag.timestamp + offset) for tag in lap))
            offset += LAP_MS
    return offset / 1000


def _noise(kbps: int) -> int:
    return 8 if kbps <= 2_000 else 20
