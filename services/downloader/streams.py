"""Files that go into a bucket while they are written: where their parts are noted, and how a lost owner's are finished from there."""

from __future__ import annotations

import asyncio
import os
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

import structlog
from chassis.database import Pool
from chassis.s3_multipart import S3Multipart
from chassis.storage import Storage
from contracts.values import Artifact, Json

from services.downloader import metrics
from services.downloader.adapters import recovery
from services.downloader.adapters.files import MEDIA_TYPES, Part
from services.downloader.adapters.recovery import Damaged, HasGroup
from services.downloader.adapters.streamed import Sent, StreamedFile, Streaming, assemble
from services.downloader.domain import OpenSegment
from services.downloader.facts import Facts
from services.downloader.journal import Journal
from services.downloader.store import QUERIES

NOTHING_SENT = "nothing of it had reached the bucket"
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Row:
    """What was noted of one file."""

    index: int
    epoch: int
    sent: Sent


class Notes:
    """The table of what is on its way. Raises what the database raises."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def keep(self, recording_id: str, index: int, epoch: int, sent: Sent) -> None:
        """Note what is there of a file."""
        await self._pool.execute(QUERIES["keep_stream"], recording_id, index, epoch, sent.to_json())

    async def of(self, recording_id: str, below: int) -> list[Row]:
        """What owners of epochs ``below`` one have left, by number."""
        rows = await self._pool.fetch(QUERIES["streams_of"], recording_id, below)
        return [Row(row["segment"], row["epoch"], Sent.from_json(row["sent"])) for row in rows]

    async def forget(self, recording_id: str, index: int, epoch: int) -> None:
        """The file is finished, or nobody wants it."""
        await self._pool.execute(QUERIES["forget_stream"], recording_id, index, epoch)


@dataclass(frozen=True, slots=True)
class Streams:
    """Where files are streamed to. ``prefix`` stands before each key in the bucket, ``spool`` is for files that are mended after a crash."""

    bucket: S3Multipart
    storage: Storage
    prefix: str
    notes: Notes
    part_size: int
    max_bytes: int
    min_bytes: int
    spool: Path

    def open(self) -> StreamedFile:
        """A new file."""
        return StreamedFile(part_size=self.part_size, max_bytes=self.max_bytes)

    def stored(self, key: str) -> str:
        """The key in the bucket of a key of the storage."""
        return f"{self.prefix}{key}"

    async def finished(self, streaming: Streaming, key: str, extension: str) -> Artifact:
        """Make the object; raises OSError while the bucket does not."""
        size = await streaming.finish()
        return Artifact(uri=self.storage.uri(key), media_type=MEDIA_TYPES[extension], size=size, sha256="")

    async def free_key(self, key: PurePosixPath) -> PurePosixPath:
        """The key, or one with a number where that is taken."""
        for copy in range(1, 1000):
            candidate = key if copy == 1 else key.with_name(f"{key.stem} ({copy}){key.suffix}")
            try:
                await self.storage.stat(str(candidate))
            except FileNotFoundError:
                return candidate
        return key

    # After a crash

    async def take_over(self, journal: Journal, facts: Facts, epoch: int, *, held: HasGroup | None = None) -> Json:
        """Finish what earlier owners had in the bucket. For the owner, before it records; gives where to go on, see `Salvage.take_over`."""
        joint: Json = {}
        for row in await self.notes.of(journal.recording_id, epoch):
            opened = journal.state.opened(row.index)
            if opened is not None and opened.epoch == row.epoch:
                joint |= await self._finish(journal, facts, row, opened, held)
            elif row.sent.upload_id and (row.index, row.epoch) not in journal.state.completed:
                await self.bucket.abort(row.sent.key, row.sent.upload_id)
            await self.notes.forget(journal.recording_id, row.index, row.epoch)
        if held is None:
            lost = [one for one in journal.state.open if one.epoch < epoch]
            await journal.append([facts.discarded(one.index, NOTHING_SENT) for one in lost])
        return joint

    async def _finish(
        self, journal: Journal, facts: Facts, row: Row, opened: OpenSegment, held: HasGroup | None
    ) -> Json:
        key = row.sent.key.removeprefix(self.prefix)
        if not await assemble(self.bucket, row.sent):
            await journal.append([facts.discarded(row.index, NOTHING_SENT)])
            return {}
        self.spool.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.spool, suffix=PurePosixPath(key).suffix) as named:
            file = cast(BinaryIO, named.file)
            async for piece in self.storage.read(key):
                await asyncio.to_thread(file.write, piece)
            file.flush()
            part = Part(Path(named.name), journal.recording_id, row.index, row.epoch, _extension(key), _time(opened))
            # When its media came, not when it was fetched: it is compared with what somebody held, and with what comes.
            written_at = row.sent.written_at or (await self.storage.stat(key)).modified.timestamp()
            os.utime(named.name, (written_at, written_at))
            whole = _whole(row)
            try:
                left = await asyncio.to_thread(recovery.recover, part, file, whole=whole, held=held)
            except Damaged as error:
                log.error("streams.damaged", key=key, error=str(error))
                await journal.append([facts.discarded(row.index, f"damaged: {error}; it is {key} in the bucket")])
                return {}
            if left.bytes < max(facts.smallest(self.min_bytes), 1):
                await self.storage.delete(key)
                await journal.append([facts.discarded(row.index, f"{left.bytes} playable bytes were left of it")])
                return {}
            tail = await asyncio.to_thread(recovery.tail_of, part, file, opened.start_ms, left)
            file.flush()
            stored = await self.storage.put_file(part.path, key)
        artifact = Artifact(
            uri=self.storage.uri(key), media_type=MEDIA_TYPES[part.extension], size=stored.size, sha256=""
        )
        await journal.append([facts.recovered(opened, left.duration_ms, artifact)])
        metrics.SEGMENTS.labels("recovered").inc()
        log.info("streams.recovered", key=key, duration_ms=left.duration_ms, bytes=left.bytes)
        joint: Json = {"tail": tail} if tail else {}
        return joint | ({"cursor": row.sent.cursor} if row.sent.cursor else {})


def _whole(row: Row) -> int | None:
    """So many bytes hold whole segments of a playlist, which goes on behind them."""
    cursor = row.sent.cursor or {}
    size = cursor.get("bytes")
    return size if cursor.get("index") == row.index and isinstance(size, int) else None


def _extension(key: str) -> str:
    return PurePosixPath(key).suffix.removeprefix(".")


def _time(opened: OpenSegment) -> datetime:
    return datetime.fromisoformat(opened.started_at)
