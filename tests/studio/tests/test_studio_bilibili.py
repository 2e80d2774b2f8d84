"""Bilibili's API on the studio: shapes, codes, signatures, and URLs that really play."""

from __future__ import annotations

import hashlib
import re
import time
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from tests.studio import Studio
from tests.studio.signatures import mixin_key, wbi_signature

from .viewers import play, watching

# The permutation as the community documents it, written down a second time on purpose.
MIXIN = [46, 47, 18, 2, 53, 8, 23, 32, 15, 50, 10, 31, 58, 3, 45, 35, 27, 43, 5, 49, 33, 9, 42, 19, 29, 28, 14, 39,
         12, 38, 41, 13, 37, 48, 7, 16, 24, 55, 40, 61, 26, 17, 0, 1, 60, 51, 30, 4, 22, 25, 54, 21, 56, 59, 6, 63,
         57, 62, 11, 36, 20, 34, 44, 52]  # fmt: skip
INFO = "/xlive/web-room/v1/index/getInfoByRoom"
DANMU = "/xlive/web-room/v1/index/getDanmuInfo"
PLAY = "/xlive/web-room/v2/index/getRoomPlayInfo"


class Browser:
    """Signs and sends like the web client."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url
        self.key = ""

    async def fetch_keys(self) -> None:
        nav = await self.get("/x/web-interface/nav")
        names = [nav["data"]["wbi_img"][name].rsplit("/", 1)[1].split(".")[0] for name in ("img_url", "sub_url")]
        raw = "".join(names)
        self.key = "".join(raw[index] for index in MIXIN)[:32]

    async def get(self, path: str, **parameters: Any) -> dict[str, Any]:
        async with self._http.get(self._url + path, params=parameters) as response:
            assert response.status == 200
            return await response.json()

    async def signed(self, path: str, **parameters: Any) -> dict[str, Any]:
        everything = {**parameters, "web_location": "444.8", "wts": int(time.time())}
        query = urlencode(sorted(everything.items()))
        w_rid = hashlib.md5((query + self.key).encode()).hexdigest()
        return await self.get(path, **everything, w_rid=w_rid)


@pytest.fixture
async def browser(studio: Studio, http: aiohttp.ClientSession) -> Browser:
    browser = Browser(http, studio.url)
    await browser.fetch_keys()
    return browser


def test_wbi_signatures_are_those_of_the_published_example() -> None:
    key = mixin_key("7cd084941338484aae1ad9425b84077c", "4932caff0ff746eab6f01bf08b70ac45")
    assert key == "ea1db124af3c7062474693fa704f4ff8"
    parameters = [("foo", "114"), ("bar", "514"), ("zab", "1919810"), ("wts", "1702204169")]
    assert wbi_signature(parameters, key) == "8f6f2b5b3d485fe1886cec6a0be8c5d4"


async def test_room_information_needs_the_right_signature(studio: Studio, browser: Browser) -> None:
    await studio.create_room("1001", title="Hello", streamer="Ann", category="Chess", parent_category="Games", uid=77)
    # a right one opens
    data = (await browser.signed(INFO, room_id=1001))["data"]
    room = data["room_info"]
    assert (room["room_id"], room["uid"], room["title"]) == (1001, 77, "Hello")
    assert (room["area_name"], room["parent_area_name"]) == ("Chess", "Games")
    assert (room["live_status"], room["live_start_time"]) == (0, 0)
    assert data["anchor_info"]["base_info"]["uname"] == "Ann"
    # none, a wrong one, an old one, and one for other parameters do not
    now = int(time.time())
    assert (await browser.get(INFO, room_id=1001))["code"] == -352
    assert (await browser.get(INFO, room_id=1001, wts=now, w_rid="0" * 32))["code"] == -352
    good = hashlib.md5(f"room_id=1001&wts={now}{browser.key}".encode()).hexdigest()
    assert (await browser.get(INFO, room_id=1001, wts=now, w_rid=good))["code"] == 0
    assert (await browser.get(INFO, room_id=1002, wts=now, w_rid=good))["code"] == -352
    stale = hashlib.md5(f"room_id=1001&wts={now - 7200}{browser.key}".encode()).hexdigest()
    assert (await browser.get(INFO, room_id=1001, wts=now - 7200, w_rid=stale))["code"] == -352
    # and a rotation of the keys voids what was right
    await studio.rotate_wbi_keys()
    assert (await browser.signed(INFO, room_id=1001))["code"] == -352
    await browser.fetch_keys()
    assert (await browser.signed(INFO, room_id=1001))["code"] == 0


async def test_a_broadcast_shows_in_all_room_endpoints(studio: Studio, browser: Browser) -> None:
    # given a room with a short number, on air
    before = int(time.time())
    await studio.put_on_air("1001", "Live now", short_id=7, formats=["flv"])
    # then each endpoint knows, by either number
    room = (await browser.signed(INFO, room_id=7))["data"]["room_info"]
    assert (room["room_id"], room["short_id"], room["live_status"], room["title"]) == (1001, 7, 1, "Live now")
    assert before <= room["live_start_time"] <= time.time()
    init = (await browser.get("/room/v1/Room/room_init", id=7))["data"]
    assert (init["room_id"], init["live_status"], init["live_time"]) == (1001, 1, room["live_start_time"])
    info = (await browser.get("/room/v1/Room/get_info", room_id=1001))["data"]
    assert info["live_status"] == 1
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", info["live_time"])
    # and off air again
    await studio.put_off_air("1001")
    init = (await browser.get("/room/v1/Room/room_init", id=7))["data"]
    assert (init["live_status"], init["live_time"]) == (0, -62170012800)
    assert (await browser.get("/room/v1/Room/get_info", room_id=1001))["data"]["live_time"] == "0000-00-00 00:00:00"


async def test_unknown_rooms_and_bad_requests_have_the_platform_s_codes(browser: Browser) -> None:
    assert (await browser.get("/room/v1/Room/room_init", id=4))["code"] == 60004
    assert (await browser.get("/room/v1/Room/get_info", room_id=4))["code"] == 1
    assert (await browser.get(PLAY, room_id=4))["code"] == 60004
    assert (await browser.signed(INFO, room_id=4))["code"] == 19002000
    assert (await browser.get(PLAY, room_id="four"))["code"] == -400


def _streams(answer: dict[str, Any]) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {
        (stream["protocol_name"], entry["format_name"], codec["codec_name"]): codec
        for stream in answer["data"]["playurl_info"]["playurl"]["stream"]
        for entry in stream["format"]
        for codec in entry["codec"]
    }


def _url(codec: dict[str, Any], index: int = 0) -> str:
    return codec["url_info"][index]["host"] + codec["base_url"] + codec["url_info"][index]["extra"]


async def test_play_information_has_signed_urls_that_play(studio: Studio, browser: Browser) -> None:
    # given a room on air
    await studio.put_on_air("1001")
    # when all protocols are asked for
    streams = _streams(await browser.signed(PLAY, room_id=1001, protocol="0,1", format="0,1,2", codec="0,1", qn=10000))
    # then there are three, and every URL plays
    assert set(streams) == {("http_stream", "flv", "avc"), ("http_hls", "ts", "avc"), ("http_hls", "fmp4", "avc")}
    for codec in streams.values():
        for index in range(len(codec["url_info"])):
            assert (await play(_url(codec, index), frames=3)).codec == "h264"


async def test_play_information_is_filtered_and_chooses_a_quality(studio: Studio, browser: Browser) -> None:
    await studio.put_on_air("1001", qualities=[10000, 400, 150])
    flv_only = _streams(await browser.get(PLAY, room_id=1001, protocol="0", format="0", codec="0", qn=20000))
    assert set(flv_only) == {("http_stream", "flv", "avc")}
    assert flv_only["http_stream", "flv", "avc"]["accept_qn"] == [10000, 400, 150]
    assert flv_only["http_stream", "flv", "avc"]["current_qn"] == 10000
    for wanted, current in ((10000, 10000), (9999, 400), (150, 150), (80, 150)):
        answer = _streams(await browser.get(PLAY, room_id=1001, format="2", qn=wanted))
        assert answer["http_hls", "fmp4", "avc"]["current_qn"] == current
    assert _streams(await browser.get(PLAY, room_id=1001, codec="1")) == {}
    assert (await browser.get(PLAY, room_id=1001, w_rid="wrong", wts=1))["code"] == -352


async def test_play_information_off_air_has_no_urls(studio: Studio, browser: Browser) -> None:
    await studio.create_room("1001")
    data = (await browser.get(PLAY, room_id=1001))["data"]
    assert (data["live_status"], data["playurl_info"]) == (0, None)


async def test_signed_urls_are_void_when_changed_or_past_their_time(
    studio: Studio, browser: Browser, http: aiohttp.ClientSession
) -> None:
    await studio.put_on_air("1001")
    codec = _streams(await browser.get(PLAY, room_id=1001, format="0"))["http_stream", "flv", "avc"]
    url = _url(codec)
    expires = re.search(r"expires=(\d+)", url)[1]
    for bad in (
        url.replace("sign=", "sign=0"),
        url.replace(f"expires={expires}", f"expires={int(expires) + 1}"),
        url.replace(f"expires={expires}", "expires=1"),
    ):
        async with http.get(bad) as response:
            assert response.status == 403
    async with watching(http, url) as viewer:
        await viewer.tag()


async def test_the_room_page_carries_its_state(studio: Studio, http: aiohttp.ClientSession) -> None:
    state = await studio.create_room("1001", title="<b>bold</b>")
    async with http.get(state["urls"]["page"]) as response:
        assert response.content_type == "text/html"
        text = await response.text()
    assert "__NEPTUNE_IS_MY_WAIFU__" in text
    assert '"room_id": 1001' in text
    assert "<b>bold" not in text


async def test_nav_knows_who_is_logged_in(studio: Studio, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{studio.url}/x/web-interface/nav") as response:
        answer = await response.json()
        assert (answer["code"], answer["data"]["isLogin"]) == (-101, False)
    async with http.get(f"{studio.url}/x/web-interface/nav", headers={"Cookie": "SESSDATA=abc"}) as response:
        answer = await response.json()
        assert (answer["code"], answer["data"]["isLogin"]) == (0, True)
    async with http.get(f"{studio.url}/x/web-interface/nav", headers={"Cookie": "SESSDATA=expired"}) as response:
        assert (await response.json())["code"] == -101


async def test_fingerprints_are_fresh(browser: Browser) -> None:
    one, other = [(await browser.get("/x/frontend/finger/spi"))["data"] for _ in range(2)]
    assert one["b_3"].endswith("infoc")
    assert one["b_3"] != other["b_3"]
    assert one["b_4"]


async def test_pictures_are_real(studio: Studio, browser: Browser) -> None:
    await studio.create_room("1001")
    room = (await browser.signed(INFO, room_id=1001))["data"]["room_info"]
    picture = await play(room["cover"], frames=1)
    assert (picture.codec, picture.width, picture.height) == ("png", 64, 36)
