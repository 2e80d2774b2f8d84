"""An RTMP or SRT address is the channel itself; the downloader plays it with ffmpeg."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable
from typing import Self

import aiohttp
from chassis.egress import EgressPolicy, RefusedAddress, check_url, resolve_checked
from chassis.network import FAMILIES, family_of, proxy_of
from contracts.values import Source
from python_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError
from python_socks.async_.asyncio import Proxy
from yarl import URL

from services.monitor.adapters.direct import answer
from services.monitor.adapters.platform import ChannelRef, Probe, ProbeFailed, UnsupportedUrl
from services.monitor.adapters.registry import AdapterOptions, adapter

DIALLED = {"rtmp": 1935, "rtmps": 443, "srt": 9000}
"""Schemes that no HTTP client understands, with the port where none is written."""

NOBODY_LISTENS = frozenset({3, 4, 5, 91, 502, 503, 504})
"""What a proxy answers when the other end does: unreachable or refused (RFC 1928, section 6), rejected or failed (SOCKS4), bad gateway (HTTP)."""


@adapter(order=21)
class Dialled:
    """Whether somebody publishes there only playing tells: an RTMP server that accepts, and any SRT address, count as live."""

    name = "dialled"

    def __init__(self, policy: EgressPolicy, *, timeout_seconds: float = 20.0) -> None:
        self._policy, self._timeout_s = policy, timeout_seconds

    @classmethod
    def configured(cls, options: AdapterOptions) -> Self:
        """Make the adapter from the installation's options."""
        return cls(options.policy, timeout_seconds=options.timeout_seconds)

    def matches(self, url: str) -> bool:
        """See `PlatformAdapter`."""
        return url.partition(":")[0].lower() in DIALLED

    def cookie_domains(self, url: str) -> tuple[str, ...]:
        """See `PlatformAdapter`: the host, though these protocols have no cookies."""
        return (URL(url).raw_host or "",)

    async def probe(self, channel: ChannelRef, session: aiohttp.ClientSession) -> Probe:
        """See `PlatformAdapter`."""
        try:
            url = check_url(channel.url, self._policy, tuple(DIALLED))
            addresses = await resolve_checked(
                url.raw_host or "", self._policy, url.explicit_port or DIALLED[url.scheme]
            )
        except RefusedAddress as error:
            raise UnsupportedUrl(str(error)) from error
        except OSError as error:
            raise ProbeFailed(f"the name of the host is unknown: {type(error).__name__}") from error
        if url.scheme == "srt":
            return answer(channel, Source(url=channel.url, protocol="srt"))
        port = url.explicit_port or DIALLED[url.scheme]
        if proxy := proxy_of(channel.network, channel.login):
            listening = await self._listens(Proxy.from_url(proxy, rdns=True).connect(url.raw_host or "", port))
        else:
            family = FAMILIES[channel.network.ip_version]
            address = next((one for one in addresses if family in (socket.AF_UNSPEC, family_of(one))), None)
            if address is None:
                raise ProbeFailed("the host has no address of the wanted family")
            listening = await self._listens(_dial(address, port))
        return answer(channel, Source(url=channel.url, protocol="rtmp") if listening else None)

    async def _listens(self, dialling: Awaitable[socket.socket]) -> bool:
        try:
            async with asyncio.timeout(self._timeout_s):
                connected = await dialling
        except (ProxyError, ProxyConnectionError, ProxyTimeoutError) as error:
            if getattr(error, "error_code", None) in NOBODY_LISTENS:
                return False
            raise ProbeFailed(f"the proxy does not lead there: {type(error).__name__}") from None
        except (OSError, TimeoutError):
            return False
        connected.close()
        return True


async def _dial(address: str, port: int) -> socket.socket:
    opened = socket.socket(family_of(address), socket.SOCK_STREAM)
    opened.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(opened, (address, port))
    except BaseException:
        opened.close()
        raise
    return opened
