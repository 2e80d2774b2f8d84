"""An RTMP or SRT address is the channel itself; the downloader plays it with ffmpeg."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self

import aiohttp
from chassis.egress import EgressPolicy, RefusedAddress, check_url, resolve_checked
from contracts.values import Source
from yarl import URL

from services.monitor.adapters.direct import answer
from services.monitor.adapters.platform import ChannelRef, Probe, ProbeFailed, UnsupportedUrl
from services.monitor.adapters.registry import AdapterOptions, adapter

DIALLED = {"rtmp": 1935, "rtmps": 443, "srt": 9000}
"""Schemes that no HTTP client understands, with the port where none is written."""


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
        listening = await self._listens(addresses[0], url.explicit_port or DIALLED[url.scheme])
        return answer(channel, Source(url=channel.url, protocol="rtmp") if listening else None)

    async def _listens(self, address: str, port: int) -> bool:
        try:
            async with asyncio.timeout(self._timeout_s):
                _, writer = await asyncio.open_connection(address, port)
        except (OSError, TimeoutError):
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True
