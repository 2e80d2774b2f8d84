"""Artifacts are URIs (`file:///…`, `s3://bucket/key`) and this is the one port through which services touch them.

`Storage.from_uri(base, options)` gives the store below one base URI; everything in it is named by a *key*, a relative
path with `/`, and no key can leave the base. Local files are written atomically (temporary file, fsync, rename).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from urllib.parse import quote, unquote, urlsplit

from chassis.files import opened
from chassis.folders import in_folder

MAX_KEY_BYTES = 1024
MAX_SEGMENT_BYTES = 255
CHUNK = 1024 * 1024

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all) in the event loop."""


class UnsafePath(ValueError):
    """A key or URI that would leave its base, or that no file system can hold."""


class StorageFailed(OSError):
    """The store answered with an error that may pass; the operation can be repeated."""


@dataclass(frozen=True, slots=True)
class StorageOptions:
    """How to reach an S3-compatible store. Credentials come from here or the environment, never from a URI.

    An absent value falls back to the standard AWS variables and then to the machine's role (see the `object_store`
    crate). `part_size` is the multipart chunk in bytes; S3 allows 10 000 parts, so 8 MiB reaches 78 GiB.
    """

    endpoint: str | None = None
    region: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    path_style: bool = True
    part_size: int = 8 * 1024 * 1024
    max_concurrency: int = 4
    request_timeout_seconds: int = 300

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> StorageOptions:
        """Read the names every S3 tool reads: `AWS_ENDPOINT_URL_S3`, `AWS_REGION`, `AWS_ACCESS_KEY_ID`, …"""
        return cls(
            endpoint=environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL"),
            region=environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION"),
            access_key_id=environ.get("AWS_ACCESS_KEY_ID"),
            secret_access_key=environ.get("AWS_SECRET_ACCESS_KEY"),
            session_token=environ.get("AWS_SESSION_TOKEN"),
        )


@dataclass(frozen=True, slots=True)
class ObjectStat:
    """What is known of one stored object; `sha256` (hex) only where the store keeps it as metadata."""

    key: str
    size: int
    modified: datetime
    etag: str | None = None
    sha256: str | None = None


def safe_key(key: str) -> str:
    """`key` itself if it is a plain relative path, else `UnsafePath`."""
    if not key or key.startswith("/") or "\\" in key:
        raise UnsafePath(f"{key!r} is not a relative path")
    if any(ord(character) < 32 or ord(character) == 127 for character in key):
        raise UnsafePath(f"{key!r} contains a control character")
    try:
        segments = [segment.encode() for segment in key.split("/")]
    except UnicodeEncodeError:
        raise UnsafePath(f"{key!r} cannot be written as UTF-8") from None
    if any(segment in (b"", b".", b"..") for segment in segments):
        raise UnsafePath(f"{key!r} has an empty, '.' or '..' segment")
    if any(len(segment) > MAX_SEGMENT_BYTES for segment in segments) or len(key.encode()) > MAX_KEY_BYTES:
        raise UnsafePath(f"{key[:80]!r}… is longer than a path may be")
    return key


def join(*parts: str) -> str:
    """One key from several, each judged on its own: a part may contain `/` but never climb."""
    return safe_key("/".join(safe_key(part) for part in parts))


