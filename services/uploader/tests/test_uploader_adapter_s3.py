"""Uploads to a bucket: signed, in parts, resumable after a crash, verified where they lie."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import aiohttp
import pytest
from chassis.egress import EgressPolicy, open_session
from chassis.sigv4 import Credentials, Request, signed_headers
from chassis.storage import LocalStorage, StorageOptions
from tenacity import wait_none

from services.uploader.adapters.object_store import (
    ArtifactSource,
    Json,
    UploadCorrupt,
    UploadError,
    UploadInterrupted,
    UploadRefused,
    object_stores,
)
from services.uploader.adapters.s3 import S3ObjectStore
from services.uploader.adapters.s3_multipart import ATTEMPTS, Body, S3Multipart
from services.uploader.tests.s3_server import ACCESS_KEY, REGION, SECRET_KEY, SESSION_TOKEN, S3Server, Seen
from tests.deadline import DEADLINE_S

PART = 64 * 1024
CONTENT = random.Random(7).randbytes(5 * PART + 123)  # six parts
DIGEST = hashlib.sha256(CONTENT).hexdigest()
DESTINATION = "s3://archive/shows/%E9%8C%B2%E7%94%BB%20%231%20a+b.flv"
KEY = "shows/録画 #1 a+b.flv"


@pytest.fixture
async def server() -> AsyncIterator[S3Server]:
    async with S3Server(smallest_part=PART).running() as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session(EgressPolicy(allow_private=True)) as opened:
        yield opened


def options(server: S3Server, **changes: object) -> StorageOptions:
    values: dict[str, object] = {
        "endpoint": server.endpoint,
        "region": REGION,
        "access_key_id": ACCESS_KEY,
        "secret_access_key": SECRET_KEY,
        "session_token": SESSION_TOKEN,
        "part_size": PART,
        "max_concurrency": 2,
        "request_timeout_seconds": DEADLINE_S,
    }
    return StorageOptions(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture
def store(server: S3Server, session: aiohttp.ClientSession) -> S3ObjectStore:
    return S3ObjectStore(options(server), session, wait=wait_none())


@pytest.fixture
def source(tmp_path: Path) -> ArtifactSource:
    (tmp_path / "source.flv").write_bytes(CONTENT)
    return ArtifactSource(LocalStorage(tmp_path), "source.flv", DIGEST)


class Crash(Exception):
    """The process ended here."""


class Ledger:
    """Keeps states as a database would (through JSON) and can end the process after some of them: then nothing more is
    kept, also of a part that was on its way beside."""

    def __init__(self, crash_after: int = 0) -> None:
        self.states: list[Json] = []
        self.crash_after = crash_after

    async def __call__(self, state: Json) -> None:
        if not self.crash_after or len(self.states) < self.crash_after:
            self.states.append(json.loads(json.dumps(state)))
        if len(self.states) == self.crash_after:
            raise Crash

    @property
    def last(self) -> Json:
        return self.states[-1]


# --- the signature ---------------------------------------------------------------------------------------------------


def test_the_documented_signature() -> None:
    # Source: the GET Object example of "Signature Calculations for the Authorization Header" in the S3 API reference.
    request = Request("GET", "examplebucket.s3.amazonaws.com", "/test.txt", {}, {"Range": "bytes=0-9"})
    credentials = Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")

    headers = signed_headers(request, credentials, "us-east-1", datetime(2013, 5, 24, tzinfo=UTC))

    assert headers["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(Credentials("id", "secret", "secret"))


async def test_a_wrong_secret_is_refused_by_the_server(
    server: S3Server, session: aiohttp.ClientSession, source: ArtifactSource
) -> None:
    store = S3ObjectStore(options(server, secret_access_key="wrong"), session, wait=wait_none())

    with pytest.raises(UploadRefused, match="SignatureDoesNotMatch"):
        await store.upload(source, DESTINATION, on_progress=Ledger())
    assert server.rejected == ["the signature does not match"]


# --- whole uploads ---------------------------------------------------------------------------------------------------


async def test_a_file_goes_up_in_parts_and_is_verified(
    server: S3Server, store: S3ObjectStore, source: ArtifactSource
) -> None:
    ledger = Ledger()

    done = await store.upload(source, DESTINATION, on_progress=ledger)

    assert server.rejected == []
    assert server.objects[KEY].data == CONTENT
    assert server.objects[KEY].metadata == {"sha256": DIGEST}
    assert server.count("PUT", "partNumber") == 6
    assert (done.uri, done.size, done.sha256) == (DESTINATION, len(CONTENT), DIGEST)
    assert done.etag == server.objects[KEY].etag
    assert ledger.states[0]["sent"] == 0
    assert [state["sent"] for state in ledger.states] == sorted(state["sent"] for state in ledger.states)
    assert (ledger.last["sent"], ledger.last["size"]) == (len(CONTENT), len(CONTENT))


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1, 2 * PART])
async def test_sizes_around_the_part_size(server: S3Server, store: S3ObjectStore, tmp_path: Path, size: int) -> None:
    data = CONTENT[:size]
    (tmp_path / "x").write_bytes(data)

    done = await store.upload(ArtifactSource(LocalStorage(tmp_path), "x"), "s3://archive/x", on_progress=Ledger())

    assert server.objects["x"].data == data
    assert done.sha256 == hashlib.sha256(data).hexdigest()
    assert server.count("PUT", "partNumber") == (0 if size <= PART else 2)
    assert server.rejected == []


async def test_virtual_hosted_addresses(session: aiohttp.ClientSession) -> None:
    bucket = S3Multipart(
        "archive",
        StorageOptions(access_key_id="a", secret_access_key="b", path_style=False, region="eu-central-1"),
        session,
    )

    assert str(bucket._client._base) == "https://archive.s3.eu-central-1.amazonaws.com"
    assert bucket._client._prefix == ""


# --- crashes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("crash_after", [1, 2, 4, 7])
async def test_after_a_crash_only_what_is_missing_is_sent(
    server: S3Server, store: S3ObjectStore, source: ArtifactSource, crash_after: int
) -> None:
    # given an upload whose process ended after some progress
    ledger = Ledger(crash_after)
    with pytest.raises(Crash):
        await store.upload(source, DESTINATION, on_progress=ledger)
    known = {str(number) for number, *_ in ledger.last["parts"]}
    server.seen.clear()

    # when another process goes on from the last state
    done = await store.upload(source, DESTINATION, resume=ledger.last, on_progress=Ledger())

    # then it is the same upload, and parts that were there are not sent again
    assert server.objects[KEY].data == CONTENT
    assert done.sha256 == DIGEST
    assert server.count("POST", "uploads") == 0
    sent = {seen.query["partNumber"] for seen in server.seen if "partNumber" in seen.query}
    assert sent == {"1", "2", "3", "4", "5", "6"} - known
    assert server.uploads == {}
    assert len(known) == crash_after - 1


async def test_a_crash_between_completion_and_its_record(
    server: S3Server, store: S3ObjectStore, source: ArtifactSource
) -> None:
    ledger = Ledger()
    await store.upload(source, DESTINATION, on_progress=ledger)
    server.seen.clear()

    done = await store.upload(source, DESTINATION, resume=ledger.last, on_progress=Ledger())

    assert done.etag == server.objects[KEY].etag
    assert server.count("PUT") == 0
    assert server.count("POST", "uploads") == 0


async def test_an_upload_that_the_store_swept_away_begins_again(
    server: S3Server, store: S3ObjectStore, source: ArtifactSource
) -> None:
    ledger = Ledger(crash_after=4)
    with pytest.raises(Crash):
        await store.upload(source, DESTINATION, on_progress=ledger)
    server.uploads.clear()

    await store.upload(source, DESTINATION, resume=ledger.last, on_progress=Ledger())

    assert server.objects[KEY].data == CONTENT


async def test_another_file_of_that_name_at_the_destination_is_not_taken_for_ours(
    server: S3Server, store: S3ObjectStore, source: ArtifactSource, tmp_path: Path
) -> None:
    # given a finished upload, whose object somebody replaced by another one of the same size
    ledger = Ledger()
    await store.upload(source, DESTINATION, on_progress=ledger)
    (tmp_path / "other").write_bytes(CONTENT[::-1])
    other = ArtifactSource(LocalStorage(tmp_path), "other")
    await store.upload(other, DESTINATION, on_progress=Ledger())

    # when the first is resumed
    await store.upload(source, DESTINATION, resume=ledger.last, on_progress=Ledger())

    # then it was sent again
    assert server.objects[KEY].data == CONTENT


async def test_parts_of_another_content_are_found_out(
    server: S3Server, store: S3ObjectStore, source: ArtifactSource
) -> None:
    ledger = Ledger(crash_after=3)
    with pytest.raises(Crash):
        await store.upload(source, DESTINATION, on_progress=ledger)
    number, etag, _ = ledger.last["parts"][0]
    ledger.last["parts"][0] = [number, etag, "00" * 32]

    with pytest.raises(UploadCorrupt, match="whose parts were sent") as corrupt:
        await store.upload(source, DESTINATION, resume=ledger.last, on_progress=Ledger())
    assert corrupt.value.restart
    assert server.uploads == {}


async def test_larger_parts_after_a_restart_leave_nothing_behind(
    server: S3Server, session: aiohttp.ClientSession, store: S3ObjectStore, source: ArtifactSource
) -> None:
    ledger = Ledger(crash_after=3)
    with pytest.raises(Crash):
        await store.upload(source, DESTINATION, on_progress=ledger)
    larger = S3ObjectStore(options(server, part_size=16 * PART), session, wait=wait_none())

    await larger.upload(source, DESTINATION, resume=ledger.last, on_progress=Ledger())

    assert server.objects[KEY].data == CONTENT
    assert server.uploads == {}


@pytest.mark.parametrize("tags", ["digests", "opaque"])
async def test_a_store_without_checksums_is_verified_by_its_tags(
    server: S3Server, store: S3ObjectStore, source: ArtifactSource, monkeypatch: pytest.MonkeyPatch, tags: str
) -> None:
    # given a store that knows no checksums, and whose tags of parts are or are not digests of their content
    complete, upload_part = server._complete, server._upload_part

    def damaged(key: str, query: dict[str, str], body: bytes) -> object:
        upload = server.uploads[query["uploadId"]]
        upload.parts[2] = upload.parts[2][::-1]
        etag = hashlib.md5(upload.parts[2]).hexdigest().encode()
        original = ElementTree.fromstring(body)
        sent = (original[1].findtext("{*}ETag") or "").strip('"').encode()
        for checksum in re.findall(rb"<ChecksumSHA256>[^<]*</ChecksumSHA256>", body):
            body = body.replace(checksum, b"")
        answer = complete(key, query, body.replace(sent, etag))
        answer.body = re.sub(rb"<(\w+:)?ChecksumSHA256>[^<]*</(\w+:)?ChecksumSHA256>", b"", answer.body)
        return answer

    def opaque(request: Any, query: dict[str, str], body: bytes) -> Any:
        answer = upload_part(request, query, body)
        if tags == "opaque" and query["partNumber"] == "2":
            answer.headers["ETag"] = '"' + "f" * 32 + '"'
        return answer

    monkeypatch.setattr(server, "_complete", damaged)
    monkeypatch.setattr(server, "_upload_part", opaque)

    # then damage is found where tags can tell, and tags that tell nothing are not taken for damage
    if tags == "digests":
        with pytest.raises(UploadCorrupt, match="another checksum"):
            await store.upload(source, DESTINATION, on_progress=Ledger())
    else:
        assert (await store.upload(source, DESTINATION, on_progress=Ledger())).size == len(CONTENT)


@pytest.mark.parametrize("change", ["source", "destination", "garbage"])
async def test_a_state_that_does_not_fit_is_given_up(
    server: S3Server, store: S3ObjectStore, source: ArtifactSource, tmp_path: Path, change: str
) -> None:
    ledger = Ledger(crash_after=3)
    with pytest.raises(Crash):
        await store.upload(source, DESTINATION, on_progress=ledger)
    state, destination, expected = ledger.last, DESTINATION, CONTENT
    if change == "source":
        expected = CONTENT[::-1]
        # Another file of this name: one that is written over within a tick of the clock keeps its time.
        (tmp_path / "another.flv").write_bytes(expected)
        (tmp_path / "another.flv").replace(tmp_path / "source.flv")
        source = ArtifactSource(source.storage, source.key)
    elif change == "destination":
        destination = "s3://archive/elsewhere.flv"
    else:
        state = {**state, "parts": [["one", None]]}

    await store.upload(source, destination, resume=state, on_progress=Ledger())

    key = KEY if change != "destination" else "elsewhere.flv"
    assert server.objects[key].data == expected
    assert server.count("POST", "uploads") == 2
    if change != "destination":  # an upload id belongs to its key
        assert server.uploads == {}


async def test_giving_up_leaves_nothing_behind(server: S3Server, store: S3ObjectStore, source: ArtifactSource) -> None:
    ledger = Ledger(crash_after=3)
    with pytest.raises(Crash):
        await store.upload(source, DESTINATION, on_progress=ledger)
    assert len(server.uploads) == 1

    await store.abandon(DESTINATION, ledger.last)
    await store.abandon(DESTINATION, ledger.last)

    assert server.uploads == {}


# --- failures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 503, -1])
async def test_passing_failures_are_repeated(
    server: S3Server, store: S3ObjectStore, source: ArtifactSource, status: int
) -> None:
    failures: dict[str, int] = {}

    def fail(seen: Seen) -> int:
        name = f"{seen.method} {sorted(seen.query)} {seen.query.get('partNumber', '')}"
        failures[name] = failures.get(name, 0) + 1
        return status if failures[name] <= 2 else 0

    server.fail = fail

    await store.upload(source, DESTINATION, on_progress=Ledger())

    assert server.objects[KEY].data == CONTENT
    assert min(failures.values()) == 3


async def test_lasting_failures_interrupt_and_the_upload_goes_on_later(
    server: S3Server, store: S3ObjectStore, source: ArtifactSource
) -> None:
    server.fail = lambda seen: 503 if seen.query.get("partNumber") == "4" else 0
    ledger = Ledger()
    with pytest.raises(UploadInterrupted, match="503") as interrupted:
        await store.upload(source, DESTINATION, on_progress=ledger)
    assert not interrupted.value.fatal
    assert sum(1 for seen in server.seen if seen.query.get("partNumber") == "4") == ATTEMPTS

    server.fail = lambda seen: 0
    await store.upload(source, DESTINATION, resume=ledger.last, on_progress=ledger)

    assert server.objects[KEY].data == CONTENT


async def test_denied_access_is_fatal_and_asked_once(
    server: S3Server, store: S3ObjectStore, source: ArtifactSource
) -> None:
    server.fail = lambda seen: 403

    with pytest.raises(UploadRefused, match="403 AccessDenied") as refused:
        await store.upload(source, DESTINATION, on_progress=Ledger())
    assert refused.value.fatal
    assert len(server.seen) == 1


async def test_a_failed_completion_inside_a_good_status_is_a_failure(
    server: S3Server, store: S3ObjectStore, source: ArtifactSource
) -> None:
    server.fail = lambda seen: 200 if seen.method == "POST" and "uploadId" in seen.query else 0

    with pytest.raises(UploadError, match="200 AccessDenied"):
        await store.upload(source, DESTINATION, on_progress=Ledger())
    assert server.objects == {}


async def test_a_part_damaged_in_the_store_is_found_at_completion(
    server: S3Server, session: aiohttp.ClientSession
) -> None:
    bucket = S3Multipart("archive", options(server), session, wait=wait_none())
    upload_id = await bucket.create("x", {})

    part = await bucket.put_part("x", upload_id, 1, Body.of(CONTENT[:PART]))
    server.uploads[upload_id].parts[1] = b"damaged later"
    with pytest.raises(UploadRefused, match="InvalidPart"):
        await bucket.complete("x", upload_id, [part])


async def test_an_object_that_is_not_ours_at_the_end_is_corrupt(
    server: S3Server, store: S3ObjectStore, source: ArtifactSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = server._complete

    def truncated(key: str, query: dict[str, str], body: bytes) -> object:
        answer = complete(key, query, body)
        server.objects[key].data = server.objects[key].data[:-1]
        return answer

    monkeypatch.setattr(server, "_complete", truncated)

    with pytest.raises(UploadCorrupt, match="whole object") as corrupt:
        await store.upload(source, DESTINATION, on_progress=Ledger())
    assert corrupt.value.restart


async def test_a_store_that_reports_another_checksum_is_not_believed(
    server: S3Server, store: S3ObjectStore, source: ArtifactSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = server._complete

    def other(key: str, query: dict[str, str], body: bytes) -> object:
        answer = complete(key, query, body)
        assert isinstance(answer.body, bytes)
        answer.body = answer.body.replace(b"<ChecksumSHA256>", b"<ChecksumSHA256>AAAA")
        return answer

    monkeypatch.setattr(server, "_complete", other)

    with pytest.raises(UploadCorrupt, match="another checksum"):
        await store.upload(source, DESTINATION, on_progress=Ledger())


async def test_a_source_with_another_checksum_is_refused(
    server: S3Server, store: S3ObjectStore, source: ArtifactSource
) -> None:
    with pytest.raises(UploadRefused, match="checksum it was recorded with"):
        await store.upload(ArtifactSource(source.storage, source.key, "0" * 64), DESTINATION, on_progress=Ledger())
    assert server.objects == {}
    assert server.uploads == {}  # no parts are left behind to be paid for


async def test_a_missing_source_is_refused(store: S3ObjectStore, source: ArtifactSource) -> None:
    with pytest.raises(UploadRefused, match="gone"):
        await store.upload(ArtifactSource(source.storage, "nothing.flv"), DESTINATION, on_progress=Ledger())


async def test_a_source_that_grows_meanwhile_is_corrupt(
    server: S3Server, store: S3ObjectStore, source: ArtifactSource, tmp_path: Path
) -> None:
    async def grow(state: Json) -> None:
        if state["sent"] == 0:
            await asyncio.to_thread((tmp_path / "source.flv").write_bytes, CONTENT + b"more")

    with pytest.raises(UploadCorrupt, match="changed"):
        await store.upload(source, DESTINATION, on_progress=grow)
    assert server.objects == server.uploads == {}


@pytest.mark.parametrize(
    "destination",
    [
        "s3://archive",
        "s3://archive/",
        "s3://archive/a/../b",
        "s3://archive/%2e%2e/b",
        "s3://key:secret@archive/b",
        "s3://archive/b?x=1",
        "s3://UPPER/b",
        "s3:///b",
    ],
)
async def test_bad_destinations_are_refused(store: S3ObjectStore, source: ArtifactSource, destination: str) -> None:
    with pytest.raises(UploadRefused) as refused:
        await store.upload(source, destination, on_progress=Ledger())
    assert "secret" not in str(refused.value)


async def test_missing_credentials_are_named(
    server: S3Server, session: aiohttp.ClientSession, source: ArtifactSource
) -> None:
    store = S3ObjectStore(options(server, access_key_id=None), session)

    with pytest.raises(UploadRefused, match="AWS_ACCESS_KEY_ID"):
        await store.upload(source, DESTINATION, on_progress=Ledger())


async def test_the_scheme_chooses_the_store(
    server: S3Server, session: aiohttp.ClientSession, source: ArtifactSource, tmp_path: Path
) -> None:
    target = tmp_path / "target"
    stores = object_stores(roots=(target.as_uri(),), options=options(server), session=session)

    await stores.upload(source, "s3://archive/x", on_progress=Ledger())
    await stores.upload(source, f"{target.as_uri()}/x", on_progress=Ledger())

    assert server.objects["x"].data == (target / "x").read_bytes() == CONTENT
    assert not stores.accepts("ftp://host/x")
    with pytest.raises(UploadRefused, match="no store"):
        await stores.upload(source, "ftp://host/x", on_progress=Ledger())
