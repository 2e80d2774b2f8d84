"""Where the chat of a channel is, read off the address of its page: one function per platform, found by host.

A descriptor names the room as the page does; the chat's driver finds out the rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from contracts.values import Chat
from yarl import URL

ChatOf = Callable[[URL], Chat | None]
_platforms: Final[dict[str, ChatOf]] = {}
_WANT_LIVE_ID: Final = frozenset({"bigo", "douyin"})

_MAX_DIGITS: Final = 18
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_YOUTUBE_VIDEO: Final = re.compile(r"[A-Za-z0-9_-]{11}")
_YOUTUBE_SHORT: Final = re.compile(
    r"(?:youtu\.be|[a-z.]*youtube\.com/(?:live|embed))/(?!live_stream$)([A-Za-z0-9_-]{11})"
)
_YOUTUBE_CHANNEL: Final = re.compile(
    r"(@[^\s/?#@]{1,100}|channel/UC[A-Za-z0-9_-]{22}|(?:c|user)/[^\s/?#]{1,100})(?:/|$)"
)
_KICK_SLUG: Final = re.compile(r"[a-z0-9_-]{1,64}")
_KICK_PAGES: Final = frozenset(
    {"browse", "categories", "category", "following", "video", "clips", "dashboard", "search"}
)
_TWITCASTING_USER: Final = re.compile(r"/((?:[a-z]:)?[A-Za-z0-9_-]{1,64})(?:/|$)")
_NICONICO_PROGRAMME: Final = re.compile(r"/watch/((?:lv|ch|co)\d{1,18}|user/\d{1,18})(?:/|$)")
_TWITCH_LOGIN: Final = re.compile(r"[a-z0-9_]{1,25}")
_TWITCH_PAGES: Final = frozenset(
    {"directory", "videos", "settings", "downloads", "jobs", "p", "search", "subscriptions"}
)
_SOOP_ACCOUNT: Final = re.compile(r"[A-Za-z0-9_]{1,64}")
_CHZZK_CHANNEL: Final = re.compile(r"[0-9a-f]{32}")
_TIKTOK_PATH: Final = re.compile(r"/@([A-Za-z0-9_.]{1,64})/live/?")


def chat_at(*hosts: str) -> Callable[[ChatOf], ChatOf]:
    """Register a function for pages on these hosts and on their ``www.`` and ``m.`` ones."""

    def register(function: ChatOf) -> ChatOf:
        for host in hosts:
            if host in _platforms:
                raise ValueError(f"two chats for {host}")
            _platforms[host] = function
        return function

    return register


def chat_of(url: str, live_id: str = "") -> Chat | None:
    """The chat of the channel with this page, None where none is known.

    `live_id`: the platform's own name of the broadcast, where the monitor was told it; drivers that need it are spared a question.
    """
    try:
        page = URL(url)
        host = (page.host or "").lower()
    except ValueError:
        return None
    if page.scheme not in ("http", "https"):
        return None
    for prefix in ("www.", "m."):
        host = host.removeprefix(prefix)
    platform = _platforms.get(host)
    chat = platform(page) if platform is not None else None
    if chat is None or chat.kind not in _WANT_LIVE_ID or not _NAME.fullmatch(live_id):
        return chat
    return chat.model_copy(update={"descriptor": {**chat.descriptor, "live_id": live_id}})


def part(page: URL, place: int) -> str:
    """A segment of a page's path, "" when it is absent or can be no name of a room."""
    parts = page.path.strip("/").split("/")
    return parts[place] if place < len(parts) and _NAME.fullmatch(parts[place]) else ""


@chat_at("twitch.tv", "go.twitch.tv")
def _twitch(page: URL) -> Chat | None:
    """``/<login>``; what the site itself keeps under a name is no channel."""
    login = part(page, 0).lower()
    if login in _TWITCH_PAGES or not _TWITCH_LOGIN.fullmatch(login):
        return None
    return Chat(kind="twitch", descriptor={"channel": login})


@chat_at("youtube.com", "music.youtube.com", "youtu.be")
def _youtube(page: URL) -> Chat | None:
    """A video (``watch?v=``, ``live/``, ``embed/``, ``youtu.be/``), or a channel, whose running broadcast the driver finds."""
    path = page.path.strip("/")
    short = _YOUTUBE_SHORT.fullmatch(f"{page.host}/{path}")
    video = short[1] if short else page.query.get("v", "")
    if _YOUTUBE_VIDEO.fullmatch(video):
        return Chat(kind="youtube", descriptor={"video_id": video})
    channel = _YOUTUBE_CHANNEL.match(path)
    return Chat(kind="youtube", descriptor={"channel": channel[1]}) if channel else None


