"""ffmpeg gets nothing but what our relay fetched for it, however a playlist is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from chassis.egress import EgressPolicy
from chassis.programs import locate_ffmpeg
from contracts.values import Effective, Source

from services.downloader.adapters.engine import SourceFailed
from services.downloader.adapters.engines import EngineOptions, Engines

OPTIONS = EngineOptions(ffmpeg=locate_ffmpeg("", setting=""), stall_s=5, connect_timeout_s=3)
PLAYLIST = b"#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n%s\n#EXT-X-ENDLIST\n"
SEGMENT = b"#EXTINF:2,\n%s"


@asynccontextmanager
async def server(address: str, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """The address of a site that answers everything alike."""
    app = web.Application()
    app.router.add_get("/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, address, 0).start()
    try:
        yield f"http://{address}:{runner.addresses[0][1]}/live.m3u8"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("entry", "pieces"),
    [
        (SEGMENT, 1),
        (SEGMENT, 2),  # the first bytes alone do not show that it is a playlist
        (b"#EXT-X-MAP:URI=%s\n#EXTINF:2,\nx.mp4", 1),
        (b"#EXTINF:2,\n#\x00%s", 1),  # ffmpeg ends lines where we see none
    ],
    ids=["plain", "in pieces", "without quotes", "behind a zero"],
)
async def test_a_playlist_leads_ffmpeg_nowhere_but_through_the_relay(entry: bytes, pieces: int) -> None:
    reached, read = [], asyncio.Event()

    async def private(request: web.Request) -> web.StreamResponse:
        reached.append(request.path)
        return web.Response(body=b"private")

    async with server("127.0.0.2", private) as inside:

        async def hostile(request: web.Request) -> web.StreamResponse:
            answer = web.StreamResponse()
            await answer.prepare(request)
            playlist = PLAYLIST % (entry % inside.replace(".m3u8", ".mp4").encode())
            for piece in (playlist,) if pieces == 1 else (playlist[:3], playlist[3:]):
                await answer.write(piece)
                await asyncio.sleep(0.05 * (pieces - 1))  # so that they arrive apart
            read.set()
            return answer

        async with server("127.0.0.1", hostile) as page:
            engines = Engines(EgressPolicy(allowed_networks=("127.0.0.1/32",)), OPTIONS)
            async with engines.for_recording(Effective(engine="ffmpeg")) as kit:
                await kit.ready()
                with pytest.raises(SourceFailed):
                    async with kit.open(Source(url=page, protocol="hls")) as chunks:
                        async for _ in chunks:
                            pass
    assert read.is_set()
    assert reached == []
