"""S3-compatible buckets as upload destinations."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import aiohttp
from chassis.storage import ObjectStat, StorageOptions, UnsafePath, safe_key
from tenacity.wait import wait_base

from services.uploader.adapters.object_store import (
    ArtifactSource,
    Json,
    OnProgress,
    UploadCorrupt,
    Uploaded,
    UploadError,
    UploadRefused,
    check_source,
    continues,
    fingerprint,
    pieces_of,
    stat_of,
)
from services.uploader.adapters.s3_multipart import REPEAT_WAIT, Body, NoSuchUpload, Part, S3Multipart, Stored

MAX_PARTS = 10_000
MIB = 1024 * 1024


@dataclass(slots=True)
class _Upload:
    """A multipart upload in the making. Tags and SHA-256 of its parts survive in the state; `md5`, of which tags are
    made, is computed again when a part is read again."""

    base: Json
    upload_id: str
    part_size: int
    parts: dict[int, Part] = field(default_factory=dict)
    md5: dict[int, bytes] = field(default_factory=dict)

    def state(self) -> Json:
        sent = min(len(self.parts) * self.part_size, self.base["size"])
        parts = [[part.number, part.etag, part.sha256.hex()] for _, part in sorted(self.parts.items())]
        return {**self.base, "upload_id": self.upload_id, "part_size": self.part_size, "parts": parts, "sent": sent}

    @staticmethod
    def restored(state: Json, base: Json) -> _Upload | None:
        """The upload a state describes, None where the state is not one of ours."""
        try:
            parts = [Part(int(number), str(etag), bytes.fromhex(sha256)) for number, etag, sha256 in state["parts"]]
            upload = _Upload(
                base, str(state["upload_id"]), int(state["part_size"]), {part.number: part for part in parts}
            )
        except (KeyError, TypeError, ValueError):
            return None
        return upload if upload.upload_id and upload.part_size > 0 else None


class S3ObjectStore:
    """Uploads in parts, several at once. Every part is verified by the store against its SHA-256 when it arrives, and
    the whole by the composite checksum, or by the tag where a store computes no such checksum."""

    def __init__(
        self, options: StorageOptions, session: aiohttp.ClientSession, *, wait: wait_base = REPEAT_WAIT
    ) -> None:
        self._options = options
        self._session = session
        self._wait = wait

    def accepts(self, destination: str) -> bool:
        """See `ObjectStore`."""
        return urlsplit(destination).scheme == "s3"

    async def upload(
        self, source: ArtifactSource, destination: str, *, resume: Json | None = None, on_progress: OnProgress
    ) -> Uploaded:
        """See `ObjectStore`; a state that does not fit any more is given up and the upload begins again."""
        bucket, key = self._open(destination)
        found = await stat_of(source)
        if found.size <= self._options.part_size:
            if resume is not None:
                await self.abandon(destination, resume)
            return await self._upload_whole(bucket, key, source, found, destination)
        base = fingerprint(found, destination)
        upload = (
            _Upload.restored(resume, base) if resume is not None and continues(resume, found, destination) else None
        )
        if upload is None and resume is not None:
            await self.abandon(destination, resume)
        try:
            return await self._upload_parts(bucket, key, source, found, destination, upload, on_progress)
        except NoSuchUpload:
            if upload is None:
                raise UploadCorrupt("the store forgot the upload while it was running") from None
            return await self._upload_parts(bucket, key, source, found, destination, None, on_progress)

    async def abandon(self, destination: str, state: Json) -> None:
        """See `ObjectStore`."""
        bucket, key = self._open(destination)
        upload_id = state.get("upload_id")
        if isinstance(upload_id, str) and upload_id:
            await bucket.abort(key, upload_id)

    async def _upload_whole(
        self, bucket: S3Multipart, key: str, source: ArtifactSource, found: ObjectStat, destination: str
    ) -> Uploaded:
        async with aclosing(pieces_of(source, self._options.part_size)) as pieces:
            body = await asyncio.to_thread(Body.of, b"".join([piece async for piece in pieces]))
        sha256 = body.sha256.hex()
        check_source(source, found, len(body.data), sha256)
        stored = await bucket.put_object(key, body, {"sha256": sha256})
        if Expected(base64.b64encode(body.sha256).decode()).contradicts(stored):
            raise UploadCorrupt("the store holds an object with another checksum")
        await _check_size(bucket, key, found.size)
        return Uploaded(destination, found.size, sha256, stored.etag)

    async def _upload_parts(
        self,
        bucket: S3Multipart,
        key: str,
        source: ArtifactSource,
        found: ObjectStat,
        destination: str,
        upload: _Upload | None,
        on_progress: OnProgress,
    ) -> Uploaded:
        if upload is None:
            upload_id = await bucket.create(key, {"sha256": source.sha256} if source.sha256 else {})
            upload = _Upload(fingerprint(found, destination), upload_id, self._part_size(found.size))
            await on_progress(upload.state())
        try:
            sha256, read = await self._send(bucket, key, source, upload, on_progress)
            check_source(source, found, read, sha256)
        except (UploadCorrupt, UploadRefused):
            # Nobody goes on from here: parts that stay behind would be paid for.
            with contextlib.suppress(UploadError):
                await bucket.abort(key, upload.upload_id)
            raise
        parts = [part for _, part in sorted(upload.parts.items())]
        expected = Expected.of_parts(parts, [md5 for _, md5 in sorted(upload.md5.items())])
        try:
            stored = await bucket.complete(key, upload.upload_id, parts)
        except NoSuchUpload:
            # The process may have ended between the store's answer and ours: then the object is already there.
            there = await bucket.head(key)
            if there is None or not expected.proves(there):
                raise
            stored = there
        if expected.contradicts(stored):
            raise UploadCorrupt("the store holds an object with another checksum")
        await _check_size(bucket, key, found.size)
        return Uploaded(destination, read, sha256, stored.etag)

    async def _send(
        self, bucket: S3Multipart, key: str, source: ArtifactSource, upload: _Upload, on_progress: OnProgress
    ) -> tuple[str, int]:
        """Send what is missing; what is there is read again, for the digest of the whole and to see that it is the same."""
        digest = hashlib.sha256()
        read = number = 0
        free = asyncio.Semaphore(self._options.max_concurrency)
        reporting = asyncio.Lock()

        async def send(number: int, body: Body) -> None:
            try:
                part = await bucket.put_part(key, upload.upload_id, number, body)
            finally:
                free.release()
            async with reporting:
                upload.parts[number] = part
                await on_progress(upload.state())

        async with _FirstError() as group, aclosing(pieces_of(source, upload.part_size)) as pieces:
            async for data in pieces:
                number += 1
                read += len(data)
                body, upload.md5[number] = await asyncio.to_thread(_digested, data, digest)
                known = upload.parts.get(number)
                if known is None:
                    await free.acquire()
                    group.create_task(send(number, body))
                elif known.sha256 != body.sha256:
                    raise UploadCorrupt("the source file is not the one whose parts were sent")
        return digest.hexdigest(), read

    def _part_size(self, size: int) -> int:
        smallest = -(-size // MAX_PARTS)
        return max(self._options.part_size, -(-smallest // MIB) * MIB if smallest > self._options.part_size else 0)

    def _open(self, destination: str) -> tuple[S3Multipart, str]:
        parsed = urlsplit(destination)
        if parsed.scheme != "s3" or "@" in parsed.netloc or parsed.query or parsed.fragment:
            raise UploadRefused("a bucket destination is written s3://bucket/key, without credentials")
        try:
            key = safe_key(unquote(parsed.path.removeprefix("/")))
        except UnsafePath as error:
            raise UploadRefused(str(error)) from error
        return S3Multipart(parsed.netloc, self._options, self._session, wait=self._wait), key


class _FirstError(asyncio.TaskGroup):
    """A task group that raises the first failure itself instead of a group around it."""

    async def __aexit__(self, *exception: Any) -> None:
        try:
            await super().__aexit__(*exception)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None


@dataclass(frozen=True, slots=True)
class Expected:
    """How the store must describe the finished object: a checksum in base64, and a tag where it is known to be a digest."""

    checksum_sha256: str
    tag: str = ""

    @staticmethod
    def of_parts(parts: list[Part], md5_of_parts: list[bytes]) -> Expected:
        """The composite values: digests of the parts' digests, with the number of parts."""
        sha256 = hashlib.sha256(b"".join(part.sha256 for part in parts)).digest()
        md5 = hashlib.md5(b"".join(md5_of_parts), usedforsecurity=False).hexdigest()
        # With server-side encryption tags look like digests and are none; the parts' own tags give it away.
        tags_are_digests = [part.etag.strip('"') for part in parts] == [md5.hex() for md5 in md5_of_parts]
        checksum = base64.b64encode(sha256).decode()
        return Expected(f"{checksum}-{len(parts)}", f"{md5}-{len(parts)}" if tags_are_digests else "")

    def proves(self, stored: Stored) -> bool:
        """Whether the description can only be that of our object."""
        return self._same_checksum(stored) or (bool(self.tag) and stored.etag.strip('"') == self.tag)

    def contradicts(self, stored: Stored) -> bool:
        """Whether the description is certainly not that of our object."""
        if stored.checksum_sha256:
            return not self._same_checksum(stored)
        return bool(self.tag) and stored.etag.strip('"') != self.tag

    def _same_checksum(self, stored: Stored) -> bool:
        # Some stores leave out the "-N" of a composite checksum.
        return stored.checksum_sha256.partition("-")[0] == self.checksum_sha256.partition("-")[0]


def _digested(data: bytes, whole: hashlib._Hash) -> tuple[Body, bytes]:
    whole.update(data)
    return Body.of(data), hashlib.md5(data, usedforsecurity=False).digest()


async def _check_size(bucket: S3Multipart, key: str, size: int) -> None:
    there = await bucket.head(key)
    if there is None or there.size != size:
        raise UploadCorrupt("the store does not hold the whole object")
