"""The S3 multipart API, because obstore cannot go on with an upload that another process began.

Source of requests and answers: Amazon S3 API reference (CreateMultipartUpload, UploadPart, CompleteMultipartUpload,
AbortMultipartUpload, PutObject, HeadObject). Answers are read with expressions rather than an XML parser: five plain
fields are wanted of a text that a stranger may have written.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape, unescape

import aiohttp
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential
from tenacity.wait import wait_base
from yarl import URL

from chassis.egress import RefusedAddress, ResponseTooLarge, read_bounded
from chassis.sigv4 import Credentials, Request, encoded_path, encoded_query, signed_headers
from chassis.storage import StorageFailed, StorageOptions

ANSWER_LIMIT = 1024 * 1024
ATTEMPTS = 5
DEFAULT_REGION = "us-east-1"
REPEAT_WAIT = wait_random_exponential(multiplier=0.5, max=20)
# Codes that pass by themselves although their HTTP status says 4xx.
_PASSING_CODES = {"RequestTimeout", "RequestTimeTooSkewed", "SlowDown", "OperationAborted", "ExpiredToken"}


class Interrupted(StorageFailed):
    """The store could not be reached or failed: it may work later."""


class Refused(StorageFailed):
    """The store will not do it, however often it is asked."""


class NoSuchUpload(Exception):
    """The store does not know the upload id: finished, aborted, or swept away by a lifecycle rule."""


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes to send and their digest, computed once and away from the event loop by whoever made it."""

    data: bytes
    sha256: bytes

    @staticmethod
    def of(data: bytes) -> Body:
        """Hashes; megabytes belong into a thread."""
        return Body(data, hashlib.sha256(data).digest())


_NOTHING = Body.of(b"")


