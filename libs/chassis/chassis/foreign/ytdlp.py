"""Looks at pages with yt-dlp: a job on each line of standard input, its `Page` on a line of standard output: `python -m chassis.foreign.ytdlp`.

Metadata only, nothing is downloaded. What is known of yt-dlp: the options and fields documented in its README and in `YoutubeDL` and `InfoExtractor`.
"""

from __future__ import annotations

import os
import re
import resource
import sys
from collections.abc import Iterator, Mapping
from http.cookiejar import Cookie
from itertools import islice
from typing import Any
from urllib.parse import urljoin

from contracts.engines import YtDlpOptions
from contracts.values import Source
from pydantic import ValidationError

from chassis.egress import check_url
from chassis.foreign.job import Job, jobs
from chassis.foreign.page import Page, PageStatus
from chassis.foreign.refusals import explained
from chassis.foreign.traffic import Bounded, guard

MAX_MEMORY = 512 << 20
"""yt-dlp needs 70 MB; a page that makes it need more than this is no page of a channel."""
MAX_FILE = 1 << 20
"""Nothing is to be written but what Python keeps of its own modules."""
MAX_ENTRIES = 8
"""Of a list only so many are looked at: one that is live stands first."""
MAX_CANDIDATES = 32
ENDLESS = 1 << 40
"""Some servers announce a live stream with an absurd length; a file is smaller."""

_FAMILIES = {"any": None, "4": "0.0.0.0", "6": "::"}  # noqa: S104 - which family is connected with, no server
_HEIGHT = re.compile(r"(\d{3,4})p?\d*\Z")
_FORMAT_ID = re.compile(r"[\w.-]{1,64}\Z")
_LIVE_STATUS = {
    "is_live": PageStatus.LIVE,
    "is_upcoming": PageStatus.UPCOMING,
    "was_live": PageStatus.ENDED,
    "post_live": PageStatus.ENDED,
    "not_live": PageStatus.VIDEO,
}


class _Silent:
    """yt-dlp's logger: what went wrong is raised, the rest is nobody's business."""

    def debug(self, _: str) -> None: ...

    def warning(self, _: str) -> None: ...

    def error(self, _: str) -> None: ...


def main() -> None:
    """Say that yt-dlp is there (an empty line), and answer until there are no more jobs."""
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY, MAX_MEMORY))
        resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE, MAX_FILE))
    import yt_dlp  # noqa: F401 - what takes a while, before anybody measures time

    sys.stdout.write("\n")
    sys.stdout.flush()
    for job in jobs():
        sys.stdout.write(look(job).model_dump_json() + "\n")
        sys.stdout.flush()


def look(job: Job) -> Page:
    """What the page of a job is; never raises what yt-dlp or a site does."""
    try:
        check_url(job.url, job.policy)
        return _looked(job)
    except Exception as error:  # another project's code: it may fail in any way
        return explained(error)


def format_of(quality: str) -> str:
    """yt-dlp's selector for a wanted quality, or for a candidate's; always a format that carries picture and sound, where there is one."""
    wanted, _, exact = quality.strip().partition(" ")
    if wanted.lower() in ("worst", "lowest"):
        return "w/worst"
    height = _HEIGHT.match(wanted.lower())
    selector = f"b[height<={height[1]}]/b/bv*/best" if height else "b/bv*/best"
    # The identity of a format is that of one moment: the next look may find it gone.
    return f"{exact}/{selector}" if _FORMAT_ID.match(exact) else selector


def _looked(job: Job) -> Page:
    from yt_dlp import YoutubeDL

    guard(job)
    # Named here because yt-dlp is only known to exist in this function.
    client_of: Any = type("Client", (Bounded, YoutubeDL), {})
    with client_of(_parameters(job)) as client:
        for domain in job.login_domains:
            for name, value in job.login_cookies.items():
                client.cookiejar.set_cookie(_cookie(name, value, domain))
        found = client.extract_info(job.url, download=False) or {}
        if found.get("_type") in ("playlist", "multi_video"):
            return _of_list(client, found, job)
        return _of_video(client, found, job)


