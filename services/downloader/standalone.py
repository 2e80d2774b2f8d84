"""The engine alone: record an address into a folder, without a server, a database or a bus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from chassis.egress import EgressPolicy
from chassis.programs import locate_ffmpeg
from chassis.storage import LocalStorage
from chassis.waiting import wait_for_event
from contracts.downloader import RecordingRequested
from contracts.downloader import SegmentCompleted as SegmentCompletedEvent
from contracts.values import Artifact, Effective, EndReason, EngineName, Source
from yarl import URL

from services.downloader.adapters.capture import Capture, Ended, Patience
from services.downloader.adapters.engine import (
    Bounds,
    EngineEvent,
    Gaps,
    Progress,
    SegmentCompleted,
    SegmentOpened,
    StartPoint,
    Take,
)
from services.downloader.adapters.engines import EngineOptions, Engines
from services.downloader.adapters.files import PARTS, Folder, Session
from services.downloader.adapters.sources import FixedSources
from services.downloader.domain import OpenSegment
from services.downloader.facts import Facts

CONTAINERS: dict[str, Literal["flv", "ts", "fmp4"]] = {".flv": "flv", ".ts": "ts", ".mp4": "fmp4"}
OnEvent = Callable[[EngineEvent | Progress], None]


@dataclass(frozen=True, slots=True)
class Finished:
    """One finished file."""

    path: Path
    index: int
    start_ms: int
    duration_ms: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a recording left; ``reason`` says why it is over (``STOPPED`` after ``duration_s``)."""

    segments: tuple[Finished, ...]
    reason: EndReason
    detail: str


async def record(  # noqa: PLR0913 - one keyword per thing a caller may choose
    url: str,
    folder: Path,
    *,
    duration_s: float | None = None,
    on_event: OnEvent = lambda _: None,
    name: str = "recording",
    effective: Effective | None = None,
    allow_private: bool = False,
    stop: asyncio.Event | None = None,
    hash_max_bytes: int = 1 << 30,
) -> Recorded:
    """Record the address of a stream (see :func:`source_of`) until it ends, ``stop`` is set, or ``duration_s`` seconds of wall time have passed.

    ``on_event`` gets what the engine tells, and the progress once a second; files up to ``hash_max_bytes`` get a SHA-256. Raises
    ValueError for an address of another kind and DiskFailed; what is finished before that stays.
    """
    effective = effective or Effective(file_template="{streamer} {date} {time} {index:03}")
    one = _Standalone(url, folder, name, effective, hash_max_bytes)
    return await one.run(duration_s, on_event, stop or asyncio.Event(), allow_private=allow_private)


def source_of(url: str, engine: EngineName = EngineName.NATIVE) -> Source:
    """The source behind a media address, by its ending; a page for the engines that resolve one. Raises ValueError for any other address."""
    parsed = URL(url)
    if parsed.scheme in ("rtmp", "rtmps"):
        return Source(url=url, protocol="rtmp")
    if parsed.scheme == "srt":
        return Source(url=url, protocol="srt")
    ending = parsed.suffix.lower()
    if ending in (".flv", ".ts", ".mp4"):
        return Source(url=url, protocol="flv", container=CONTAINERS[ending])
    if ending == ".m3u8":
        return Source(url=url, protocol="hls")
    if engine in (EngineName.STREAMLINK, EngineName.YT_DLP):
        return Source(url=url, protocol="page")
    raise ValueError("the address is no rtmp or srt one and ends in none of .flv, .ts, .mp4 and .m3u8")


