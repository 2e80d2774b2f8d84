"""The native engine for HLS: follows one playlist, downloads ahead, hands over in order."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import aiohttp
from chassis.waiting import wait_for_event
from contracts.values import Json, Selection, Source
from media.hls import (
    Assembler,
    AssemblerOptions,
    GapPolicy,
    HlsPlanner,
    MasterPlaylist,
    PlannerOptions,
    PlaylistError,
    SegmentTask,
    decode_playlist,
    parse_playlist,
)

from services.downloader.adapters.engine import (
    EXPIRED,
    NeedsFfmpeg,
    Progress,
    SourceFailed,
    StartPoint,
    Take,
)
from services.downloader.adapters.hls_fetch import Fetcher, FetchOptions, first_wait_s
from services.downloader.adapters.hls_writer import HlsWriter, cursor_from_json
from services.downloader.adapters.network import Access
from services.downloader.adapters.variant import SeparateSound, admitted, variant_of, whole_variants

POLL_S = 0.2
PLAYLIST_RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is wanted of a playlist: which variant, how long a missing segment is waited for, and parts of segments as they come."""

    quality: str = "best"
    selection: Selection = field(default_factory=Selection)
    gaps: GapPolicy = field(default_factory=GapPolicy)
    low_latency: bool = False


class HlsEngine:
    """One playlist at a time; plan, reorder buffer and files go on over changes of the address."""

    def __init__(
        self, session: aiohttp.ClientSession, access: Access, take: Take, *, fetching: FetchOptions, wishes: Wishes
    ) -> None:
        self._access, self._options, self._wishes = access, fetching, wishes
        self._fetcher = Fetcher(session, fetching)
        resume = cursor_from_json(take.start.cursor)
        # Without a cursor the window of a recording that goes on would repeat what is written already.
        repeats = take.start.position_at is not None and resume is None
        following = PlannerOptions(low_latency=wishes.low_latency, initial_segments=1 if repeats else None)
        self._planner = HlsPlanner(following, resume_after=resume)
        self._assembler = Assembler(AssemblerOptions(gap_policy=wishes.gaps))
        self._writer = HlsWriter(take, self._backlog_s)
        self._slots = asyncio.Semaphore(fetching.concurrency)
        self._planned: dict[int, SegmentTask] = {}
        self._downloads: dict[int, asyncio.Task[None]] = {}
        self._news_at = 0.0

    @property
    def progress(self) -> Progress:
        """See `Engine`."""
        return self._writer.progress

    @property
    def flowing(self) -> bool:
        """See `Engine`."""
        return self._writer.flowing

    @property
    def here(self) -> StartPoint:
        """See `Engine`."""
        return self._writer.here

    async def play(self, source: Source) -> None:
        """See `Engine`. Returns when the playlist says that it is complete (EXT-X-ENDLIST, RFC 8216 §4.3.3.4)."""
        self._fetcher.headers = self._access.headers(source)
        self._news_at = time.monotonic()
        try:
            await self._load(await self._media_playlist(source.url), time.monotonic())
            self._download_what_is_left()
            while (request := self._planner.next_request(time.monotonic())) is not None:
                await self._idle(request.delay)
                await self._refresh(request.url, blocking=request.blocking)
            while self._downloads:
                await self._idle(POLL_S)
        finally:
            await self._stop_downloads()

    def cut(self) -> None:
        """See `Engine`."""
        self._writer.cut()

    async def finish(self) -> None:
        """See `Engine`. What was downloaded is written; what is still on its way is not waited for, and not said to be missing."""
        await self._stop_downloads()
        self._fetcher.close()
        self._writer.put(self._assembler.finish(time.monotonic()))
        await self._writer.finish()

    async def abandon(self) -> None:
        """See `Engine`."""
        await self._stop_downloads()
        self._fetcher.close()
        await self._writer.abandon()

    # Standing by and handing over

    @property
    def holds(self) -> Json | None:
        """See `Holder`: the number of the first segment that is held."""
        return self._writer.held.holds if self._writer.held is not None else None

    def holds_group(self, mark: int) -> bool:
        """See `Holder`. Never: whole segments lie in files."""
        return False

    def forget_before(self, at: float) -> None:
        """See `Holder`."""
        if self._writer.held is not None:
            self._writer.held.forget_before(at)

    async def join(self, take: Take) -> None:
        """See `Holder`. Segments are told apart by their numbers."""
        await self._writer.join(take)

    async def leave(self, holds: Json) -> None:
        """See `Holder`. At once: the successor has, or will have, every segment behind the last one that is written here."""

    @property
    def tail(self) -> Json | None:
        """See `Holder`."""
        return None

    async def _media_playlist(self, url: str) -> tuple[bytes, str]:
        """Load an address; a master playlist leads on to the variant that is wanted."""
        body, final_url = await self._fetcher.playlist(url, wait_s=self._options.stall_s)
        try:
            playlist = parse_playlist(decode_playlist(body), final_url)
            if not isinstance(playlist, MasterPlaylist):
                return body, final_url
            wishes = self._wishes
            offered = whole_variants(admitted(playlist, wishes.selection))
            variant = variant_of(offered, wishes.quality, wishes.selection)
        except SeparateSound as error:
            raise NeedsFfmpeg(str(error)) from error
        except PlaylistError as error:
            raise SourceFailed(f"the playlist cannot be recorded: {error}"[:200]) from error
        return await self._fetcher.playlist(variant.uri, wait_s=self._options.stall_s)

    async def _refresh(self, url: str, *, blocking: bool) -> None:
        """Load the playlist again; a failure or two in a row is nothing but a playlist without news."""
        wait_s = self._options.stall_s
        if blocking:
            wait_s += 3 * (self._planner.target_duration or 0.0)
        for attempt in range(1, self._options.attempts + 1):
            began = time.monotonic()
            first_s = first_wait_s(self._planner.target_duration or 0.0, wait_s)
            try:
                loaded = await self._fetcher.playlist(url, wait_s=first_s if attempt == 1 and not blocking else wait_s)
            except SourceFailed as error:
                self._planner.unchanged(began)
                if attempt == self._options.attempts or error.status in EXPIRED:
                    raise
                await self._idle(PLAYLIST_RETRY_S)
            else:
                await self._load(loaded, began)
                return

    async def _load(self, loaded: tuple[bytes, str], began: float) -> None:
        try:
            planned = self._planner.update(decode_playlist(loaded[0]), loaded[1], began)
        except PlaylistError as error:
            raise SourceFailed(f"the playlist cannot be recorded: {error}"[:200]) from error
        for task in planned:
            if isinstance(task, SegmentTask):
                self._planned[task.order] = task
        self._writer.put(self._assembler.plan(planned, time.monotonic()))
        for task in planned:
            if isinstance(task, SegmentTask):
                self._download(task)
        self._check_news(bool(planned))

    def _check_news(self, news: bool) -> None:
        now = time.monotonic()
        if news or self._planner.ended:
            self._news_at = now
        patience_s = max(self._options.stall_s, 3 * (self._planner.target_duration or 0.0))
        if now - self._news_at > patience_s:
            raise SourceFailed(f"the playlist brought nothing new for {patience_s:.0f} s")

    async def _idle(self, seconds: float) -> None:
        """Wait, give up missing segments in time, and fail when the disk has."""
        until = time.monotonic() + seconds
        while True:
            if self._writer.error is not None:
                raise self._writer.error
            left = until - time.monotonic()
            if left <= 0:
                return
            await wait_for_event(self._writer.failed, min(left, POLL_S))
            self._writer.put(self._assembler.poll(time.monotonic()))

    def _backlog_s(self) -> float:
        return sum(task.duration for task in self._planned.values())

    def _download(self, task: SegmentTask) -> None:
        download = asyncio.create_task(self._fetch(task), name=f"hls-{task.sequence}")
        self._downloads[task.order] = download
        download.add_done_callback(lambda _: self._downloads.pop(task.order, None))

    def _download_what_is_left(self) -> None:
        """After a change of the address: what was on its way is asked for again, at its newest address."""
        for order, task in sorted(self._planned.items()):
            if order not in self._downloads:
                self._download(self._planner.refreshed(task))

    async def _fetch(self, task: SegmentTask) -> None:
        async with self._slots:
            await self._writer.room()
            try:
                await self._fetch_init(task)
                data = await self._fetcher.segment(task, self._planner.refreshed, self._assembler.wants)
            except SourceFailed:
                items = self._assembler.failed(task, time.monotonic())
            else:
                items = self._assembler.completed(task, data, time.monotonic())
        self._planned.pop(task.order, None)
        self._writer.put(items)

    async def _fetch_init(self, task: SegmentTask) -> None:
        section = self._assembler.needs_init(task)
        if section is None:
            return
        try:
            data = await self._fetcher.init(section)
        except SourceFailed:
            self._writer.put(self._assembler.init_failed(section, time.monotonic()))
            raise
        self._writer.put(self._assembler.init_completed(section, data, time.monotonic()))

    async def _stop_downloads(self) -> None:
        running = list(self._downloads.values())
        for download in running:
            download.cancel()
        await asyncio.gather(*running, return_exceptions=True)