def _parameters(job: Job) -> dict[str, Any]:
    options = YtDlpOptions.model_validate(job.options)
    return {
        "quiet": True,
        "no_warnings": True,
        "logger": _Silent(),
        "skip_download": True,
        "noplaylist": True,
        # A channel may have a hundred thousand videos: their list is neither loaded to its end nor are they opened.
        "extract_flat": "in_playlist",
        "lazy_playlist": True,
        "playlist_items": f"1:{MAX_ENTRIES}",
        "cachedir": False,
        "enable_file_urls": False,
        "extractor_retries": 1,
        "socket_timeout": job.connect_timeout_s,
        "format": options.format or format_of(job.quality),
        "proxy": job.proxy or "",
        "nocheckcertificate": not job.verify,
        "http_headers": dict(job.headers),
        "source_address": None if job.proxy else _FAMILIES[job.ip_version],
    }


def _of_list(client: Any, found: Mapping[str, Any], job: Job) -> Page:
    """A channel's page lists its broadcasts: the one that is live is what is meant."""
    entries = [dict(entry) for entry in islice(found.get("entries") or (), MAX_ENTRIES) if entry]
    states = [_status(client, entry, job) for entry in entries]
    if PageStatus.LIVE in states:
        entry = entries[states.index(PageStatus.LIVE)]
        if entry.get("_type") in ("url", "url_transparent"):
            entry = client.extract_info(str(entry["url"]), download=False, ie_key=entry.get("ie_key")) or {}
        return _of_video(client, entry, job)
    for state in (PageStatus.UPCOMING, PageStatus.ENDED):
        if state in states:
            return Page(status=state, detail="none of the broadcasts on this page is live")
    return Page(status=PageStatus.LIST, detail="the page is a list of videos")


def _of_video(client: Any, found: Mapping[str, Any], job: Job) -> Page:
    status = _status(client, found, job)
    said = {
        "site": _text(found.get("extractor_key"), 64).lower(),
        "id": _text(found.get("channel_id") or found.get("id"), 256),
        # yt-dlp writes the time of the look behind the title of what is live.
        "title": _text(found.get("fulltitle") or found.get("title"), 4096),
        "author": _text(found.get("channel") or found.get("uploader") or found.get("creator"), 256),
        "category": _category(found),
        "thumbnail": _text(found.get("thumbnail"), 2048),
    }
    if status is not PageStatus.LIVE:
        return Page(status=status, detail="the page shows no live broadcast", **said)
    media = _media(found)
    candidates = tuple(_candidates(found, job))
    if media is None and not candidates:
        detail = "the broadcast is live, but in no format that one connection can play"
        return Page(status=PageStatus.UNPLAYABLE, detail=detail, **said)
    if job.purpose == "watch":
        began = found.get("release_timestamp") or found.get("timestamp")
        started_at = float(began) if isinstance(began, int | float) else None
        return Page(status=status, candidates=candidates, started_at=started_at, **said)
    return Page(status=status, media=media, **said)


def _status(client: Any, found: Mapping[str, Any], job: Job) -> PageStatus:
    """What the site says of a video, else what its media says; to whoever is about to play it the media itself will say it."""
    if (known := _LIVE_STATUS.get(str(found.get("live_status")))) is not None:
        return known
    if found.get("_type") in ("url", "url_transparent") or not found:
        return PageStatus.LIST
    if job.purpose == "play":
        return PageStatus.LIVE
    playable = [one for one in found.get("formats") or [found] if one.get("url")]
    return _judged(client, playable[-1]) if playable else PageStatus.OFFLINE


def _judged(client: Any, form: Mapping[str, Any]) -> PageStatus:
    """Whether media without a word about it has an end: a playlist says so, a file has a length."""
    from yt_dlp.networking.common import Request
    from yt_dlp.networking.exceptions import HTTPError

    protocol = str(form.get("protocol") or "")
    if not protocol.startswith(("http", "m3u8")) or "dash" in protocol:
        return PageStatus.LIVE
    headers = dict(form.get("http_headers") or {})
    playlist = protocol.startswith("m3u8")
    try:
        if playlist:
            return _judged_playlist(client, str(form["url"]), headers)
        # A file server answers a range with 206 and a live server, which has no ranges, with 200.
        response = client.urlopen(Request(str(form["url"]), headers={**headers, "Range": "bytes=0-1023"}))
    except HTTPError as error:
        if error.status in (404, 410, 416):
            return PageStatus.OFFLINE
        raise
    with response:
        length = response.headers.get("Content-Length", "")
        part = response.headers.get("Content-Range", "")
    if response.status == 206:
        return PageStatus.LIVE if part.endswith("/*") else PageStatus.ENDED
    return PageStatus.ENDED if length.isdigit() and int(length) < ENDLESS else PageStatus.LIVE


