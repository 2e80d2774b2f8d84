"""One recording's way from sources to files: chooses a source, plays it, and when it breaks, chooses again."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, replace
from typing import Protocol

import structlog
from contracts.values import Effective, EndReason, Json, Source

from services.downloader.adapters.engine import (
    Engine,
    Holder,
    NeedsFfmpeg,
    Offline,
    Progress,
    SourceFailed,
    SourcesUnavailable,
    Take,
)

STEADY_S = 5.0
"""A connection that brought media for this long has worked: the count of failures begins anew."""
log = structlog.get_logger(__name__)


class Sources(Protocol):
    """Where the media is."""

    async def choose(self, *, refresh: bool) -> Source:
        """The best source now, ``refresh``: of a new answer. Raises Offline or SourcesUnavailable."""

    def failed(self, source: Source, failure: SourceFailed) -> None:
        """A source broke: others are preferred for a while."""

    def worked(self, source: Source) -> None:
        """A source brings media."""

    def reconfigure(self, effective: Effective) -> None:
        """Choose as another configuration says."""


class Kit(Protocol):
    """Engines, made as the configuration says. See `services.downloader.adapters.engines.Kit`."""

    def differs(self, effective: Effective) -> bool: ...

    async def refit(self, effective: Effective) -> None: ...

    async def ready(self) -> None: ...

    async def resolved(self, source: Source) -> Source: ...

    def needs_ffmpeg(self, source: Source) -> None: ...

    def engine(self, source: Source) -> str: ...

    def key(self, source: Source) -> str: ...

    def make(self, source: Source, take: Take) -> Engine: ...


@dataclass(frozen=True, slots=True)
class Patience:
    """How failures are met; all in seconds but ``refresh_after``, which counts failures."""

    base_s: float = 0.5
    cap_s: float = 10.0
    give_up_s: float = 120.0
    refresh_after: int = 3

    def delay_s(self, failures: int) -> float:
        """The first attempt to reconnect is made at once; then the delay doubles up to its cap, with jitter."""
        if failures <= 1:
            return 0.0
        delay = min(self.base_s * 2.0 ** min(failures - 2, 20), self.cap_s)
        return delay * random.uniform(0.8, 1.2)


@dataclass(frozen=True, slots=True)
class Ended:
    """Why a capture is over; ``reason`` is None when it was asked to stop."""

    reason: EndReason | None
    detail: str = ""


CHANGED = "the configuration changed"


class Capture:
    """Runs until the channel ends, it is asked to stop, or nothing comes for too long. File numbers and timeline go on throughout."""

    def __init__(self, sources: Sources, kit: Kit, take: Take, patience: Patience) -> None:
        self._sources, self._kit, self._take, self._patience = sources, kit, take, patience
        self._engine: Engine | None = None
        self._key = ""
        self._wanted: Effective | None = None
        self._changed = asyncio.Event()
        self._before = Progress(take.start.index)
        self._stop = asyncio.Event()
        self._stopped: Ended | None = None

    @property
    def progress(self) -> Progress:
        """Bytes and duration over all engines of this capture."""
        if self._engine is None:
            return self._before
        now, before = self._engine.progress, self._before
        return Progress(now.index, before.bytes + now.bytes, before.duration_ms + now.duration_ms)

    @property
    def cursor(self) -> Json | None:
        """How far the playlist was written, if there is one."""
        return self._take.durable(self._engine.here.cursor) if self._engine else self._take.start.cursor

    def stop(self, ended: Ended) -> None:
        """Ask for the end: what is here is written, the file is closed, :meth:`run` returns ``ended``."""
        self._stopped = self._stopped or ended
        self._stop.set()

    @property
    def holds(self) -> Json | None:
        """From where on a standby holds media; ``None`` while it has none."""
        return self._holder.holds if self._holder else None

    @property
    def tail(self) -> Json | None:
        """The end of what was written, by content."""
        return self._holder.tail if self._holder else None

    @property
    def _holder(self) -> Holder | None:
        engine: object = self._engine
        return engine if isinstance(engine, Holder) else None

    def holds_group(self, mark: int) -> bool:
        """Whether a standby holds the whole group of pictures that begins with the keyframe of this mark."""
        return self._holder is not None and self._holder.holds_group(mark)

    def forget_before(self, at: float) -> None:
        """A standby lets go of media that came before a moment."""
        if self._holder is not None:
            self._holder.forget_before(at)

    async def join(self, take: Take) -> None:
        """The standby becomes the owner: what is held is written behind what the owner before wrote. Raises DiskFailed."""
        self._take, self._before = take, Progress(take.start.index)
        if self._holder is not None:
            await self._holder.join(take)

    async def leave(self, holds: Json) -> None:
        """Stop where whoever holds media from there on (its `holds`) can go on without losing any, as soon as that is so."""
        if self._holder is not None:
            await self._holder.leave(holds)
        self.stop(Ended(None))

    def cut(self) -> None:
        """Begin a new file at the next keyframe."""
        if self._engine is not None:
            self._engine.cut()

    def reconfigure(self, effective: Effective) -> None:
        """Go on under another configuration. Where it concerns engines, the file in hand ends and the next one is theirs."""
        self._sources.reconfigure(effective)
        if self._wanted is not None or self._kit.differs(effective):
            self._wanted = effective
            self._changed.set()

    async def run(self) -> Ended:
        """Capture to the end; raises DiskFailed. When cancelled, files are left for another owner as they are."""
        if self._stopped is not None:
            return self._stopped
        capturing = asyncio.create_task(self._capture())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({capturing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            ended = capturing.result() if capturing.done() else self._stopped or Ended(None)
            await _cancel(capturing)
            if self._engine is not None:
                await self._engine.finish()
            return ended
        finally:
            await _cancel(capturing, stopping)
            if self._engine is not None:
                await self._engine.abandon()

    async def _capture(self) -> Ended:
        failures, refresh, last_media_at = 0, False, time.monotonic()
        while True:
            began = time.monotonic()
            try:
                await self._refit()
                source = await self._sources.choose(refresh=refresh)
                bytes_before = self.progress.bytes
                await self._play(source)
                return Ended(EndReason.SOURCE_ENDED, "the playlist is complete")
            except Offline as gone:
                return Ended(gone.reason, str(gone))
            except SourcesUnavailable as error:
                cause, refresh = str(error), True
            except Reconfigured:
                self._open_gap(CHANGED)
                last_media_at = time.monotonic()
                continue
            except SourceFailed as failure:
                cause = str(failure)
                self._sources.failed(source, failure)
                if self.progress.bytes > bytes_before:
                    self._sources.worked(source)
                    last_media_at = time.monotonic()
                    failures = 0 if last_media_at - began > STEADY_S else failures
                refresh = failure.stale or (failures + 1) % self._patience.refresh_after == 0
                if isinstance(failure, NeedsFfmpeg):
                    self._kit.needs_ffmpeg(source)
            failures += 1
            log.info("capture.broke", cause=cause, failures=failures, refresh=refresh)
            silent_s = time.monotonic() - last_media_at
            if silent_s > self._patience.give_up_s:
                return Ended(EndReason.FAILED, f"no media for {silent_s:.0f} s: {cause}")
            self._open_gap(cause)
            await asyncio.sleep(self._patience.delay_s(failures))

    async def _refit(self) -> None:
        """Take over what was configured meanwhile: the next media begins a new file."""
        if self._wanted is None:
            return
        wanted, self._wanted = self._wanted, None
        self._changed.clear()
        await self._kit.refit(wanted)
        if self._engine is not None:
            self._engine.cut()

    async def _play(self, source: Source) -> None:
        """Play until the source is over or another configuration is wanted; raises what ended it."""
        await self._kit.ready()
        source = await self._kit.resolved(source)
        if self._engine is None or self._kit.key(source) != self._key:
            await self._change_engine(source)
        assert self._engine is not None
        log.info("capture.playing", engine=self._kit.engine(source), protocol=source.protocol, quality=source.quality)
        playing = asyncio.create_task(self._engine.play(source), name="play")
        changed = asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait({playing, changed}, return_when=asyncio.FIRST_COMPLETED)
            if not playing.done():
                raise Reconfigured
            playing.result()
        finally:
            await _cancel(playing, changed)

    async def _change_engine(self, source: Source) -> None:
        """The first engine, or another one that goes on where the one before stopped."""
        key = self._kit.key(source)
        if self._engine is not None:
            await self._engine.finish()
            self._before = self.progress
            self._take = replace(self._take, start=self._engine.here)
            if key.partition(" ")[0] != self._key.partition(" ")[0]:
                self._take.keep_cursor({})
        self._engine, self._key = self._kit.make(source, self._take), key
        if self._take.hold is not None and self._holder is None:
            raise Offline("this engine cannot stand by", EndReason.FAILED)

    def _open_gap(self, cause: str) -> None:
        if self._engine is not None and self._engine.flowing:
            self._take.gaps.open(self._engine.here.position_ms, cause)


class Reconfigured(Exception):
    """What plays has to make room for another configuration."""


async def _cancel(*tasks: asyncio.Task[object] | asyncio.Task[Ended] | asyncio.Task[bool] | asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
