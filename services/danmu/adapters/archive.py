"""Where finished chat files go, and the journal of a session whose owner leaves in an orderly way.

Keys below the base: ``<session>/<index>.chat.jsonl.gz``, ``<session>/<index>.xml`` and, between two owners, ``<session>/journal/<chunk>``.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from chassis.storage import Storage, join
from contracts.values import Artifact
from media.chat.head import ChatHead
from media.chat.statistics import ChatStatistics, InvalidState
from media.chat.timing import Timing

from services.danmu.adapters import journal
from services.danmu.adapters.chatfile import LOG_SUFFIX, XML_SUFFIX, ChatFile
from services.danmu.adapters.journal import Chunk, received_between
from services.danmu.adapters.raw import SUFFIX as RAW_SUFFIX

log = structlog.get_logger(__name__)
LOG_TYPE: Final = "application/gzip"
XML_TYPE: Final = "application/xml"
RAW_TYPE: Final = "application/zstd"
MAX_RAW_FILES: Final = 500
"""One for each owner; an event holds no more."""


@dataclass(frozen=True, slots=True)
class ChatPart:
    """What one file is made of: the messages received in a range, placed in the media by ``timing``."""

    index: int
    timing: Timing
    lower_ms: int
    upper_ms: int
    head: ChatHead


@dataclass(frozen=True, slots=True)
class Stored:
    """A finished pair in the store. ``statistics``: the state with the messages of this file counted too."""

    log: Artifact
    xml: Artifact
    lines: int
    statistics: bytes


@dataclass(frozen=True, slots=True)
class _Built:
    log_path: Path
    xml_path: Path
    log_sha256: str
    xml_sha256: str
    lines: int
    statistics: bytes


class Archive:
    """Makes chat files from journals and puts them into the store. Doing it again replaces the files by the same ones."""

    def __init__(self, storage: Storage, journals: Path) -> None:
        self._storage, self._journals = storage, journals

    def folder(self, session_id: str) -> Path:
        """Where the journal of a session is."""
        return self._journals / session_id

    async def store(
        self, session_id: str, part: ChatPart, chunks: Sequence[Chunk], *, epoch: int, statistics: bytes | None = None
    ) -> Stored:
        """Make the pair of one segment and store it; ``epoch`` keeps the workplaces of two owners apart. Raises OSError.

        ``statistics``: the state that the files before this one led to.
        """
        built = await asyncio.to_thread(_build, self.folder(session_id) / f"build-{epoch}", part, chunks, statistics)
        name = join(session_id, f"{part.index:05}")
        log = await self._put(built.log_path, name + LOG_SUFFIX, LOG_TYPE, built.log_sha256)
        xml = await self._put(built.xml_path, name + XML_SUFFIX, XML_TYPE, built.xml_sha256)
        return Stored(log, xml, built.lines, built.statistics)

    async def hand_over(self, session_id: str, epoch: int) -> None:
        """Put the journal up to this owner's ``epoch`` where the next owner finds it, on whichever machine that runs. Raises OSError."""
        for path in await asyncio.to_thread(journal.chunks_until, self.folder(session_id), epoch):
            await self._storage.put_file(path, join(session_id, "journal", path.name), move=True)

    async def take_over(self, session_id: str, *, epoch: int) -> list[Chunk]:
        """What owners before ``epoch`` handed over, or left on this machine when they died. Raises OSError."""
        folder = self.folder(session_id)
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        here = {path.name for path in await asyncio.to_thread(journal.chunk_paths, folder)}
        keys = [stat.key async for stat in self._storage.list(join(session_id, "journal"))]
        for key in keys:
            name = key.rsplit("/", 1)[-1]
            # A chunk that is here already is the same one: chunks do not change once handed over.
            if journal.is_chunk_name(name) and name not in here:
                await self._fetch(key, folder / name)
            await self._storage.delete(key)
        return await asyncio.to_thread(journal.left_behind, folder, epoch)

    async def keep_raw(self, session_id: str) -> None:
        """Put the frames that owners on this machine kept beside the finished files: ``<session>/<epoch>.frames.zst``. Raises OSError."""
        for path in await asyncio.to_thread(_raw_files, self.folder(session_id)):
            await self._storage.put_file(path, join(session_id, path.name), move=True)

    async def raw(self, session_id: str) -> tuple[Artifact, ...]:
        """What :meth:`keep_raw` has put there, on whichever machine. Raises OSError."""
        found = [
            Artifact(uri=self._storage.uri(stat.key), media_type=RAW_TYPE, size=stat.size)
            async for stat in self._storage.list(session_id)
            if stat.key.endswith(RAW_SUFFIX)
        ]
        return tuple(sorted(found, key=lambda one: one.uri))[:MAX_RAW_FILES]

    async def remove_journal(self, session_id: str) -> None:
        """The chat has ended: nothing of its journal is needed any more."""
        await asyncio.to_thread(journal.remove, self.folder(session_id))

    async def journals(self) -> tuple[str, ...]:
        """Sessions that have a journal on this machine."""
        return await asyncio.to_thread(_folders, self._journals)

    async def _put(self, path: Path, key: str, media_type: str, sha256: str) -> Artifact:
        stat = await self._storage.put_file(path, key, sha256=sha256, move=True)
        return Artifact(uri=self._storage.uri(key), media_type=media_type, size=stat.size, sha256=sha256)

    async def _fetch(self, key: str, path: Path) -> None:
        partial = path.with_name(path.name + ".part")
        with partial.open("wb") as file:
            async for piece in self._storage.read(key):
                file.write(piece)
        partial.replace(path)


def _build(folder: Path, part: ChatPart, chunks: Sequence[Chunk], statistics: bytes | None) -> _Built:
    journal.remove(folder)
    counted = statistics_from(statistics)
    file = ChatFile.open(folder / f"{part.index:05}", part.timing, part.head)
    try:
        for message in received_between(chunks, part.lower_ms, part.upper_ms):
            file.write(message)
            counted.add(message)
        result = file.close()
    except BaseException:
        file.discard()
        raise
    log_sha256, xml_sha256 = _sha256(result.log_path), _sha256(result.xml_path)
    return _Built(result.log_path, result.xml_path, log_sha256, xml_sha256, result.lines, counted.state())


def statistics_from(state: bytes | None) -> ChatStatistics:
    """The statistics behind a state; new ones where there is none, or one of another version."""
    try:
        return ChatStatistics.restore(state) if state else ChatStatistics()
    except InvalidState as error:
        log.warning("chat.statistics_begin_again", error=str(error))
        return ChatStatistics()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folders(root: Path) -> tuple[str, ...]:
    return tuple(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else ()


def _raw_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.endswith(RAW_SUFFIX)) if folder.is_dir() else []
