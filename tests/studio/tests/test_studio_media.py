"""What the studio broadcasts: playable, live, and over when it is over."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal

import aiohttp
import pytest

from tests.deadline import DEADLINE_S
from tests.studio import Studio
from tests.studio.flv import AUDIO, SCRIPT, VIDEO, Tag

from .viewers import play, watching


async def test_a_broadcast_plays_as_flv_ts_and_fmp4(studio: Studio) -> None:
    # given a room on air
    await studio.put_on_air("1001")
    # when PyAV plays each output
    for url in (studio.flv_url("1001"), studio.hls_url("1001", "ts"), studio.hls_url("1001", "fmp4")):
        picture = await play(url)
        # then it decodes pictures and sound
        assert (picture.codec, picture.width, picture.height) == ("h264", 320, 180)
        assert picture.frames == 20
        assert picture.samples > 20_000


async def test_size_rate_and_codec_are_options(studio: Studio) -> None:
    await studio.put_on_air("1001", width=192, height=108, fps=10, video="hevc", audio=False)
    for url in (studio.flv_url("1001"), studio.hls_url("1001", "fmp4")):
        picture = await play(url, frames=10)
        assert (picture.codec, picture.width, picture.height, picture.samples) == ("hevc", 192, 108, 0)


async def test_every_new_viewer_starts_with_headers_and_a_keyframe(studio: Studio, http: aiohttp.ClientSession) -> None:
    # given a room whose first keyframe is long gone
    await studio.put_on_air("1001")
    async with watching(http, studio.flv_url("1001")) as early:
        first = [tag for tag in await early.tags(100) if tag.is_keyframe]
        # when a second viewer comes
        async with watching(http, studio.flv_url("1001")) as late:
            tags = await late.tags(6)
    # then it gets metadata, both sequence headers and a later keyframe, in this order
    assert [tag.kind for tag in tags[:3]] == [SCRIPT, VIDEO, AUDIO]
    assert b"onMetaData" in tags[0].body
    assert tags[1].is_sequence_header
    assert tags[2].is_sequence_header
    assert tags[3].is_keyframe
    assert tags[3].timestamp > first[0].timestamp


async def test_going_off_air_ends_the_flv_cleanly_and_the_playlists_with_endlist(
    studio: Studio, http: aiohttp.ClientSession
) -> None:
    # given a viewer of a room on air
    await studio.put_on_air("1001")
    async with watching(http, studio.flv_url("1001")) as viewer:
        await viewer.tag()
        # when the room goes off air
        await studio.put_off_air("1001")
        # then the body ends without an error
        assert len(await viewer.rest()) > 3
    # and the playlists say so, while the stream and the master are gone
    for media_format in ("ts", "fmp4"):
        async with http.get(studio.hls_url("1001", media_format)) as response:
            assert (await response.text()).rstrip().endswith("#EXT-X-ENDLIST")
    for url in (studio.flv_url("1001"), studio.hls_url("1001").replace("index", "master")):
        async with http.get(url) as response:
            assert response.status == 404
    assert (await studio.room("1001"))["on_air"] is False


async def test_an_ended_playlist_disappears_after_its_linger_time(studio: Studio, http: aiohttp.ClientSession) -> None:
    await studio.put_on_air("1001", linger_s=0)
    await studio.put_off_air("1001")
    async with asyncio.timeout(DEADLINE_S):
        while True:
            async with http.get(studio.hls_url("1001")) as response:
                if response.status == 404:
                    break
                assert "#EXT-X-ENDLIST" in await response.text()


async def test_a_second_broadcast_has_new_segments(studio: Studio, http: aiohttp.ClientSession) -> None:
    await studio.put_on_air("1001")
    await studio.put_off_air("1001")
    async with http.get(studio.hls_url("1001")) as response:
        before = await response.text()
    await studio.put_on_air("1001", "Again")
    async with http.get(studio.hls_url("1001")) as response:
        after = await response.text()
    assert "#EXT-X-ENDLIST" not in after
    assert (await studio.room("1001"))["title"] == "Again"
    assert await play(studio.hls_url("1001", "fmp4"))
    assert re.findall(r"DATE-TIME:(.+)", after)[0] > re.findall(r"DATE-TIME:(.+)", before)[0]


async def test_the_playlist_is_a_moving_window(studio: Studio, http: aiohttp.ClientSession) -> None:
    # given a room with short segments
    await studio.put_on_air("1001", segment_s=0.2, gop_s=0.2, window=3)
    sequences, had = set(), set()
    # when the playlist is read until its sequence number moved on twice
    async with asyncio.timeout(DEADLINE_S):
        while len(sequences) < 3 or not had:
            async with http.get(studio.hls_url("1001", "fmp4")) as response:
                text = await response.text()
            sequences.add(int(re.search(r"MEDIA-SEQUENCE:(\d+)", text)[1]))
            # then it never lists more than the window, and what it lists can be had as long as it is listed
            assert 1 <= text.count("#EXTINF") <= 3
            name = re.findall(r"^\d+\.m4s$", text, re.MULTILINE)[-1]
            async with http.get(studio.hls_url("1001", "fmp4").replace("index.m3u8", name)) as response:
                if response.status == 404:
                    async with http.get(studio.hls_url("1001", "fmp4")) as later:
                        assert name not in (await later.text()).split()
                    continue
                assert response.status == 200
                assert (await response.read())[4:8] in {b"styp", b"moof"}
                had.add(name)
    assert max(sequences) > min(sequences)


async def test_a_master_playlist_leads_to_the_media_playlist(studio: Studio) -> None:
    await studio.put_on_air("1001")
    picture = await play(studio.hls_url("1001", "ts").replace("index", "master"))
    assert picture.frames == 20


async def test_only_files_of_the_broadcast_are_served(studio: Studio, http: aiohttp.ClientSession) -> None:
    await studio.put_on_air("1001", formats=["flv", "ts"])
    base = f"{studio.url}/live/1001"
    for path in ("/fmp4/index.m3u8", "/ts/none.ts", "/ts/%2e%2e%2fts%2findex.m3u8", "/ts/index.html"):
        async with http.get(base + path) as response:
            assert response.status == 404, path
    async with http.get(f"{studio.url}/live/none.flv") as response:
        assert response.status == 404


async def test_a_loop_plays_in_real_time_without_an_encoder(studio: Studio, http: aiohttp.ClientSession) -> None:
    # given a room that replays a loop
    state = await studio.put_on_air("bench", source="loop", video_kbps=1000)
    # then there is no encoder, and no playlist is promised
    assert studio.encoder_pids() == []
    assert set(state["urls"]) == {"page", "chat", "flv"}
    assert (await play(studio.flv_url("bench"))).codec == "h264"
    # and two viewers see the same timeline
    async with watching(http, studio.flv_url("bench")) as one, watching(http, studio.flv_url("bench")) as other:
        first = next(tag for tag in await other.tags(10) if tag.is_keyframe)
        while (tag := await one.tag()) != first:
            assert tag.timestamp <= first.timestamp
    # and it ends cleanly
    async with watching(http, studio.flv_url("bench")) as viewer:
        await studio.put_off_air("bench")
        await viewer.rest()


async def test_an_unpaced_loop_sends_its_bytes_and_ends_with_one_unbroken_timeline(
    studio: Studio, http: aiohttp.ClientSession
) -> None:
    # given three laps' worth of bytes, as fast as the reader takes them
    await studio.put_on_air("bench", source="unpaced", video_kbps=500, total_bytes=1_700_000, off_air_after=True)
    # when it is read to its end
    async with watching(http, studio.flv_url("bench")) as viewer:
        tags = await viewer.rest()
    # then it is what was ordered and goes on over the seams of the loop
    size = sum(len(tag.body) + 15 for tag in tags)
    assert 1_700_000 <= size < 1_800_000
    for kind, step in ((VIDEO, 67), (AUDIO, 22)):
        stamps = [tag.timestamp for tag in tags if tag.kind == kind and not tag.is_sequence_header]
        assert stamps[-1] > 16_000
        assert {b - a for a, b in itertools.pairwise(stamps)} <= {step, step - 1}
    # and the room is off air then
    await studio.wait_for_room("bench", on_air=False)


async def test_a_constant_rate_is_what_was_ordered(studio: Studio, http: aiohttp.ClientSession) -> None:
    await studio.put_on_air("bench", source="unpaced", video_kbps=4000, audio=False, total_bytes=4_200_000)
    async with watching(http, studio.flv_url("bench")) as viewer:
        tags = await viewer.rest()
    frames = [tag for tag in tags if tag.kind == VIDEO and not tag.is_sequence_header]
    bits = sum(len(tag.body) for tag in frames) * 8
    assert bits / frames[-1].timestamp == pytest.approx(4000, rel=0.1)  # bits per millisecond are kbit/s


async def test_loops_are_encoded_once_for_all_rooms(studio: Studio, http: aiohttp.ClientSession) -> None:
    # given thirty rooms of the same picture, put on air together
    rooms = [f"bench{index}" for index in range(30)]
    await asyncio.gather(*(studio.put_on_air(room, source="loop") for room in rooms))

    async def keyframe(room: str) -> Tag:
        async with watching(http, studio.flv_url(room)) as viewer:
            return (await viewer.tags(4))[3]

    # then all of them play
    assert all(tag.is_keyframe for tag in await asyncio.gather(*map(keyframe, rooms)))


async def test_options_cannot_change_on_air(studio: Studio) -> None:
    await studio.put_on_air("bench", source="loop")
    with pytest.raises(ValueError, match="on air"):
        await studio.create_room("bench", width=640)
    await studio.put_off_air("bench")
    assert (await studio.create_room("bench", width=640))["options"]["width"] == 640


async def test_a_room_whose_encoder_dies_goes_off_air(studio: Studio) -> None:
    await studio.put_on_air("1001")
    (pid,) = studio.encoder_pids()
    os.kill(pid, signal.SIGKILL)
    state = await studio.wait_for_room("1001", on_air=False)
    assert state["live_since"] is None


async def test_viewers_are_counted_and_forgotten(studio: Studio, http: aiohttp.ClientSession) -> None:
    await studio.put_on_air("bench", source="loop")
    async with watching(http, studio.flv_url("bench")) as viewer:
        await viewer.tag()
        assert (await studio.wait_for_room("bench", viewers=1))["bytes_sent"] > 0
    await studio.wait_for_room("bench", viewers=0)


async def test_a_studio_closes_with_viewers_and_chatters_connected(http: aiohttp.ClientSession) -> None:
    # given two kinds of rooms with a viewer each, one of them stalled
    async with Studio() as studio:
        await studio.put_on_air("1001")
        await studio.put_on_air("bench", source="loop")
        await studio.fault("bench", "stall")
        async with http.get(studio.flv_url("1001")) as one, http.get(studio.flv_url("bench")) as other:
            await studio.wait_for_room("1001", viewers=1)
            pids = studio.encoder_pids()
            # when the studio closes
            await studio.__aexit__()
            # then both bodies end, and so does the encoder
            for response in (one, other):
                while await response.content.readany():
                    pass
    assert len(pids) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)
