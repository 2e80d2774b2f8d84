"""The Streamlink adapter: a real Streamlink session with plugins of the test, and a site on loopback."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from aiohttp import web
from chassis.accounts import Login
from chassis.egress import EgressPolicy, open_session
from contracts.values import Chat, Network
from yarl import URL

from services.monitor.adapters import chats
from services.monitor.adapters.platform import (
    ChannelNotFound,
    ChannelRef,
    ChannelRefused,
    Probe,
    ProbeError,
    ProbeFailed,
    Refusal,
    UnsupportedUrl,
)
from services.monitor.adapters.streamlink import StreamlinkAdapter, _new_session
from tests.deadline import DEADLINE_S
from tests.studio.proxy import Proxy

MASTER = """#EXTM3U
#EXT-X-STREAM-INF:BANDWIDTH=1300000,RESOLUTION=1280x720,CODECS="avc1.64001f"
720.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=5000000,RESOLUTION=1920x1080,CODECS="avc1.640028"
1080.m3u8
"""
HOME = EgressPolicy(allow_private=True)


class Site:
    def __init__(self) -> None:
        self.base = ""
        self.cookies: list[str] = []
        self.headers: list[dict[str, str]] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.cookies.append(request.headers.get("Cookie", ""))
        self.headers.append(dict(request.headers))
        match request.path:
            case "/master.m3u8":
                return web.Response(text=MASTER)
            case "/elsewhere":
                raise web.HTTPFound(f"http://localhost:{request.url.port}/master.m3u8")
            case "/away":
                raise web.HTTPFound(f"http://127.0.0.2:{request.url.port}/inside")
        return web.Response(status=404)


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    serving = Site()
    app = web.Application()
    app.router.add_get("/{tail:.*}", serving.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    serving.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield serving
    await runner.cleanup()


Behaviour = Callable[[Any], Any]


def session_with(site: Site, behaviour: Behaviour) -> Callable[[], Any]:
    """A Streamlink session with one plugin for `<site>/channel/<name>`, which does what `behaviour` says."""
    from streamlink.plugin import Plugin, pluginmatcher

    @pluginmatcher(__import__("re").compile(rf"{site.base}/channel/(?P<name>\w+)"))
    class SitePlugin(Plugin):
        def _get_streams(self) -> Any:
            return behaviour(self)

    SitePlugin.__module__ = "thesite"

    def make() -> Any:
        session = _new_session()
        session.plugins["thesite"] = SitePlugin
        return session

    return make


@pytest.fixture
def ask(site: Site) -> Iterator[Callable[..., Any]]:
    adapters: list[StreamlinkAdapter] = []

    async def probe(
        behaviour: Behaviour, *, policy: EgressPolicy = HOME, timeout: float = DEADLINE_S, **ref: Any
    ) -> Probe:
        adapter = StreamlinkAdapter(policy, timeout_seconds=timeout, make_session=session_with(site, behaviour))
        adapters.append(adapter)
        async with open_session(policy) as session:
            return await adapter.probe(ChannelRef(f"{site.base}/channel/anna", **ref), session)

    yield probe
    for adapter in adapters:
        adapter.close()


async def test_a_name_that_changes_its_answer_gains_nothing(
    site: Site, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: judged as one address, connected to at another."""
    resolve, answers = socket.getaddrinfo, iter(["127.0.0.1", "127.0.0.2"])

    def rebinding(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        return resolve(next(answers) if host == "rebind.example" else host, port, *rest, **more)

    reached: list[str] = []

    async def inside(request: web.Request) -> web.Response:
        reached.append(request.path)
        return web.Response(text=MASTER)

    app = web.Application()
    app.router.add_get("/{tail:.*}", inside)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.2", 0).start()
    port = runner.addresses[0][1]
    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    try:
        with pytest.raises(ProbeFailed, match="loopback"):
            await ask(
                lambda plugin: plugin.session.http.get(f"http://rebind.example:{port}/"),
                policy=EgressPolicy(allowed_networks=("127.0.0.1/32",)),
            )
    finally:
        await runner.cleanup()
    assert next(answers, None) is None, "it was asked twice"
    assert reached == []


async def test_a_live_channel(site: Site, ask: Callable[..., Any]) -> None:
    def live(plugin: Any) -> Any:
        from streamlink.stream.hls import HLSStream
        from streamlink.stream.http import HTTPStream

        plugin.id, plugin.author, plugin.title, plugin.category = 42, "Anna", "Night train", "Trains"
        yield from HLSStream.parse_variant_playlist(
            plugin.session, f"{site.base}/master.m3u8", headers={"Referer": "https://a.example/", "Cookie": "secret=1"}
        ).items()
        yield "480p", HTTPStream(plugin.session, f"{site.base}/low.flv")
        yield "audio", HTTPStream(plugin.session, f"{site.base}/audio.mp3")

    probe = await ask(live)

    assert probe.live
    assert (probe.platform, probe.room_id) == ("thesite", "42")
    assert (probe.streamer_name, probe.title, probe.category) == ("Anna", "Night train", "Trains")
    assert [(s.quality, s.protocol, s.bitrate, s.priority) for s in probe.sources] == [
        ("1080p", "hls", 5000000, 0),
        ("720p", "hls", 1300000, 1),
        ("480p", "flv", 0, 2),
    ]
    assert probe.sources[0].url == f"{site.base}/1080.m3u8"
    assert probe.sources[0].headers["Referer"] == "https://a.example/"
    assert "Mozilla" in probe.sources[0].headers["User-Agent"]
    assert "secret=1" not in str(probe)


async def test_a_channel_with_a_chat_we_speak_is_found_with_it(
    ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def live(plugin: Any) -> Any:
        plugin.id = 77

    def chat_here(page: URL) -> Chat | None:
        return Chat(kind="bigo", descriptor={"room_id": page.name})

    assert (await ask(live)).chat is None
    monkeypatch.setitem(chats._platforms, "127.0.0.1", chat_here)
    assert (await ask(live)).chat == Chat(kind="bigo", descriptor={"room_id": "anna", "live_id": "77"})


async def test_the_wanted_protocol_comes_first(site: Site, ask: Callable[..., Any]) -> None:
    def live(plugin: Any) -> Any:
        from streamlink.stream.hls import HLSStream
        from streamlink.stream.http import HTTPStream

        return {
            "1080p": HLSStream(plugin.session, f"{site.base}/1080.m3u8"),
            "480p": HTTPStream(plugin.session, f"{site.base}/low.flv"),
        }

    assert [s.protocol for s in (await ask(live, protocol="flv")).sources] == ["flv", "hls"]


@pytest.mark.parametrize("nothing", [None, {}, ()])
async def test_no_streams_means_offline(ask: Callable[..., Any], nothing: Any) -> None:
    probe = await ask(lambda plugin: nothing)

    assert not probe.live
    assert probe.room_id == "channel/anna"


async def test_no_streams_may_also_be_raised(ask: Callable[..., Any]) -> None:
    def offline(plugin: Any) -> Any:
        from streamlink.exceptions import NoStreamsError

        raise NoStreamsError

    assert not (await ask(offline)).live


async def test_streams_that_nobody_can_record_are_not_called_offline(ask: Callable[..., Any], site: Site) -> None:
    def dash(plugin: Any) -> Any:
        from streamlink.stream.http import HTTPStream

        return {"live": HTTPStream(plugin.session, f"{site.base}/film.mp4")}

    with pytest.raises(UnsupportedUrl, match="formats other"):
        await ask(dash)


async def test_a_missing_page_is_a_missing_channel(ask: Callable[..., Any], site: Site) -> None:
    def missing(plugin: Any) -> Any:
        plugin.session.http.get(f"{site.base}/nobody?token=secret")

    with pytest.raises(ChannelNotFound) as error:
        await ask(missing)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("This stream is age-restricted", Refusal.AGE),
        ("Content is not available in your region", Refusal.REGION),
        ("The channel has been banned", Refusal.BANNED),
        ("You need to log in to watch", Refusal.PRIVATE),
    ],
)
async def test_spoken_refusals(ask: Callable[..., Any], said: str, reason: Refusal) -> None:
    def refuse(plugin: Any) -> Any:
        from streamlink.exceptions import PluginError

        raise PluginError(said)

    with pytest.raises(ChannelRefused) as refused:
        await ask(refuse)
    assert refused.value.reason == reason


