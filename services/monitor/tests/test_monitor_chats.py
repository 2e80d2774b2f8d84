"""Which chat belongs to the address of a page."""

from __future__ import annotations

import pytest
from contracts.values import Chat

from services.monitor.adapters.chats import chat_at, chat_of


@pytest.mark.parametrize("url", ["https://nobody.example/1", "ftp://www.douyu.com/1", "http://[", "", "https:///1"])
def test_an_unknown_page_has_no_chat(url: str) -> None:
    assert chat_of(url) is None


@pytest.mark.parametrize(
    ("url", "kind", "room"),
    [
        ("https://www.douyu.com/9999", "douyu", "9999"),
        ("http://m.douyu.com/lpl?x=1", "douyu", "lpl"),
        ("https://www.douyu.com/topic/any?rid=71415", "douyu", "71415"),
        ("https://www.douyu.com/beta/9999", "douyu", "9999"),
        ("https://www.huya.com/lpl", "huya", "lpl"),
        ("https://www.bigo.tv/ar/somebody", "bigo", "somebody"),
        ("https://www.bigo.tv/6400", "bigo", "6400"),
        ("https://live.acfun.cn/live/23682490", "acfun", "23682490"),
        ("https://m.acfun.cn/live/detail/23682490", "acfun", "23682490"),
        ("https://live.douyin.com/745964462470?x=1", "douyin", "745964462470"),
        ("https://m.huya.com/998?shareid=1", "huya", "998"),
    ],
)
def test_the_room_is_read_off_the_address(url: str, kind: str, room: str) -> None:
    chat = chat_of(url)
    assert chat is not None
    assert (chat.kind, chat.descriptor) == (kind, {"room_id": room})


@pytest.mark.parametrize("url", ["https://www.twitch.tv/Some_Channel", "https://m.twitch.tv/some_channel/?x=1"])
def test_a_twitch_channel_is_known_by_its_login(url: str) -> None:
    assert chat_of(url) == Chat(kind="twitch", descriptor={"channel": "some_channel"})


@pytest.mark.parametrize(
    "url", ["https://www.twitch.tv/", "https://www.twitch.tv/directory/x", "https://twitch.tv/a.b"]
)
def test_other_pages_of_twitch_have_no_chat(url: str) -> None:
    assert chat_of(url) is None


@pytest.mark.parametrize(
    ("url", "descriptor"),
    [
        ("https://www.youtube.com/watch?v=dQw4w9WgXcQ&t=1", {"video_id": "dQw4w9WgXcQ"}),
        ("https://youtu.be/dQw4w9WgXcQ?si=x", {"video_id": "dQw4w9WgXcQ"}),
        ("https://m.youtube.com/live/dQw4w9WgXcQ", {"video_id": "dQw4w9WgXcQ"}),
        ("https://www.youtube.com/@Studio/live", {"channel": "@Studio"}),
        ("https://www.youtube.com/@スタジオ", {"channel": "@スタジオ"}),
        (
            "https://www.youtube.com/channel/UCxxxxxxxxxxxxxxxxxxxxxx/live",
            {"channel": "channel/UCxxxxxxxxxxxxxxxxxxxxxx"},
        ),
        ("https://www.youtube.com/c/Studio", {"channel": "c/Studio"}),
    ],
)
def test_a_youtube_page_is_a_video_or_a_channel(url: str, descriptor: dict[str, str]) -> None:
    assert chat_of(url) == Chat(kind="youtube", descriptor=descriptor)


@pytest.mark.parametrize(
    "url",
    [
        "https://www.youtube.com/",
        "https://www.youtube.com/playlist?list=x",
        "https://youtu.be/x",
        "https://www.youtube.com/elevenchars",
        "https://www.youtube.com/embed/live_stream",
    ],
)
def test_other_pages_of_youtube_have_no_chat(url: str) -> None:
    assert chat_of(url) is None


def test_a_kick_channel_is_known_by_its_slug() -> None:
    assert chat_of("https://kick.com/Some-Channel/videos") == Chat(kind="kick", descriptor={"slug": "some-channel"})
    assert chat_of("https://kick.com/browse") is None
    assert chat_of("https://kick.com/") is None


@pytest.mark.parametrize(
    ("url", "user"),
    [
        ("https://twitcasting.tv/studio", "studio"),
        ("https://twitcasting.tv/c:studio_1/movie/123", "c:studio_1"),
        ("https://en.twitcasting.tv/studio", None),
        ("https://twitcasting.tv/", None),
    ],
)
def test_a_twitcasting_user(url: str, user: str | None) -> None:
    assert chat_of(url) == (Chat(kind="twitcasting", descriptor={"user": user}) if user else None)


@pytest.mark.parametrize(
    ("url", "programme"),
    [
        ("https://live.nicovideo.jp/watch/lv345678901?ref=top", "lv345678901"),
        ("https://live2.nicovideo.jp/watch/ch2640322", "ch2640322"),
        ("https://live.nicovideo.jp/watch/user/12345678", "user/12345678"),
        ("https://live.nicovideo.jp/watch/", None),
        ("https://live.nicovideo.jp/ranking", None),
    ],
)
def test_a_niconico_programme(url: str, programme: str | None) -> None:
    assert chat_of(url) == (Chat(kind="niconico", descriptor={"programme": programme}) if programme else None)


@pytest.mark.parametrize(
    "url",
    [
        "https://www.douyu.com/",
        "https://www.acfun.cn/v/ac123",
        "https://live.acfun.cn/live/x",
        "https://www.douyu.com/x/../..",
    ],
)
def test_a_page_that_is_no_channel_has_no_chat(url: str) -> None:
    assert chat_of(url) is None


def test_the_name_of_the_broadcast_goes_to_drivers_that_need_it() -> None:
    told, elsewhere, odd = (
        chat_of(*asked)
        for asked in (
            ("https://www.bigo.tv/6400", "77"),
            ("https://www.huya.com/998", "77"),
            ("https://www.bigo.tv/6400", "a b"),
        )
    )
    assert told is not None and elsewhere is not None and odd is not None
    assert told.descriptor == {"room_id": "6400", "live_id": "77"}
    assert elsewhere.descriptor == {"room_id": "998"}
    assert odd.descriptor == {"room_id": "6400"}


def test_two_functions_for_one_host_are_a_mistake() -> None:
    register = chat_at("twice.example")
    register(lambda page: None)

    with pytest.raises(ValueError, match="two chats"):
        register(lambda page: None)
