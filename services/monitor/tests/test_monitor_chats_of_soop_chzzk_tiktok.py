"""Which chat a page of SOOP, CHZZK or TikTok has."""

from __future__ import annotations

import pytest
from contracts.values import Chat

from services.monitor.adapters.chats import chat_of

CHANNEL = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("url", "kind", "room_id"),
    [
        ("https://play.sooplive.co.kr/talent", "soop", "talent"),
        ("https://play.sooplive.co.kr/talent/281234567", "soop", "talent"),
        ("https://m.sooplive.co.kr/talent", "soop", "talent"),
        ("https://ch.sooplive.com/talent_1", "soop", "talent_1"),
        ("https://play.afreecatv.com/talent/1?x=y", "soop", "talent"),
        (f"https://chzzk.naver.com/live/{CHANNEL}", "chzzk", CHANNEL),
        (f"https://m.chzzk.naver.com/live/{CHANNEL}", "chzzk", CHANNEL),
        (f"https://chzzk.naver.com/{CHANNEL}", "chzzk", CHANNEL),
        ("https://www.tiktok.com/@anna.live_1/live", "tiktok", "anna.live_1"),
        ("https://tiktok.com/@anna/live/?lang=en", "tiktok", "anna"),
    ],
)
def test_the_page_names_the_room(url: str, kind: str, room_id: str) -> None:
    assert chat_of(url) == Chat(kind=kind, descriptor={"room_id": room_id})


@pytest.mark.parametrize(
    "url",
    [
        "https://play.sooplive.co.kr/",
        "https://play.sooplive.co.kr/a.b",
        "https://chzzk.naver.com/live/short",
        f"https://chzzk.naver.com/video/{CHANNEL}",
        "https://www.tiktok.com/@anna",
        "https://www.tiktok.com/@anna/video/1",
        "https://www.tiktok.com/@a%2Fb/live",
        "https://tiktok.com.example/@anna/live",
    ],
)
def test_other_pages_have_none(url: str) -> None:
    assert chat_of(url) is None