class _Standalone:
    def __init__(self, url: str, folder: Path, name: str, effective: Effective, hash_max_bytes: int) -> None:
        self._source = source_of(url, effective.engine)
        self._facts = Facts(
            RecordingRequested(
                recording_id=f"standalone-{datetime.now(UTC):%Y%m%d%H%M%S%f}",
                session_id="standalone",
                streamer_id="standalone",
                streamer_name=name,
                url=url,
                platform="direct",
                title="",
                effective=effective,
                first_index=0,
            )
        )
        self._folder = Folder(LocalStorage(folder), folder.absolute() / PARTS, hash_max_bytes=hash_max_bytes)
        self._session = Session(self._folder, self._facts.request.recording_id, 1)
        self._queue: asyncio.Queue[EngineEvent] = asyncio.Queue()
        self._opened: dict[int, OpenSegment] = {}
        self._finished: list[Finished] = []

    async def run(
        self, duration_s: float | None, on_event: OnEvent, stop: asyncio.Event, *, allow_private: bool
    ) -> Recorded:
        options = EngineOptions(ffmpeg=locate_ffmpeg("", setting=""))
        effective = self._facts.request.effective
        bounds = Bounds(effective.segment_seconds * 1000 or None, effective.segment_bytes or None)

        def emit(event: EngineEvent) -> None:
            self._queue.put_nowait(event)
            on_event(event)

        filing = asyncio.create_task(self._file(), name="filing")
        try:
            async with Engines(EgressPolicy(allow_private=allow_private), options).for_recording(
                effective, self._source.url
            ) as kit:
                take = Take(self._session.open, StartPoint(), Gaps(emit), emit, bounds)
                capture = Capture(FixedSources(self._source), kit, take, Patience(give_up_s=30.0))
                ended = await self._capture(capture, duration_s, on_event, stop)
            await self._filed(filing)
        finally:
            filing.cancel()
            await asyncio.gather(filing, return_exceptions=True)
            self._session.close()
        self._folder.close_recording(self._facts.request.recording_id)
        return Recorded(tuple(self._finished), ended.reason or EndReason.STOPPED, ended.detail)

    async def _capture(
        self, capture: Capture, duration_s: float | None, on_event: OnEvent, stop: asyncio.Event
    ) -> Ended:
        loop = asyncio.get_running_loop()
        until = None if duration_s is None else loop.time() + duration_s
        running = asyncio.create_task(capture.run(), name="capture")
        over = asyncio.Event()
        running.add_done_callback(lambda _: over.set())
        stopping = asyncio.create_task(stop.wait())
        stopping.add_done_callback(lambda task: None if task.cancelled() else capture.stop(Ended(None)))
        try:
            while not over.is_set():
                left = 1.0 if until is None else min(1.0, max(until - loop.time(), 0.0))
                await wait_for_event(over, left)
                on_event(capture.progress)
                if until is not None and loop.time() >= until:
                    capture.stop(Ended(None))
                    until = None
            return running.result()
        finally:
            running.cancel()
            stopping.cancel()
            await asyncio.gather(running, stopping, return_exceptions=True)

    async def _filed(self, filing: asyncio.Task[None]) -> None:
        joined = asyncio.create_task(self._queue.join())
        await asyncio.wait({joined, filing}, return_when=asyncio.FIRST_COMPLETED)
        joined.cancel()
        if filing.done():
            filing.result()

    async def _file(self) -> None:
        while True:
            event = await self._queue.get()
            if isinstance(event, SegmentOpened):
                self._opened[event.index] = OpenSegment(
                    event.index, 1, "", event.start_ms, event.started_at.isoformat()
                )
            elif isinstance(event, SegmentCompleted):
                self._finished.append(await self._finish(event))
            self._queue.task_done()

    async def _finish(self, event: SegmentCompleted) -> Finished:
        part, opened = self._session.part(event.index), self._opened.pop(event.index)
        key = self._facts.key(event.index, datetime.fromisoformat(opened.started_at), part.extension)

        def tell(artifact: Artifact) -> SegmentCompletedEvent:
            return self._facts.completed(event, opened, artifact)

        fact = await self._folder.finish(part, key, tell)
        self._folder.remove(part)
        storage = self._folder.storage
        path = storage.local_path(storage.key(fact.artifact.uri))
        assert path is not None
        return Finished(path, event.index, event.start_ms, event.duration_ms, fact.artifact.size, fact.artifact.sha256)
