"""Ask a platform about one channel, through its adapter, within a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import UTC, datetime

import aiohttp
from aiohttp_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError
from chassis.accounts import AccountUnavailable, Login
from chassis.bus import Bus
from chassis.egress import EgressPolicy, RefusedAddress, open_session
from chassis.network import open_network_session
from contracts.monitor import CheckChannel, SourcesResolved
from contracts.values import Network

from services.monitor.adapters.platform import (
    ChannelRef,
    PlatformAdapter,
    Probe,
    ProbeError,
    ProbeFailed,
    Queueing,
    UnknownSite,
    UnsupportedUrl,
)
from services.monitor.adapters.registry import Registry

AccountOf = Callable[[str], Awaitable[Login]]
"""The secrets of an account, open; raises AccountUnavailable while they cannot be had."""


class Prober:
    """Answers checks and publishes where the media is; every connection is guarded against private addresses.

    Checks without wishes for the network share one HTTP session. Any other has its own, so that no login meets another check.
    """

    def __init__(
        self, registry: Registry, policy: EgressPolicy, bus: Bus, account_of: AccountOf, *, timeout_s: float
    ) -> None:
        self._registry, self._policy, self._bus, self._timeout_s = registry, policy, bus, timeout_s
        self._account_of = account_of
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the HTTP session."""
        self._session = open_session(self._policy, timeout=aiohttp.ClientTimeout(total=self._timeout_s))

    async def stop(self) -> None:
        """Close the HTTP session and the adapters."""
        if self._session is not None:
            await self._session.close()
        await self._registry.close()

    def disturbs(self, check: CheckChannel) -> bool:
        """Whether asking may take the place of who receives the channel's media."""
        return self._registry.disturbs(check.url)

    async def probe(self, check: CheckChannel, *, received: bool = False) -> Probe:
        """Ask once and announce the sources found; raises a ProbeError, which is announced too. `received`: see `ChannelRef`."""
        try:
            probe = await self._ask(check, received)
        except ProbeError as error:
            if error.fatal:
                # Whoever records a page wants to know whether it goes on: one that nobody knows any more shows no broadcast.
                await self._announce(check, live=False, error="" if isinstance(error, UnknownSite) else str(error))
            raise
        await self._announce(check, live=probe.live, probe=probe)
        return probe

    async def _ask(self, check: CheckChannel, received: bool) -> Probe:
        unknown = UnknownSite("nobody knows this site")
        candidates = self._registry.candidates(check.url, check.engine)
        for platform in candidates:
            try:
                probe = await self._ask_one(platform, check, received)
            except UnknownSite as error:
                unknown = error
                continue
            if platform is not candidates[0]:
                self._registry.remember(check.url, platform)
            return probe
        raise unknown

    async def _ask_one(self, platform: PlatformAdapter, check: CheckChannel, received: bool) -> Probe:
        try:
            async with nullcontext() if received else _turn(platform), asyncio.timeout(self._timeout_s):
                login = (await self._login(check.network)).limited_to(platform.cookie_domains(check.url))
                reference = ChannelRef(check.url, check.quality, check.protocol, check.network, login, received)  # type: ignore[arg-type]
                async with self._session_for(check.network, login) as session:
                    return await platform.probe(reference, session)
        except RefusedAddress as error:
            raise UnsupportedUrl(str(error)) from error
        except AccountUnavailable as error:
            raise ProbeFailed(str(error)) from None
        except (ProxyError, ProxyConnectionError, ProxyTimeoutError) as error:
            raise ProbeFailed(f"the proxy does not lead there: {type(error).__name__}") from None
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            # By its name alone: such an error may show the request's headers, and with them a login.
            raise ProbeFailed(f"the platform could not be reached: {type(error).__name__}") from error

    async def _login(self, network: Network) -> Login:
        return await self._account_of(network.account) if network.account else Login()

    @asynccontextmanager
    async def _session_for(self, network: Network, login: Login) -> AsyncIterator[aiohttp.ClientSession]:
        if self._session is None:
            raise ProbeFailed("the monitor is not started")
        if network == Network():
            yield self._session
            return
        timeout = aiohttp.ClientTimeout(
            total=self._timeout_s, connect=network.connect_timeout_s, sock_read=network.stall_s
        )
        try:
            session = open_network_session(self._policy, network, login, timeout=timeout)
        except ValueError:
            raise ProbeFailed("the account's login cannot be sent") from None
        async with session:
            yield session

    async def _announce(self, check: CheckChannel, *, live: bool, probe: Probe | None = None, error: str = "") -> None:
        await self._bus.signal(
            SourcesResolved(
                streamer_id=check.streamer_id,
                live=live,
                sources=probe.sources if probe else (),
                resolved_at=datetime.now(UTC).isoformat(),
                error=error,
            )
        )


def _turn(platform: PlatformAdapter) -> AbstractAsyncContextManager[None]:
    return platform.turn() if isinstance(platform, Queueing) else nullcontext()
