"""Every engine records the same broadcast into files of ours; what they start ends with them, and nobody sees a secret."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import av
import psutil
import pytest
from aiohttp import web
from chassis.accounts import Login
from chassis.dialled import LISTED, PROTOCOLS
from chassis.egress import EgressPolicy
from chassis.programs import locate_ffmpeg, open_program
from chassis.waiting import wait_for_event
from contracts.values import Effective, Network, Source

from services.downloader.adapters.capture import Capture, Ended, Patience
from services.downloader.adapters.engine import (
    EngineEvent,
    GapClosed,
    GapOpened,
    Gaps,
    SegmentCompleted,
    SegmentOpened,
    SourceFailed,
    StartPoint,
    Take,
)
from services.downloader.adapters.engines import EngineOptions, Engines
from services.downloader.adapters.ffmpeg import CONTINUOUS
from services.downloader.adapters.sources import FixedSources
from services.downloader.splitting import bounds_of
from tests.deadline import DEADLINE_S
from tests.studio import Studio
from tests.studio.listener import listener

OPTIONS = EngineOptions(ffmpeg=locate_ffmpeg("", setting=""), stall_s=5, connect_timeout_s=3)
SECRET = "s3cret-c00kie"


class Recording:
    """A capture with its files; ``events`` as the engine told them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.events = folder, list[EngineEvent]()
        self._news = asyncio.Event()
        self.capture: Capture
        self.ended: Ended | None = None

    def tell(self, event: EngineEvent) -> None:
        self.events.append(event)
        self._news.set()

    def of(self, cls: type) -> list:
        return [event for event in self.events if isinstance(event, cls)]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                # Progress is told by nobody: it is looked at.
                self._news.clear()
                await wait_for_event(self._news, 0.05)

    async def media(self, more_ms: int) -> None:
        """Until so much more was recorded."""
        wanted = self.capture.progress.duration_ms + more_ms
        await self.until(lambda: self.capture.progress.duration_ms >= wanted or self.ended is not None)
        assert self.ended is None, self.ended

    @property
    def files(self) -> list[Path]:
        return sorted(self.folder.iterdir())


@asynccontextmanager
async def recording(
    folder: Path,
    source: Source,
    *,
    page: str = "",
    login: Login | None = None,
    private: bool = True,
    **effective: object,
) -> AsyncIterator[Recording]:
    """Record while the block runs, then stop in order."""
    one = Recording(folder)
    folder.mkdir(exist_ok=True)  # noqa: ASYNC240 - a test of one folder

    async def account(_: str) -> Login:
        assert login is not None
        return login

    def begin(index: int, extension: str):
        return (folder / f"{index}.{extension}").open("xb", buffering=0)

    engines = Engines(EgressPolicy(allow_private=private), OPTIONS, account)
    wanted = Effective(**effective)
    async with engines.for_recording(wanted, page or source.url) as kit:
        take = Take(begin, StartPoint(), Gaps(one.tell), one.tell, bounds_of(wanted))
        one.capture = Capture(FixedSources(source), kit, take, Patience(base_s=0.1, cap_s=0.5, give_up_s=20))

        async def run() -> None:
            one.ended = await one.capture.run()

        running = asyncio.create_task(run())
        try:
            yield one
        finally:
            one.capture.stop(Ended(None))
            async with asyncio.timeout(DEADLINE_S):
                await running


