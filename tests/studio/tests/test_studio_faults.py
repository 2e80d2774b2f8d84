"""Faults on demand: each does what it says, to whom it says, and ends when it is cleared."""

from __future__ import annotations

import asyncio
import io
import itertools

import aiohttp
import av
import pytest

from tests.deadline import DEADLINE_S
from tests.studio import Studio
from tests.studio.flv import SCRIPT, VIDEO, Tag, TagReader

from .danmaku_client import Disconnected
from .test_studio_bilibili import PLAY, Browser, _streams, _url
from .test_studio_chat import chatting
from .viewers import FlvViewer, watching

SOURCES = pytest.mark.parametrize("source", ["encoder", "loop"])


async def _on_air(studio: Studio, source: str = "loop") -> str:
    await studio.put_on_air("1001", source=source, formats=["flv"])
    return studio.flv_url("1001")


async def _until_cut(viewer: FlvViewer) -> list[Tag]:
    found: list[Tag] = []
    with pytest.raises(aiohttp.ClientPayloadError):
        while True:
            found.append(await viewer.tag())
    return found


@SOURCES
async def test_drop_cuts_every_viewer_and_spares_the_next(
    studio: Studio, http: aiohttp.ClientSession, source: str
) -> None:
    url = await _on_air(studio, source)
    async with watching(http, url) as one, watching(http, url) as other:
        await one.tag()
        await other.tag()
        assert (await studio.fault("1001", "drop"))["affected"] == 2
        await _until_cut(one)
        await _until_cut(other)
    async with watching(http, url) as viewer:
        await viewer.tags(10)


async def test_stall_holds_everything_back_until_it_is_cleared(studio: Studio, http: aiohttp.ClientSession) -> None:
    # given a viewer of a stalled room
    url = await _on_air(studio)
    async with watching(http, url) as old:
        await old.tags(5)
        assert (await studio.fault("1001", "stall"))["affected"] == 1
        assert (await studio.room("1001"))["faults"] == [{"kind": "stall"}]
        # when another comes
        async with watching(http, url) as new:
            waiting = asyncio.create_task(new.tag())
            await studio.wait_for_room("1001", viewers=2)
            # then, once what was on its way has arrived, neither gets a byte in the time of several chunks, and neither is cut
            sent, before = (await studio.room("1001"))["bytes_sent"], None
            async with asyncio.timeout(DEADLINE_S):
                while sent != before:
                    await asyncio.wait({waiting}, timeout=0.5)
                    sent, before = (await studio.room("1001"))["bytes_sent"], sent
            assert not waiting.done()
            # until the stall is cleared
            await studio.clear_faults("1001")
            assert (await waiting).kind == SCRIPT
            await old.tags(20)


async def test_a_stall_can_end_by_itself_and_does_not_outlive_the_broadcast(
    studio: Studio, http: aiohttp.ClientSession
) -> None:
    url = await _on_air(studio)
    await studio.fault("1001", "stall", seconds=0.3)
    async with watching(http, url) as viewer:
        await viewer.tags(5)
    assert (await studio.room("1001"))["faults"] == []
    async with watching(http, url) as viewer:
        await viewer.tag()
        await studio.fault("1001", "stall")
        await studio.put_off_air("1001")
        await viewer.rest()


async def test_a_viewer_that_leaves_during_a_stall_is_forgotten(studio: Studio, http: aiohttp.ClientSession) -> None:
    url = await _on_air(studio)
    await studio.fault("1001", "stall")
    async with watching(http, url):
        await studio.wait_for_room("1001", viewers=1)
    await studio.wait_for_room("1001", viewers=0)


async def test_status_answers_the_next_n_requests(studio: Studio, http: aiohttp.ClientSession) -> None:
    await studio.put_on_air("1001")

    async def statuses(url: str, count: int) -> list[int]:
        found = []
        for _ in range(count):
            async with http.get(url) as response:
                found.append(response.status)
        return found

    await studio.fault("1001", "status", status=403, n=2)
    assert await statuses(studio.hls_url("1001"), 3) == [403, 403, 200]
    await studio.fault("1001", "status", status=500, target="flv")
    assert await statuses(studio.hls_url("1001"), 1) == [200]
    assert await statuses(studio.flv_url("1001"), 2) == [500, 200]
    await studio.fault("1001", "status", status=502, target="api")
    assert await statuses(f"{studio.url}/room/v1/Room/room_init?id=1001", 2) == [502, 200]
    await studio.fault("1001", "status", status=404, n=100)
    await studio.clear_faults("1001", "status")
    assert await statuses(studio.flv_url("1001"), 1) == [200]


