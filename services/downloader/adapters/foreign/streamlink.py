"""Plays a page or a stream with Streamlink and writes its bytes to standard output: `python -m services.downloader.adapters.foreign.streamlink`."""

from __future__ import annotations

import os
import sys
from typing import Any

from chassis.egress import check_url
from chassis.foreign.job import OFFLINE_EXIT, Job, Unplayable, jobs, refuse
from contracts.engines import StreamlinkOptions

CHUNK_BYTES = 1 << 16
_PREFIX = {"hls": "hls://", "flv": "httpstream://"}


def main() -> int:
    """Play until the stream ends; the exit code says how it went."""
    job = next(jobs())
    try:
        stream = _stream(_session(job), job)
        _pour(stream)
    except BrokenPipeError:
        return 0
    except Exception as error:  # another project's code: it may fail in any way, and its own process reports it
        return refuse(error)
    return 0


def _session(job: Job) -> Any:
    from streamlink.session.session import Streamlink

    session = Streamlink(
        {
            "http-timeout": job.connect_timeout_s + job.stall_s,
            "stream-timeout": job.stall_s,
            "http-trust-env": False,
            "http-ssl-verify": job.verify,
            "webbrowser": False,
            "no-plugin-cache": True,
            "ipv4": job.ip_version == "4",
            "ipv6": job.ip_version == "6",
            "ffmpeg-ffmpeg": job.ffmpeg or None,
            "ffmpeg-no-validation": True,
        }
    )
    if job.proxy:
        session.set_option("http-proxy", job.proxy.replace("socks5://", "socks5h://"))
    session.http.headers.update(job.headers)
    for domain in job.login_domains:
        for name, value in job.login_cookies.items():
            # A host written as an address has no domain to dot.
            for scope in (domain, f".{domain}"):
                session.http.cookies.set(name, value, domain=scope, path="/")
    _guard(session.http, job)
    return session


def _guard(client: Any, job: Job) -> None:
    """Each request, redirects included, goes over http(s) only and carries the login's headers only where they belong."""
    send = client.send

    def guarded(request: Any, **options: Any) -> Any:
        url = check_url(request.url, job.policy)
        for name, value in job.login_headers.items():
            request.headers.pop(name, None)
            if job.covers(url.raw_host or ""):
                request.headers[name] = value
        return send(request, **options)

    client.send = guarded


def _stream(session: Any, job: Job) -> Any:
    from streamlink.exceptions import NoPluginError, NoStreamsError

    options = StreamlinkOptions.model_validate(job.options)
    try:
        name, plugin, url = session.resolve_url(job.url)
    except NoPluginError:
        if job.protocol not in _PREFIX:
            raise Unplayable("Streamlink has no plugin for this address") from None
        name, plugin, url = session.resolve_url(_PREFIX[job.protocol] + (job.media or job.url))
    from streamlink.options import Options

    try:
        streams = plugin(session, url, Options(dict(options.plugin))).streams() or {}
    except NoStreamsError:
        streams = {}
    if not streams:
        raise Unplayable("the channel is offline", OFFLINE_EXIT)
    for wish in (options.stream, job.quality, "best"):
        if wish in streams:
            return streams[wish]
    raise Unplayable(f"the {name} plugin offers only {', '.join(sorted(streams))}")


def _pour(stream: Any) -> None:
    source = stream.open()
    try:
        while data := source.read(CHUNK_BYTES):
            view = memoryview(data)
            while view:
                view = view[os.write(sys.stdout.fileno(), view) :]
    finally:
        source.close()


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # Streamlink's reader threads may hang for their whole time limit
