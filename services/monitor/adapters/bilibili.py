"""Bilibili live rooms."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Literal, Self

import aiohttp
from contracts.values import Chat, Source
from pydantic import ValidationError
from yarl import URL

from services.monitor.adapters.bilibili_api import HEADERS, BilibiliApi, Json
from services.monitor.adapters.platform import (
    ChannelNotFound,
    ChannelRef,
    ChannelRefused,
    Probe,
    ProbeFailed,
    Refusal,
    UnsupportedUrl,
    prioritised,
)
from services.monitor.adapters.registry import AdapterOptions, adapter

PAGES = ("live.bilibili.com",)
SHORT_LINKS = ("b23.tv",)
KNOWN_ROOMS = 4096

# Quality numbers ("qn") by the names people use. Source: `g_qn_desc` of getRoomPlayInfo.
QUALITIES = {
    "best": 30000,
    "dolby": 30000,
    "true-origin": 25000,
    "4k": 20000,
    "origin": 10000,
    "bluray": 400,
    "high": 250,
    "medium": 150,
    "low": 80,
    "worst": 80,
}
_FORMATS: Mapping[str, tuple[Literal["flv", "hls"], Literal["flv", "ts", "fmp4"]]] = {
    "flv": ("flv", "flv"),
    "ts": ("hls", "ts"),
    "fmp4": ("hls", "fmp4"),
}
# FLV first: one connection and no playlist delay. Then fMP4, which carries HEVC; TS is the oldest path.
_FORMAT_ORDER = ("flv", "fmp4", "ts")


@adapter(order=10)
class BilibiliAdapter:
    """Rooms on the pages given as `host[:port][/path]`; `api` and `nav` are base addresses (see `BilibiliApi`)."""

    name = "bilibili"

    def __init__(
        self,
        *,
        api: str = "https://api.live.bilibili.com",
        nav: str = "https://api.bilibili.com",
        pages: tuple[str, ...] = PAGES,
        short_links: tuple[str, ...] = SHORT_LINKS,
        timeout_seconds: float = 20.0,
    ) -> None:
        self._api = BilibiliApi(api, nav, timeout_seconds=timeout_seconds)
        self._pages = tuple(page.rstrip("/").lower() for page in pages)
        self._short_links = tuple(link.lower() for link in short_links)
        self._real_rooms: OrderedDict[str, int] = OrderedDict()

    @classmethod
    def configured(cls, options: AdapterOptions) -> Self:
        """Reads `api`, `nav`, `pages` and `short_links` (the last two comma separated, in addition to the usual)."""
        own = options.of(cls.name)
        more = {name: tuple(filter(None, own.get(name, "").split(","))) for name in ("pages", "short_links")}
        return cls(
            api=own.get("api", "https://api.live.bilibili.com"),
            nav=own.get("nav", "https://api.bilibili.com"),
            pages=PAGES + more["pages"],
            short_links=SHORT_LINKS + more["short_links"],
            timeout_seconds=options.timeout_seconds,
        )

    def matches(self, url: str) -> bool:
        """See `PlatformAdapter`: a room page, or a short link, which may lead to one."""
        return self._room_in(url) is not None or self._is_short_link(url)

    def cookie_domains(self, url: str) -> tuple[str, ...]:
        """See `PlatformAdapter`: the platform's domain, or the host of a configured API."""
        host = URL(self._api.api).raw_host or ""
        return ("bilibili.com",) if host.endswith(".bilibili.com") else (host,)

    async def probe(self, channel: ChannelRef, session: aiohttp.ClientSession) -> Probe:
        """See `PlatformAdapter`; live only while the room itself broadcasts, not while it repeats old videos."""
        url, room = await self._room(channel.url, session)
        room_id = await self._real_room(room, session)
        answer = await self._api.room_info(session, room_id)
        info = _object(answer, "room_info")
        if info.get("lock_status") == 1:
            raise ChannelRefused(Refusal.BANNED, "Bilibili has locked this room")
        live = info.get("live_status") == 1
        sources = await self._sources(channel, room_id, session) if live else ()
        person = _object(_object(answer, "anchor_info"), "base_info")
        return Probe(
            live=live,
            platform=self.name,
            room_id=str(room_id),
            canonical_url=str(URL(url).with_path(URL(url).path.rpartition("/")[0] + f"/{room_id}").with_fragment(None)),
            title=_text(info, "title"),
            category=_text(info, "area_name"),
            streamer_name=_text(person, "uname"),
            avatar_url=_text(person, "face"),
            cover_url=_text(info, "cover"),
            started_at=_moment(info.get("live_start_time")) if live else None,
            sources=sources,
            chat=Chat(kind=self.name, descriptor={"kind": self.name, "room_id": room_id, "api": self._api.api}),
        )

    async def _room(self, url: str, session: aiohttp.ClientSession) -> tuple[str, str]:
        if self._is_short_link(url):
            url = await self._api.redirect_target(session, url)
        room = self._room_in(url)
        if room is None:
            raise UnsupportedUrl("this is not the address of a Bilibili live room")
        return str(URL(url).with_query(None)), room

    async def _real_room(self, room: str, session: aiohttp.ClientSession) -> int:
        if room in self._real_rooms:
            self._real_rooms.move_to_end(room)
            return self._real_rooms[room]
        answer = await self._api.room_init(session, room)
        real = answer.get("room_id")
        if not isinstance(real, int) or real <= 0:
            raise ChannelNotFound("Bilibili has no such room")
        self._real_rooms[room] = real
        if len(self._real_rooms) > KNOWN_ROOMS:
            self._real_rooms.popitem(last=False)
        return real

    async def _sources(self, channel: ChannelRef, room_id: int, session: aiohttp.ClientSession) -> tuple[Source, ...]:
        answer = await self._api.play_info(session, room_id, _quality_number(channel.quality))
        if answer.get("is_locked"):
            raise ChannelRefused(Refusal.BANNED, "Bilibili has locked this room")
        if answer.get("encrypted") and not answer.get("pwd_verified"):
            raise ChannelRefused(Refusal.PRIVATE, "this room asks for a password")
        if answer.get("live_status") != 1:
            raise ProbeFailed("the broadcast ended or began between two requests")
        playurl = _object(_object(answer, "playurl_info"), "playurl")
        found = sorted(_streams(playurl), key=lambda stream: stream[0])
        sources = prioritised([source for _, source in found], channel.protocol)
        if not sources:
            raise ChannelRefused(Refusal.REGION, "Bilibili names no stream: paid, or not shown in this region")
        return sources

    def _is_short_link(self, url: str) -> bool:
        parsed = _parsed(url)
        return parsed is not None and _authority(parsed) in self._short_links

    def _room_in(self, url: str) -> str | None:
        parsed = _parsed(url)
        if parsed is None:
            return None
        where = _authority(parsed) + parsed.path
        for page in self._pages:
            # The page's other players are addressed as /h5/<room> and /blanc/<room>.
            match = re.fullmatch(rf"{re.escape(page)}/(?:h5/|blanc/)?([1-9]\d{{0,17}})/?", where)
            if match:
                return match[1]
        return None


