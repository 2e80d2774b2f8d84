"""The S3 multipart client of the chassis, with the errors of upload targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import aiohttp
from chassis import s3_multipart
from chassis.s3_multipart import ATTEMPTS, REPEAT_WAIT, Body, Interrupted, NoSuchUpload, Part, Refused, Stored
from chassis.storage import StorageOptions
from tenacity.wait import wait_base

from services.uploader.adapters.object_store import UploadInterrupted, UploadRefused


class S3Multipart:
    """See `chassis.s3_multipart.S3Multipart`; raises UploadInterrupted and UploadRefused."""

    def __init__(
        self, bucket: str, options: StorageOptions, session: aiohttp.ClientSession, *, wait: wait_base = REPEAT_WAIT
    ) -> None:
        with _translated():
            self._client = s3_multipart.S3Multipart(bucket, options, session, wait=wait)

    async def create(self, key: str, metadata: Mapping[str, str]) -> str:
        """Begin an upload; gives its id."""
        with _translated():
            return await self._client.create(key, metadata)

    async def put_part(self, key: str, upload_id: str, number: int, body: Body) -> Part:
        """Store a part."""
        with _translated():
            return await self._client.put_part(key, upload_id, number, body)

    async def complete(self, key: str, upload_id: str, parts: list[Part]) -> Stored:
        """Make the object out of its parts."""
        with _translated():
            return await self._client.complete(key, upload_id, parts)

    async def abort(self, key: str, upload_id: str) -> None:
        """Give the parts up."""
        with _translated():
            await self._client.abort(key, upload_id)

    async def put_object(self, key: str, body: Body, metadata: Mapping[str, str]) -> Stored:
        """Store a small object in one request."""
        with _translated():
            return await self._client.put_object(key, body, metadata)

    async def head(self, key: str) -> Stored | None:
        """Tag and size of an object, None where there is none."""
        with _translated():
            return await self._client.head(key)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except Interrupted as error:
        raise UploadInterrupted(str(error)) from error
    except Refused as error:
        raise UploadRefused(str(error)) from error


__all__ = ["ATTEMPTS", "REPEAT_WAIT", "Body", "NoSuchUpload", "Part", "S3Multipart", "Stored"]
