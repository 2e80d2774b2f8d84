"""A check reaches its platform with the streamer's network settings and account, and shows a login to nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from chassis.accounts import AccountUnavailable, Login
from chassis.egress import EgressPolicy
from contracts.monitor import CheckChannel, SourcesResolved
from contracts.values import EngineName, Network

from services.monitor.adapters.platform import ProbeFailed, UnknownSite
from services.monitor.adapters.registry import AdapterOptions, load_adapters
from services.monitor.probing import Prober
from tests.deadline import DEADLINE_S
from tests.studio import Studio
from tests.studio.proxy import Proxy

COOKIE, HEADER, PASSWORD = "c00kie-s3cret", "h3ader-s3cret", "pr0xy-s3cret"
HOME = EgressPolicy(allow_private=True)
VISITORS, MEMBERS = "原画", "4K"


def login(*domains: str) -> Login:
    return Login(domains, {"SESSDATA": COOKIE}, {"X-Token": HEADER}, "ann", PASSWORD)


class Ears:
    """The bus, as far as answers go out on it."""

    def __init__(self) -> None:
        self.signals: list[SourcesResolved] = []

    async def signal(self, signal: SourcesResolved) -> None:
        self.signals.append(signal)


@asynccontextmanager
async def prober(accounts: dict[str, Login], bilibili: str = "") -> AsyncIterator[tuple[Prober, Ears]]:
    async def account_of(account: str) -> Login:
        if account not in accounts:
            raise AccountUnavailable(f"nobody tells the credential {account}")
        return accounts[account]

    own = {"api": bilibili, "nav": bilibili, "pages": f"{bilibili.removeprefix('http://')}/bili"}
    registry = load_adapters(
        AdapterOptions(policy=HOME, timeout_seconds=DEADLINE_S, platforms={"bilibili": own} if bilibili else {})
    )
    ears = Ears()
    made = Prober(registry, HOME, ears, account_of, timeout_s=DEADLINE_S)  # type: ignore[arg-type]
    await made.start()
    try:
        yield made, ears
    finally:
        await made.stop()


def check(url: str, **network: Any) -> CheckChannel:
    return CheckChannel(streamer_id="ann", url=url, name="Ann", offline_grace_s=0, network=Network(**network))


async def test_qualities_for_members_are_seen_with_an_account_alone() -> None:
    accounts = {"mine": login("127.0.0.1"), "other": login("bilibili.com")}
    async with Studio() as studio:
        await studio.put_on_air("1001", qualities=[20000, 10000], login_qualities=[20000])
        async with prober(accounts, studio.url) as (asked, ears):
            url = f"{studio.url}/bili/1001"
            for network in ({}, {"account": "mine"}, {"account": "other"}, {}):
                assert (await asked.probe(check(url, **network))).live
    seen = [{source.quality for source in signal.sources} for signal in ears.signals]
    assert seen == [{VISITORS}, {MEMBERS}, {VISITORS}, {VISITORS}], "the third login belongs to another site"
    assert COOKIE not in repr(ears.signals)


async def test_without_its_account_a_channel_is_not_asked_about() -> None:
    async with Studio() as studio:
        await studio.put_on_air("1001")
        async with prober({}, studio.url) as (asked, ears):
            with pytest.raises(ProbeFailed, match="nobody tells the credential mine"):
                await asked.probe(check(f"{studio.url}/bili/1001", account="mine"))
    assert ears.signals == []


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_stream_behind_headers_and_a_proxy_is_seen(scheme: str) -> None:
    required = {"Cookie": COOKIE, "X-Token": HEADER, "Referer": "https://example.org/", "User-Agent": "Aircheck test"}
    wishes = {"referer": "https://example.org/room", "user_agent": "Aircheck test", "account": "mine"}
    async with (
        Studio() as studio,
        Proxy("ann", PASSWORD) as proxy,
        prober({"mine": login("127.0.0.1")}) as (asked, ears),
    ):
        await studio.put_on_air("1", required_headers=required)
        url = studio.flv_url("1")
        with pytest.raises(Exception, match="refuses"):
            await asked.probe(check(url))
        assert (await asked.probe(check(url, **wishes, proxy=proxy.url(scheme)))).live
        assert proxy.targets
        assert proxy.refused == 0
        with pytest.raises(ProbeFailed) as refused:
            await asked.probe(check(url, proxy=proxy.url(scheme)))
        assert proxy.refused == 1
    assert not [one for one in (COOKIE, HEADER, PASSWORD) if one in repr(ears.signals) + str(refused.value)]


@pytest.mark.parametrize("scheme", ["http", "socks5"])
@pytest.mark.parametrize("kind", ["flv", "rtmp"])
async def test_a_proxy_that_is_away_is_a_failed_check_and_not_an_offline_channel(scheme: str, kind: str) -> None:
    async with Studio() as studio, prober({}) as (asked, ears):
        await studio.put_on_air("1")
        async with Proxy() as proxy:
            gone = proxy.url(scheme)
        url = studio.flv_url("1") if kind == "flv" else f"rtmp://{studio.url.removeprefix('http://')}/live"
        with pytest.raises(ProbeFailed):
            await asked.probe(check(url, proxy=gone))
    assert ears.signals == []


async def test_a_login_does_not_follow_a_redirect_and_serves_no_other_check() -> None:
    seen: list[tuple[str, bool, bool]] = []

    async def answer(request: web.Request) -> web.Response:
        host = request.url.host or ""
        seen.append((host, "SESSDATA" in request.cookies, "X-Token" in request.headers))
        if request.path == "/away.flv":
            raise web.HTTPFound(f"http://localhost:{request.url.port}/there.flv")
        return web.Response(body=b"FLV\x01")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "localhost", 0).start()
    port = runner.addresses[0][1]
    try:
        async with prober({"mine": login("127.0.0.1")}) as (asked, _):
            await asked.probe(check(f"http://127.0.0.1:{port}/away.flv", account="mine"))
            await asked.probe(check(f"http://127.0.0.1:{port}/there.flv"))
    finally:
        await runner.cleanup()
    assert seen == [("127.0.0.1", True, True), ("localhost", False, False), ("127.0.0.1", False, False)]


@pytest.mark.parametrize(("version", "live"), [("4", True), ("6", False)])
async def test_the_address_family_is_obeyed(version: str, live: bool) -> None:
    async with Studio() as studio, prober({}) as (asked, _):
        await studio.put_on_air("1")
        asking = asked.probe(check(studio.flv_url("1"), ip_version=version))
        if live:
            assert (await asking).live
        else:
            with pytest.raises(ProbeFailed):
                await asking


async def test_a_page_that_only_yt_dlp_knows_is_found_by_itself_and_known_the_next_time() -> None:
    async with Studio() as studio, prober({}) as (asked, ears):
        page = studio.plain_page_url("1")
        await studio.put_on_air("1", "Night train")
        for requests in (2, 3):
            probe = await asked.probe(check(page))
            assert (probe.live, probe.title) == (True, "Night train")
            assert studio.pages.asked == {"/page/1": requests}, "we asked by ourselves the first time only"
        await studio.put_off_air("1")
        with pytest.raises(UnknownSite, match="unknown site"):
            await asked.probe(check(page))
    live, _, gone = ears.signals
    assert {(source.protocol, source.url) for source in live.sources} == {("page", page)}
    assert (gone.live, gone.error) == (False, ""), "to a recording it is the end, not a failure"


async def test_with_the_engine_yt_dlp_it_alone_is_asked() -> None:
    async with Studio() as studio, prober({}, studio.url) as (asked, ears):
        await studio.put_on_air("1")
        url = f"{studio.url}/bili/1"
        assert (await asked.probe(check(url))).platform == "bilibili"
        chosen = check(url).model_copy(update={"engine": EngineName.YT_DLP})
        with pytest.raises(UnknownSite):
            await asked.probe(chosen)
    assert [signal.live for signal in ears.signals] == [True, False]