def frames(path: Path) -> int:
    """Pictures that can be decoded."""
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def programs() -> list[psutil.Process]:
    """What the engines have started and not ended: not the studio's encoder, not the database of other tests."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            line = " ".join(child.cmdline())
            if (OPTIONS.ffmpeg in line or "foreign" in line) and "lavfi" not in line:
                found.append(child)
    return found


@pytest.mark.parametrize("kind", ["flv", "ts", "fmp4"])
async def test_ffmpeg_plays_what_our_own_engine_plays_and_leaves_nothing_running(tmp_path: Path, kind: str) -> None:
    async with Studio() as studio:
        await studio.put_on_air("1")
        source = (
            Source(url=studio.flv_url("1"), protocol="flv")
            if kind == "flv"
            else Source(url=studio.hls_url("1", kind), protocol="hls")
        )
        async with recording(tmp_path / "files", source, engine="ffmpeg") as one:
            await one.media(2000)
            (ffmpeg,) = programs()
            assert studio.url not in " ".join(ffmpeg.cmdline())
    assert programs() == []
    (file,) = one.files
    (completed,) = one.of(SegmentCompleted)
    assert file.suffix == ".flv"
    assert frames(file) >= 20
    assert abs(completed.duration_ms - one.capture.progress.duration_ms) < 200


@pytest.mark.parametrize(
    ("kind", "secret"), [("rtmp", {"key": "it's/a?k=ey"}), ("srt", {}), ("srt", {"passphrase": "it's a s3cret+%26"})]
)
async def test_rtmp_and_srt_are_played_by_ffmpeg_whatever_engine_is_wanted(
    tmp_path: Path, kind: str, secret: dict[str, str]
) -> None:
    async with listener(kind, **secret) as url, recording(tmp_path / "files", Source(url=url, protocol=kind)) as one:
        await one.media(2000)
    (file,) = one.files
    assert frames(file) >= 20


@pytest.mark.parametrize(
    ("kind", "secret"),
    [("rtmp", {"stream_key": f"{SECRET}?x=1"}), ("srt", {"passphrase": SECRET, "stream_key": "#!::r=a,m=b"})],
)
async def test_the_key_and_the_passphrase_of_a_stream_come_from_a_credential(
    tmp_path: Path, kind: str, secret: dict[str, str]
) -> None:
    wanted = {"key": secret["stream_key"]} if kind == "rtmp" else {"passphrase": secret["passphrase"]}
    async with listener(kind, **wanted) as url:
        address = url.partition("?")[0].removesuffix(f"/{SECRET}")
        login = Login(domains=("127.0.0.1",), **secret)
        source, network = Source(url=address, protocol=kind), Network(account="mine")
        async with recording(tmp_path / "files", source, login=login, network=network) as one:
            await one.media(1000)
            (ffmpeg,) = programs()
            shown = " ".join([*ffmpeg.cmdline(), *ffmpeg.environ().values(), repr(login)])
    assert SECRET not in address + shown
    assert frames(one.files[0]) > 5


async def test_a_codec_that_does_not_fit_into_flv_is_recorded_as_a_transport_stream(tmp_path: Path) -> None:
    async with (
        listener("srt", audio_codec="mp2") as url,
        recording(tmp_path / "files", Source(url=url, protocol="srt"), segment_seconds=2) as one,
    ):
        await one.until(lambda: len(one.of(SegmentOpened)) >= 2)
    assert {file.suffix for file in one.files} == {".ts"}
    assert frames(one.files[0]) >= 20
    with av.open(str(one.files[0])) as container:
        assert container.streams.audio[0].codec_context.name.startswith("mp2")


@pytest.mark.parametrize("kind", ["flv", "ts", "fmp4"])
async def test_streamlink_plays_into_our_files(tmp_path: Path, kind: str) -> None:
    async with Studio() as studio:
        await studio.put_on_air("1", required_headers={"X-Token": SECRET})
        source = (
            Source(url=studio.flv_url("1"), protocol="flv")
            if kind == "flv"
            else Source(url=studio.hls_url("1", kind), protocol="hls")
        )
        login = Login(domains=("127.0.0.1",), headers={"X-Token": SECRET})
        network = Network(account="mine")
        files = tmp_path / "files"
        page = "" if kind == "flv" else "http://example.org/1001"  # no site that Streamlink knows
        async with recording(files, source, page=page, engine="streamlink", network=network, login=login) as one:
            await one.media(2000)
            (streamlink,) = programs()
            assert SECRET not in " ".join([*streamlink.cmdline(), *streamlink.environ().values()])
    assert programs() == []
    (file,) = one.files
    assert file.suffix == {"flv": ".flv", "ts": ".ts", "fmp4": ".mp4"}[kind]
    assert frames(file) >= 20


@pytest.mark.parametrize("player", ["auto", "ffmpeg"])
async def test_yt_dlp_finds_the_media_of_a_page_and_another_engine_plays_it(tmp_path: Path, player: str) -> None:
    async with Studio() as studio, pages() as (page, media):
        await studio.put_on_air("1", formats=["flv", "ts"])
        media.append(studio.hls_url("1", "ts"))
        source = Source(url=page, protocol="page")
        options, network = {"yt-dlp": {"player": player}}, Network(ip_version="4")
        async with recording(
            tmp_path / "files", source, engine="yt-dlp", engine_options=options, network=network
        ) as one:
            await one.media(2000)
    (file,) = one.files
    assert file.suffix == {"auto": ".ts", "ffmpeg": ".flv"}[player]
    assert frames(file) >= 20


@pytest.mark.parametrize(("network", "reached"), [("127.0.0.1/32", False), ("127.0.0.0/8", True)])
@pytest.mark.parametrize("engine", ["streamlink", "yt-dlp"])
async def test_a_page_leads_no_library_where_it_must_not(engine: str, network: str, reached: bool) -> None:
    """The page is admitted by its network, what it leads to only by the wider one."""
    asked: list[str] = []

    async def private(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(text="#EXTM3U")

    async with pages(address="127.0.0.2", handler=private) as (inside, _), pages(redirect=inside) as (page, _):
        policy = EgressPolicy(allowed_networks=(network,))
        source = Source(url=page + "/live.m3u8", protocol="hls")
        async with Engines(policy, OPTIONS).for_recording(Effective(engine=engine), source.url) as kit:
            await kit.ready()
            with pytest.raises(SourceFailed):
                found = await kit.resolved(source)
                async with kit.open(found) as chunks:
                    async for _ in chunks:
                        pass
    assert bool(asked) is reached


@asynccontextmanager
async def pages(
    address: str = "127.0.0.1", redirect: str = "", handler: Callable[..., Awaitable[web.Response]] | None = None
) -> AsyncIterator[tuple[str, list[str]]]:
    """A site with a page that shows what is in the list, or redirects."""
    media: list[str] = []

    async def page(_: web.Request) -> web.Response:
        if redirect:
            raise web.HTTPFound(redirect)
        video = "".join(f'<source src="{url}" type="application/x-mpegURL">' for url in media)
        return web.Response(text=f"<html><title>A page</title><video>{video}</video></html>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/{path:.*}", handler or page)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, address, 0).start()
    try:
        yield f"http://{address}:{runner.addresses[0][1]}/watch", media
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("engines", [("native", "ffmpeg"), ("streamlink", "native")])
async def test_another_engine_goes_on_in_the_next_file_of_the_same_recording(
    tmp_path: Path, engines: tuple[str, str]
) -> None:
    async with Studio() as studio:
        await studio.put_on_air("1", formats=["flv"])
        source = Source(url=studio.flv_url("1"), protocol="flv", container="flv")
        async with recording(tmp_path / "files", source, engine=engines[0]) as one:
            await one.media(1500)
            one.capture.reconfigure(Effective(engine=engines[1]))
            await one.until(lambda: len(one.of(SegmentOpened)) == 2)
            await one.media(1500)
    first, second = one.of(SegmentCompleted)
    assert [path.name for path in one.files] == ["0.flv", "1.flv"]
    assert all(frames(path) >= 15 for path in one.files)
    (opened,), (closed,) = one.of(GapOpened), one.of(GapClosed)
    assert opened.cause == "the configuration changed"
    assert second.start_ms >= first.start_ms + first.duration_ms - 100
    assert second.start_ms - (first.start_ms + first.duration_ms) <= closed.lost_ms + 100


async def test_sound_in_a_playlist_of_its_own_is_joined_by_ffmpeg_whatever_the_engine(tmp_path: Path) -> None:
    async with Studio() as studio:
        await studio.put_on_air("1", formats=["flv", "ts"], audio=False)
        await studio.put_on_air("2", formats=["flv", "ts"])
        master = (
            '#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="x",DEFAULT=YES,'
            f'URI="{studio.hls_url("2", "ts")}"\n'
            f'#EXT-X-STREAM-INF:BANDWIDTH=1000,AUDIO="a"\n{studio.hls_url("1", "ts")}\n'
        )

        async def answer(_: web.Request) -> web.Response:
            return web.Response(text=master, content_type="application/vnd.apple.mpegurl")

        async with pages(handler=answer) as (page, _):
            source = Source(url=f"{page}.m3u8", protocol="hls")
            async with recording(tmp_path / "files", source) as one:
                await one.media(2000)
    (file,) = one.files
    assert frames(file) >= 20
    with av.open(str(file)) as container:
        assert len(container.streams.audio) == 1


CHILD = """
import asyncio, sys
from pathlib import Path
from contracts.values import Effective
from services.downloader.standalone import record
asyncio.run(record(sys.argv[1], Path(sys.argv[2]), allow_private=True, effective=Effective(engine="ffmpeg"),
                   on_event=lambda event: print(event, flush=True)))
