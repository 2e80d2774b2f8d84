"""The direct adapter: what makes an address a live stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web
from chassis.egress import EgressPolicy, open_session

from services.monitor.adapters.direct import PLAYLIST_BYTES, DirectAdapter
from services.monitor.adapters.platform import (
    ChannelNotFound,
    ChannelRef,
    ChannelRefused,
    Probe,
    ProbeFailed,
    Refusal,
    UnsupportedUrl,
)
from tests.deadline import DEADLINE_S

FLV = b"FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00"
MEDIA = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:4,\n7.ts\n"
FMP4 = '#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MAP:URI="i.mp4"\n#EXTINF:4,\n7.m4s\n'
MASTER = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1280000\nlow.m3u8\n"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Site:
    def __init__(self) -> None:
        self.base = ""
        self.handler: Handler | None = None
        self.sent = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        assert self.handler is not None
        return await self.handler(request)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    serving = Site()
    app = web.Application()
    app.router.add_get("/{tail:.*}", serving.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    serving.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield serving
    await runner.cleanup()


def answering(body: bytes | str, status: int = 200, content_type: str = "application/octet-stream") -> Handler:
    async def handler(request: web.Request) -> web.Response:
        data = body.encode() if isinstance(body, str) else body
        return web.Response(body=data, status=status, content_type=content_type)

    return handler


def endless(first: bytes, site: Site) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        piece = first
        while True:
            await response.write(piece)
            site.sent += len(piece)
            piece = b"\x00" * 65536
            await asyncio.sleep(0)

    return handler


async def probe(site: Site, path: str, *, sniff: bool = False, timeout: float = DEADLINE_S) -> Probe:
    async with open_session(EgressPolicy(allow_private=True)) as session:
        adapter = DirectAdapter(sniff=sniff, timeout_seconds=timeout)
        return await adapter.probe(ChannelRef(site.base + path), session)


async def test_an_endless_flv_is_live_and_only_its_head_is_read(site: Site) -> None:
    site.handler = endless(FLV, site)

    found = await probe(site, "/app/room 1.flv?token=x")

    assert found.live
    assert [(s.protocol, s.container, s.priority) for s in found.sources] == [("flv", "flv", 0)]
    assert found.sources[0].url == f"{site.base}/app/room 1.flv?token=x"
    assert (found.title, found.streamer_name, found.room_id) == ("room 1", "127.0.0.1", "/app/room 1.flv")
    assert found.chat is None


async def test_a_stream_that_pauses_after_its_header_is_live(site: Site) -> None:
    released = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(FLV[:5])
        await response.write(FLV[5:])
        await released.wait()
        return response

    site.handler = handler

    assert (await probe(site, "/app/room.flv")).live
    released.set()


async def test_a_flv_file_is_no_broadcast(site: Site) -> None:
    site.handler = answering(FLV + b"x" * 1000)

    assert not (await probe(site, "/video.flv")).live


@pytest.mark.parametrize(("content_range", "live"), [("bytes 0-12/5000", False), ("", False), ("bytes 0-12/*", True)])
async def test_ranges_tell_files_from_broadcasts(site: Site, content_range: str, live: bool) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.headers["Range"] == f"bytes=0-{PLAYLIST_BYTES - 1}"
        headers = {"Content-Range": content_range} if content_range else {}
        response = web.StreamResponse(status=206, headers=headers)
        await response.prepare(request)
        await response.write(FLV)
        return response

    site.handler = handler

    assert (await probe(site, "/video.flv")).live is live


@pytest.mark.parametrize(
    ("playlist", "container"), [(MEDIA, "ts"), (FMP4, "fmp4"), (MASTER, "unknown"), ("\ufeff" + MEDIA, "ts")]
)
async def test_a_playlist_without_an_end_is_live(site: Site, playlist: str, container: str) -> None:
    site.handler = answering(playlist)

    found = await probe(site, "/live/index.m3u8")

    assert found.live
    assert [(s.protocol, s.container) for s in found.sources] == [("hls", container)]


@pytest.mark.parametrize("ending", ["#EXT-X-ENDLIST\n", "#EXT-X-PLAYLIST-TYPE:VOD\n"])
async def test_a_playlist_with_an_end_is_offline(site: Site, ending: str) -> None:
    site.handler = answering(MEDIA + ending)

    found = await probe(site, "/live/index.m3u8")

    assert not found.live
    assert found.sources == ()


async def test_the_end_of_a_long_playlist_is_found(site: Site) -> None:
    site.handler = answering(MEDIA + "#EXTINF:4,\nsegment.ts\n" * 40_000 + "#EXT-X-ENDLIST\n")

    assert not (await probe(site, "/live/index.m3u8")).live


async def test_an_endless_playlist_is_cut_off(site: Site) -> None:
    site.handler = endless(MEDIA.encode(), site)

    with pytest.raises(ProbeFailed, match="larger than"):
        await probe(site, "/live/index.m3u8")


async def test_nothing_published_is_offline(site: Site) -> None:
    site.handler = answering("", 404)

    assert not (await probe(site, "/live/x.flv")).live


@pytest.mark.parametrize(("status", "reason"), [(401, Refusal.PRIVATE), (403, Refusal.PRIVATE), (451, Refusal.REGION)])
async def test_refusals(site: Site, status: int, reason: Refusal) -> None:
    site.handler = answering("", status)

    with pytest.raises(ChannelRefused) as refused:
        await probe(site, "/x.flv")
    assert refused.value.reason == reason


async def test_gone_for_good(site: Site) -> None:
    site.handler = answering("", 410)

    with pytest.raises(ChannelNotFound):
        await probe(site, "/x.flv")


async def test_server_errors_pass_and_say_when_to_come_back(site: Site) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=503, headers={"Retry-After": "17"})

    site.handler = handler

    with pytest.raises(ProbeFailed, match="503") as failed:
        await probe(site, "/x.flv")
    assert failed.value.retry_after == 17.0


async def test_something_else_behind_a_stream_address_is_a_failure(site: Site) -> None:
    site.handler = answering("<html>maintenance</html>")

    with pytest.raises(ProbeFailed, match="neither"):
        await probe(site, "/x.flv")


async def test_a_server_that_never_answers_runs_into_the_timeout(site: Site) -> None:
    released = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    site.handler = handler

    with pytest.raises(ProbeFailed, match="Timeout"):
        await probe(site, "/x.flv", timeout=0.2)
    released.set()


async def test_an_endless_answer_of_something_else_is_cut_off(site: Site) -> None:
    site.handler = endless(b"\x00", site)

    with pytest.raises(UnsupportedUrl):
        await probe(site, "/video", sniff=True)


async def test_content_decides_where_the_address_does_not(site: Site) -> None:
    site.handler = answering(MEDIA, content_type="application/vnd.apple.mpegurl")
    assert (await probe(site, "/channel", sniff=True)).sources[0].protocol == "hls"

    site.handler = endless(FLV, site)
    assert (await probe(site, "/channel", sniff=True)).sources[0].protocol == "flv"

    site.handler = answering("<html></html>", content_type="text/html")
    with pytest.raises(UnsupportedUrl, match="neither an FLV stream"):
        await probe(site, "/channel", sniff=True)

    site.handler = answering("busy", content_type="application/x-mpegurl")
    with pytest.raises(ProbeFailed):
        await probe(site, "/channel", sniff=True)


@pytest.mark.parametrize(
    ("url", "by_ending", "by_content"),
    [
        ("http://a.example/live/x.flv", True, True),
        ("https://a.example/live/x.FLV?sign=1", True, True),
        ("https://a.example/live/x.m3u8", True, True),
        ("https://a.example/live/x", False, True),
        ("rtmp://a.example/live/x.flv", False, False),
        ("file:///x.flv", False, False),
        ("x.flv", False, False),
        ("http://[/x.flv", False, False),
    ],
)
def test_which_addresses_are_understood(url: str, by_ending: bool, by_content: bool) -> None:
    assert DirectAdapter().matches(url) is by_ending
    assert DirectAdapter(sniff=True).matches(url) is by_content


async def test_a_private_address_is_not_asked() -> None:
    async with open_session(EgressPolicy()) as session:
        assert isinstance(session, aiohttp.ClientSession)
        with pytest.raises(UnsupportedUrl, match="loopback"):
            await DirectAdapter().probe(ChannelRef("http://127.0.0.1/x.flv"), session)
