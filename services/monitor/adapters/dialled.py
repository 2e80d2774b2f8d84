"""An RTMP or SRT address is the channel itself: live while it plays, which ffmpeg tries, as the downloader will."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Self

import aiohttp
from chassis.dialled import LISTED, PORTS, Dialling, NotDialled, dial, microseconds
from chassis.egress import EgressPolicy, RefusedAddress, check_url, resolve_checked
from chassis.gate import reason_of
from chassis.network import judged_address, proxy_of
from chassis.programs import Exit, Parting, Running, locate_ffmpeg, open_program, workplace
from contracts.values import Network, Source
from python_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError
from yarl import URL

from services.monitor.adapters.direct import answer
from services.monitor.adapters.platform import (
    ChannelRef,
    ChannelRefused,
    Probe,
    ProbeFailed,
    Refusal,
    UnsupportedUrl,
)
from services.monitor.adapters.registry import AdapterOptions, adapter
from services.monitor.adapters.turns import Turns

AT_ONCE: Final = 4
"""Where nothing is published, ffmpeg waits for the whole time; each has 25 MB meanwhile, 7 of its own."""
MEDIA_S: Final = 8.0
"""A server that has media sends it at once, or from the next keyframe on; with this long ones nothing is waited for any more."""
CONNECT_S: Final = 5.0
ANALYZE_S: Final = 1.0
NOBODY_LISTENS = frozenset({3, 4, 5, 91, 502, 503, 504})
"""What a proxy answers when the other end does: unreachable or refused (RFC 1928, section 6), rejected or failed (SOCKS4), bad gateway (HTTP)."""

GOODBYE: Final = Parting(1.0, signal.SIGINT)
"""A server with room for one viewer has to know that we left, or the recording that follows finds it taken."""

_SECRET_WRONG = re.compile(r"BADSECRET|UNSECURE|Incorrect passphrase", re.IGNORECASE)
"""libsrt's reasons for refusing a connection."""
_READ_BYTES = 1 << 14
# One line for each packet, whatever it holds: nothing is decoded, and nothing has to fit into a container.
_PACKETS = ("-map", "0:v?", "-map", "0:a?", "-c", "copy", "-f", "framecrc", "-flush_packets", "1", "pipe:1")
_FORMATS = "concat,flv,live_flv,mpegts"


@dataclass(frozen=True, slots=True)
class _Way:
    """See `Reach`."""

    policy: EgressPolicy
    network: Network
    proxy: str | None
    connect_timeout_s: float


@adapter(order=21)
class Dialled:
    """Live is what plays. Some servers have room for one viewer only: while the channel is being recorded it is not tried."""

    name = "dialled"
    disturbs = True

    def __init__(
        self,
        policy: EgressPolicy,
        ffmpeg: str,
        *,
        timeout_seconds: float = 20.0,
        at_once: int = AT_ONCE,
        media_s: float = MEDIA_S,
    ) -> None:
        self._policy, self._ffmpeg, self._timeout_s, self._media_s = policy, ffmpeg, timeout_seconds, media_s
        self._turns = Turns(self.name, at_once, timeout_seconds)

    @classmethod
    def configured(cls, options: AdapterOptions) -> Self:
        """Make the adapter from the installation's options; raises ValueError for an `at_once` below 1, RuntimeError without an ffmpeg."""
        at_once = int(options.of(cls.name).get("at_once", AT_ONCE))
        ffmpeg = locate_ffmpeg(options.ffmpeg, setting="MONITOR_FFMPEG")
        return cls(options.policy, ffmpeg, timeout_seconds=options.timeout_seconds, at_once=at_once)

    def matches(self, url: str) -> bool:
        """See `PlatformAdapter`."""
        return url.partition(":")[0].lower() in PORTS

    def cookie_domains(self, url: str) -> tuple[str, ...]:
        """See `PlatformAdapter`: the host, though these protocols have no cookies."""
        return (URL(url).raw_host or "",)

    def turn(self) -> AbstractAsyncContextManager[None]:
        """See `Queueing`."""
        return self._turns.one()

    async def probe(self, channel: ChannelRef, session: aiohttp.ClientSession) -> Probe:
        """See `PlatformAdapter`."""
        try:
            url = check_url(channel.url, self._policy, tuple(PORTS))
            source = Source(url=channel.url, protocol="srt" if url.scheme == "srt" else "rtmp")
            if channel.received:
                return answer(channel, source)
            return answer(channel, source if await self._plays(url, channel) else None)
        except RefusedAddress as error:
            raise UnsupportedUrl(str(error)) from error

    async def _plays(self, url: URL, channel: ChannelRef) -> bool:
        network = channel.network
        proxy = proxy_of(network, channel.login)
        way = _Way(self._policy, network, proxy, min(network.connect_timeout_s or CONNECT_S, self._timeout_s))
        await _resolved(url, way)
        dialling = dial(url, way, channel.login, stall_s=self._media_s, analyze_s=ANALYZE_S, srt_latency_ms=200)
        try:
            async with dialling as dialled:
                return await self._has_media(dialled, way.connect_timeout_s + self._media_s)
        except NotDialled as error:
            raise UnsupportedUrl(str(error)) from None
        except OSError as error:
            raise ProbeFailed(f"ffmpeg cannot be started ({type(error).__name__})") from None

    async def _has_media(self, dialled: Dialling, patience_s: float) -> bool:
        quiet = ("-nostdin", "-hide_banner", "-nostats", "-loglevel", "error")
        limits = ("-format_whitelist", _FORMATS, "-analyzeduration", microseconds(ANALYZE_S))
        arguments = [self._ffmpeg, *quiet, *limits, *LISTED, *_PACKETS]
        with workplace() as folder:
            async with open_program(arguments, folder=folder, parting=GOODBYE, given=dialled.given) as program:
                try:
                    async with asyncio.timeout(patience_s):
                        if await _first_packet(program):
                            return True
                        ended = await program.ended()
                except TimeoutError:
                    return False
        _judge(dialled, ended)
        return False


async def _resolved(url: URL, way: _Way) -> None:
    """Judge where a name leads before anything is started; raises RefusedAddress, ProbeFailed."""
    port = url.explicit_port or PORTS[url.scheme]
    try:
        if way.proxy:
            await resolve_checked(url.raw_host or "", way.policy, port)
        else:
            await judged_address(url.raw_host or "", port, way)
    except socket.gaierror as error:
        raise ProbeFailed(f"the name of the host is unknown: {type(error).__name__}") from error
    except OSError as error:
        raise ProbeFailed(f"the host cannot be reached: {error}"[:200]) from error


async def _first_packet(program: Running) -> bool:
    """Whether ffmpeg reads a packet before it ends; the lines before it describe the streams."""
    rest = b""
    while data := await program.output.read(_READ_BYTES):
        *lines, rest = (rest + data).split(b"\n")
        if any(line and not line.startswith(b"#") for line in lines):
            return True
    return False


def _judge(dialled: Dialling, ended: Exit) -> None:
    """Raise what an end without media says about more than the broadcast: where it led, the proxy, the passphrase."""
    failure = dialled.gate.failure if dialled.gate else None
    if isinstance(failure, RefusedAddress):
        raise failure
    if isinstance(failure, ProxyError | ProxyConnectionError | ProxyTimeoutError):
        if getattr(failure, "error_code", None) not in NOBODY_LISTENS:
            raise ProbeFailed(f"the proxy does not lead there: {reason_of(failure)}")
    elif _SECRET_WRONG.search(ended.complaints):
        raise ChannelRefused(Refusal.PRIVATE, "the server refuses the passphrase of this address")