def _parsed(url: str) -> URL | None:
    try:
        parsed = URL(url)
    except ValueError:
        return None
    return parsed if parsed.scheme in ("http", "https") and parsed.host else None


def _authority(url: URL) -> str:
    host = (url.host or "").lower()
    return host if url.is_default_port() else f"{host}:{url.port}"


def _quality_number(quality: str) -> int:
    wanted = quality.strip().lower()
    if wanted.isdigit() and len(wanted) < 8:
        return int(wanted)
    return QUALITIES.get(wanted, QUALITIES["best"])


def _streams(playurl: Json) -> Iterator[tuple[tuple[int, int, int, int], Source]]:
    """Each address with its sort key: higher quality, then format, then AVC before HEVC, then the platform's own order."""
    names = {item.get("qn"): _text(item, "desc") for item in _objects(playurl, "g_qn_desc")}
    for stream in _objects(playurl, "stream"):
        for form in _objects(stream, "format"):
            name = _text(form, "format_name")
            if name not in _FORMATS:
                continue
            for codec in _objects(form, "codec"):
                number = codec.get("current_qn")
                number = number if isinstance(number, int) else 0
                encoding = _text(codec, "codec_name")
                for index, host in enumerate(_objects(codec, "url_info")):
                    address = _text(host, "host") + _text(codec, "base_url") + _text(host, "extra")
                    source = _source(address, name, encoding, names.get(number) or str(number))
                    if source is not None:
                        # Viewers' own machines (mcdn) relay these: they come and go.
                        peer = 1000 if ".mcdn." in address else 0
                        yield (-number, _FORMAT_ORDER.index(name), encoding != "avc", index + peer), source


def _source(address: str, form: str, codec: str, quality: str) -> Source | None:
    protocol, container = _FORMATS[form]
    try:
        return Source(
            url=address, protocol=protocol, container=container, codec=codec, quality=quality, headers=dict(HEADERS)
        )
    except ValidationError:
        return None  # an address beyond what a message may carry


def _object(parent: Json, name: str) -> Json:
    value = parent.get(name)
    return value if isinstance(value, dict) else {}


def _objects(parent: Json, name: str) -> list[Json]:
    value = parent.get(name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(parent: Json, name: str) -> str:
    value = parent.get(name)
    return value[:4096] if isinstance(value, str) else ""


def _moment(seconds: object) -> datetime | None:
    if not isinstance(seconds, int) or not 0 < seconds < 1 << 33:
        return None
    return datetime.fromtimestamp(seconds, UTC)
