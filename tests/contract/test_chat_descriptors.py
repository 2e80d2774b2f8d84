"""Whatever chat the monitor reads off an address, the chat service has a driver that takes its descriptor."""

from __future__ import annotations

import aiohttp
import pytest

from services.danmu.adapters import open_source
from services.monitor.adapters.chats import chat_of

PAGES = {
    "acfun": "https://live.acfun.cn/live/23682490",
    "bigo": "https://www.bigo.tv/6400",
    "chzzk": f"https://chzzk.naver.com/live/{'a1' * 16}",
    "douyin": "https://live.douyin.com/745964462470",
    "douyu": "https://www.douyu.com/9999",
    "huya": "https://www.huya.com/lpl",
    "kick": "https://kick.com/somebody",
    "niconico": "https://live.nicovideo.jp/watch/lv345678901",
    "soop": "https://play.sooplive.co.kr/somebody/123",
    "tiktok": "https://www.tiktok.com/@somebody/live",
    "twitcasting": "https://twitcasting.tv/somebody",
    "twitch": "https://www.twitch.tv/somebody",
    "youtube": "https://www.youtube.com/@somebody/live",
}


@pytest.mark.parametrize(("kind", "page"), PAGES.items())
async def test_a_chat_that_the_monitor_names_can_be_opened(kind: str, page: str) -> None:
    chat = chat_of(page, live_id="7690219000000000000")

    assert chat is not None
    assert chat.kind == kind
    async with aiohttp.ClientSession() as session:
        await open_source(chat.kind, chat.descriptor, session).close()