async def test_status_can_fail_one_cdn(studio: Studio, http: aiohttp.ClientSession) -> None:
    url = await _on_air(studio)
    await studio.fault("1001", "status", status=404, n=5, cdn="studio-a")
    codec = _streams(await Browser(http, studio.url).get(PLAY, room_id=1001))["http_stream", "flv", "avc"]
    for index, status in ((0, 404), (1, 200)):
        async with http.get(_url(codec, index)) as response:
            assert response.status == status
    async with http.get(url) as response:
        assert response.status == 200


@SOURCES
async def test_timestamps_jump_for_everybody_and_stay_there(
    studio: Studio, http: aiohttp.ClientSession, source: str
) -> None:
    url = await _on_air(studio, source)
    async with watching(http, url) as viewer:
        before = (await viewer.tags(40))[-1].timestamp
        await studio.fault("1001", "timestamp_jump", ms=1_000_000)
        while (tag := await viewer.tag()).timestamp < 900_000:
            assert tag.timestamp < before + 60_000
        assert all(tag.timestamp >= 1_000_000 for tag in await viewer.tags(10))
    await studio.fault("1001", "timestamp_jump", ms=-990_000)
    async with watching(http, url) as viewer:
        while not 10_000 <= (await viewer.tag()).timestamp < 200_000:
            pass


@SOURCES
async def test_headers_can_be_repeated_in_mid_stream(studio: Studio, http: aiohttp.ClientSession, source: str) -> None:
    url = await _on_air(studio, source)
    async with watching(http, url) as viewer:
        first = await viewer.tags(3)
        await viewer.tags(20)
        await studio.fault("1001", "repeated_headers")
        while (tag := await viewer.tag()).kind != SCRIPT:
            pass
        again = [tag, *await viewer.tags(2)]
        await viewer.tags(20)
    assert [tag.body for tag in again] == [tag.body for tag in first]


async def test_the_picture_can_change_in_mid_stream(studio: Studio, http: aiohttp.ClientSession) -> None:
    # given a viewer that keeps what it reads
    url = await _on_air(studio, "loop")
    received, reader, headers = bytearray(), TagReader(), 0
    async with http.get(url) as response:
        while len(received) < 50_000:
            received += await response.content.readany()
        headers += sum(tag.kind == SCRIPT for tag in reader.feed(bytes(received)))
        # when the size changes
        assert (await studio.fault("1001", "resize", width=160, height=90))["affected"] == 1
        # and a second of it has come behind the new headers, however much of the old size was on its way
        while headers < 2:
            received += (data := await response.content.readany())
            headers += sum(tag.kind == SCRIPT for tag in reader.feed(data))
        end = len(received) + 50_000
        while len(received) < end:
            received += await response.content.readany()
    # then the decoder finds both sizes, one after the other, on one growing timeline
    with av.open(io.BytesIO(bytes(received))) as container:
        frames = [(frame.width, frame.pts) for frame in container.decode(video=0)]
    assert [width for width, _ in itertools.groupby(frames, key=lambda frame: frame[0])] == [320, 160]
    stamps = [stamp for _, stamp in frames]
    assert stamps == sorted(stamps)
    # and an encoder's room refuses
    await studio.put_on_air("1002", formats=["flv"])
    with pytest.raises(ValueError, match="loop"):
        await studio.fault("1002", "resize")


@SOURCES
async def test_a_tag_is_cut_in_the_middle(studio: Studio, http: aiohttp.ClientSession, source: str) -> None:
    # given a viewer that keeps what it reads
    url = await _on_air(studio, source)
    received = bytearray()
    async with http.get(url) as response:
        received += await response.content.readany()
        assert (await studio.fault("1001", "truncated_tag"))["affected"] == 1
        # when the connection ends
        with pytest.raises(aiohttp.ClientPayloadError):
            while data := await response.content.readany():
                received += data
    # then the last tag promises more than there is
    at = 13
    while at + 11 <= len(received):
        size = 11 + int.from_bytes(received[at + 1 : at + 4], "big") + 4
        if at + size > len(received):
            break
        at += size
    assert received[at] in {8, VIDEO}
    assert 11 <= len(received) - at < size
    # and the next viewer is not concerned
    async with watching(http, url) as viewer:
        await viewer.tags(30)


