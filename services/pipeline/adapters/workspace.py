"""Where one turn of one job works: fetched inputs, drafts nobody sees, and publishing whole files under names nothing else has.

What is published is written down first (the *receipt*), under the lease. After a crash the next turn finds by its receipts which files are
there and as they should be; a stale turn can write no receipt and therefore publishes nothing.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Protocol

from chassis.folders import in_folder
from chassis.storage import Storage, join
from contracts.values import Artifact

from services.pipeline.adapters.failure import ProcessingRefused
from services.pipeline.adapters.files import Files, media_type_of, sha256_at, sha256_of
from services.pipeline.domain.destinations import name_of, numbered

MAX_NAMES = 1000
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


Report = Callable[[float], Awaitable[None]]
"""Tells how far a job is: from 0 to 1, or -1 when that is unknown."""


class Receipts(Protocol):
    """What a job has published before, and where that is written down."""

    @property
    def known(self) -> Mapping[str, Artifact]:
        """The receipts of earlier turns by slot."""
        ...

    async def save(self, slot: str, artifact: Artifact) -> None:
        """Keep a receipt; raises LeaseLost when the job has another owner."""
        ...


class Workspace:
    """The folder ``<folder>/<job id>.<epoch>`` is this turn's alone and removed at its end; drafts beside their destinations are named alike."""

    def __init__(
        self,
        folder: Path,
        files: Files,
        receipts: Receipts,
        *,
        job_id: str,
        session_id: str,
        epoch: int,
        report: Report,
    ) -> None:
        self.folder, self.files, self.report = folder / f"{job_id}.{epoch}", files, report
        self._receipts, self._job_id, self._session_id, self._epoch = receipts, job_id, session_id, epoch
        self._drafts: set[Path] = set()
        self._fetched = 0

    async def open(self) -> None:
        """Make the folder; what earlier turns of this job left in theirs goes."""
        await asyncio.to_thread(self._make_folder)

    async def fetch(self, artifact: Artifact) -> Path:
        """A local file with the content of an input: the file itself, or a copy of what lies in a bucket."""
        storage, key = self.files.open(artifact.uri)
        local = storage.local_path(key)
        if local is not None:
            if not await asyncio.to_thread(local.is_file):
                raise FileNotFoundError(errno.ENOENT, "the input is not there", artifact.uri)
            return local
        self._fetched += 1
        target = self.folder / "inputs" / str(self._fetched) / name_of(artifact.uri)
        await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
        with target.open("wb") as content:
            async for piece in storage.read(key):
                await asyncio.to_thread(content.write, piece)
        return target

    async def draft(self, source: Artifact, slot: str) -> Path:
        """A path to write an output to: on the file system of its destination where that is one, so that publishing it is a rename."""
        storage, folder = self.files.home_of(source.uri, self._session_id)
        return await asyncio.to_thread(self._new_draft, storage, folder, slot)

    async def stage(self, source: Artifact, storage: Storage, folder: str, *, slot: str, link: bool) -> Path:
        """A draft for a folder of a store with the content of an input; ``link`` allows it to be the same file, for one that is moved."""
        draft = await asyncio.to_thread(self._new_draft, storage, folder, slot)
        origin, key = self.files.open(source.uri)
        local = origin.local_path(key)
        if link and local is not None and await asyncio.to_thread(_linked, local, draft):
            return draft
        with draft.open("wb") as content:
            async for piece in origin.read(key):
                await asyncio.to_thread(content.write, piece)
        return draft

    async def published(self, slot: str) -> Artifact | None:
        """What an earlier turn published in a slot, if it is still there with the content it should have."""
        artifact = self._receipts.known.get(slot)
        if artifact is None:
            return None
        storage, key = self.files.open(artifact.uri)
        try:
            stat = await storage.stat(key)
            same = stat.size == artifact.size and await sha256_at(storage, key) == artifact.sha256
        except FileNotFoundError:
            return None
        return artifact if same else None

    async def publish(self, path: Path, *, source: Artifact, name: str, slot: str) -> Artifact:
        """Make a finished local file an artifact beside ``source`` or in the storage; takes the file away from ``path``.

        A name that belongs to another file is left alone: the new one gets a number.
        """
        storage, folder = self.files.home_of(source.uri, self._session_id)
        return await self.publish_to(storage, folder, path, name=name, slot=slot)

    async def publish_to(
        self, storage: Storage, folder: str, path: Path, *, name: str, slot: str, expected: str = ""
    ) -> Artifact:
        """Like :meth:`publish`, into a folder of a store; raises ProcessingRefused when the checksum is not the ``expected`` one."""
        checksum = await asyncio.to_thread(_synced_checksum, path)
        if expected and checksum != expected:
            raise ProcessingRefused(f"{name} is not the file that was recorded: its checksum has changed")
        size = (await asyncio.to_thread(path.stat)).st_size
        for number in range(1, MAX_NAMES):
            key = join(*([folder] if folder else []), numbered(name, number))
            found = await _content_of(storage, key, size)
            if found not in (None, checksum):
                continue
            artifact = Artifact(uri=storage.uri(key), media_type=media_type_of(name), size=size, sha256=checksum)
            await self._receipts.save(slot, artifact)
            if found is None and not await _promote(storage, key, path, checksum):
                continue
            await asyncio.to_thread(path.unlink, missing_ok=True)
            return artifact
        raise ProcessingRefused(f"there are {MAX_NAMES} other files with the name {name}")

    async def remove(self, artifact: Artifact) -> None:
        """Remove an input that an output has replaced; one that is gone already is no error."""
        storage, key = self.files.open(artifact.uri)
        await storage.delete(key)

    def share(self, number: int, count: int) -> Report:
        """How to report the progress of one input out of ``count``."""

        async def report(fraction: float) -> None:
            await self.report((number + fraction) / count if fraction >= 0 else -1.0)

        return report

    async def close(self) -> None:
        """Remove everything that was not published."""
        await asyncio.to_thread(self._remove_all)

    def _make_folder(self) -> None:
        for left in self.folder.parent.glob(f"{self._job_id}.*"):
            shutil.rmtree(left, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)

    def _new_draft(self, storage: Storage, folder: str, slot: str) -> Path:
        beside = storage.local_path(join(*([folder] if folder else []), "draft"))
        target = beside.parent if beside is not None else self.folder / "drafts"
        target.mkdir(parents=True, exist_ok=True)
        path = target / f".{self._job_id}.{self._epoch}.{slot}.part"
        self._drafts.add(path)
        self._sweep(target)
        return path

    def _sweep(self, folder: Path) -> None:
        """Remove the drafts of earlier turns of this job."""
        for left in folder.glob(f".{self._job_id}.*.part"):
            if left not in self._drafts:
                left.unlink(missing_ok=True)

    def _remove_all(self) -> None:
        for draft in self._drafts:
            draft.unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def _linked(source: Path, target: Path) -> bool:
    try:
        target.hardlink_to(source)
    except OSError:
        return False
    return True


async def _content_of(storage: Storage, key: str, size: int) -> str | None:
    """``None`` when there is no such file, its checksum when it has the size, else an empty text."""
    try:
        stat = await storage.stat(key)
    except FileNotFoundError:
        return None
    return await sha256_at(storage, key) if stat.size == size else ""


async def _promote(storage: Storage, key: str, path: Path, checksum: str) -> bool:
    """Give a file its final name; False when somebody else took that name meanwhile."""
    target = storage.local_path(key)
    if target is None:
        await storage.put_file(path, key, sha256=checksum)
        return True
    return await asyncio.to_thread(in_folder, target.parent, lambda: _link(path, target))


def _link(path: Path, target: Path) -> bool:
    """Link, never rename: a link fails where a file of that name has appeared, a rename would replace it."""
    near = path
    if path.parent.stat().st_dev != target.parent.stat().st_dev:
        near = target.with_name(f".{path.name.strip('.')}.part")
        shutil.copyfile(path, near)
        _synced_checksum(near)
    try:
        target.hardlink_to(near)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS or target.exists():
            raise
        near.replace(target)
    finally:
        if near != path:
            near.unlink(missing_ok=True)
    _sync_folder(target.parent)
    return True


def _synced_checksum(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return sha256_of(path)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
