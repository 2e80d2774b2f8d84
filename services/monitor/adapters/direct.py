"""A media address itself is the channel: an HTTP-FLV stream or an HLS playlist."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import aiohttp
from chassis.egress import RefusedAddress
from contracts.values import Source
from yarl import URL

from services.monitor.adapters.platform import (
    ChannelNotFound,
    ChannelRef,
    ChannelRefused,
    Probe,
    ProbeFailed,
    Refusal,
    UnknownSite,
    UnsupportedUrl,
    limited,
    prioritised,
)
from services.monitor.adapters.registry import AdapterOptions, adapter

PLAYLIST_BYTES = 4 * 1024 * 1024
"""As much as is ever read: the playlist of a broadcast that lasted for days. Of anything else only the beginning is."""

SIGNATURE_BYTES = 564
"""Three transport packets; the other containers show themselves earlier."""

FLV_SIGNATURE = b"FLV\x01"
ENDLESS = 1 << 40
"""Some servers announce a live stream with an absurd length; a file is smaller."""

_HLS_TYPES = ("application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl", "audio/x-mpegurl")


@dataclass(frozen=True, slots=True)
class Head:
    """The first bytes of an answer, and whether its length is known (then it is a file, not a broadcast)."""

    body: bytes
    content_type: str
    finite: bool


class DirectAdapter:
    """Probes the address with one bounded GET; knows it by its ending, or with `sniff` by its content alone."""

    name = "direct"

    def __init__(self, *, timeout_seconds: float = 20.0, sniff: bool = False) -> None:
        self._timeout_s = timeout_seconds
        self._sniff = sniff

    def matches(self, url: str) -> bool:
        """See `PlatformAdapter`."""
        try:
            parsed = URL(url)
        except ValueError:
            return False
        if parsed.scheme not in ("http", "https") or not parsed.host:
            return False
        return self._sniff or parsed.suffix.lower() in (".flv", ".m3u8", ".ts", ".mp4")

    def cookie_domains(self, url: str) -> tuple[str, ...]:
        """See `PlatformAdapter`: the host itself."""
        return (URL(url).raw_host or "",)

    async def probe(self, channel: ChannelRef, session: aiohttp.ClientSession) -> Probe:
        """See `PlatformAdapter`: live where an endless FLV or a playlist without an end comes back."""
        if not self.matches(channel.url):
            raise UnsupportedUrl("this is not the http(s) address of a stream")
        try:
            head = await self._head(channel.url, session)
        except ChannelRefused as error:
            if self._sniff:  # what a site answers to a mere request says nothing about its channel
                raise UnknownSite(str(error)) from error
            raise
        if head is None:
            return answer(channel, None)
        container = _container(head.body)
        if container is not None:
            # One endless answer, whatever its container, is what the protocol "flv" stands for.
            source = Source(url=channel.url, protocol="flv", container=container)
            return answer(channel, None if head.finite else source)
        if _is_playlist(head.body):
            text = head.body.decode("utf-8", errors="replace")
            return answer(channel, _playlist_source(channel.url, text))
        if head.content_type in _HLS_TYPES or not self._sniff:
            raise ProbeFailed("the address answers, but neither with an FLV stream nor with an HLS playlist")
        raise UnknownSite("the address itself is neither an FLV stream nor a playlist")

    async def _head(self, url: str, session: aiohttp.ClientSession) -> Head | None:
        try:
            # A file server answers a range with 206 and a live server, which has no ranges, with 200: this tells them apart.
            async with session.get(
                url, timeout=limited(session, self._timeout_s), headers={"Range": f"bytes=0-{PLAYLIST_BYTES - 1}"}
            ) as response:
                if not _is_there(response):
                    return None
                return await _read_head(response)
        except RefusedAddress as error:
            raise UnsupportedUrl(str(error)) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ProbeFailed(f"the address could not be read: {type(error).__name__}") from error


@adapter(order=20)
class DirectByEnding(DirectAdapter):
    """Addresses that end in `.flv`, `.m3u8`, `.ts` or `.mp4`."""

    names_media = True

    @classmethod
    def configured(cls, options: AdapterOptions) -> Self:
        """Make the adapter from the installation's options."""
        return cls(timeout_seconds=options.timeout_seconds)


@adapter(order=90)
class DirectByContent(DirectAdapter):
    """Any other http(s) address, after every adapter that knows a site: what comes back decides."""

    @classmethod
    def configured(cls, options: AdapterOptions) -> Self:
        """Make the adapter from the installation's options."""
        return cls(timeout_seconds=options.timeout_seconds, sniff=True)


def _is_there(response: aiohttp.ClientResponse) -> bool:
    match response.status:
        case 200 | 206:
            return True
        case 404 | 416:  # live servers have no such path until somebody publishes
            return False
        case 410:
            raise ChannelNotFound("the server says that this address is gone for good")
        case 401 | 403:
            raise ChannelRefused(Refusal.PRIVATE, f"the server refuses this address (HTTP {response.status})")
        case 451:
            raise ChannelRefused(Refusal.REGION, "the server withholds this address for legal reasons (HTTP 451)")
    raise ProbeFailed(f"HTTP {response.status}", retry_after=_retry_after(response))


async def _read_head(response: aiohttp.ClientResponse) -> Head:
    body = bytearray()
    while len(body) < PLAYLIST_BYTES:
        piece = await response.content.read(PLAYLIST_BYTES - len(body))
        body += piece
        if not piece or (len(body) >= SIGNATURE_BYTES and not _is_playlist(body)) or body.startswith(FLV_SIGNATURE):
            return Head(bytes(body), response.content_type, _is_finite(response))
    raise ProbeFailed(f"the playlist is larger than {PLAYLIST_BYTES} bytes")


def _container(body: bytes) -> Literal["flv", "ts", "fmp4"] | None:
    if body.startswith(FLV_SIGNATURE):
        return "flv"
    if len(body) > 376 and body[0] == body[188] == body[376] == 0x47:
        return "ts"
    return "fmp4" if body[4:8] in (b"ftyp", b"styp", b"moof") else None


def _is_playlist(body: bytes | bytearray) -> bool:
    return body.removeprefix(b"\xef\xbb\xbf").startswith(b"#EXTM3U")


def _is_finite(response: aiohttp.ClientResponse) -> bool:
    if response.status == 206:
        return not response.headers.get("Content-Range", "").endswith("/*")
    return response.content_length is not None and response.content_length < ENDLESS


def _playlist_source(url: str, playlist: str) -> Source | None:
    if "#EXT-X-STREAM-INF" in playlist:
        return Source(url=url, protocol="hls")
    if "#EXT-X-ENDLIST" in playlist or "#EXT-X-PLAYLIST-TYPE:VOD" in playlist:
        return None
    container: Literal["fmp4", "ts"] = "fmp4" if "#EXT-X-MAP" in playlist else "ts"
    return Source(url=url, protocol="hls", container=container)


def answer(channel: ChannelRef, source: Source | None) -> Probe:
    """What the monitor is told of an address that is its own source; without one it is offline."""
    url = URL(channel.url)
    return Probe(
        live=source is not None,
        platform=DirectAdapter.name,
        room_id=url.path,
        canonical_url=channel.url,
        title=url.name.removesuffix(url.suffix),
        streamer_name=url.host or "",
        sources=prioritised([source] if source else [], channel.protocol),
    )


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isdigit() and len(value) < 6 else None