class Storage(ABC):
    """One base URI and what lies below it. Missing objects raise `FileNotFoundError`, bad keys `UnsafePath`,
    refused access `PermissionError`, everything else that goes wrong `OSError`."""

    base: str

    @staticmethod
    def from_uri(base: str, options: StorageOptions | None = None) -> Storage:
        """The store below `base`; raises ValueError for a scheme that is neither `file` nor `s3`."""
        parsed = urlsplit(base)
        if parsed.username or parsed.password or parsed.query or parsed.fragment:
            raise ValueError("a storage URI carries no credentials, query or fragment; set credentials in the options")
        if parsed.scheme == "file" and parsed.netloc in ("", "localhost") and parsed.path.startswith("/"):
            return LocalStorage(Path(unquote(parsed.path)))
        if parsed.scheme == "s3" and parsed.netloc:
            from chassis.storage_s3 import S3Storage  # obstore is installed only where buckets are used

            return S3Storage(parsed.netloc, unquote(parsed.path).strip("/"), options or StorageOptions())
        raise ValueError(f"{base!r} is no storage URI; write file:///folder or s3://bucket/prefix")

    def uri(self, key: str) -> str:
        """The URI that names `key` to every other service."""
        return f"{self.base}/{quote(safe_key(key))}"

    def key(self, uri: str) -> str:
        """The key of a URI made by `uri` (or of the same one encoded otherwise); raises `UnsafePath` when it does not lie below this base."""
        below, plain = f"{unquote(self.base)}/", unquote(uri)
        if not plain.startswith(below):
            raise UnsafePath(f"{uri!r} does not lie below {self.base!r}")
        return safe_key(plain.removeprefix(below))

    def local_path(self, key: str) -> Path | None:
        """The file behind `key` where this store is a file system, so that a program can work on it in place."""
        safe_key(key)
        return None

    @abstractmethod
    async def put_file(
        self,
        source: Path,
        key: str,
        *,
        sha256: str | None = None,
        move: bool = False,
        on_progress: Progress | None = None,
    ) -> ObjectStat:
        """Store a local file: nobody ever sees half of it. `move` removes the source afterwards.

        An interrupted put starts again from its first byte; what must survive a crash goes through the uploader,
        whose adapter keeps the state of each part.
        """

    @abstractmethod
    def read(
        self, key: str, start: int = 0, end: int | None = None, *, chunk: int = CHUNK
    ) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` up to, not including, `end`, in pieces of about `chunk` bytes."""

    @abstractmethod
    async def stat(self, key: str) -> ObjectStat:
        """Size, time and tags of one object."""

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Remove an object; one that is already gone is no error."""

    @abstractmethod
    def list(self, prefix: str = "") -> AsyncIterator[ObjectStat]:
        """Every object below the folder `prefix` (all of them for the empty one), in no particular order."""

    async def read_bytes(self, key: str, *, limit: int) -> bytes:
        """A whole small object; ValueError when it is larger than `limit` bytes."""
        body = bytearray()
        async with contextlib.aclosing(self.read(key, 0, limit + 1)) as pieces:
            async for piece in pieces:
                body += piece
        if len(body) > limit:
            raise ValueError(f"{key} is larger than {limit} bytes")
        return bytes(body)


class LocalStorage(Storage):
    """A folder. Written by hand rather than through obstore, whose local store follows links out of its root,
    refuses names such as `a#1` and does not sync to disk."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        # URIs keep the name the operator chose, which may be a link: another machine may mount it elsewhere.
        self.base = f"file://{quote(os.path.abspath(root)).rstrip('/')}"  # noqa: PTH100 - resolve() follows links

    def local_path(self, key: str) -> Path:
        """The real path of `key`, links followed; raises `UnsafePath` when one of them leads out of the root."""
        path = (self._root / safe_key(key)).resolve()
        if not path.is_relative_to(self._root) or path == self._root:
            raise UnsafePath(f"{key!r} leads out of {self.base}")
        return path

    async def put_file(
        self,
        source: Path,
        key: str,
        *,
        sha256: str | None = None,
        move: bool = False,
        on_progress: Progress | None = None,
    ) -> ObjectStat:
        """See `Storage`; a move inside one file system is a rename and copies nothing. `sha256` is not kept."""
        target = self.local_path(key)
        if not (move and await asyncio.to_thread(_move, source, target)):
            await self._copy(source, target, on_progress)
            if move:
                await asyncio.to_thread(source.unlink)
        stat = await self.stat(key)
        if on_progress:
            on_progress(stat.size, stat.size)
        return stat

    async def _copy(self, source: Path, target: Path, on_progress: Progress | None) -> None:
        partial = target.with_name(f".{uuid.uuid4().hex}.part")
        with source.open("rb") as reader:
            total = os.fstat(reader.fileno()).st_size
            try:
                async with opened(lambda: in_folder(target.parent, lambda: partial.open("xb"))) as writer:
                    done = 0
                    while copied := await asyncio.to_thread(_copy_chunk, reader, writer):
                        done += copied
                        if on_progress:
                            on_progress(done, max(done, total))
                    await asyncio.to_thread(_sync, writer)
                await asyncio.to_thread(_rename_durably, partial, target)
            finally:
                partial.unlink(missing_ok=True)

    async def read(
        self, key: str, start: int = 0, end: int | None = None, *, chunk: int = CHUNK
    ) -> AsyncGenerator[bytes, None]:
        """See `Storage`."""
        path = self.local_path(key)
        async with opened(lambda: path.open("rb")) as reader:
            reader.seek(start)
            left = None if end is None else max(0, end - start)
            while piece := await asyncio.to_thread(reader.read, chunk if left is None else min(chunk, left)):
                left = None if left is None else left - len(piece)
                yield piece

    async def stat(self, key: str) -> ObjectStat:
        """See `Storage`; the tag is made of inode, time and size, as web servers do."""
        path = self.local_path(key)
        found = await asyncio.to_thread(path.stat)
        if not path.is_file():
            raise FileNotFoundError(key)
        return _local_stat(key, found)

    async def delete(self, key: str) -> None:
        """See `Storage`."""
        await asyncio.to_thread(self.local_path(key).unlink, missing_ok=True)

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectStat]:
        """See `Storage`; links and unfinished files are left out."""
        top = self.local_path(prefix) if prefix else self._root
        for stat in await asyncio.to_thread(lambda: list(self._walk(top))):
            yield stat

    def _walk(self, top: Path) -> Iterator[ObjectStat]:
        for folder, _, names in os.walk(top, followlinks=False):
            for name in names:
                path = Path(folder, name)
                if path.is_symlink() or (name.startswith(".") and name.endswith(".part")):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    yield _local_stat(path.relative_to(self._root).as_posix(), path.stat())


def _local_stat(key: str, found: os.stat_result) -> ObjectStat:
    etag = f'"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}"'
    return ObjectStat(key, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC), etag)


def _copy_chunk(reader: IO[bytes], writer: IO[bytes]) -> int:
    return writer.write(reader.read(CHUNK))


def _sync(writer: IO[bytes]) -> None:
    writer.flush()
    os.fsync(writer.fileno())


def _move(source: Path, target: Path) -> bool:
    """Sync and rename; False where the two lie on different file systems and a copy is needed."""
    with source.open("rb") as content:
        os.fsync(content.fileno())
    try:
        in_folder(target.parent, lambda: _rename_durably(source, target))
    except OSError as error:
        if error.errno == errno.EXDEV:
            return False
        raise
    return True


def _rename_durably(source: Path, target: Path) -> None:
    """Rename and sync the folder, so that the new name survives a power cut."""
    source.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