@pytest.mark.parametrize("failure", [KeyError("data"), TypeError("None"), OSError("reset")])
async def test_a_plugin_that_breaks_is_a_passing_failure(ask: Callable[..., Any], failure: Exception) -> None:
    def broken(plugin: Any) -> Any:
        raise failure

    with pytest.raises(ProbeFailed):
        await ask(broken)


async def test_an_unknown_plugin_error_is_a_passing_failure_without_addresses(ask: Callable[..., Any]) -> None:
    def broken(plugin: Any) -> Any:
        from streamlink.exceptions import PluginError

        raise PluginError("Unable to open URL: https://a.example/?token=secret (503)")

    with pytest.raises(ProbeFailed, match="503") as failed:
        await ask(broken)
    assert "secret" not in str(failed.value)


async def test_a_site_that_hangs_runs_into_the_hard_timeout(ask: Callable[..., Any]) -> None:
    released = threading.Event()

    def hang(plugin: Any) -> Any:
        released.wait(60)

    try:
        with pytest.raises(ProbeFailed, match=r"within 0\.2 s"):
            await ask(hang, timeout=0.2)
    finally:
        released.set()


async def test_private_addresses_are_not_asked(ask: Callable[..., Any], site: Site) -> None:
    def reach(plugin: Any) -> Any:
        plugin.session.http.get(f"{site.base}/master.m3u8")

    with pytest.raises(UnsupportedUrl, match="loopback"):
        await ask(reach, policy=EgressPolicy())
    assert site.cookies == []


