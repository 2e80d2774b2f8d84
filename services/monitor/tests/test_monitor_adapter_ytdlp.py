"""Real yt-dlp on pages of the studio: what a page is, what it costs, and what it cannot do to us."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiohttp import web
from chassis.accounts import Login
from chassis.egress import EgressPolicy, open_session
from chassis.pages import PROGRAM
from contracts.values import Network

from services.monitor.adapters.platform import (
    ChannelNotFound,
    ChannelRef,
    ChannelRefused,
    Probe,
    ProbeFailed,
    Refusal,
    UnknownSite,
    UnsupportedUrl,
)
from services.monitor.adapters.registry import AdapterOptions
from services.monitor.adapters.ytdlp import YtDlpAdapter
from tests.deadline import DEADLINE_S
from tests.studio import Studio
from tests.studio.proxy import Proxy

HOME = EgressPolicy(allow_private=True)
COOKIE, HEADER = "c00kie-s3cret", "h3ader-s3cret"


@asynccontextmanager
async def asking(policy: EgressPolicy = HOME, **options: Any) -> AsyncIterator[Any]:
    """A function that asks an adapter about a page."""
    adapter = YtDlpAdapter(policy, **{"timeout_seconds": DEADLINE_S, **options})
    async with open_session(policy) as session:

        async def ask(url: str, **how: Any) -> Probe:
            async with adapter.turn():
                return await adapter.probe(ChannelRef(url, **how), session)

        try:
            yield ask
        finally:
            await adapter.close()


def processes() -> list[psutil.Process]:
    """The processes of yt-dlp that this one has started."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # one that has just ended
            found += [child] if PROGRAM in child.cmdline() else []
    return found


async def test_what_a_page_shows_in_the_course_of_a_broadcast() -> None:
    async with Studio() as studio, asking() as ask:
        page = studio.plain_page_url("1")
        await studio.put_on_air("1", "Night train", streamer="Ann", formats=["flv", "ts"])
        live = await ask(page)
        (first,) = processes()
        player = await ask(page + "?player")
        await studio.put_off_air("1")
        ended = [await ask(page + query) for query in ("?keeps", "?keeps&player")]
        with pytest.raises(UnknownSite, match=r"unknown site.*give the address"):
            await ask(page)
        with pytest.raises(ChannelNotFound):
            await ask(studio.plain_page_url("nobody"))
        with pytest.raises(UnknownSite):
            await ask(page + "/garbage")
        with pytest.raises(ProbeFailed, match="too large"):
            await ask(page + "/huge")
        assert processes() == [first], "one process looked at all of them"
    assert (live.live, live.title, live.streamer_name) == (True, "Night train", "Ann")
    assert live.cover_url == f"{studio.url}/cover.jpg"
    assert [(source.protocol, source.url) for source in live.sources] == [("page", page)]
    assert player.live, "a page that says nothing about its player: the playlist does"
    assert [(one.live, one.sources) for one in ended] == [(False, ()), (False, ())]
    assert processes() == []
    assert "yt_dlp" not in sys.modules, "nothing of it is in the monitor's own memory"


async def test_a_page_that_hangs_and_a_check_that_is_given_up_leave_no_process() -> None:
    async with Studio() as studio, asking() as ask:
        await studio.create_room("1")
        hanging = asyncio.create_task(ask(studio.plain_page_url("1") + "/hang"))
        async with asyncio.timeout(DEADLINE_S):
            await studio.pages.hanging.wait()
        (process,) = processes()
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)
        assert not process.is_running()
        async with asking(timeout_seconds=0.2) as impatient:
            with pytest.raises(ProbeFailed, match="in time"):
                await impatient(studio.plain_page_url("1") + "/hang")
        assert processes() == []


async def test_a_page_leads_nowhere_where_it_must_not() -> None:
    reached: list[str] = []

    async def inside(request: web.Request) -> web.Response:
        reached.append(request.path)
        return web.Response(text="#EXTM3U")

    app = web.Application()
    app.router.add_get("/{path:.*}", inside)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.2", 0).start()
    to = f"http://127.0.0.2:{runner.addresses[0][1]}/inside"
    policy = EgressPolicy(allowed_networks=("127.0.0.1/32",))
    try:
        async with Studio() as studio, Proxy() as proxy, asking(policy) as ask:
            away = f"{studio.plain_page_url('1')}/away?to={to}"
            for network in (Network(), Network(proxy=proxy.url("http"))):
                with pytest.raises(UnsupportedUrl, match="loopback"):
                    await ask(away, network=network)
            assert studio.pages.asked == {"/page/1/away": 2}, "it was the redirect that was refused"
            with pytest.raises(UnsupportedUrl, match="loopback"):
                await ask(to)
    finally:
        await runner.cleanup()
    assert reached == []


