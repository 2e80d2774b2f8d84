"""Ask a platform about one channel, through its adapter, within a time limit."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import aiohttp
from chassis.bus import Bus
from chassis.egress import EgressPolicy, RefusedAddress, open_session
from contracts.monitor import CheckChannel, SourcesResolved

from services.monitor.adapters.platform import ChannelRef, Probe, ProbeError, ProbeFailed, UnsupportedUrl
from services.monitor.adapters.registry import Registry


class Prober:
    """Answers checks and publishes where the media is. One HTTP session for all of them; it is guarded against private addresses."""

    def __init__(self, registry: Registry, policy: EgressPolicy, bus: Bus, *, timeout_s: float) -> None:
        self._registry, self._policy, self._bus, self._timeout_s = registry, policy, bus, timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Open the HTTP session."""
        self._session = open_session(self._policy, timeout=aiohttp.ClientTimeout(total=self._timeout_s))

    async def stop(self) -> None:
        """Close the HTTP session and the adapters."""
        if self._session is not None:
            await self._session.close()
        self._registry.close()

    async def probe(self, check: CheckChannel) -> Probe:
        """Ask once and announce the sources found; raises a ProbeError, which is announced too."""
        try:
            probe = await self._ask(check)
        except ProbeError as error:
            if error.fatal:
                await self._announce(check, live=False, error=str(error))
            raise
        await self._announce(check, live=probe.live, probe=probe)
        return probe

    async def _ask(self, check: CheckChannel) -> Probe:
        if self._session is None:
            raise ProbeFailed("the monitor is not started")
        reference = ChannelRef(check.url, check.quality, check.protocol)  # type: ignore[arg-type]
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._registry.find(check.url).probe(reference, self._session)
        except RefusedAddress as error:
            raise UnsupportedUrl(str(error)) from error
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise ProbeFailed(repr(error)) from error

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
