"""RTMP and SRT addresses: judged like any other, live where something listens."""

import asyncio

import aiohttp
import pytest
from chassis.accounts import Login
from chassis.egress import EgressPolicy
from contracts.values import Network

from services.monitor.adapters.dialled import Dialled
from services.monitor.adapters.platform import ChannelRef, ProbeFailed, UnsupportedUrl
from tests.studio.proxy import Proxy

HOME = EgressPolicy(allow_private=True)


async def probed(url: str, policy: EgressPolicy = HOME, **how):
    async with aiohttp.ClientSession() as session:
        return await Dialled(policy, timeout_seconds=2).probe(ChannelRef(url, **how), session)


async def test_an_rtmp_server_that_accepts_is_live_and_one_that_is_gone_is_not() -> None:
    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    live = await probed(f"rtmp://127.0.0.1:{port}/live/key")
    server.close()
    await server.wait_closed()
    gone = await probed(f"rtmp://127.0.0.1:{port}/live/key")
    assert (live.live, live.sources[0].protocol, live.title) == (True, "rtmp", "key")
    assert (gone.live, gone.sources) == (False, ())


async def test_a_proxy_dials_for_us_and_an_address_of_another_family_is_not_dialled() -> None:
    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"rtmp://127.0.0.1:{port}/live/key"
    async with server, Proxy("ann", "pw") as proxy:
        network = Network(proxy=proxy.url("socks5"))
        live = await probed(url, network=network, login=Login(proxy_user="ann", proxy_password="pw"))
        assert proxy.targets == [("127.0.0.1", port)]
        with pytest.raises(ProbeFailed, match="proxy"):
            await probed(url, network=network)
        with pytest.raises(ProbeFailed, match="family"):
            await probed(url, network=Network(ip_version="6"))
    assert live.live


async def test_an_srt_address_counts_as_live() -> None:
    assert (await probed("srt://127.0.0.1:9000?streamid=x")).sources[0].protocol == "srt"


@pytest.mark.parametrize("url", ["rtmp://127.0.0.1/live", "srt://10.0.0.1:9", "rtmp://user:secret@example.org/live"])
async def test_an_address_that_must_not_be_reached_is_refused(url: str) -> None:
    with pytest.raises(UnsupportedUrl) as refused:
        await probed(url, EgressPolicy())
    assert "secret" not in str(refused.value)
