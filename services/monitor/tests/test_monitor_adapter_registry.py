"""Which adapter answers for which address, third parties included, and what every adapter must keep to."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from importlib.metadata import EntryPoint, EntryPoints
from types import ModuleType
from typing import Any, Self

import aiohttp
import pytest
from chassis.egress import EgressPolicy, open_session
from contracts.values import EngineName, Source

from services.monitor.adapters import registry as registry_module
from services.monitor.adapters.platform import (
    ChannelRef,
    PlatformAdapter,
    Probe,
    ProbeError,
    ProbeFailed,
    UnsupportedUrl,
    prioritised,
)
from services.monitor.adapters.registry import AdapterOptions, Registry, adapter, load_adapters

OPTIONS = AdapterOptions(EgressPolicy(), timeout_seconds=5.0, platforms={"theirs": {"greeting": "hello"}})


class TheirAdapter:
    """What somebody else's package could hold."""

    name = "theirs"

    def __init__(self, greeting: str) -> None:
        self.greeting = greeting

    @classmethod
    def configured(cls, options: AdapterOptions) -> Self:
        return cls(options.of("theirs")["greeting"])

    def matches(self, url: str) -> bool:
        return url.startswith("https://theirs.example/")

    def cookie_domains(self, url: str) -> tuple[str, ...]:
        return ("theirs.example",)

    async def probe(self, channel: ChannelRef, session: aiohttp.ClientSession) -> Probe:
        if not self.matches(channel.url):
            raise UnsupportedUrl(channel.url)
        raise ProbeFailed("theirs is down")


def install(monkeypatch: pytest.MonkeyPatch, **names: Any) -> None:
    """Pretend that packages with these entry points are installed."""
    module = ModuleType("their_package")
    points = []
    for name, value in names.items():
        setattr(module, name, value)
        points.append(EntryPoint(name, f"their_package:{name}", registry_module.ENTRY_POINT_GROUP))
    points.append(EntryPoint("absent", "no_such_package:Adapter", registry_module.ENTRY_POINT_GROUP))
    monkeypatch.setitem(sys.modules, "their_package", module)
    monkeypatch.setattr(registry_module, "entry_points", lambda group: EntryPoints(points).select(group=group))


@pytest.fixture(autouse=True)
def forget_registrations(monkeypatch: pytest.MonkeyPatch) -> None:
    load_adapters(OPTIONS)
    monkeypatch.setattr(registry_module, "_registered", dict(registry_module._registered))


@pytest.fixture
async def registry(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Registry]:
    install(monkeypatch, TheirAdapter=adapter(order=30)(TheirAdapter))
    loaded = load_adapters(OPTIONS)
    yield loaded
    await loaded.close()


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://live.bilibili.com/6", "bilibili"),
        ("https://b23.tv/x", "bilibili"),
        ("https://cdn.example/live/x.flv", "direct"),
        ("https://cdn.example/live/x.m3u8?sign=1", "direct"),
        ("https://www.twitch.tv/somebody", "streamlink"),
        ("https://theirs.example/room", "theirs"),
        ("https://unknown.example/room", "direct"),
        ("https://cdn.example/live/x.ts", "direct"),
        ("rtmps://cdn.example/live/x", "dialled"),
        ("srt://cdn.example:9000?streamid=x", "dialled"),
    ],
)
def test_who_answers(registry: Registry, url: str, name: str) -> None:
    assert registry.find(url).name == name


@pytest.mark.parametrize("url", ["", "ftp://a.example/x", "not an address", "file:///x.flv", "javascript:alert(1)"])
def test_nobody_answers_for_other_addresses(registry: Registry, url: str) -> None:
    with pytest.raises(UnsupportedUrl):
        registry.find(url)


def test_a_third_party_is_configured_and_takes_its_place(registry: Registry) -> None:
    assert [found.name for found in registry.adapters] == [
        "bilibili",
        "direct",
        "dialled",
        "theirs",
        "streamlink",
        "direct",
        "ytdlp",
    ]
    theirs = registry.find("https://theirs.example/room")
    assert isinstance(theirs, TheirAdapter)
    assert theirs.greeting == "hello"


async def test_third_parties_that_do_not_load_are_reported_and_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoAdapter:
        @classmethod
        def configured(cls, options: AdapterOptions) -> object:
            return object()

    class Broken:
        @classmethod
        def configured(cls, options: AdapterOptions) -> object:
            raise RuntimeError("no licence")

    install(
        monkeypatch,
        NotDecorated=type("NotDecorated", (), {}),
        NoAdapter=adapter(order=1)(NoAdapter),
        Broken=adapter(order=2)(Broken),
    )

    loaded = load_adapters(OPTIONS)

    assert [found.name for found in loaded.adapters] == [
        "bilibili",
        "direct",
        "dialled",
        "streamlink",
        "direct",
        "ytdlp",
    ]
    report = "\n".join(loaded.failures)
    for expected in ("NotDecorated", "not name a class", "did not return", "no licence", "no_such_package"):
        assert expected in report
    await loaded.close()


