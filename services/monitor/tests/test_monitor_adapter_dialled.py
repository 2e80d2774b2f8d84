"""RTMP and SRT addresses: judged like any other, live where something plays."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import psutil
import pytest
from chassis.accounts import Login
from chassis.egress import EgressPolicy
from chassis.programs import locate_ffmpeg
from contracts.values import Network

from services.monitor.adapters.dialled import Dialled
from services.monitor.adapters.platform import ChannelRef, ChannelRefused, Probe, ProbeFailed, Refusal, UnsupportedUrl
from services.monitor.adapters.registry import AdapterOptions
from tests.deadline import DEADLINE_S
from tests.studio.listener import listener
from tests.studio.proxy import Proxy

HOME = EgressPolicy(allow_private=True)
FFMPEG = locate_ffmpeg("", setting="")


async def probed(url: str, policy: EgressPolicy = HOME, **how: Any) -> Probe:
    media_s = how.pop("media_s", 8.0)
    adapter = Dialled(policy, FFMPEG, timeout_seconds=DEADLINE_S, media_s=media_s)
    async with aiohttp.ClientSession() as session, adapter.turn():
        return await adapter.probe(ChannelRef(url, **how), session)


async def seen_live(url: str, **how: Any) -> Probe:
    """The first answer that is live: who listens is started anew whenever somebody left."""
    async with asyncio.timeout(DEADLINE_S):
        while not (found := await probed(url, **how)).live:
            pass
    return found


@asynccontextmanager
async def silence() -> AsyncIterator[tuple[int, asyncio.Event]]:
    """A server that accepts and says nothing, and whether it did."""
    accepted, over = asyncio.Event(), asyncio.Event()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        await over.wait()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], accepted
        over.set()


def programs() -> list[list[str]]:
    """The command lines of what was started to try addresses."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # one that has just ended
            found += [line] if "framecrc" in (line := child.cmdline()) else []
    return found


@pytest.mark.parametrize("kind", ["rtmp", "srt"])
async def test_what_plays_is_live_and_what_is_gone_is_not(kind: str) -> None:
    async with listener(kind, passphrase="" if kind == "rtmp" else "long-enough-secret") as url:
        live = await seen_live(url)
    gone = await probed(url, media_s=0.5, network=Network(connect_timeout_s=0.5))
    assert (live.live, [one.protocol for one in live.sources]) == (True, [kind])
    assert [one.url for one in live.sources] == [url]
    assert (gone.live, gone.sources) == (False, ())
    assert programs() == []


async def test_the_passphrase_may_come_from_a_credential() -> None:
    login = Login(domains=("127.0.0.1",), passphrase="long-enough-secret")
    async with listener("srt", passphrase="long-enough-secret") as url:
        bare = url.partition("?")[0]
        live = await seen_live(bare, login=login)
    assert [one.url for one in live.sources] == [bare]


async def test_a_wrong_passphrase_is_no_silence() -> None:
    async with listener("srt", passphrase="long-enough-secret") as url:
        wrong = url.replace("long-enough-secret", "another-long-secret")
        with pytest.raises(ChannelRefused, match="passphrase") as refused:
            async with asyncio.timeout(DEADLINE_S):
                while not (await probed(wrong)).live:  # nobody listens yet
                    pass
    assert refused.value.reason is Refusal.PRIVATE
    assert "secret" not in str(refused.value)


async def test_a_server_that_accepts_and_has_nothing_is_offline() -> None:
    async with silence() as (port, _):
        assert (await probed(f"rtmp://127.0.0.1:{port}/live/key", media_s=1.0)).live is False
    assert programs() == []


async def test_the_address_is_in_no_command_line_and_a_check_that_is_given_up_leaves_no_program() -> None:
    async with silence() as (port, accepted):
        probing = asyncio.create_task(probed(f"rtmp://127.0.0.1:{port}/live/s3cret-key", media_s=DEADLINE_S))
        async with asyncio.timeout(DEADLINE_S):
            await accepted.wait()
        (program,) = programs()
        assert "s3cret" not in repr(program)
        probing.cancel()
        await asyncio.gather(probing, return_exceptions=True)
        assert programs() == []


async def test_what_is_being_received_is_not_tried() -> None:
    async with silence() as (port, accepted):
        assert (await probed(f"rtmp://127.0.0.1:{port}/live/key", received=True)).live
    assert not accepted.is_set()


async def test_a_proxy_dials_for_us_and_an_address_of_another_family_is_not_dialled() -> None:
    async with listener("rtmp") as url, Proxy("ann", "pw") as proxy:
        network = Network(proxy=proxy.url("socks5"))
        await seen_live(url, network=network, login=Login(proxy_user="ann", proxy_password="pw"))
        assert proxy.targets
        with pytest.raises(ProbeFailed, match="proxy"):
            await probed(url, network=network)
        with pytest.raises(ProbeFailed, match="family"):
            await probed(url, network=Network(ip_version="6"))


async def test_a_proxy_that_cannot_carry_an_address_and_one_without_a_port_are_said() -> None:
    with pytest.raises(UnsupportedUrl, match="SRT"):
        await probed("srt://127.0.0.1:9000", network=Network(proxy="socks5://127.0.0.1:1"))
    with pytest.raises(UnsupportedUrl, match="port"):
        await probed("srt://127.0.0.1")


@pytest.mark.parametrize("url", ["rtmp://127.0.0.1/live", "srt://10.0.0.1:9", "rtmp://user:secret@example.org/live"])
async def test_an_address_that_must_not_be_reached_is_refused(url: str) -> None:
    with pytest.raises(UnsupportedUrl) as refused:
        await probed(url, EgressPolicy())
    assert "secret" not in str(refused.value)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError):
        Dialled.configured(AdapterOptions(HOME, platforms={"dialled": {"at_once": "0"}}))
    with pytest.raises(RuntimeError, match="MONITOR_FFMPEG"):
        Dialled.configured(AdapterOptions(HOME, ffmpeg="/no/such/ffmpeg"))
