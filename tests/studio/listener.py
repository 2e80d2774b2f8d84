"""Broadcasts that are not HTTP: ffmpeg waits for one viewer at an RTMP or SRT address and plays the test card to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal
from urllib.parse import quote

import imageio_ffmpeg

from deploy.embedded.ports import free_port

from .ffmpeg import codecs as encoding
from .ffmpeg import test_card
from .options import RoomOptions


@asynccontextmanager
async def listener(
    kind: Literal["rtmp", "srt"], *, audio_codec: str = "aac", passphrase: str = "", key: str = "key"
) -> AsyncIterator[str]:
    """The address for one viewer; the next one is served by a new ffmpeg when the first has left."""
    port = _free_port(socket.SOCK_STREAM if kind == "rtmp" else socket.SOCK_DGRAM)
    secret = f"&passphrase={quote(passphrase, safe='')}" if passphrase else ""
    secured = ["-passphrase", passphrase] if passphrase else []
    outputs = {
        "rtmp": ["-f", "flv", "-listen", "1", f"rtmp://127.0.0.1:{port}/live/{key}"],
        "srt": ["-f", "mpegts", *secured, f"srt://127.0.0.1:{port}?mode=listener"],
    }
    serving = asyncio.create_task(_serve(outputs[kind], audio_codec))
    try:
        yield f"rtmp://127.0.0.1:{port}/live/{key}" if kind == "rtmp" else f"srt://127.0.0.1:{port}?mode=caller{secret}"
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def _serve(output: list[str], audio_codec: str) -> None:
    options = RoomOptions()
    codecs = [audio_codec if word == "aac" else word for word in encoding(options)]
    while True:
        process = await asyncio.create_subprocess_exec(
            imageio_ffmpeg.get_ffmpeg_exe(),
            *("-hide_banner", "-loglevel", "fatal", "-nostats", "-nostdin", "-re"),
            *test_card(options),
            *codecs,
            *output,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            await process.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


def _free_port(kind: socket.SocketKind) -> int:
    """None of those the kernel gives away: it is released here, and nobody else gets it before ffmpeg binds it."""
    while True:
        port = free_port()
        with socket.socket(socket.AF_INET, kind) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
