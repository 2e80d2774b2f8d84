"""Files that go into a bucket while they are written, against a server that speaks S3."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator

import pytest
from chassis.egress import EgressPolicy, open_session
from chassis.s3_multipart import S3Multipart
from chassis.storage import StorageOptions
from media.flv.recorder import FlvRecorder
from media.flv.recover import recover
from tenacity import wait_none

from libs.media.tests import flv_streams as flv
from services.downloader.adapters import streamed
from services.downloader.adapters.streamed import Sent, StreamedFile, Streaming, assemble
from services.uploader.tests.s3_server import ACCESS_KEY, REGION, SECRET_KEY, S3Server, Seen
from tests.deadline import DEADLINE_S

PART = 4096


@pytest.fixture
async def server() -> AsyncIterator[S3Server]:
    async with S3Server("archive", smallest_part=PART).running() as running:
        yield running


@pytest.fixture
async def bucket(server: S3Server) -> AsyncIterator[S3Multipart]:
    options = StorageOptions(
        endpoint=server.endpoint, region=REGION, access_key_id=ACCESS_KEY, secret_access_key=SECRET_KEY
    )
    async with open_session(EgressPolicy(allow_private=True)) as session:
        yield S3Multipart("archive", options, session, wait=wait_none())


class Noted:
    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.more = asyncio.Event()

    async def __call__(self, sent: Sent) -> None:
        self.sent.append(Sent.from_json(sent.to_json()))
        self.more.set()

    async def until(self, parts: int) -> Sent:
        async with asyncio.timeout(DEADLINE_S):
            while not self.sent or len(self.sent[-1].parts) < parts:
                self.more.clear()
                await self.more.wait()
        return self.sent[-1]


def begun(bucket: S3Multipart, max_bytes: int = 1 << 20) -> tuple[StreamedFile, Streaming, Noted]:
    file, noted = StreamedFile(part_size=PART, max_bytes=max_bytes), Noted()
    streaming = Streaming(file, bucket, lambda size: {"bytes": size - size % 100})
    streaming.begin("live/a.flv", noted)
    return file, streaming, noted


@pytest.mark.parametrize("size", [1, PART, PART + 1, 2 * PART, 7 * PART + 123])
async def test_what_is_written_is_what_is_stored(server: S3Server, bucket: S3Multipart, size: int) -> None:
    data = bytes(n * 7 % 251 for n in range(size))
    file, streaming, _ = begun(bucket)
    for at in range(0, size, 1000):
        file.write(data[at : at + 1000])
    # given a head that is written over at the end
    file.seek(0)
    file.write(b"H")
    file.seek(file.size)
    file.close()
    assert await streaming.finish() == size
    assert server.objects["live/a.flv"].data == b"H" + data[1:]
    assert server.uploads == {}
    assert server.rejected == []


async def test_it_is_noted_when_the_media_of_a_part_came_and_not_when_the_bucket_had_it(
    bucket: S3Multipart, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(100, 200))
    monkeypatch.setattr(streamed.time, "time", lambda: float(next(clock)))
    file, streaming, noted = begun(bucket)
    # given a first part that was full at 100, and two more at 101 and 102, all before anything was sent
    for _ in range(3):
        file.write(bytes(PART))
    sent = await noted.until(3)
    assert [(len(one.parts), one.written_at) for one in noted.sent] == [(0, 0.0), (1, 100.0), (2, 101.0), (3, 102.0)]
    assert Sent.from_json({key: value for key, value in sent.to_json().items() if key != "written_at"}).written_at == 0
    await streaming.abort()


async def test_parts_are_sent_while_the_file_grows(server: S3Server, bucket: S3Multipart) -> None:
    file, streaming, noted = begun(bucket)
    file.write(bytes(3 * PART + 10))
    sent = await noted.until(3)
    # then everything but the part that grows is there, and noted
    assert (sent.size, streaming.durable, sent.cursor) == (3 * PART, 3 * PART, {"bytes": 12200})
    (upload,) = server.uploads.values()
    assert sorted(upload.parts) == [1, 2, 3]
    await streaming.abort()
    assert server.uploads == {}


async def test_an_upload_is_noted_before_anything_of_it_is_sent(server: S3Server, bucket: S3Multipart) -> None:
    # given a bucket that begins uploads, but takes no part
    server.fail = lambda request: 403 if request.method == "PUT" else 0
    file, streaming, noted = begun(bucket)
    file.write(bytes(2 * PART))
    sent = await noted.until(0)
    # when its owner is gone, then whoever comes next finds the upload and ends it
    await streaming.stop()
    assert (sent.upload_id, sent.parts, sent.size) == (*server.uploads, (), 0)
    assert not await assemble(bucket, sent)
    assert server.uploads == {}


async def test_a_first_part_that_is_refused_begins_no_second_upload(server: S3Server, bucket: S3Multipart) -> None:
    refused = asyncio.Event()

    def refuse_once(request: Seen) -> int:
        if request.method != "PUT" or refused.is_set():
            return 0
        refused.set()
        return 403

    server.fail = refuse_once
    file, streaming, noted = begun(bucket)
    file.write(bytes(2 * PART))
    await noted.until(2)
    assert refused.is_set() and len(server.uploads) == 1
    await streaming.abort()


async def test_a_lost_owners_flv_is_finished_from_the_bucket(server: S3Server, bucket: S3Multipart) -> None:
    # given a recorder whose process is gone in the middle of its file
    file, streaming, noted = begun(bucket)
    source = flv.gops(0, range(60), length=400)
    recorder = FlvRecorder(lambda _: file, buffer_size=64)
    recorder.feed(flv.stream(*source))
    await noted.until(max(1, file.size // PART))
    await streaming.stop()
    # when somebody else makes an object of what was sent
    assert await assemble(bucket, noted.sent[-1])
    assert await assemble(bucket, noted.sent[-1]), "twice is the same"
    # then its media plays up to there
    mended = io.BytesIO(server.objects["live/a.flv"].data)
    left = recover(mended)
    tags = flv.media(mended.getvalue())
    assert left.bytes <= noted.sent[-1].size
    assert left.bytes > noted.sent[-1].size - PART
    assert [bytes(tag.payload) for tag in tags] == [bytes(tag.payload) for tag in source[: len(tags)]]
    assert left.duration_ms == tags[-1].timestamp


async def test_nothing_sent_is_nothing_left(server: S3Server, bucket: S3Multipart) -> None:
    assert not await assemble(bucket, Sent("live/a.flv"))
    assert server.objects == {}


async def test_a_bucket_that_comes_back_gets_everything(server: S3Server, bucket: S3Multipart) -> None:
    server.fail = lambda request: 503
    file, streaming, noted = begun(bucket)
    data = bytes(range(256)) * 64
    file.write(data)
    async with asyncio.timeout(DEADLINE_S):
        while not server.seen:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0)
    server.fail = lambda request: 0
    await noted.until(4)
    file.close()
    assert await streaming.finish() == len(data)
    assert server.objects["live/a.flv"].data == data


async def test_memory_is_bounded_while_the_bucket_is_away(server: S3Server, bucket: S3Multipart) -> None:
    server.fail = lambda request: 503
    file, streaming, _ = begun(bucket, max_bytes=5 * PART)
    with pytest.raises(OSError, match="does not take media as fast"):
        for _ in range(20):
            file.write(bytes(PART))
    await streaming.stop()


def test_only_the_head_may_be_written_over() -> None:
    file = StreamedFile(part_size=PART, max_bytes=1 << 20)
    file.write(bytes(3 * PART))
    with pytest.raises(OSError, match="only the head"):
        file.seek(2 * PART)
    file.seek(PART - 2)
    with pytest.raises(OSError, match="only the head"):
        file.write(b"abcd")
