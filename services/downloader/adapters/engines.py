"""The engines of a recording: which one plays a source, made as the configuration says and made anew when it changes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from chassis.accounts import AccountUnavailable, Login
from chassis.egress import EgressPolicy
from contracts import engines as written
from contracts.values import Effective, EngineName, Source
from media.hls import GapPolicy

from services.downloader.adapters.confined import StreamlinkFeed, find
from services.downloader.adapters.engine import Chunk, Engine, Feed, SourcesUnavailable, Take
from services.downloader.adapters.ffmpeg import FfmpegFeed
from services.downloader.adapters.hls import HlsEngine, Wishes
from services.downloader.adapters.hls_fetch import FetchOptions
from services.downloader.adapters.http import HttpFeed
from services.downloader.adapters.network import Access
from services.downloader.adapters.stream import StreamEngine

AccountOf = Callable[[str], Awaitable[Login]]
"""The secrets of an account, open; raises AccountUnavailable while they cannot be had."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How patiently media is fetched where the configuration does not say; times in seconds."""

    stall_s: float = 15.0
    connect_timeout_s: float = 10.0
    segment_concurrency: int = 5
    segment_attempts: int = 3
    ffmpeg: str = "ffmpeg"


async def _no_account(account: str) -> Login:
    raise AccountUnavailable(f"the account {account} is not known here")


class Engines:
    """Makes the engines of recordings."""

    def __init__(self, policy: EgressPolicy, options: EngineOptions, account_of: AccountOf = _no_account) -> None:
        self.policy, self.options, self.account_of = policy, options, account_of

    @asynccontextmanager
    async def for_recording(self, effective: Effective, page: str = "") -> AsyncIterator[Kit]:
        """The engines of one recording; ``page`` is the channel's address, for engines that resolve it themselves."""
        kit = Kit(self, effective, page)
        try:
            yield kit
        finally:
            await kit.close()


@dataclass(frozen=True, slots=True)
class _Fitting:
    """What one configuration comes to."""

    session: aiohttp.ClientSession
    live: aiohttp.ClientSession
    access: Access
    effective: Effective
    options: written.EngineOptions


class Kit:
    """The engines of one recording, under the configuration of the moment."""

    def __init__(self, engines: Engines, effective: Effective, page: str) -> None:
        self._engines, self._effective, self._page = engines, effective, page
        self._generation = 0
        self._fitting: _Fitting | None = None
        self._separate_sound: set[str] = set()
        self._unfit_for_flv: set[str] = set()

    def differs(self, effective: Effective) -> bool:
        """Whether another configuration makes a difference to engines."""
        return any(getattr(effective, name) != getattr(self._effective, name) for name in _CONCERNS)

    async def refit(self, effective: Effective) -> None:
        """Work under another configuration from the next connection on."""
        await self.close()
        self._effective = effective
        self._generation += 1

    async def ready(self) -> None:
        """Get together what the configuration asks for; raises SourcesUnavailable while an account cannot be had."""
        if self._fitting is not None:
            return
        network, options = self._effective.network, self._engines.options
        try:
            login = await self._engines.account_of(network.account) if network.account else Login()
        except AccountUnavailable as error:
            raise SourcesUnavailable(str(error)) from None
        access = Access(
            self._engines.policy,
            network,
            login,
            network.stall_s or options.stall_s,
            network.connect_timeout_s or options.connect_timeout_s,
        )
        try:
            chosen = written.options_of(self._effective.engine_options)
        except written.BadOptions:
            chosen = written.EngineOptions()  # the configuration is checked where it is made
        self._fitting = _Fitting(access.open_session(), access.open_live_session(), access, self._effective, chosen)

    async def close(self) -> None:
        """End the connections of this configuration."""
        fitting, self._fitting = self._fitting, None
        if fitting is not None:
            await fitting.session.close()
            await fitting.live.close()

    async def resolved(self, source: Source) -> Source:
        """What is to be played in place of a source: itself, unless yt-dlp has to find it on a page. Raises SourceFailed."""
        engine, fitting = self._effective.engine, self._fitted
        is_page = source.protocol == "page" and engine is not EngineName.STREAMLINK
        if engine is not EngineName.YT_DLP and not is_page:
            return source
        page = source.url if is_page else self._page or source.url
        options = fitting.options.yt_dlp.model_dump(mode="json")
        found = await find(fitting.access, page, options, quality=fitting.effective.quality, source=source)
        if place(source) in self._separate_sound:
            self._separate_sound.add(place(found))
        return found

    def key(self, source: Source) -> str:
        """Sources with the same key are played by the same engine object, one after the other."""
        if self._plays(source) is EngineName.NATIVE and source.protocol == "hls":
            return f"hls {self._generation}"
        return "stream"

    def make(self, source: Source, take: Take) -> Engine:
        """An engine for a source, after :meth:`ready`."""
        fitting, defaults = self._fitted, self._engines.options
        if not self.key(source).startswith("hls"):
            return StreamEngine(self, take, stall_s=fitting.access.stall_s)
        native = fitting.options.native
        fetching = FetchOptions(
            native.segment_concurrency or defaults.segment_concurrency,
            native.segment_attempts or defaults.segment_attempts,
            fitting.access.stall_s,
        )
        wishes = Wishes(
            fitting.effective.quality,
            fitting.effective.selection,
            GapPolicy(native.skip_after_segments or None, native.skip_after_s or None),
            native.low_latency,
        )
        return HlsEngine(fitting.session, fitting.access, take, fetching=fetching, wishes=wishes)

    @asynccontextmanager
    async def open(self, source: Source) -> AsyncIterator[AsyncIterator[Chunk]]:
        """See `Feed`: the bytes of a source, from whoever plays it under the configuration of the moment."""
        fitting, defaults = self._fitted, self._engines.options
        feed: Feed
        plays = self._plays(source)
        if plays is EngineName.STREAMLINK:
            options = fitting.options.streamlink.model_dump(mode="json")
            quality = fitting.effective.quality
            feed = StreamlinkFeed(fitting.access, options, page=self._page, quality=quality, ffmpeg=defaults.ffmpeg)
        elif plays is EngineName.FFMPEG:
            feed = FfmpegFeed(
                defaults.ffmpeg,
                fitting.session,
                fitting.access,
                fitting.options.ffmpeg,
                quality=fitting.effective.quality,
                selection=fitting.effective.selection,
                unfit=self._unfit_for_flv,
            )
        else:
            feed = HttpFeed(fitting.live, fitting.access)
        async with feed.open(source) as chunks:
            yield chunks

    def needs_ffmpeg(self, source: Source) -> None:
        """From now on this source is played by ffmpeg: our own engine does not join what it is made of."""
        self._separate_sound.add(place(source))

    def engine(self, source: Source) -> str:
        """The name of what plays a source."""
        return self._plays(source).value

    @property
    def _fitted(self) -> _Fitting:
        assert self._fitting is not None, "ready() comes first"
        return self._fitting

    def _plays(self, source: Source) -> EngineName:
        engine = self._effective.engine
        if source.protocol in ("rtmp", "srt"):
            return EngineName.FFMPEG
        if engine is EngineName.STREAMLINK:
            return engine
        if place(source) in self._separate_sound:
            return EngineName.FFMPEG
        if engine is EngineName.YT_DLP:
            player = self._fitted.options.yt_dlp.player
            return EngineName.FFMPEG if player == "ffmpeg" else EngineName.NATIVE
        return engine


_CONCERNS = ("engine", "engine_options", "network", "quality", "selection")


def place(source: Source) -> str:
    """An address without its signature."""
    return source.url.partition("?")[0]