def _judged_playlist(client: Any, url: str, headers: Mapping[str, str], *, levels: int = 2) -> PageStatus:
    from yt_dlp.networking.common import Request

    with client.urlopen(Request(url, headers=dict(headers))) as response:
        lines = response.read().decode("utf-8", "replace").splitlines()
        base = str(response.url)
    if any(line.startswith("#EXT-X-STREAM-INF") for line in lines):
        variant = next((line.strip() for line in lines if line.strip() and not line.startswith("#")), "")
        return (
            _judged_playlist(client, urljoin(base, variant), headers, levels=levels - 1) if levels else PageStatus.LIVE
        )
    over = any(line.startswith(("#EXT-X-ENDLIST", "#EXT-X-PLAYLIST-TYPE:VOD")) for line in lines)
    if not lines or not lines[0].lstrip("\ufeff").startswith("#EXTM3U"):
        return PageStatus.OFFLINE
    return PageStatus.ENDED if over else PageStatus.LIVE


def _candidates(found: Mapping[str, Any], job: Job) -> Iterator[Source]:
    """The formats that one connection plays, the wanted one first, then the best. Where there is none, what is joined from a manifest."""
    joined = [one for one in reversed(found.get("formats") or [found]) if _protocol(one) and not _is_partial(one)]
    joined.sort(key=lambda one: one.get("format_id") != found.get("format_id"))
    for place, form in enumerate(joined[:MAX_CANDIDATES]):
        rate = form.get("tbr")
        yield Source(
            url=job.url,
            protocol="page",
            codec=_text(form.get("vcodec"), 64) if form.get("vcodec") not in (None, "none") else "",
            quality=_quality(form),
            bitrate=round(rate * 1000) if isinstance(rate, int | float) else 0,
            priority=place,
        )
    if not joined and _media(found) is not None:
        yield Source(url=job.url, protocol="page")


def _quality(form: Mapping[str, Any]) -> str:
    """A name that people and `format_of` understand: ``720p60 hls-2500``."""
    name, height, rate = _text(form.get("format_id"), 64), form.get("height"), form.get("fps")
    if not isinstance(height, int):
        return name
    fast = f"{rate:.0f}" if isinstance(rate, int | float) and rate > 30 else ""
    return f"{height}p{fast} {name}"


def _media(found: Mapping[str, Any]) -> Source | None:
    """The address of the chosen format, or of the manifest that joins what it is made of."""
    parts = found.get("requested_formats")
    form: Mapping[str, Any] = (parts or [found])[0]
    url, protocol = found.get("url"), _protocol(found)
    if parts or _is_partial(found):
        url, protocol = form.get("manifest_url"), "hls" if str(form.get("protocol")).startswith("m3u8") else ""
    if not url or not protocol:
        return None
    headers = {str(name): str(value) for name, value in (found.get("http_headers") or {}).items()}
    try:
        return Source(
            url=str(url),
            protocol=protocol,
            quality=_quality(found),
            headers={name: value for name, value in headers.items() if name.lower() not in ("cookie", "authorization")},
        )
    except ValidationError:
        return None


def _is_partial(form: Mapping[str, Any]) -> bool:
    return form.get("acodec") == "none" or form.get("vcodec") == "none"


def _protocol(form: Mapping[str, Any]) -> str:
    """Ours for yt-dlp's; empty where it is not recorded."""
    name = str(form.get("protocol") or "")
    if name.startswith("m3u8"):
        return "hls"
    if name.startswith("rtmp"):
        return "rtmp"
    return "flv" if name in ("http", "https") else ""


def _category(found: Mapping[str, Any]) -> str:
    names = found.get("categories") or found.get("genres") or ()
    return _text(names[0] if isinstance(names, list | tuple) and names else found.get("genre"), 200)


def _text(value: object, limit: int) -> str:
    return " ".join(str(value).split())[:limit] if isinstance(value, str | int) else ""


def _cookie(name: str, value: str, domain: str) -> Cookie:
    dotted = domain if domain.replace(".", "").isdigit() else f".{domain}"
    return Cookie(
        0, name, value, None, False, dotted, True, dotted.startswith("."), "/", True, False, None, False, None, None, {}
    )  # fmt: skip


if __name__ == "__main__":
    main()
    os._exit(0)  # nothing of a library's is waited for
