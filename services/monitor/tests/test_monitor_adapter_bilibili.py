"""The Bilibili adapter against a server with Bilibili's answers and signature."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import aiohttp
import pytest
from chassis.egress import EgressPolicy, open_session
from chassis.wbi import mixin_key

from services.monitor.adapters.bilibili import BilibiliAdapter
from services.monitor.adapters.platform import (
    ChannelNotFound,
    ChannelRef,
    ChannelRefused,
    ProbeFailed,
    Refusal,
    UnsupportedUrl,
)
from services.monitor.tests.bilibili_server import IMG, SUB, BilibiliServer, Room, stream

CDN = ("https://cn-gotcha04.bilivideo.com", "https://cn-gotcha05.bilivideo.com")


@pytest.fixture
async def server() -> AsyncIterator[BilibiliServer]:
    async with BilibiliServer().running() as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session(EgressPolicy(allow_private=True)) as opened:
        yield opened


@pytest.fixture
def adapter(server: BilibiliServer) -> BilibiliAdapter:
    host = server.base.removeprefix("http://")
    return BilibiliAdapter(
        api=server.base, nav=server.base, pages=("live.bilibili.com", f"{host}/bili"), short_links=("b23.tv", host)
    )


def page(server: BilibiliServer, room: int = 6) -> ChannelRef:
    return ChannelRef(f"{server.base}/bili/{room}")


# --- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "understood"),
    [
        ("https://live.bilibili.com/6", True),
        ("http://live.bilibili.com/7734200/?broadcast_type=0#x", True),
        ("https://LIVE.bilibili.com/h5/6", True),
        ("https://live.bilibili.com/blanc/6?liteVersion=true", True),
        ("https://b23.tv/abcDEF", True),
        ("https://live.bilibili.com/", False),
        ("https://live.bilibili.com/0", False),
        ("https://live.bilibili.com/p/html/6", False),
        ("https://www.bilibili.com/video/BV1xx", False),
        ("https://live.bilibili.com.evil.example/6", False),
        ("https://evil.example/live.bilibili.com/6", False),
        ("ftp://live.bilibili.com/6", False),
        ("http://[", False),
        ("", False),
    ],
)
def test_which_addresses_are_understood(url: str, understood: bool) -> None:
    assert BilibiliAdapter().matches(url) is understood


def test_cookies_belong_to_the_platform() -> None:
    assert BilibiliAdapter().cookie_domains("https://live.bilibili.com/6") == ("bilibili.com",)


# --- answers ---------------------------------------------------------------------------------------------------------


async def test_a_live_room(server: BilibiliServer, adapter: BilibiliAdapter, session: aiohttp.ClientSession) -> None:
    # given a room that broadcasts in three forms
    server.add(
        Room(
            streams=[
                stream("ts", "avc", 10000, CDN[0]),
                stream("fmp4", "hevc", 10000, CDN[0]),
                stream("flv", "avc", 10000, "https://xy1x2.mcdn.bilivideo.cn:486", *CDN),
                stream("flv", "avc", 400, CDN[0]),
                stream("unheard-of", "av1", 10000, CDN[0]),
            ]
        )
    )

    # when its short number is asked for
    probe = await adapter.probe(page(server), session)

    # then everything the platform says is there
    assert probe.live
    assert (probe.platform, probe.room_id) == ("bilibili", "7734200")
    assert (probe.title, probe.category, probe.streamer_name) == ("英雄联盟 & more", "英雄联盟", "官方频道")
    assert probe.cover_url.endswith("cover.jpg")
    assert probe.avatar_url.endswith("a.jpg")
    assert probe.started_at == datetime(2023, 12, 10, 10, 29, 29, tzinfo=UTC)
    assert probe.canonical_url == f"{server.base}/bili/7734200"
    assert probe.chat is not None
    assert probe.chat.kind == "bilibili"
    assert probe.chat.descriptor == {"kind": "bilibili", "room_id": 7734200, "api": server.base}
    # and the sources are sorted: quality, then format, with viewers' relays last
    assert [(s.quality, s.container, s.codec) for s in probe.sources] == [
        ("原画", "flv", "avc"),
        ("原画", "flv", "avc"),
        ("原画", "flv", "avc"),
        ("原画", "fmp4", "hevc"),
        ("原画", "ts", "avc"),
        ("蓝光", "flv", "avc"),
    ]
    assert [s.priority for s in probe.sources] == [0, 1, 2, 3, 4, 5]
    assert probe.sources[0].url == f"{CDN[0]}/live-bvc/1/live_flv_avc.flv?expires=1&cdn=1"
    assert ".mcdn." in probe.sources[2].url
    assert probe.sources[0].headers["Referer"] == "https://live.bilibili.com/"
    # and every request carried the device id once there was one
    assert server.seen[-1].cookies["buvid3"] == "DEVICE-infoc"
    assert server.seen[-1].query["qn"] == "30000"


async def test_the_wanted_protocol_and_quality(
    server: BilibiliServer, adapter: BilibiliAdapter, session: aiohttp.ClientSession
) -> None:
    server.add(Room(streams=[stream("flv", "avc", 400, CDN[0]), stream("ts", "avc", 400, CDN[0])]))

    probe = await adapter.probe(ChannelRef(f"{server.base}/bili/6", quality="bluray", protocol="hls"), session)

    assert [source.protocol for source in probe.sources] == ["hls", "flv"]
    assert server.seen[-1].query["qn"] == "400"


@pytest.mark.parametrize("status", [0, 2])
async def test_a_room_that_is_silent_or_repeats_videos_is_offline(
    server: BilibiliServer, adapter: BilibiliAdapter, session: aiohttp.ClientSession, status: int
) -> None:
    server.add(Room(live_status=status))

    probe = await adapter.probe(page(server), session)

    assert not probe.live
    assert probe.sources == ()
    assert probe.started_at is None
    assert probe.title
    assert server.count("getRoomPlayInfo") == 0


async def test_the_real_number_and_the_key_are_asked_for_once(
    server: BilibiliServer, adapter: BilibiliAdapter, session: aiohttp.ClientSession
) -> None:
    server.add(Room(live_status=0))

    for _ in range(3):
        await adapter.probe(page(server), session)

    assert (server.count("room_init"), server.count("nav"), server.count("getInfoByRoom")) == (1, 1, 3)


async def test_a_renewed_key_is_fetched_again(
    server: BilibiliServer, adapter: BilibiliAdapter, session: aiohttp.ClientSession
) -> None:
    server.add(Room(live_status=0))
    await adapter.probe(page(server), session)
    server.images = (SUB, IMG)
    server.key = mixin_key(f"/{SUB}.png", f"/{IMG}.png")

    assert (await adapter.probe(page(server), session)).room_id == "7734200"
    assert server.count("nav") == 2


async def test_a_lasting_rejection_is_not_repeated_for_ever(
    server: BilibiliServer, adapter: BilibiliAdapter, session: aiohttp.ClientSession
) -> None:
    server.add(Room())
    server.codes["getInfoByRoom"] = [-352, -352, -352]

    with pytest.raises(ProbeFailed, match="-352"):
        await adapter.probe(page(server), session)
    assert server.count("getInfoByRoom") == 2


async def test_a_short_link_is_followed(
    server: BilibiliServer, adapter: BilibiliAdapter, session: aiohttp.ClientSession
) -> None:
    server.add(Room(live_status=0))

    assert (await adapter.probe(ChannelRef(f"{server.base}/short/room"), session)).room_id == "7734200"
    with pytest.raises(UnsupportedUrl):
        await adapter.probe(ChannelRef(f"{server.base}/short/video"), session)


async def test_an_unknown_room(
    server: BilibiliServer, adapter: BilibiliAdapter, session: aiohttp.ClientSession
) -> None:
    with pytest.raises(ChannelNotFound):
        await adapter.probe(page(server, 404404), session)


@pytest.mark.parametrize(
    ("room", "reason"),
    [
        (Room(locked=True), Refusal.BANNED),
        (Room(encrypted=True, streams=[stream("flv", "avc", 400, CDN[0])]), Refusal.PRIVATE),
        (Room(streams=[]), Refusal.REGION),
    ],
)
async def test_rooms_that_are_not_shown(
    server: BilibiliServer, adapter: BilibiliAdapter, session: aiohttp.ClientSession, room: Room, reason: Refusal
) -> None:
    server.add(room)

    with pytest.raises(ChannelRefused) as refused:
        await adapter.probe(page(server), session)
    assert refused.value.reason == reason
    assert refused.value.fatal


@pytest.mark.parametrize("path", ["nav", "room_init", "getInfoByRoom", "getRoomPlayInfo"])
@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"data": {}}', b"[" * 100_000, b"x" * 3_000_000])
async def test_anything_but_their_json_is_a_passing_failure(
    server: BilibiliServer, adapter: BilibiliAdapter, session: aiohttp.ClientSession, path: str, body: bytes
) -> None:
    server.add(Room(streams=[stream("flv", "avc", 400, CDN[0])]))
    server.raw[path] = body

    with pytest.raises(ProbeFailed) as failed:
        await adapter.probe(page(server), session)
    assert not failed.value.fatal


@pytest.mark.parametrize(("status", "wait"), [(412, 60.0), (429, 60.0), (502, None)])
async def test_http_failures_pass_and_rate_limits_say_how_long(
    server: BilibiliServer, adapter: BilibiliAdapter, session: aiohttp.ClientSession, status: int, wait: float | None
) -> None:
    server.status["room_init"] = status

    with pytest.raises(ProbeFailed, match=str(status)) as failed:
        await adapter.probe(page(server), session)
    assert failed.value.retry_after == wait


async def test_a_missing_device_id_is_no_failure(
    server: BilibiliServer, adapter: BilibiliAdapter, session: aiohttp.ClientSession
) -> None:
    server.add(Room(live_status=0))
    server.status["spi"] = 500

    assert not (await adapter.probe(page(server), session)).live


async def test_an_unreachable_platform_is_a_passing_failure(session: aiohttp.ClientSession) -> None:
    adapter = BilibiliAdapter(api="http://127.0.0.1:9", nav="http://127.0.0.1:9")

    with pytest.raises(ProbeFailed, match="reached"):
        await adapter.probe(ChannelRef("https://live.bilibili.com/6"), session)


async def test_answers_of_other_shapes_do_not_break_it(
    server: BilibiliServer, adapter: BilibiliAdapter, session: aiohttp.ClientSession
) -> None:
    odd = stream("flv", "avc", 400, CDN[0])
    odd["format"][0]["codec"] += [None, {"current_qn": "high", "url_info": [{"host": 5}], "base_url": None}]
    server.add(Room(streams=[odd, {"format": None}, {"format": [{"format_name": "flv", "codec": {}}]}]))

    probe = await adapter.probe(page(server), session)

    assert len(probe.sources) == 1
