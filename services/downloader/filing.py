"""Between the engine and the log: finishes files and appends what happened, in order, away from the flow of the media."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import PurePosixPath

import structlog
from chassis.database import UNREACHABLE
from contracts import downloader
from contracts.message import Event

from services.downloader import metrics
from services.downloader.adapters.engine import EngineEvent, GapClosed, GapOpened, SegmentCompleted, SegmentOpened
from services.downloader.adapters.files import Folder, Part, Session
from services.downloader.adapters.streamed import Sent
from services.downloader.domain import OpenSegment
from services.downloader.facts import Facts, open_segment
from services.downloader.journal import Journal
from services.downloader.streams import Streams

MAX_WAITING = 10_000
"""Events that wait for the database; above it gaps are left out, files never."""
Secured = Callable[[SegmentCompleted], Awaitable[None]]
"""Called with each file that is in its place, after its event."""
UPLOAD_RETRY_CAP_S = 60.0
log = structlog.get_logger(__name__)


class Filing:
    """Takes the events of an engine. :meth:`run` ends only with an exception: LeaseLost, or OSError when a file cannot be finished."""

    def __init__(
        self,
        journal: Journal,
        facts: Facts,
        folder: Folder,
        session: Session,
        *,
        epoch: int,
        min_bytes: int,
        secured: Secured | None = None,
        streams: Streams | None = None,
    ) -> None:
        self._journal, self._facts, self._folder, self._session = journal, facts, folder, session
        self._epoch, self._min_bytes, self._secured, self._streams = epoch, min_bytes, secured, streams
        self._queue: asyncio.Queue[EngineEvent] = asyncio.Queue()
        self._opened: dict[int, OpenSegment] = {}
        self._smallest: dict[int, int] = {}
        self._keys: dict[int, PurePosixPath] = {}
        self._uploads: set[asyncio.Task[None]] = set()

    def take(self, event: EngineEvent) -> None:
        """Accept an event; never blocks the engine."""
        if isinstance(event, GapOpened):
            metrics.GAPS.inc()
        if isinstance(event, GapOpened | GapClosed) and self._queue.qsize() > MAX_WAITING:
            log.error("filing.gap_left_out", recording=self._journal.recording_id)
            return
        self._queue.put_nowait(event)

    async def run(self) -> None:
        """File for ever."""
        try:
            while True:
                batch = [await self._queue.get()]
                while not self._queue.empty():
                    batch.append(self._queue.get_nowait())
                await self._file(batch)
                for _ in batch:
                    self._queue.task_done()
        finally:
            for upload in self._uploads:
                upload.cancel()
            await asyncio.gather(*self._uploads, return_exceptions=True)

    async def settled(self) -> None:
        """Wait until everything taken so far is in the log."""
        await self._queue.join()
        while self._uploads:
            await asyncio.wait(self._uploads)

    async def _file(self, batch: list[EngineEvent]) -> None:
        facts: list[Event] = []
        parts: list[Part] = []
        for event in batch:
            match event:
                case SegmentOpened():
                    facts.append(await self._begin(event))
                case SegmentCompleted():
                    # What came before must not wait for the disk.
                    await self._journal.append(facts)
                    facts = await self._finish(event, parts)
                case GapOpened():
                    facts.append(self._facts.gap_opened(event))
                case GapClosed():
                    facts.append(self._facts.gap_closed(event))
        await self._journal.append(facts)
        for part in parts:
            await asyncio.to_thread(self._folder.remove, part)
        if not self._folder.remote:
            for event in batch:
                await self._secure(event)

    async def _secure(self, event: EngineEvent) -> None:
        if isinstance(event, SegmentCompleted) and self._secured is not None:
            await self._secured(event)

    async def _begin(self, event: SegmentOpened) -> downloader.SegmentOpened:
        key = self._facts.key(event.index, event.started_at, event.extension)
        if self._streams is not None:
            key = await self._stream(self._streams, event, key)
        fact = self._facts.opened(event, self._folder.storage.uri(str(key)))
        self._opened[event.index] = open_segment(fact, self._epoch, "")
        # What holds at the beginning of a file holds for its name and its end, whatever is asked for meanwhile.
        self._keys[event.index], self._smallest[event.index] = key, self._facts.smallest(self._min_bytes)
        return fact

    async def _stream(self, streams: Streams, event: SegmentOpened, key: PurePosixPath) -> PurePosixPath:
        """Send what is written from now on. A name is chosen before it can be used: the store is asked once, and believed."""
        with suppress(OSError):
            key = await streams.free_key(key)

        async def note(sent: Sent) -> None:
            with suppress(*UNREACHABLE):
                await streams.notes.keep(self._journal.recording_id, event.index, self._epoch, sent)

        self._session.stream(event.index, streams.bucket).begin(streams.stored(str(key)), note)
        return key

    async def _finish(self, event: SegmentCompleted, parts: list[Part]) -> list[Event]:
        part = self._session.part(event.index)
        smallest = self._smallest.pop(event.index)
        if event.bytes < smallest:
            metrics.SEGMENTS.labels("discarded").inc()
            await self._drop(event.index)
            self._session.forget(event.index)
            parts.append(part)
            return [self._facts.discarded(event.index, f"{event.bytes} bytes are less than {smallest}")]
        if self._folder.remote:
            upload = asyncio.create_task(self._upload(event, part), name=f"upload-{part.path.name}")
            self._uploads.add(upload)
            upload.add_done_callback(self._uploads.discard)
            return []
        fact = await self._name(event, part)
        parts.append(part)
        return [fact]

    async def _drop(self, index: int) -> None:
        if self._streams is not None:
            with suppress(OSError, *UNREACHABLE):
                await self._session.stream(index, self._streams.bucket).abort()
                await self._streams.notes.forget(self._journal.recording_id, index, self._epoch)

    async def _name(self, event: SegmentCompleted, part: Part) -> downloader.SegmentCompleted:
        opened, key = self._opened[event.index], self._keys[event.index]
        if self._streams is not None:
            streaming = self._session.stream(event.index, self._streams.bucket)
            artifact = await self._streams.finished(streaming, str(key), part.extension)
            fact = self._facts.completed(event, opened, artifact)
        else:
            fact = await self._folder.finish(part, key, lambda artifact: self._facts.completed(event, opened, artifact))
        metrics.SEGMENTS.labels("completed").inc()
        self._opened.pop(event.index)
        self._keys.pop(event.index)
        self._session.forget(event.index)
        return fact

    async def _upload(self, event: SegmentCompleted, part: Part) -> None:
        """Put a finished file into the bucket, however long the bucket is away; its event follows then."""
        delay_s = 1.0
        while True:
            try:
                fact = await self._name(event, part)
                break
            except OSError as error:
                log.warning("filing.upload_failed", file=part.path.name, error=repr(error)[:200], retry_s=delay_s)
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, UPLOAD_RETRY_CAP_S)
        try:
            await self._journal.append([fact])
            await asyncio.to_thread(self._folder.remove, part)
            if self._streams is not None:
                await self._streams.notes.forget(self._journal.recording_id, event.index, self._epoch)
            await self._secure(event)
        except Exception as error:
            # LeaseLost reaches the recording through its own appends; the note stays for the next owner.
            log.warning("filing.upload_not_told", file=part.path.name, error=repr(error)[:200])