@dataclass(frozen=True, slots=True)
class Part:
    """One stored part: the store's tag of it and the raw SHA-256 of its bytes."""

    number: int
    etag: str
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store says of a finished object; `checksum_sha256` in base64 as S3 writes it, composite with `-N`."""

    etag: str
    checksum_sha256: str = ""
    size: int | None = None


class S3Multipart:
    """One bucket. Each request is repeated a few times before `Interrupted`; denials are `Refused`."""

    def __init__(
        self,
        bucket: str,
        options: StorageOptions,
        session: aiohttp.ClientSession,
        *,
        wait: wait_base = REPEAT_WAIT,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket):
            raise Refused(f"{bucket[:80]!r} is no bucket name")
        if not options.access_key_id or not options.secret_access_key:
            raise Refused("no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        self._credentials = Credentials(options.access_key_id, options.secret_access_key, options.session_token)
        self._region = options.region or DEFAULT_REGION
        self._base, self._prefix = _address(bucket, options, self._region)
        self._host = str(self._base.host) if self._base.is_default_port() else f"{self._base.host}:{self._base.port}"
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=options.request_timeout_seconds, connect=10)
        self._wait = wait
        self._clock = clock

    async def create(self, key: str, metadata: Mapping[str, str]) -> str:
        """Begin an upload; gives its id."""
        headers = {f"x-amz-meta-{name}": value for name, value in metadata.items()}
        answer = await self._ask("POST", key, {"uploads": ""}, {**headers, "x-amz-checksum-algorithm": "SHA256"})
        upload_id = _field(answer.body, "UploadId")
        if not upload_id:
            raise Interrupted("the store began an upload without naming it")
        return upload_id

    async def put_part(self, key: str, upload_id: str, number: int, body: Body) -> Part:
        """Store part `number` (from 1); the store refuses it when its checksum is not that of the body."""
        query = {"partNumber": str(number), "uploadId": upload_id}
        answer = await self._ask("PUT", key, query, {"x-amz-checksum-sha256": _base64(body.sha256)}, body)
        return Part(number, answer.headers.get("ETag", ""), body.sha256)

    async def complete(self, key: str, upload_id: str, parts: list[Part]) -> Stored:
        """Make the object out of its parts."""
        named = "".join(
            f"<Part><PartNumber>{part.number}</PartNumber><ETag>{escape(part.etag)}</ETag>"
            f"<ChecksumSHA256>{_base64(part.sha256)}</ChecksumSHA256></Part>"
            for part in parts
        )
        document = f'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{named}</CompleteMultipartUpload>'
        answer = await self._ask("POST", key, {"uploadId": upload_id}, {}, Body.of(document.encode()))
        return Stored(_field(answer.body, "ETag"), _field(answer.body, "ChecksumSHA256"))

    async def abort(self, key: str, upload_id: str) -> None:
        """Give the parts up; an upload that is already gone is no error."""
        try:
            await self._ask("DELETE", key, {"uploadId": upload_id}, {})
        except NoSuchUpload:
            return

    async def put_object(self, key: str, body: Body, metadata: Mapping[str, str]) -> Stored:
        """Store a small object in one request."""
        headers = {f"x-amz-meta-{name}": value for name, value in metadata.items()}
        answer = await self._ask("PUT", key, {}, {**headers, "x-amz-checksum-sha256": _base64(body.sha256)}, body)
        return Stored(answer.headers.get("ETag", ""), answer.headers.get("x-amz-checksum-sha256", ""))

    async def head(self, key: str) -> Stored | None:
        """Tag and size of an object, None where there is none."""
        answer = await self._ask("HEAD", key, {}, {"x-amz-checksum-mode": "ENABLED"}, accept=(200, 404))
        if answer.status == 404:
            return None
        length = answer.headers.get("Content-Length", "")
        return Stored(
            answer.headers.get("ETag", ""),
            answer.headers.get("x-amz-checksum-sha256", ""),
            int(length) if length.isdigit() else None,
        )

    async def _ask(
        self,
        method: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: Body = _NOTHING,
        accept: tuple[int, ...] = (200, 204),
    ) -> _Answer:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Interrupted),
            stop=stop_after_attempt(ATTEMPTS),
            wait=self._wait,
            reraise=True,
        )
        return await retrying(self._ask_once, method, key, query, headers, body, accept)

    async def _ask_once(
        self,
        method: str,
        key: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: Body,
        accept: tuple[int, ...],
    ) -> _Answer:
        path = f"{self._prefix}/{key}"
        request = Request(method, self._host, path, query, headers, body.sha256.hex())
        signed = signed_headers(request, self._credentials, self._region, self._clock())
        url = URL(f"{self._base}{encoded_path(path)}?{encoded_query(query)}".rstrip("?"), encoded=True)
        try:
            async with self._session.request(
                method, url, headers=signed, data=body.data, timeout=self._timeout, allow_redirects=False
            ) as response:
                text = (await read_bounded(response, ANSWER_LIMIT)).decode("utf-8", errors="replace")
                answer = _Answer(response.status, response.headers, text)
        except RefusedAddress as error:
            raise Refused(str(error)) from error
        except (aiohttp.ClientError, TimeoutError, OSError, ResponseTooLarge) as error:
            raise Interrupted(f"the store could not be reached: {type(error).__name__}") from error
        return _judged(answer, accept)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: str


def _judged(answer: _Answer, accept: tuple[int, ...]) -> _Answer:
    # CompleteMultipartUpload may answer 200 first and put its failure into the body.
    code = _field(answer.body, "Code") if "<Error>" in answer.body else ""
    if answer.status in accept and not code:
        return answer
    if code == "NoSuchUpload":
        raise NoSuchUpload
    said = f"the store answered {answer.status} {code}".strip()
    if answer.status < 400 and not code:
        raise Refused(f"{said}: wrong endpoint or region")
    if answer.status >= 500 or answer.status in (408, 429, 200) or code in _PASSING_CODES:
        raise Interrupted(said)
    raise Refused(said)


def _address(bucket: str, options: StorageOptions, region: str) -> tuple[URL, str]:
    """The origin and the path before each key: the bucket is a folder of the endpoint or part of its host name."""
    endpoint = URL(options.endpoint or f"https://s3.{region}.amazonaws.com")
    prefix = endpoint.path.rstrip("/")
    if options.path_style:
        return endpoint.origin(), f"{prefix}/{bucket}"
    return endpoint.with_host(f"{bucket}.{endpoint.host}").origin(), prefix


def _field(body: str, name: str) -> str:
    match = re.search(rf"<{name}>([^<]*)</{name}>", body)
    return unescape(match[1]) if match else ""


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