async def test_bilibili_is_configured_from_its_settings() -> None:
    own = {"api": "http://127.0.0.1:9", "nav": "http://127.0.0.1:9", "pages": "127.0.0.1:9/bili"}
    loaded = load_adapters(AdapterOptions(EgressPolicy(), platforms={"bilibili": own}))

    assert loaded.find("http://127.0.0.1:9/bili/1").name == "bilibili"
    assert loaded.find("https://live.bilibili.com/1").name == "bilibili"
    assert loaded.find("http://127.0.0.1:9/bili/1").cookie_domains("http://127.0.0.1:9/bili/1") == ("127.0.0.1",)
    await loaded.close()


def test_who_is_asked_one_after_the_other(registry: Registry) -> None:
    page, stream = "https://unknown.example/room", "https://cdn.example/live/x.flv"

    def asked(url: str, engine: EngineName = EngineName.NATIVE) -> list[str]:
        return [found.name for found in registry.candidates(url, engine)]

    assert asked(page) == ["direct", "ytdlp"]
    assert asked("https://www.twitch.tv/somebody") == ["streamlink", "direct", "ytdlp"]
    assert asked("https://www.twitch.tv/somebody", EngineName.STREAMLINK) == ["streamlink", "direct", "ytdlp"]
    assert asked(page, EngineName.YT_DLP) == asked("https://live.bilibili.com/6", EngineName.YT_DLP) == ["ytdlp"]
    assert asked(stream, EngineName.YT_DLP)[0] == "direct", "the address of a stream is no page"
    assert asked("rtmp://cdn.example/live/x", EngineName.YT_DLP) == ["dialled"], "yt-dlp does not understand it"
    registry.remember(page, registry.candidates(page)[1])
    assert asked(page) == ["ytdlp"], "who knew it the last time"
    assert asked(stream) == ["direct", "direct", "ytdlp"]


def test_sources_are_numbered_with_the_wanted_protocol_first() -> None:
    sources = [Source(url="a", protocol="flv"), Source(url="b", protocol="hls"), Source(url="c", protocol="flv")]

    assert [(s.url, s.priority) for s in prioritised(sources, "any")] == [("a", 0), ("b", 1), ("c", 2)]
    assert [(s.url, s.priority) for s in prioritised(sources, "hls")] == [("b", 0), ("a", 1), ("c", 2)]


# --- what every adapter must keep to ----------------------------------------------------------------------------------

SAMPLES = {
    "bilibili": "https://live.bilibili.com/6",
    "direct": "https://cdn.example/live/x.flv",
    "dialled": "rtmp://cdn.example/live/x",
    "streamlink": "https://www.twitch.tv/somebody",
    "theirs": "https://theirs.example/room",
    "ytdlp": "https://videos.example/live",
}
HOSTILE = ["", " ", "http://", "http://[", "//x", "\0", "https://\ud800/", "http://x:99999/", "a" * 100_000]


@pytest.mark.parametrize("index", range(7))
class TestEveryAdapter:
    def test_is_complete(self, registry: Registry, index: int) -> None:
        found = registry.adapters[index]

        assert isinstance(found, PlatformAdapter)
        assert found.name in SAMPLES
        assert found.matches(SAMPLES[found.name])

    def test_matching_never_raises(self, registry: Registry, index: int) -> None:
        for url in HOSTILE:
            assert registry.adapters[index].matches(url) is False

    def test_cookies_are_scoped_to_the_address(self, registry: Registry, index: int) -> None:
        found = registry.adapters[index]
        host = SAMPLES[found.name].split("/")[2]

        domains = found.cookie_domains(SAMPLES[found.name])

        assert domains
        assert all(domain.count(".") >= 1 and (host == domain or host.endswith("." + domain)) for domain in domains)

    async def test_a_strange_address_is_a_typed_error(self, registry: Registry, index: int) -> None:
        async with open_session(EgressPolicy()) as session:
            with pytest.raises(UnsupportedUrl):
                await registry.adapters[index].probe(ChannelRef("ftp://nobody.example/x"), session)

    async def test_a_dead_network_is_a_typed_error(
        self, registry: Registry, index: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def unknown(*args: object, **kwargs: object) -> None:
            raise OSError("name unknown")

        monkeypatch.setattr("socket.getaddrinfo", unknown)
        found = registry.adapters[index]
        async with open_session(EgressPolicy()) as session:
            with pytest.raises(ProbeError) as failed:
                await found.probe(ChannelRef(SAMPLES[found.name]), session)
        assert not failed.value.fatal
