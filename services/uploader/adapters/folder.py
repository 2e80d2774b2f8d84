"""Folders as upload destinations."""

from __future__ import annotations

import asyncio
import hashlib
import os
from contextlib import aclosing
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from chassis.files import opened
from chassis.storage import LocalStorage, UnsafePath

from services.uploader.adapters.object_store import (
    ArtifactSource,
    Json,
    OnProgress,
    UploadCorrupt,
    Uploaded,
    UploadInterrupted,
    UploadRefused,
    check_source,
    continues,
    fingerprint,
    pieces_of,
    stat_of,
)

PIECE = 8 * 1024 * 1024


class FolderStore:
    """Copies into folders below `roots` through a hidden `.part` file beside the target.

    A resumed copy compares what the `.part` file holds with the source and goes on after the last equal piece: a
    power cut may have left a file that is long enough and full of zeros. At the end the whole file is read back.
    """

    def __init__(self, roots: tuple[Path, ...], *, piece: int = PIECE) -> None:
        self._stores = tuple(LocalStorage(root) for root in roots)
        self._piece = piece

    def accepts(self, destination: str) -> bool:
        """See `ObjectStore`."""
        return urlsplit(destination).scheme == "file"

    async def upload(
        self, source: ArtifactSource, destination: str, *, resume: Json | None = None, on_progress: OnProgress
    ) -> Uploaded:
        """See `ObjectStore`."""
        target = self._target(destination)
        found = await stat_of(source)
        try:
            await asyncio.to_thread(target.parent.mkdir, parents=True, exist_ok=True)
            part = _part_of(target)
            if not continues(resume, found, destination):
                await asyncio.to_thread(part.unlink, missing_ok=True)
            sha256, read = await self._copy(source, part, fingerprint(found, destination), on_progress)
            check_source(source, found, read, sha256)
            if await asyncio.to_thread(_sha256, part) != sha256:
                raise UploadCorrupt("the disk gave back something else than was written")
            etag = await asyncio.to_thread(_publish, part, target)
        except PermissionError as error:
            raise UploadRefused("the destination folder may not be written") from error
        except OSError as error:
            raise UploadInterrupted(f"the destination could not be written: {error.strerror or error}") from error
        return Uploaded(destination, read, sha256, etag)

    async def abandon(self, destination: str, state: Json) -> None:
        """See `ObjectStore`; the state is not needed, the target names its own `.part` file."""
        part = _part_of(self._target(destination))
        await asyncio.to_thread(part.unlink, missing_ok=True)

    async def _copy(self, source: ArtifactSource, part: Path, state: Json, on_progress: OnProgress) -> tuple[str, int]:
        digest = hashlib.sha256()
        sent = 0
        async with opened(lambda: _open_part(part)) as writer:
            comparing = True
            async with aclosing(pieces_of(source, self._piece)) as pieces:
                async for piece in pieces:
                    await asyncio.to_thread(digest.update, piece)
                    comparing = comparing and await asyncio.to_thread(_holds, writer, sent, piece)
                    sent += len(piece)
                    if comparing:
                        continue
                    await asyncio.to_thread(_write, writer, sent - len(piece), piece)
                    await on_progress({**state, "sent": sent})
            await asyncio.to_thread(_finish, writer, sent)
        return digest.hexdigest(), sent

    def _target(self, destination: str) -> Path:
        parsed = urlsplit(destination)
        if parsed.scheme != "file" or parsed.netloc not in ("", "localhost") or parsed.query or parsed.fragment:
            raise UploadRefused("a folder destination is written file:///folder/name")
        uri = f"file://{parsed.path}"
        for store in self._stores:
            try:
                return store.local_path(store.key(uri))
            except UnsafePath:
                continue
        raise UploadRefused(f"{unquote(parsed.path)} does not lie below a folder that uploads may go to")


def _part_of(target: Path) -> Path:
    # A digest instead of the name: the name may already be as long as a file system allows.
    return target.with_name(f".{hashlib.sha256(target.name.encode()).hexdigest()[:32]}.part")


def _open_part(part: Path) -> IO[bytes]:
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
    return os.fdopen(descriptor, "r+b")


def _holds(part: IO[bytes], offset: int, piece: bytes) -> bool:
    part.seek(offset)
    return part.read(len(piece)) == piece


def _write(part: IO[bytes], offset: int, piece: bytes) -> None:
    part.seek(offset)
    part.write(piece)
    part.flush()


def _finish(part: IO[bytes], size: int) -> None:
    part.truncate(size)
    part.flush()
    os.fsync(part.fileno())


def _sha256(path: Path) -> str:
    with path.open("rb") as reader:
        return hashlib.file_digest(reader, "sha256").hexdigest()


def _publish(part: Path, target: Path) -> str:
    part.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    found = target.stat()
    return f'"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"'
