"""What an upload target offers, and the choice of the target for a destination address.

An upload survives a crash: the target gives its *state* (a small JSON object) back after each step, the caller keeps it
and hands it in again. A finished upload has been verified where it lies.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import aiohttp
from chassis.storage import ObjectStat, Storage, StorageOptions

Json = dict[str, Any]
OnProgress = Callable[[Json], Awaitable[None]]
"""Receives the state to resume from; it always holds `sent` and `size` in bytes."""


class UploadError(Exception):
    """An upload that did not succeed. `fatal`: repeating does not help; `restart`: forget the state before repeating."""

    fatal = False
    restart = False


class UploadRefused(UploadError):
    """The destination is not allowed, the store denies access, or the source is not what it should be."""

    fatal = True


class UploadInterrupted(UploadError):
    """The network or the store failed; go on from the last state."""


class UploadCorrupt(UploadError):
    """What was stored is not what was read, or the source changed meanwhile; begin again."""

    restart = True


@dataclass(frozen=True, slots=True)
class ArtifactSource:
    """One finished file: where it lies and the SHA-256 (hex) it should have, empty when nobody has computed one."""

    storage: Storage
    key: str
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A file at its destination; `sha256` (hex) is of the bytes that were sent and verified there."""

    uri: str
    size: int
    sha256: str
    etag: str


class ObjectStore(Protocol):
    """A kind of destination."""

    def accepts(self, destination: str) -> bool:
        """Whether this store is responsible for the address; being allowed to write there is another question."""
        ...

    async def upload(
        self, source: ArtifactSource, destination: str, *, resume: Json | None = None, on_progress: OnProgress
    ) -> Uploaded:
        """Copy `source` to `destination`, going on from `resume` where that still fits; raises an `UploadError`."""
        ...

    async def abandon(self, destination: str, state: Json) -> None:
        """Remove what an unfinished upload left behind; raises an `UploadError`."""
        ...


class ObjectStores:
    """Several stores behind the one protocol."""

    def __init__(self, *stores: ObjectStore) -> None:
        self._stores = stores

    def accepts(self, destination: str) -> bool:
        """See `ObjectStore`."""
        return any(store.accepts(destination) for store in self._stores)

    async def upload(
        self, source: ArtifactSource, destination: str, *, resume: Json | None = None, on_progress: OnProgress
    ) -> Uploaded:
        """See `ObjectStore`."""
        return await self._of(destination).upload(source, destination, resume=resume, on_progress=on_progress)

    async def abandon(self, destination: str, state: Json) -> None:
        """See `ObjectStore`."""
        await self._of(destination).abandon(destination, state)

    def _of(self, destination: str) -> ObjectStore:
        for store in self._stores:
            if store.accepts(destination):
                return store
        raise UploadRefused(
            "no store is responsible for this destination; write s3://bucket/key or file:///folder/name"
        )


def object_stores(*, roots: tuple[str, ...], options: StorageOptions, session: aiohttp.ClientSession) -> ObjectStores:
    """Folders below `roots` (file URIs; none of them means no folder at all) and every bucket `options` may reach."""
    from services.uploader.adapters.folder import FolderStore
    from services.uploader.adapters.s3 import S3ObjectStore

    folders = tuple(Path(unquote(urlsplit(root).path)) for root in roots)
    return ObjectStores(FolderStore(folders), S3ObjectStore(options, session))


async def stat_of(source: ArtifactSource) -> ObjectStat:
    """Size and tag of the source; a missing file is fatal."""
    try:
        return await source.storage.stat(source.key)
    except FileNotFoundError as error:
        raise UploadRefused("the source file is gone") from error
    except PermissionError as error:
        raise UploadRefused("the source file may not be read") from error
    except OSError as error:
        raise UploadInterrupted(f"the source file could not be read: {type(error).__name__}") from error


async def pieces_of(source: ArtifactSource, piece: int) -> AsyncGenerator[bytes, None]:
    """The source from its first byte in pieces of exactly `piece` bytes, the last one shorter."""
    buffer = bytearray()
    try:
        async with aclosing(source.storage.read(source.key, chunk=piece)) as chunks:
            async for chunk in chunks:
                buffer += chunk
                while len(buffer) >= piece:
                    yield bytes(buffer[:piece])
                    del buffer[:piece]
    except OSError as error:
        raise UploadInterrupted(f"the source file could not be read: {type(error).__name__}") from error
    if buffer:
        yield bytes(buffer)


def check_source(source: ArtifactSource, found: ObjectStat, read: int, sha256: str) -> None:
    """Raise where the bytes read are not those that were announced."""
    if read != found.size:
        raise UploadCorrupt("the source file changed while it was read")
    if source.sha256 and source.sha256 != sha256:
        raise UploadRefused("the source file does not have the checksum it was recorded with")


def fingerprint(found: ObjectStat, destination: str) -> Json:
    """The part of a state that says which upload it belongs to."""
    target = hashlib.sha256(destination.encode()).hexdigest()
    return {"size": found.size, "source_etag": found.etag or "", "destination": target}


def continues(state: Json | None, found: ObjectStat, destination: str) -> bool:
    """Whether `state` was made by an upload of this very source to this destination."""
    return state is not None and fingerprint(found, destination).items() <= state.items()
