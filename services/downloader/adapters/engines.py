"""The engines of a recording: one per protocol, on one guarded HTTP session."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from chassis.egress import EgressPolicy

from services.downloader.adapters.capture import MakeEngine
from services.downloader.adapters.engine import Engine, Take
from services.downloader.adapters.hls import HlsEngine
from services.downloader.adapters.hls_fetch import FetchOptions
from services.downloader.adapters.http import media_session
from services.downloader.adapters.http_flv import FlvEngine


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How patiently media is fetched; times in seconds."""

    stall_s: float = 15.0
    connect_timeout_s: float = 10.0
    segment_concurrency: int = 5
    segment_attempts: int = 3


class Engines:
    """Makes the engines of recordings."""

    def __init__(self, policy: EgressPolicy, options: EngineOptions) -> None:
        self._policy, self._options = policy, options

    @asynccontextmanager
    async def for_recording(self, quality: str) -> AsyncIterator[MakeEngine]:
        """Engines that take the variant of a wanted quality, where a source offers several; they share one HTTP session."""
        options = self._options
        async with media_session(self._policy, connect_timeout_s=options.connect_timeout_s) as session:

            def make(protocol: str, take: Take) -> Engine:
                if protocol == "flv":
                    return FlvEngine(session, take, stall_s=options.stall_s)
                fetching = FetchOptions(options.segment_concurrency, options.segment_attempts, options.stall_s)
                return HlsEngine(session, take, fetching=fetching, quality=quality)

            yield make