async def test_a_slow_body_is_slow(studio: Studio, http: aiohttp.ClientSession) -> None:
    await studio.put_on_air("1001", source="unpaced", total_bytes=5_000_000)
    await studio.fault("1001", "slow_body", bytes_per_s=50_000)
    async with watching(http, studio.flv_url("1001")) as viewer:
        # when a second's worth has arrived
        loop = asyncio.get_running_loop()
        started, size = loop.time(), 0
        while size < 50_000:
            tag = await viewer.tag()
            size += len(tag.body) + 15
        # then it took no less than most of a second (an upper bound would be the machine's business)
        assert loop.time() - started > 0.5
        # and cleared, the rest comes at once
        await studio.clear_faults("1001", "slow_body")
        size += sum(len(tag.body) + 15 for tag in await viewer.rest())
    assert size >= 5_000_000


async def test_slow_and_dropped_segments(studio: Studio, http: aiohttp.ClientSession) -> None:
    # given a segment that takes longer than the test
    await studio.put_on_air("1001", formats=["flv", "ts"])
    async with http.get(studio.hls_url("1001")) as response:
        name = (await response.text()).split()[-1]
    await studio.fault("1001", "slow_body", bytes_per_s=1000)
    async with http.get(studio.hls_url("1001").replace("index.m3u8", name)) as response:
        assert response.content_length > 10_000
        await response.content.readany()
        # when the connection is dropped
        assert (await studio.fault("1001", "drop"))["affected"] == 1
        # then the segment is incomplete
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_urls_expire_on_demand_while_running_connections_go_on(
    studio: Studio, http: aiohttp.ClientSession
) -> None:
    plain = await _on_air(studio)
    browser = Browser(http, studio.url)
    old = _url(_streams(await browser.get(PLAY, room_id=1001))["http_stream", "flv", "avc"])
    async with watching(http, old) as viewer:
        await viewer.tag()
        await studio.fault("1001", "expired_url")
        async with http.get(old) as response:
            assert response.status == 403
        await viewer.tags(30)
    new = _url(_streams(await browser.get(PLAY, room_id=1001))["http_stream", "flv", "avc"])
    for url in (new, plain):
        async with watching(http, url) as viewer:
            await viewer.tag()


async def test_the_chat_can_be_cut(studio: Studio, http: aiohttp.ClientSession) -> None:
    await studio.create_room("1001")
    async with chatting(studio, http) as one, chatting(studio, http) as other:
        await studio.wait_for_room("1001", chatters=2)
        assert (await studio.fault("1001", "chat_drop"))["affected"] == 2
        for client in (one, other):
            with pytest.raises((Disconnected, aiohttp.ClientError)):
                await client.frames()
    await studio.wait_for_room("1001", chatters=0)
    async with chatting(studio, http) as client:
        await studio.say("1001", "back")
        assert (await client.messages())[0]["info"][1] == "back"


async def test_a_viewer_that_never_reads_is_cut_when_its_backlog_is_too_long(
    studio: Studio, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a bound that a group of pictures, which each viewer is given first, does not reach
    monkeypatch.setattr("tests.studio.feed.MAX_BACKLOG_BYTES", 100_000)
    url = await _on_air(studio, "encoder")
    # and a viewer that got nothing while more came than may wait for it
    await studio.fault("1001", "stall")
    async with watching(http, url) as viewer:
        async with asyncio.timeout(DEADLINE_S):
            while studio.backlog("1001") <= 100_000:  # noqa: ASYNC110 - an encoder tells nobody how far it is
                await asyncio.sleep(0.05)
        # when it reads again
        await studio.clear_faults("1001", "stall")
        # then it is cut
        await _until_cut(viewer)
    await studio.wait_for_room("1001", viewers=0)


async def test_faults_of_a_broadcast_need_one(studio: Studio) -> None:
    await studio.create_room("1001")
    for kind in ("timestamp_jump", "repeated_headers"):
        with pytest.raises(ValueError, match="off air"):
            await studio.fault("1001", kind)
    with pytest.raises(ValueError, match="kind"):
        await studio.fault("1001", "earthquake")