@chat_at("kick.com")
def _kick(page: URL) -> Chat | None:
    """``/<slug>``; what the site itself keeps under a name is no channel."""
    slug = part(page, 0).lower()
    if slug in _KICK_PAGES or not _KICK_SLUG.fullmatch(slug):
        return None
    return Chat(kind="kick", descriptor={"slug": slug})


@chat_at("twitcasting.tv")
def _twitcasting(page: URL) -> Chat | None:
    """``/<user>``, ``/c:<user>`` and so on, with or without a movie behind it."""
    user = _TWITCASTING_USER.match(page.path)
    return Chat(kind="twitcasting", descriptor={"user": user[1]}) if user else None


@chat_at("live.nicovideo.jp", "live2.nicovideo.jp", "sp.live.nicovideo.jp")
def _niconico(page: URL) -> Chat | None:
    """``/watch/`` with a programme, or a channel's or user's, whose running programme the page shows."""
    programme = _NICONICO_PROGRAMME.match(page.path)
    return Chat(kind="niconico", descriptor={"programme": programme[1]}) if programme else None


@chat_at("douyu.com")
def _douyu(page: URL) -> Chat | None:
    """``/<number or name>``, ``/topic/<any>?rid=<number>``, ``/beta/<number>`` (the addresses Streamlink knows too)."""
    room = page.query.get("rid", "") or (part(page, 1) if part(page, 0) == "beta" else part(page, 0))
    return Chat(kind="douyu", descriptor={"room_id": room}) if _NAME.fullmatch(room) else None


@chat_at(
    "play.sooplive.co.kr", "ch.sooplive.co.kr", "sooplive.co.kr", "play.sooplive.com", "ch.sooplive.com", "sooplive.com"
)
@chat_at("play.afreecatv.com", "bj.afreecatv.com", "afreecatv.com")
def _soop(page: URL) -> Chat | None:
    """``play.sooplive.co.kr/<account>[/<broadcast>]``, also by the platform's former name."""
    account = part(page, 0)
    return Chat(kind="soop", descriptor={"room_id": account}) if _SOOP_ACCOUNT.fullmatch(account) else None


@chat_at("chzzk.naver.com")
def _chzzk(page: URL) -> Chat | None:
    """``chzzk.naver.com/[live/]<channel>``, 32 hexadecimal digits."""
    channel = part(page, 1 if part(page, 0) == "live" else 0)
    return Chat(kind="chzzk", descriptor={"room_id": channel}) if _CHZZK_CHANNEL.fullmatch(channel) else None


@chat_at("tiktok.com")
def _tiktok(page: URL) -> Chat | None:
    """``tiktok.com/@<name>/live``."""
    found = _TIKTOK_PATH.fullmatch(page.path)
    return Chat(kind="tiktok", descriptor={"room_id": found[1]}) if found else None


@chat_at("huya.com")
def _huya(page: URL) -> Chat | None:
    """``/<number or name>``."""
    room = part(page, 0)
    return Chat(kind="huya", descriptor={"room_id": room}) if room else None


@chat_at("bigo.tv")
def _bigo(page: URL) -> Chat | None:
    """``bigo.tv/[<language>/]<name>``."""
    site = part(page, 1) or part(page, 0)
    return Chat(kind="bigo", descriptor={"room_id": site}) if site else None


@chat_at("live.douyin.com")
def _douyin(page: URL) -> Chat | None:
    """``live.douyin.com/<name>``."""
    name = part(page, 0)
    return Chat(kind="douyin", descriptor={"room_id": name}) if name else None


@chat_at("live.acfun.cn", "acfun.cn")
def _acfun(page: URL) -> Chat | None:
    """``live.acfun.cn/live/<number>``, ``m.acfun.cn/live/detail/<number>``."""
    number = page.name
    numbered = part(page, 0) == "live" and number.isascii() and number.isdigit() and len(number) <= _MAX_DIGITS
    return Chat(kind="acfun", descriptor={"room_id": number}) if numbered else None
