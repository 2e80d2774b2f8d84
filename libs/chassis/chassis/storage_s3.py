"""A bucket, or a prefix of it, as `Storage`, through obstore."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import obstore
from obstore import exceptions
from obstore.store import S3Store

from chassis.files import opened
from chassis.storage import CHUNK, ObjectStat, Progress, Storage, StorageFailed, StorageOptions, safe_key

if TYPE_CHECKING:  # obstore has these names for type checkers only
    from obstore import ObjectMeta
    from obstore.store import S3Config


class S3Storage(Storage):
    """A bucket, or a prefix of it, through obstore."""

    def __init__(self, bucket: str, prefix: str, options: StorageOptions) -> None:
        self._prefix = safe_key(prefix) + "/" if prefix else ""
        self._options = options
        self._store = _s3_store(bucket, options)
        self.base = f"s3://{bucket}/{quote(self._prefix)}".rstrip("/")

    async def put_file(
        self,
        source: Path,
        key: str,
        *,
        sha256: str | None = None,
        move: bool = False,
        on_progress: Progress | None = None,
    ) -> ObjectStat:
        """See `Storage`; `sha256` becomes the object's metadata. Progress counts what has been handed to the client."""
        size = (await asyncio.to_thread(source.stat)).st_size
        body = source if size <= self._options.part_size else self._pieces(source, size, on_progress)
        with _translated(key):
            await obstore.put_async(
                self._store,
                self._prefix + safe_key(key),
                body,
                attributes={"sha256": sha256} if sha256 else None,
                use_multipart=None if size > self._options.part_size else False,
                chunk_size=self._options.part_size,
                max_concurrency=self._options.max_concurrency,
            )
        if move:
            await asyncio.to_thread(source.unlink)
        if on_progress:
            on_progress(size, size)
        return await self.stat(key)

    async def _pieces(self, source: Path, size: int, on_progress: Progress | None) -> AsyncIterator[bytes]:
        async with opened(lambda: source.open("rb")) as reader:
            done = 0
            while piece := await asyncio.to_thread(reader.read, CHUNK):
                yield piece
                done += len(piece)
                if on_progress:
                    on_progress(done, max(done, size))

    async def read(
        self, key: str, start: int = 0, end: int | None = None, *, chunk: int = CHUNK
    ) -> AsyncGenerator[bytes, None]:
        """See `Storage`."""
        if end is not None and end <= start:
            return
        size = (await self.stat(key)).size
        if start >= size:
            return
        with _translated(key):
            result = await obstore.get_async(
                self._store, self._prefix + safe_key(key), options={"range": (start, min(end or size, size))}
            )
            async for piece in result.stream(min_chunk_size=chunk):
                yield bytes(piece)

    async def stat(self, key: str) -> ObjectStat:
        """See `Storage`."""
        with _translated(key):
            result = await obstore.get_async(self._store, self._prefix + safe_key(key), options={"head": True})
            return self._stat(result.meta, result.attributes.get("sha256"))

    async def delete(self, key: str) -> None:
        """See `Storage`."""
        with contextlib.suppress(FileNotFoundError), _translated(key):
            await obstore.delete_async(self._store, self._prefix + safe_key(key))

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectStat]:
        """See `Storage`."""
        folder = self._prefix + (safe_key(prefix) + "/" if prefix else "")
        with _translated(prefix):
            async for batch in obstore.list(self._store, prefix=folder or None):
                for meta in batch:
                    yield self._stat(meta, None)

    def _stat(self, meta: ObjectMeta, sha256: str | None) -> ObjectStat:
        key = meta["path"].removeprefix(self._prefix)
        return ObjectStat(key, meta["size"], meta["last_modified"], meta["e_tag"], sha256)


def _s3_store(bucket: str, options: StorageOptions) -> S3Store:
    config: S3Config = {"virtual_hosted_style_request": not options.path_style}
    if options.endpoint:
        config["endpoint"] = options.endpoint
    if options.region:
        config["region"] = options.region
    if options.access_key_id and options.secret_access_key:
        config["access_key_id"] = options.access_key_id
        config["secret_access_key"] = options.secret_access_key
    if options.session_token:
        config["session_token"] = options.session_token
    plain = (options.endpoint or "").startswith("http://")
    return S3Store(
        bucket,
        config=config,
        client_options={
            "allow_http": plain,
            "timeout": f"{options.request_timeout_seconds}s",
            "connect_timeout": "10s",
        },
    )


@contextlib.contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise PermissionError(f"the store refused access to {key!r}") from error
    except exceptions.BaseError as error:
        raise StorageFailed(f"{key!r}: {str(error).splitlines()[0]}") from error
