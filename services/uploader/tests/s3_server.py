"""An S3 server for tests: keeps objects in memory, checks every AWS Signature V4, and fails where it is told to.

Written from the public S3 API reference and the Signature Version 4 specification, apart from the code under test.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, unquote
from xml.etree import ElementTree

from aiohttp import web

ACCESS_KEY = "AKIDEXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SESSION_TOKEN = "session-token"
REGION = "eu-test-1"


@dataclass
class StoredObject:
    data: bytes
    etag: str
    metadata: dict[str, str]
    modified: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass
class Multipart:
    key: str
    metadata: dict[str, str]
    parts: dict[int, bytes] = field(default_factory=dict)
    checksums: dict[int, str] = field(default_factory=dict)


@dataclass
class Seen:
    method: str
    key: str
    query: dict[str, str]


class S3Server:
    """`fail(request) -> status` lets a test break any request; 0 means go on, -1 cuts the connection."""

    def __init__(self, bucket: str = "archive", *, smallest_part: int = 1) -> None:
        self.bucket = bucket
        self.smallest_part = smallest_part
        self.objects: dict[str, StoredObject] = {}
        self.uploads: dict[str, Multipart] = {}
        self.seen: list[Seen] = []
        self.rejected: list[str] = []
        self.fail: Callable[[Seen], int] = lambda request: 0
        self.endpoint = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[S3Server]:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{tail:.*}", self._handle)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.endpoint = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    def count(self, method: str, *query: str) -> int:
        return sum(1 for seen in self.seen if seen.method == method and all(name in seen.query for name in query))

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        raw_path, _, raw_query = request.raw_path.partition("?")
        query = dict(parse_qsl(raw_query, keep_blank_values=True))
        if problem := self._check_signature(request, raw_path, raw_query, body):
            self.rejected.append(problem)
            return _error(403, "SignatureDoesNotMatch", problem)
        match = re.fullmatch(rf"/{self.bucket}(?:/(.*))?", unquote(raw_path))
        if not match:
            return _error(404, "NoSuchBucket", raw_path)
        seen = Seen(request.method, match[1] or "", query)
        self.seen.append(seen)
        status = self.fail(seen)
        if status == -1:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        if status:
            return _error(status, "InternalError" if status >= 500 else "AccessDenied", "as the test asked")
        return self._route(request, seen, body)

    def _route(self, request: web.Request, seen: Seen, body: bytes) -> web.StreamResponse:
        method, key, query = seen.method, seen.key, seen.query
        if "uploadId" in query and query["uploadId"] not in self.uploads:
            return _error(404, "NoSuchUpload", query["uploadId"])
        if method == "POST" and "uploads" in query:
            return self._create(request, key)
        if method == "PUT" and "uploadId" in query:
            return self._upload_part(request, query, body)
        if method == "POST" and "uploadId" in query:
            return self._complete(key, query, body)
        if method == "DELETE" and "uploadId" in query:
            del self.uploads[query["uploadId"]]
            return web.Response(status=204)
        if method == "PUT":
            return self._put(request, key, body)
        if method == "POST" and "delete" in query:
            return self._delete_many(body)
        if method == "DELETE":
            self.objects.pop(key, None)
            return web.Response(status=204)
        if method == "GET" and query.get("list-type") == "2":
            return self._list(query.get("prefix", ""))
        return self._get(request, key)

    def _put(self, request: web.Request, key: str, body: bytes) -> web.Response:
        if problem := _wrong_checksum(request, body):
            return problem
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        self.objects[key] = StoredObject(body, etag, _metadata(request))
        return web.Response(headers={"ETag": etag, **_checksum_header(request)})

    def _get(self, request: web.Request, key: str) -> web.Response:
        stored = self.objects.get(key)
        if stored is None:
            return _error(404, "NoSuchKey", key)
        headers = {
            "ETag": stored.etag,
            "Last-Modified": stored.modified.strftime("%a, %d %b %Y %H:%M:%S GMT"),
            "Accept-Ranges": "bytes",
        }
        headers |= {f"x-amz-meta-{name}": value for name, value in stored.metadata.items()}
        if request.method == "HEAD":
            return web.Response(headers=headers | {"Content-Length": str(len(stored.data))})
        if not (wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))):
            return web.Response(body=stored.data, headers=headers)
        start, end = int(wanted[1]), min(int(wanted[2] or len(stored.data)) + 1, len(stored.data))
        if start >= len(stored.data):
            return _error(416, "InvalidRange", key)
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(stored.data)}"
        return web.Response(status=206, body=stored.data[start:end], headers=headers)

    def _list(self, prefix: str) -> web.Response:
        root = ElementTree.Element("ListBucketResult")
        ElementTree.SubElement(root, "IsTruncated").text = "false"
        for key, stored in sorted(self.objects.items()):
            if key.startswith(prefix):
                item = ElementTree.SubElement(root, "Contents")
                ElementTree.SubElement(item, "Key").text = key
                ElementTree.SubElement(item, "Size").text = str(len(stored.data))
                ElementTree.SubElement(item, "ETag").text = stored.etag
                ElementTree.SubElement(item, "LastModified").text = stored.modified.isoformat()
        return _xml(root)

    def _delete_many(self, body: bytes) -> web.Response:
        root = ElementTree.Element("DeleteResult")
        for element in ElementTree.fromstring(body).iter():
            if element.tag.endswith("Key"):
                self.objects.pop(element.text or "", None)
                deleted = ElementTree.SubElement(root, "Deleted")
                ElementTree.SubElement(deleted, "Key").text = element.text
        return _xml(root)

    def _create(self, request: web.Request, key: str) -> web.Response:
        upload_id = f"upload-{len(self.uploads) + len(self.objects) + 1}/+="
        self.uploads[upload_id] = Multipart(key, _metadata(request))
        root = ElementTree.Element("InitiateMultipartUploadResult")
        ElementTree.SubElement(root, "Bucket").text = self.bucket
        ElementTree.SubElement(root, "Key").text = key
        ElementTree.SubElement(root, "UploadId").text = upload_id
        return _xml(root)

    def _upload_part(self, request: web.Request, query: dict[str, str], body: bytes) -> web.Response:
        if problem := _wrong_checksum(request, body):
            return problem
        number = int(query["partNumber"])
        self.uploads[query["uploadId"]].parts[number] = body
        self.uploads[query["uploadId"]].checksums[number] = _sha256(body)
        return web.Response(headers={"ETag": f'"{hashlib.md5(body).hexdigest()}"', **_checksum_header(request)})

    def _complete(self, key: str, query: dict[str, str], body: bytes) -> web.Response:
        upload = self.uploads[query["uploadId"]]
        named = [
            {child.tag.rpartition("}")[2]: (child.text or "") for child in part}
            for part in ElementTree.fromstring(body)
        ]
        numbers = [int(part["PartNumber"]) for part in named]
        if numbers != sorted(set(numbers)) or not numbers:
            return _error(400, "InvalidPartOrder", str(numbers))
        for part, number in zip(named, numbers, strict=True):
            data = upload.parts.get(number)
            if data is None or part["ETag"].strip('"') != hashlib.md5(data).hexdigest():
                return _error(400, "InvalidPart", str(number))
            if "ChecksumSHA256" in part and part["ChecksumSHA256"] != upload.checksums[number]:
                return _error(400, "InvalidPart", str(number))
            if len(data) < self.smallest_part and number != numbers[-1]:
                return _error(400, "EntityTooSmall", str(number))
        pieces = [upload.parts[number] for number in numbers]
        digests = b"".join(hashlib.md5(piece).digest() for piece in pieces)
        etag = f'"{hashlib.md5(digests).hexdigest()}-{len(pieces)}"'
        self.objects[key] = StoredObject(b"".join(pieces), etag, upload.metadata)
        del self.uploads[query["uploadId"]]
        composite = _sha256(b"".join(hashlib.sha256(piece).digest() for piece in pieces))
        root = ElementTree.Element("CompleteMultipartUploadResult")
        ElementTree.SubElement(root, "Key").text = key
        ElementTree.SubElement(root, "ETag").text = etag
        ElementTree.SubElement(root, "ChecksumSHA256").text = f"{composite}-{len(pieces)}"
        return _xml(root)

    def _check_signature(self, request: web.Request, raw_path: str, raw_query: str, body: bytes) -> str:
        """Why the signature is wrong, or the empty string."""
        match = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/s3/aws4_request, ?"
            r"SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})",
            request.headers.get("Authorization", ""),
        )
        if not match or match[1] != ACCESS_KEY or match[3] != REGION:
            return "no usable Authorization header"
        signed = match[4].split(";")
        moment = request.headers.get("x-amz-date", "")
        if "host" not in signed or "x-amz-content-sha256" not in signed or not moment.startswith(match[2]):
            return "required headers are not signed"
        if any(name.lower().startswith("x-amz-") and name.lower() not in signed for name in request.headers):
            return "an x-amz header is not signed"
        claimed = request.headers["x-amz-content-sha256"]
        if claimed not in ("UNSIGNED-PAYLOAD", hashlib.sha256(body).hexdigest()):
            return "the payload differs from its hash"
        pairs = sorted((quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in parse_qsl(raw_query, True))
        canonical = "\n".join(
            [
                request.method,
                quote(unquote(raw_path), safe="/-_.~"),
                "&".join(f"{k}={v}" for k, v in pairs),
                *(f"{name}:{' '.join(request.headers[name].split())}" for name in signed),
                "",
                match[4],
                claimed,
            ]
        )
        scope = f"{match[2]}/{REGION}/s3/aws4_request"
        to_sign = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{SECRET_KEY}".encode()
        for step in (match[2], REGION, "s3", "aws4_request"):
            key = hmac.new(key, step.encode(), hashlib.sha256).digest()
        expected = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
        return "" if hmac.compare_digest(expected, match[5]) else "the signature does not match"


def _sha256(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def _metadata(request: web.Request) -> dict[str, str]:
    prefix = "x-amz-meta-"
    return {
        name.lower().removeprefix(prefix): value
        for name, value in request.headers.items()
        if name.lower().startswith(prefix)
    }


def _checksum_header(request: web.Request) -> dict[str, str]:
    value = request.headers.get("x-amz-checksum-sha256")
    return {"x-amz-checksum-sha256": value} if value else {}


def _wrong_checksum(request: web.Request, body: bytes) -> web.Response | None:
    claimed = request.headers.get("x-amz-checksum-sha256")
    if claimed and claimed != _sha256(body):
        return _error(400, "BadDigest", "x-amz-checksum-sha256")
    return None


def _xml(root: ElementTree.Element) -> web.Response:
    root.set("xmlns", "http://s3.amazonaws.com/doc/2006-03-01/")
    return web.Response(
        body=ElementTree.tostring(root, xml_declaration=True, encoding="UTF-8"), content_type="text/xml"
    )


def _error(status: int, code: str, message: str) -> web.Response:
    root = ElementTree.Element("Error")
    ElementTree.SubElement(root, "Code").text = code
    ElementTree.SubElement(root, "Message").text = message
    return web.Response(status=status, body=ElementTree.tostring(root), content_type="application/xml")
