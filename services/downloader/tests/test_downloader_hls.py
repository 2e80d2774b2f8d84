"""The HLS engine against a server of this test: order, retries, keys, ranges, gaps, and going on after another owner."""

import asyncio
from datetime import UTC, datetime, timedelta

import aiohttp
import imageio_ffmpeg
import pytest
from aiohttp import web
from chassis.egress import EgressPolicy
from contracts.values import Effective, Selection, Source
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from media.hls import GapPolicy

from services.downloader.adapters import hls_fetch
from services.downloader.adapters.engine import (
    DiskFailed,
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
from services.downloader.adapters.hls import HlsEngine, Wishes
from services.downloader.adapters.hls_fetch import FetchOptions
from services.downloader.adapters.network import Access
from tests.deadline import DEADLINE_S

KEY = bytes(range(16))
ACCESS = Access(EgressPolicy(allow_private=True), connect_timeout_s=5)


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """Six segments of one second each, MPEG-TS."""
    import subprocess

    folder = tmp_path_factory.mktemp("clip")
    subprocess.run(
        [
            imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", "testsrc=s=64x64:r=10", "-t", "6",
            "-c:v", "libx264", "-preset", "ultrafast", "-g", "10", "-sc_threshold", "0",
            "-hls_time", "1", "-hls_list_size", "0", "-f", "hls", str(folder / "index.m3u8"),
        ],
        check=True, timeout=60,
    )  # fmt: skip
    return [(folder / f"index{number}.ts").read_bytes() for number in range(6)]


class Server:
    """Serves segments by number; ``refuse`` maps a path to the statuses of its next answers."""

    def __init__(self, segments):
        self.files = {f"/{number}.ts": data for number, data in enumerate(segments)}
        self.playlist = ""
        self.refuse: dict[str, list[int]] = {}
        self.asked: list[str] = []
        self.held: dict[str, asyncio.Event] = {}
        self.changed = asyncio.Event()

    def window(self, first, last, *, ended=False, head="", uri="{}.ts"):
        lines = ["#EXTM3U", "#EXT-X-VERSION:4", "#EXT-X-TARGETDURATION:1", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
        lines += [head] if head else []
        for number in range(first, last + 1):
            lines += ["#EXTINF:1.0,", uri.format(number)]
        self.playlist = "\n".join([*lines, "#EXT-X-ENDLIST" if ended else "", ""])

    async def handle(self, request):
        self.asked.append(request.path_qs)
        self.changed.set()
        if request.path in self.held:
            await self.held[request.path].wait()
        statuses = self.refuse.get(request.path)
        if statuses:
            return web.Response(status=statuses.pop(0))
        if request.path == "/index.m3u8":
            return web.Response(text=self.playlist)
        if request.path == "/key":
            return web.Response(body=KEY)
        data = self.files.get(request.path)
        return web.Response(status=404) if data is None else web.Response(body=data)

    async def until_asked(self, path):
        async with asyncio.timeout(DEADLINE_S):
            while path not in self.asked:
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
async def server(clip, monkeypatch):
    monkeypatch.setattr(hls_fetch, "RETRY_S", 0.01)
    one = Server(clip)
    app = web.Application()
    app.router.add_get("/{path:.*}", one.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield one
    await runner.cleanup()


class Stage:
    def __init__(self, server, session, folder, start=None, wishes=None, **options):
        self.server, self.folder, self.events, self.cursors = server, folder, [], []
        self.start = start or StartPoint()
        self.told, self.loop = asyncio.Event(), asyncio.get_running_loop()
        open_at = self.start.position_ms if self.start.position_at else None
        take = Take(
            self.open, self.start, Gaps(self.tell, open_at_ms=open_at), self.tell,
            keep_cursor=self.keep,
        )  # fmt: skip
        fetching = FetchOptions(**{"attempts": 3, "stall_s": 2.0, **options})
        self.engine = HlsEngine(session, ACCESS, take, fetching=fetching, wishes=wishes or Wishes())

    def keep(self, cursor):
        """Called in the thread that writes."""
        self.cursors.append(cursor)
        self.loop.call_soon_threadsafe(self.told.set)

    async def until_kept(self, sequence):
        async with asyncio.timeout(DEADLINE_S):
            while not self.cursors or self.cursors[-1]["sequence"] < sequence:
                self.told.clear()
                await self.told.wait()

    def tell(self, event):
        self.events.append(event)
        self.told.set()

    async def until_told(self, cls):
        async with asyncio.timeout(DEADLINE_S):
            while not self.of(cls):
                self.told.clear()
                await self.told.wait()

    def open(self, index, extension):
        self.file = (self.folder / f"{index}.{extension}").open("xb", buffering=0)
        return self.file

    async def play(self):
        async with asyncio.timeout(DEADLINE_S):
            await self.engine.play(Source(url=f"{self.server.url}/index.m3u8", protocol="hls"))
            await self.engine.finish()

    def of(self, cls):
        return [event for event in self.events if isinstance(event, cls)]

    def data(self, index=0):
        return (self.folder / f"{index}.ts").read_bytes()


@pytest.fixture
async def session():
    async with ACCESS.open_session() as one:
        yield one


async def test_segments_are_written_in_order_whatever_comes_first(server, session, tmp_path, clip):
    server.window(0, 5, ended=True)
    server.held["/0.ts"] = asyncio.Event()
    stage = Stage(server, session, tmp_path)
    playing = asyncio.create_task(stage.play())
    await server.until_asked("/4.ts")
    server.held.pop("/0.ts").set()
    await playing
    assert stage.data() == b"".join(clip)
    (opened,), (completed,) = stage.of(SegmentOpened), stage.of(SegmentCompleted)
    assert (opened.index, opened.extension, opened.start_ms) == (0, "ts", 0)
    assert abs(completed.duration_ms - 6000) <= 100
    assert stage.cursors[-1]["sequence"] == 5
    assert stage.of(GapOpened) == []


async def test_downloads_are_bounded(server, session, tmp_path):
    server.window(0, 5, ended=True)
    for number in range(6):
        server.held[f"/{number}.ts"] = asyncio.Event()
    stage = Stage(server, session, tmp_path, concurrency=2)
    playing = asyncio.create_task(stage.play())
    await server.until_asked("/1.ts")
    assert [path for path in server.asked if path.endswith(".ts")] == ["/0.ts", "/1.ts"]
    for gate in server.held.values():
        gate.set()
    await playing


async def test_a_failed_download_is_tried_again(server, session, tmp_path, clip):
    server.window(0, 5, ended=True)
    server.refuse["/2.ts"] = [500, 503]
    stage = Stage(server, session, tmp_path)
    await stage.play()
    assert server.asked.count("/2.ts") == 3
    assert stage.data() == b"".join(clip)


async def test_a_segment_that_cannot_be_had_is_a_gap(server, session, tmp_path, clip):
    server.window(0, 5, ended=True)
    server.refuse["/2.ts"] = [500] * 3
    stage = Stage(server, session, tmp_path)
    await stage.play()
    assert stage.data() == b"".join([*clip[:2], *clip[3:]])
    (opened,), (closed,) = stage.of(GapOpened), stage.of(GapClosed)
    assert (opened.cause, closed.lost_ms) == ("segments missing (failed)", 1000)
    assert abs(opened.at_ms - 2000) <= 100
    (repair,) = stage.of(SegmentCompleted)[0].repairs
    assert (repair["kind"], repair["amount"]) == ("gap", 1000)


async def test_a_segment_that_is_on_its_way_at_a_stop_is_no_gap(server, session, tmp_path, clip):
    # given a recording that has everything but the newest segment, which hangs
    server.window(0, 3)
    server.held["/3.ts"] = asyncio.Event()
    stage = Stage(server, session, tmp_path)
    playing = asyncio.create_task(stage.play())
    await server.until_asked("/3.ts")
    await stage.until_kept(2)
    # when it is stopped
    playing.cancel()
    await asyncio.gather(playing, return_exceptions=True)
    await stage.engine.finish()
    server.held.pop("/3.ts").set()
    # then its file ends there, and nothing is said to be missing
    assert stage.data() == b"".join(clip[:3])
    assert stage.of(GapOpened) == []
    (completed,) = stage.of(SegmentCompleted)
    assert completed.repairs == ()


async def test_segments_that_cannot_be_read_are_gaps_that_are_told_together_and_not_one_each(
    server, session, tmp_path, clip
):
    # given a playlist of half a minute, in which each third segment is an error page
    count = 36
    server.files = {
        f"/{number}.ts": b"<html>busy</html>" if number % 3 == 1 else clip[number % 3] for number in range(count)
    }
    server.window(0, count - 1, ended=True, head="#EXT-X-DISCONTINUITY-SEQUENCE:0")
    lines = server.playlist.splitlines()
    for number in range(3, count, 3):  # the same clip begins anew
        lines.insert(lines.index(f"{number}.ts") - 1, "#EXT-X-DISCONTINUITY")
    server.playlist = "\n".join(lines)
    # and nothing is skipped because a busy machine brings it late
    stage = Stage(server, session, tmp_path, wishes=Wishes(gaps=GapPolicy.wait()))
    await stage.play()
    # then everything that is missing is told, every ten seconds of media or more
    opened, closed = stage.of(GapOpened), stage.of(GapClosed)
    assert {event.cause for event in opened} == {"some of the media could not be read"}
    assert sum(event.lost_ms for event in closed) == count // 3 * 1000
    assert [type(event) for event in stage.events if isinstance(event, GapOpened | GapClosed)] == [
        GapOpened,
        GapClosed,
    ] * len(opened)
    assert 3 <= len(opened) <= 5
    repairs = [repair for event in stage.of(SegmentCompleted) for repair in event.repairs if repair["kind"] == "gap"]
    assert sum(repair["amount"] for repair in repairs) == count // 3 * 1000


async def test_encrypted_segments_are_decrypted_with_one_key_request(server, session, tmp_path, clip):
    for number, data in enumerate(clip):
        padder = PKCS7(128).padder()
        encryptor = Cipher(algorithms.AES(KEY), modes.CBC(number.to_bytes(16))).encryptor()
        padded = padder.update(data) + padder.finalize()
        server.files[f"/{number}.ts"] = encryptor.update(padded) + encryptor.finalize()
    server.window(0, 5, ended=True, head='#EXT-X-KEY:METHOD=AES-128,URI="key"')
    stage = Stage(server, session, tmp_path, concurrency=1)
    await stage.play()
    assert stage.data() == b"".join(clip)
    assert server.asked.count("/key") == 1


async def test_ranges_are_asked_for_and_cut_out_where_a_server_has_none(server, session, tmp_path, clip):
    server.files["/all.ts"] = b"".join(clip)
    lines = ["#EXTM3U", "#EXT-X-VERSION:4", "#EXT-X-TARGETDURATION:1", "#EXT-X-MEDIA-SEQUENCE:0"]
    for data in clip:
        lines += ["#EXTINF:1.0,", f"#EXT-X-BYTERANGE:{len(data)}" + ("@0" if data is clip[0] else ""), "all.ts"]
    server.playlist = "\n".join([*lines, "#EXT-X-ENDLIST", ""])
    stage = Stage(server, session, tmp_path)
    await stage.play()
    assert stage.data() == b"".join(clip)


async def test_an_expired_playlist_fails_at_once_and_the_next_address_goes_on_in_the_same_file(
    server, session, tmp_path, clip
):
    server.window(0, 2)
    stage = Stage(server, session, tmp_path)
    playing = asyncio.create_task(stage.play())
    await server.until_asked("/2.ts")
    server.refuse["/index.m3u8"] = [403]
    with pytest.raises(SourceFailed) as failure:
        await playing
    assert failure.value.stale
    assert "http" not in str(failure.value).lower().replace("http 403", "")
    server.window(1, 5, ended=True)
    await stage.play()
    assert stage.data() == b"".join(clip)
    assert len(stage.of(SegmentCompleted)) == 1


async def test_a_playlist_without_news_has_stalled(server, session, tmp_path):
    server.window(0, 1)
    stage = Stage(server, session, tmp_path, stall_s=0.5)
    with pytest.raises(SourceFailed, match="nothing new"):
        await stage.play()
    await stage.engine.finish()
    assert len(stage.of(SegmentCompleted)) == 1


@pytest.mark.parametrize("body", ["<html>", '#EXTM3U\n#EXT-X-KEY:METHOD=SAMPLE-AES,URI="k"\n#EXTINF:1,\n0.ts\n'])
async def test_what_is_no_playlist_fails(server, session, tmp_path, body):
    server.playlist = body
    with pytest.raises(SourceFailed, match="cannot be recorded"):
        await Stage(server, session, tmp_path).play()


async def test_another_owner_goes_on_behind_the_last_written_segment(server, session, tmp_path, clip):
    server.window(0, 2, ended=True)
    first = Stage(server, session, tmp_path)
    await first.play()
    # given a crash, and a window that still has everything
    server.window(1, 5, ended=True)
    server.asked.clear()
    done = first.of(SegmentCompleted)[0].duration_ms
    start = StartPoint(1, done, datetime.now(UTC) - timedelta(minutes=1), first.cursors[-1])
    second = Stage(server, session, tmp_path, start)
    await second.play()
    # then nothing is lost and nothing is fetched twice, however long it took
    assert second.data(1) == b"".join(clip[3:])
    assert "/1.ts" not in server.asked
    assert second.of(GapClosed) == [GapClosed(done, 0)]
    assert second.of(SegmentOpened)[0].start_ms == done


async def test_what_slid_out_of_the_window_meanwhile_is_lost_and_told(server, session, tmp_path):
    server.window(0, 1, ended=True)
    first = Stage(server, session, tmp_path)
    await first.play()
    server.window(4, 5, ended=True)
    done = first.of(SegmentCompleted)[0].duration_ms
    second = Stage(server, session, tmp_path, StartPoint(1, done, datetime.now(UTC), first.cursors[-1]))
    await second.play()
    assert second.of(GapClosed) == [GapClosed(done + 2000, 2000)]
    assert second.of(SegmentOpened)[0].start_ms == done + 2000


async def test_without_a_cursor_only_the_newest_segment_of_the_window_is_taken(server, session, tmp_path, clip):
    server.window(0, 3)
    stage = Stage(server, session, tmp_path, StartPoint(4, 60_000, datetime.now(UTC) - timedelta(seconds=30)))
    playing = asyncio.create_task(stage.play())
    await server.until_asked("/3.ts")
    server.window(0, 5, ended=True)
    await playing
    assert stage.data(4) == b"".join(clip[3:])
    assert 29_000 <= stage.of(GapClosed)[0].lost_ms <= 60_000


async def test_a_full_disk_ends_the_play(server, session, tmp_path):
    server.window(0, 5)
    stage = Stage(server, session, tmp_path / "nowhere")
    with pytest.raises(DiskFailed):
        await stage.play()
    await stage.engine.abandon()


async def test_an_abandoned_engine_can_be_left_in_the_middle(server, session, tmp_path):
    server.window(0, 5)
    stage = Stage(server, session, tmp_path)
    playing = asyncio.create_task(stage.play())
    await stage.until_told(SegmentOpened)
    playing.cancel()
    await asyncio.gather(playing, return_exceptions=True)
    await stage.engine.abandon()
    assert stage.of(SegmentCompleted) == []
    assert not stage.file.closed, "the session of the owner closes it"
    stage.file.close()


async def test_a_selection_that_leaves_no_variant_fails_the_source(server, session, tmp_path):
    server.playlist = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=500000\nsmall.m3u8\n"
    stage = Stage(server, session, tmp_path, wishes=Wishes(selection=Selection(max_bitrate=100_000)))
    with pytest.raises(SourceFailed, match="excludes every variant"):
        await stage.play()
    assert server.asked == ["/index.m3u8"]
    await stage.engine.abandon()


@pytest.mark.parametrize(
    ("options", "wishes"),
    [
        ({}, (GapPolicy(10, 5.0), False)),
        ({"skip_after_segments": 3, "skip_after_s": 0, "low_latency": True}, (GapPolicy(3, None), True)),
        ({"skip_after_segments": 0, "skip_after_s": 0}, (GapPolicy.wait(), False)),
    ],
)
async def test_options_of_the_native_engine_reach_it(tmp_path, options, wishes):
    effective = Effective(engine_options={"native": {"segment_concurrency": 2, "segment_attempts": 7, **options}})
    made = []

    def keep(session, access, take, *, fetching, wishes):
        made.append((fetching.concurrency, fetching.attempts, wishes.gaps, wishes.low_latency))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("services.downloader.adapters.engines.HlsEngine", keep)
        async with Engines(ACCESS.policy, EngineOptions()).for_recording(effective) as kit:
            await kit.ready()
            kit.make(Source(url="http://127.0.0.1/a.m3u8", protocol="hls"), None)
            assert kit.differs(effective.model_copy(update={"selection": Selection(block_cdns=("one",))}))
    assert made == [(2, 7, *wishes)]


async def test_later_segments_may_overtake_one_that_hangs(server, session, tmp_path, clip):
    # Given a segment whose download never ends, behind one that is here and before two that are not: more could overtake those, too
    server.window(0, 3, ended=True)
    later = asyncio.Event()
    server.held = {"/1.ts": asyncio.Event(), "/2.ts": later, "/3.ts": later}
    stage = Stage(server, session, tmp_path, wishes=Wishes(gaps=GapPolicy(2, None)), stall_s=DEADLINE_S)
    playing = asyncio.create_task(stage.play())
    await stage.until_told(SegmentOpened)
    # When it may be overtaken by two
    later.set()
    await stage.until_told(GapOpened)
    server.held["/1.ts"].set()
    await playing
    # Then it is a gap, although it came in the end
    assert [event.lost_ms for event in stage.of(GapClosed)] == [1000]
    assert stage.data() == clip[0] + clip[2] + clip[3]


async def test_parts_are_recorded_before_their_segment_is_complete(server, session, tmp_path, clip):
    # Given a server that announces parts of a segment (here: the last one whole, in two halves of packets)
    half = len(clip[2]) // 188 // 2 * 188
    server.files |= {"/2.0.ts": clip[2][:half], "/2.1.ts": clip[2][half:]}
    server.window(0, 1, head="#EXT-X-PART-INF:PART-TARGET=0.5")
    parts = [f'#EXT-X-PART:DURATION=0.5,URI="2.{number}.ts"' for number in range(2)]
    server.playlist += parts[0] + "\n"
    stage = Stage(server, session, tmp_path, wishes=Wishes(low_latency=True))
    # When they are wanted
    playing = asyncio.create_task(stage.play())
    await server.until_asked("/2.0.ts")
    complete = "\n".join([*parts, "#EXTINF:1.0,", "2.ts", "#EXT-X-ENDLIST", ""])
    server.playlist = server.playlist.replace(parts[0] + "\n", complete)
    await playing
    # Then each comes once, in order, and their segment is never asked for
    assert "/2.ts" not in server.asked
    assert stage.data() == b"".join(clip[:3])
    assert stage.of(GapOpened) == []


async def test_a_private_address_is_refused(server, tmp_path):
    server.window(0, 1, ended=True)
    async with Access(EgressPolicy()).open_session() as guarded:
        assert isinstance(guarded, aiohttp.ClientSession)
        with pytest.raises(SourceFailed, match="refused"):
            await Stage(server, guarded, tmp_path).play()
    assert server.asked == []