"""


async def test_a_killed_recorder_leaves_no_ffmpeg_behind(tmp_path: Path) -> None:
    async with Studio() as studio:
        await studio.put_on_air("1", source="loop")
        recorder = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, studio.flv_url("1"), str(tmp_path), stdout=asyncio.subprocess.PIPE
        )
        assert recorder.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            async for line in recorder.stdout:
                if b"SegmentOpened" in line:
                    break
        (ffmpeg,) = psutil.Process(recorder.pid).children(recursive=True)
        recorder.kill()
        await recorder.wait()
        gone, alive = await asyncio.to_thread(psutil.wait_procs, [ffmpeg], timeout=DEADLINE_S)
    assert (gone, alive) == ([ffmpeg], [])


@pytest.mark.parametrize(
    ("url", "protocol", "cause"),
    [
        ("rtmp://127.0.0.1:1/live/key", "rtmp", "loopback"),
        ("srt://127.0.0.1:1", "srt", "loopback"),
        ("srt://example.org", "srt", "port"),
        ("rtmp://10.1.2.3/live/key", "rtmp", "private"),
        ("http://127.0.0.1:1/x.flv", "flv", "loopback"),
        ("file:///etc/passwd", "flv", "scheme"),
        ("concat:/etc/passwd", "hls", "scheme"),
    ],
)
async def test_no_engine_reaches_where_it_must_not(tmp_path: Path, url: str, protocol: str, cause: str) -> None:
    source = Source.model_construct(url=url, protocol=protocol, headers={})
    engines = Engines(EgressPolicy(), OPTIONS)
    async with engines.for_recording(Effective(engine="ffmpeg")) as kit:
        await kit.ready()
        with pytest.raises(SourceFailed, match=cause):
            async with kit.open(source) as chunks:
                async for _ in chunks:
                    pass


async def test_a_publisher_that_begins_again_at_zero_squeezes_nothing(tmp_path: Path) -> None:
    """What ffmpeg does with a list of one transport stream whose clock starts anew in the middle, as it is dialled."""
    once = await asyncio.to_thread(_encoded, tmp_path / "once.ts")
    (tmp_path / "twice.ts").write_bytes(once * 2)
    listed = f"ffconcat version 1.0\nfile 'file:{tmp_path}/twice.ts'\n".encode()
    arguments = [OPTIONS.ffmpeg, "-v", "error", *LISTED, *CONTINUOUS, "-c", "copy", "-f", "flv", "pipe:1"]
    arguments[arguments.index(PROTOCOLS)] += ",file"
    async with asyncio.timeout(DEADLINE_S), open_program(arguments, folder=tmp_path, given=listed) as program:
        (tmp_path / "played.flv").write_bytes(await program.output.read())
        assert (await program.ended()).code == 0
    with av.open(str(tmp_path / "played.flv")) as container:
        times = [packet.dts for packet in container.demux(video=0) if packet.dts is not None]
    assert len(times) == 100
    assert {later - earlier for earlier, later in pairwise(times)} == {40}


def _encoded(path: Path) -> bytes:
    """Two seconds of pictures with 25 frames a second."""
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=25, options={"g": "25", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
        for _ in range(50):
            container.mux(stream.encode(av.VideoFrame(160, 90, "yuv420p")))
        container.mux(stream.encode())
    return path.read_bytes()