async def test_redirects_to_private_addresses_are_not_followed(ask: Callable[..., Any], site: Site) -> None:
    def reach(plugin: Any) -> Any:
        plugin.session.http.get(f"{site.base}/away")

    with pytest.raises(UnsupportedUrl, match="loopback"):
        await ask(reach, policy=EgressPolicy(allowed_networks=("127.0.0.1/32",)))


async def test_cookies_go_to_the_site_and_to_nobody_else(site: Site) -> None:
    def reach(plugin: Any) -> Any:
        jar = plugin.session.http.cookies
        plugin.title = ",".join(f"{cookie.name}@{cookie.domain}" for cookie in jar)
        plugin.session.http.get(f"{site.base}/nobody", acceptable_status=[404])
        return {}

    adapter = StreamlinkAdapter(HOME, timeout_seconds=DEADLINE_S, make_session=session_with(site, reach))
    async with open_session(HOME) as session:
        url = f"{site.base}/channel/anna"
        probe = await adapter.probe(ChannelRef(url, login=Login(("127.0.0.1",), {"auth": "1"})), session)
    adapter.close()

    assert probe.title == "auth@.127.0.0.1"
    assert site.cookies == ["auth=1"]


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_it_asks_as_the_configuration_says_and_no_source_carries_the_login(
    site: Site, ask: Callable[..., Any], scheme: str
) -> None:
    def live(plugin: Any) -> Any:
        from streamlink.stream.hls import HLSStream

        yield from HLSStream.parse_variant_playlist(plugin.session, f"{site.base}/elsewhere").items()

    login = Login(("127.0.0.1",), {"auth": "c00kie"}, {"X-Token": "t0ken"}, "ann", "pw")
    async with Proxy("ann", "pw") as proxy:
        network = Network(proxy=proxy.url(scheme), referer="https://example.org/", user_agent="Aircheck test")
        probe = await ask(live, network=network, login=login)
    assert len(proxy.targets) >= 1
    assert proxy.refused == 0
    first, second = site.headers
    assert (first["X-Token"], first["Cookie"]) == ("t0ken", "auth=c00kie")
    assert "X-Token" not in second and "Cookie" not in second, "the redirect led to another host"
    assert {one["Referer"] for one in site.headers} == {"https://example.org/"}
    assert {one["User-Agent"] for one in site.headers} == {"Aircheck test"}
    assert probe.sources
    assert not any(secret in repr(probe) for secret in ("c00kie", "t0ken", "pw"))


@pytest.mark.parametrize(("version", "reached"), [("4", True), ("6", False)])
async def test_the_address_family_is_obeyed(site: Site, ask: Callable[..., Any], version: str, reached: bool) -> None:
    def live(plugin: Any) -> Any:
        from streamlink.stream.hls import HLSStream

        yield from HLSStream.parse_variant_playlist(plugin.session, f"{site.base}/master.m3u8").items()

    asking = ask(live, network=Network(ip_version=version))
    if reached:
        assert (await asking).live
    else:
        with pytest.raises(ProbeFailed):
            await asking
    assert len(site.headers) == int(reached)


@pytest.mark.parametrize(
    ("url", "understood"),
    [
        ("https://www.twitch.tv/somebody", True),
        ("https://www.youtube.com/@somebody/live", True),
        ("https://nobody.example/", False),
        ("hls://a.example/x.m3u8", False),
        ("file:///etc/passwd", False),
        ("http://[", False),
    ],
)
def test_which_addresses_are_understood(url: str, understood: bool) -> None:
    adapter = StreamlinkAdapter(HOME)

    assert adapter.matches(url) is understood
    adapter.close()


def test_cookies_of_a_site_reach_its_subdomains_but_not_a_whole_top_level() -> None:
    adapter = StreamlinkAdapter(HOME)

    assert adapter.cookie_domains("https://www.twitch.tv/x") == ("twitch.tv",)
    assert adapter.cookie_domains("https://play.co/x") == ("play.co",)
    assert adapter.cookie_domains("https://chat.a.example/x") == ("chat.a.example",)
    adapter.close()


async def test_an_address_without_a_plugin_is_unsupported() -> None:
    adapter = StreamlinkAdapter(HOME)
    async with open_session(HOME) as session:
        with pytest.raises(ProbeError):
            await adapter.probe(ChannelRef("https://nobody.example/"), session)
    adapter.close()