async def test_a_login_is_shown_to_its_own_domains_and_forgotten_with_its_process() -> None:
    seen: dict[str, tuple[bool, bool]] = {}

    async def answer(request: web.Request) -> web.Response:
        secrets = (COOKIE in request.headers.get("Cookie", ""), HEADER in request.headers.get("X-Token", ""))
        seen[f"{request.url.host}{request.path}"] = secrets
        if request.path == "/away":
            raise web.HTTPFound(f"http://localhost:{request.url.port}/there")
        assert "User-Agent" in request.headers
        return web.Response(text="<html></html>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "localhost", 0).start()
    login = Login(("127.0.0.1",), {"SESSDATA": COOKIE}, {"X-Token": HEADER})
    try:
        async with asking() as ask:
            with pytest.raises(UnknownSite):
                await ask(f"http://127.0.0.1:{runner.addresses[0][1]}/away", login=login)
            assert processes() == [], "no other page meets the login in the memory of its process"
    finally:
        await runner.cleanup()
    assert seen == {"127.0.0.1/away": (True, True), "localhost/there": (False, False)}


PLUGIN = """
from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.utils import UserNotLive

class StageIE(InfoExtractor):
    _VALID_URL = r"http://127\\.0\\.0\\.1:\\d+/stage/(?P<id>[\\w-]+)"

    def _real_extract(self, url):
        name = self._match_id(url)
        said = self._download_json(url, name)
        match said.pop("do", ""):
            case "region":
                self.raise_geo_restricted(countries=["JP"])
            case "login":
                self.raise_login_required()
            case "age":
                self.raise_no_formats("Sign in to confirm your age", expected=True)
            case "offline":
                raise UserNotLive(video_id=name)
            case "soon":
                self.raise_no_formats("This live event will begin in 3 days", expected=True)
            case "endless":
                return self.playlist_result(self._endless(url, said), name)
        return {"id": name, "title": name, **said}

    def _endless(self, url, said):
        place = 0
        while True:
            place += 1
            live = "is_live" if place == said.get("live_at") else said.get("others")
            yield self.url_result(url.replace(name_of(url), "live"), video_id=str(place), live_status=live)

def name_of(url):
    return "/".join(url.split("/")[-1:])
"""
FORMATS = [
    {"format_id": "low", "url": "http://127.0.0.1/low.m3u8", "protocol": "m3u8_native", "height": 480, "tbr": 800,
     "vcodec": "avc1.64001f", "acodec": "mp4a.40.2"},
    {"format_id": "high", "url": "http://127.0.0.1/high.m3u8", "protocol": "m3u8_native", "height": 1080, "fps": 60,
     "tbr": 6000, "vcodec": "avc1.64001f", "acodec": "mp4a.40.2"},
    {"format_id": "dash", "url": "http://127.0.0.1/x.mpd", "protocol": "http_dash_segments", "height": 1080, "tbr": 9000},
]  # fmt: skip
STAGES: dict[str, dict[str, Any]] = {
    "live": {"live_status": "is_live", "formats": FORMATS, "channel": "Ann", "categories": ["Trains"],
             "release_timestamp": 1_700_000_000},
    "unplayable": {"live_status": "is_live", "formats": FORMATS[2:]},
    "was": {"live_status": "was_live", "formats": FORMATS[:1]},
    "upcoming": {"live_status": "is_upcoming", "formats": FORMATS[:1]},
    "video": {"live_status": "not_live", "formats": FORMATS[:1]},
    "channel": {"do": "endless", "live_at": 3, "others": "was_live"},
    "silent-channel": {"do": "endless", "others": "was_live"},
    "playlist": {"do": "endless"},
    **{name: {"do": name} for name in ("region", "login", "age", "offline", "soon")},
}  # fmt: skip


async def test_what_a_site_with_an_extractor_of_its_own_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "yt_dlp_plugins" / "extractor"
    folder.mkdir(parents=True)
    (folder / "stage.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))

    async def stage(request: web.Request) -> web.Response:
        return web.json_response(STAGES[request.match_info["name"]])

    app = web.Application()
    app.router.add_get("/stage/{name}", stage)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}/stage/"
    try:
        async with asking() as ask:
            live = await ask(base + "live")
            small = await ask(base + "live", quality="480p")
            channel = await ask(base + "channel")
            silent = [await ask(base + name) for name in ("was", "upcoming", "video", "offline", "soon")]
            silent.append(await ask(base + "silent-channel"))
            with pytest.raises(UnsupportedUrl, match="not a live channel"):
                await ask(base + "playlist")
            with pytest.raises(UnsupportedUrl, match="no format"):
                await ask(base + "unplayable")
            refusals = {}
            for name in ("region", "login", "age"):
                with pytest.raises(ChannelRefused) as refused:
                    await ask(base + name)
                refusals[name] = refused.value.reason
    finally:
        await runner.cleanup()
    assert (live.live, live.platform, live.streamer_name, live.category) == (True, "stage", "Ann", "Trains")
    assert live.started_at is not None
    assert live.started_at.timestamp() == 1_700_000_000
    assert [(one.quality, one.bitrate, one.codec) for one in live.sources] == [
        ("1080p60 high", 6_000_000, "avc1.64001f"),
        ("480p low", 800_000, "avc1.64001f"),
    ]
    assert {one.url for one in live.sources} == {base + "live"}, "the media's address stays with yt-dlp"
    assert [one.quality for one in small.sources] == ["480p low", "1080p60 high"]
    assert (channel.live, channel.title) == (True, "live"), "the one of its broadcasts that is live"
    assert [(one.live, one.sources) for one in silent] == [(False, ())] * len(silent)
    assert refusals == {"region": Refusal.REGION, "login": Refusal.PRIVATE, "age": Refusal.AGE}


async def test_only_so_many_look_at_the_same_time() -> None:
    async with Studio() as studio, asking(at_once=1, timeout_seconds=0.5) as ask:
        await studio.create_room("1")
        page = studio.plain_page_url("1") + "/hang"
        results = await asyncio.gather(*(ask(page) for _ in range(3)), return_exceptions=True)
    said = [str(one) for one in results]
    assert sum("busy" in one for one in said) >= 1
    assert all(isinstance(one, ProbeFailed) for one in results)
    assert sum("in time" in one for one in said) >= 1


@pytest.mark.parametrize("own", [{"at_once": "0"}, {"keep_s": "-1"}, {"at_once": "many"}])
def test_settings_that_make_no_sense_are_refused(own: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        YtDlpAdapter.configured(AdapterOptions(HOME, platforms={"ytdlp": own}))
