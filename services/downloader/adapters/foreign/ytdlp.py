"""Finds the media of a page with yt-dlp and prints it as one line of JSON: `python -m services.downloader.adapters.foreign.ytdlp`."""

from __future__ import annotations

import json
import os
import re
import sys
from http.cookiejar import Cookie
from typing import Any

from chassis.egress import check_url
from contracts.engines import YtDlpOptions

from services.downloader.adapters.foreign.job import OFFLINE_EXIT, Job, Unplayable, refuse, take

_FAMILIES = {"any": None, "4": "0.0.0.0", "6": "::"}  # noqa: S104 - which family is connected with, no server
_HEIGHT = re.compile(r"(\d{3,4})p?\d*\Z")


def main() -> int:
    """Print what was found; the exit code says how it went."""
    job = take()
    try:
        found = _found(_information(job))
    except Exception as error:  # another project's code: it may fail in any way, and its own process reports it
        return refuse(error)
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    return 0


def format_of(quality: str) -> str:
    """yt-dlp's selector for a wanted quality; always a format that carries picture and sound, where there is one."""
    wanted = quality.strip().lower()
    if wanted in ("worst", "lowest"):
        return "w/worst"
    height = _HEIGHT.match(wanted)
    return f"b[height<={height[1]}]/b/bv*/best" if height else "b/bv*/best"


def _information(job: Job) -> dict[str, Any]:
    from yt_dlp import YoutubeDL

    options = YtDlpOptions.model_validate(job.options)
    check_url(job.url, job.policy)
    parameters = {
        "quiet": True,
        "no_warnings": True,
        "skip_download": True,
        "noplaylist": True,
        "playlist_items": "1",
        "cachedir": False,
        "enable_file_urls": False,
        "socket_timeout": job.connect_timeout_s,
        "format": options.format or format_of(job.quality),
        "proxy": job.proxy or "",
        "nocheckcertificate": not job.verify,
        "http_headers": {**job.headers, **(job.login_headers if _all_covered(job) else {})},
        "source_address": None if job.proxy else _FAMILIES[job.ip_version],
    }
    with YoutubeDL(parameters) as client:
        for domain in job.login_domains:
            for name, value in job.login_cookies.items():
                client.cookiejar.set_cookie(_cookie(name, value, domain))
        found = client.extract_info(job.url, download=False)
    entries = found.get("entries") if found else None
    chosen = next(iter(entries), None) if entries is not None else found
    if not chosen:
        raise Unplayable("yt-dlp found nothing on this page")
    return dict(chosen)


def _all_covered(job: Job) -> bool:
    """yt-dlp sends its headers everywhere: they are given to it only for a page of the login's own domains."""
    from yarl import URL

    return job.covers(URL(job.url).raw_host or "")


def _found(information: dict[str, Any]) -> dict[str, Any]:
    if information.get("live_status") in ("was_live", "post_live", "is_upcoming", "not_live"):
        raise Unplayable("the page shows no live broadcast", OFFLINE_EXIT)
    url, protocol = information.get("url"), str(information.get("protocol") or "")
    separate = information.get("acodec") == "none" or information.get("requested_formats")
    manifest = information.get("manifest_url") or (information.get("requested_formats") or [{}])[0].get("manifest_url")
    if separate and manifest:
        url, protocol = manifest, "m3u8"
    if not url:
        raise Unplayable("the page has no format that one connection can play")
    headers = {str(name): str(value) for name, value in (information.get("http_headers") or {}).items()}
    return {
        "url": str(url),
        "protocol": _protocol(protocol),
        "quality": str(information.get("format_note") or information.get("format_id") or ""),
        "headers": {name: value for name, value in headers.items() if name.lower() not in ("cookie", "authorization")},
    }


def _protocol(name: str) -> str:
    if name.startswith("m3u8"):
        return "hls"
    if name.startswith("rtmp"):
        return "rtmp"
    if name in ("http", "https"):
        return "flv"
    raise Unplayable(f"the media of this page comes over {name or 'an unknown protocol'}, which is not recorded")


def _cookie(name: str, value: str, domain: str) -> Cookie:
    dotted = domain if domain.replace(".", "").isdigit() else f".{domain}"
    return Cookie(
        0, name, value, None, False, dotted, True, dotted.startswith("."), "/", True, False, None, False, None, None, {}
    )  # fmt: skip


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)
