"""Files that a lost owner left on this machine: finished, made whole, or kept for a person."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import datetime
from pathlib import PurePosixPath

import structlog
from chassis.storage import UnsafePath
from contracts.downloader import SegmentCompleted
from contracts.message import Event
from contracts.values import Artifact, Json

from services.downloader import domain, metrics
from services.downloader.adapters import recovery
from services.downloader.adapters.engine import SegmentOpened, StartPoint
from services.downloader.adapters.files import Folder, Part
from services.downloader.adapters.recovery import Damaged, HasGroup, InUse
from services.downloader.domain import OpenSegment, Recording
from services.downloader.facts import Facts, open_segment
from services.downloader.journal import Journal

log = structlog.get_logger(__name__)


class Salvage:
    """Settles parts. A part is locked while that lasts, so that two replicas on one folder never do it together."""

    def __init__(self, folder: Folder, *, min_bytes: int) -> None:
        self._folder, self._min_bytes = folder, min_bytes

    async def take_over(self, journal: Journal, facts: Facts, epoch: int, *, held: HasGroup | None = None) -> Json:
        """Settle what earlier owners left here, also files that the log has not heard of. For the owner, before it records.

        Gives the ``tail`` of the last media that was recovered, if it has one: what comes next is joined behind it. ``held``: of the torn
        group of pictures at its end, whether the owner holds it whole.
        """
        tail: Json | None = None
        for part in await asyncio.to_thread(self._folder.parts, journal.recording_id):
            if part.epoch < epoch:
                tail = await self._attempt(part, self._settle(part, journal, facts, adopt=True, held=held)) or tail
        return {"tail": tail} if tail else {}

    async def sweep(self, journal: Journal) -> None:
        """Settle what a recording that went on elsewhere, or is over, still has here. For anybody, at any time."""
        state = await journal.load()
        for part in await asyncio.to_thread(self._folder.parts, journal.recording_id):
            if state.request is not None and not state.ended and part.epoch >= state.epoch:
                continue  # its owner writes it, or comes back for it
            if state.request is not None and not state.ended and _is_wanted(journal.state, part):
                await self._attempt(part, self._settle(part, journal, Facts(state.request), adopt=False))
            elif (part.index, part.epoch) in state.completed:
                await asyncio.to_thread(self._folder.remove, part)
            else:
                await self._attempt(part, self._keep(part))
        if state.ended:
            await asyncio.to_thread(self._folder.close_recording, journal.recording_id)

    async def _attempt(self, part: Part, settling: Coroutine[object, object, Json | None]) -> Json | None:
        try:
            return await settling
        except (InUse, FileNotFoundError) as error:
            log.info("salvage.left_alone", part=part.path.name, reason=repr(error))
        except OSError as error:
            log.warning("salvage.failed", part=part.path.name, error=repr(error))
        return None

    async def _settle(
        self, part: Part, journal: Journal, facts: Facts, *, adopt: bool, held: HasGroup | None = None
    ) -> Json | None:
        events: list[Event] = []
        opened = journal.state.opened(part.index)
        if not _is_wanted(journal.state, part):
            if not adopt or part.index < journal.state.next_index:
                return None
            fact = facts.opened(_placed(part, journal.state), self._folder.storage.uri(str(_key(part, facts))))
            opened = open_segment(fact, part.epoch, "")
            events.append(fact)
        assert opened is not None
        tail = None
        finished = await self._folder.finished(part)
        if finished is not None:
            await journal.append([*events, finished])
        else:
            tail = await self._recover(part, opened, journal, facts, events, held)
        await asyncio.to_thread(self._folder.remove, part)
        return tail

    async def _recover(
        self,
        part: Part,
        opened: OpenSegment,
        journal: Journal,
        facts: Facts,
        events: list[Event],
        held: HasGroup | None,
    ) -> Json | None:
        """Make a part whole and file it; gives the tail of its media."""
        with recovery.claim(part) as file:
            try:
                whole = await asyncio.to_thread(self._folder.whole, part)
                left = await asyncio.to_thread(recovery.recover, part, file, whole=whole, held=held)
            except Damaged as error:
                kept = await asyncio.to_thread(self._folder.set_aside, part)
                log.error("salvage.damaged", part=part.path.name, kept_as=str(kept), error=str(error))
                await journal.append([*events, facts.discarded(part.index, f"damaged: {error}")])
                return None
            if left.bytes < max(facts.smallest(self._min_bytes), 1):
                reason = f"{left.bytes} playable bytes were left of it"
                await journal.append([*events, facts.discarded(part.index, reason)])
                metrics.SEGMENTS.labels("discarded").inc()
                return None
            tail = await asyncio.to_thread(recovery.tail_of, part, file, opened.start_ms, left)

            def tell(artifact: Artifact) -> SegmentCompleted:
                return facts.recovered(opened, left.duration_ms, artifact)

            await journal.append([*events, await self._folder.finish(part, self._key_of(part, facts, opened), tell)])
            metrics.SEGMENTS.labels("recovered").inc()
            log.info("salvage.recovered", part=part.path.name, duration_ms=left.duration_ms, bytes=left.bytes)
            return tail

    def _key_of(self, part: Part, facts: Facts, opened: OpenSegment) -> PurePosixPath:
        """The name the file was begun under, whatever the title is now; a new one where that lies in another storage."""
        with suppress(UnsafePath):
            return PurePosixPath(self._folder.storage.key(opened.uri)).with_suffix(f".{part.extension}")
        return _key(part, facts, opened)

    async def _keep(self, part: Part) -> None:
        with recovery.claim(part) as file:
            with suppress(Damaged):
                await asyncio.to_thread(recovery.recover, part, file)
            kept = await asyncio.to_thread(self._folder.set_aside, part)
        log.warning("salvage.kept", part=part.path.name, recording=part.recording_id, kept_as=str(kept))


class Sweeper:
    """Looks for left files again and again, in a replica that may not own their recordings any more."""

    def __init__(
        self, salvage: Salvage, folder: Folder, journal_of: Callable[[str], Journal], *, every_s: float
    ) -> None:
        self._salvage, self._folder, self._journal_of, self._every_s = salvage, folder, journal_of, every_s
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="sweeper")

    async def stop(self) -> None:
        """Stop, also in the middle of a file: its lock goes with the process."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            for recording_id in await asyncio.to_thread(self._folder.recordings):
                try:
                    await self._salvage.sweep(self._journal_of(recording_id))
                except Exception:
                    log.exception("sweep.failed", recording=recording_id)
            await asyncio.sleep(self._every_s)


def _is_wanted(state: Recording, part: Part) -> bool:
    opened = state.opened(part.index)
    return opened is not None and opened.epoch == part.epoch


def _placed(part: Part, state: Recording) -> SegmentOpened:
    """Where a file belongs that the log has not heard of: the clock on the wall says it."""
    position_ms, position_at = domain.resume_point(state)
    start_ms = StartPoint(0, position_ms, position_at).now_ms(part.created_at)
    return SegmentOpened(part.index, part.extension, start_ms, part.created_at)


def _key(part: Part, facts: Facts, opened: OpenSegment | None = None) -> PurePosixPath:
    started_at = datetime.fromisoformat(opened.started_at) if opened else part.created_at
    return facts.key(part.index, started_at, part.extension)
