"""What a library of another project asks the world: each request judged as it is written, its secrets where they belong, its answers bounded.

Where a connection goes is judged besides, when it is made (`chassis.confinement`); behind a proxy this here is all there is.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from chassis.egress import RefusedAddress, check_url
from chassis.foreign.job import Job, Unplayable

MAX_ANSWERS = 32 << 20
"""Bytes of all answers of one look together; the largest pages of channels have 5 MB."""
_CHUNK_BYTES = 1 << 18

_job: list[Job] = []


def guard(job: Job) -> None:
    """From now on every request of this process is the job's: http(s), redirects included, the login's headers for its domains alone."""
    _job[:] = [job]
    _watch()


class Bounded:
    """Mixed into `YoutubeDL`: all answers of one client together have at most `MAX_ANSWERS` bytes."""

    _left = MAX_ANSWERS

    def urlopen(self, request: Any) -> Any:
        """See `YoutubeDL`."""
        response = super().urlopen(request)  # type: ignore[misc]  # mixed in
        read = response.read

        def bounded(amount: int | None = None) -> bytes:
            whole = bytearray()
            while amount is None or len(whole) < amount:
                data = read(_CHUNK_BYTES if amount is None else min(_CHUNK_BYTES, amount - len(whole)))
                if not data:
                    break
                whole += data
                self._left -= len(data)
                if self._left < 0:
                    raise Unplayable("the page is too large")
            return bytes(whole)

        response.read = bounded
        return response


@cache
def _watch() -> None:
    """Once for the process: both clients that yt-dlp has pass each request, those of redirects too, through one function."""
    import urllib.request

    import requests

    send, opened = requests.Session.send, urllib.request.OpenerDirector.open

    def sending(self: Any, request: Any, **options: Any) -> Any:
        _judge(request.url, request.headers)
        return send(self, request, **options)

    def opening(self: Any, asked: Any, *rest: Any, **options: Any) -> Any:
        request = urllib.request.Request(asked) if isinstance(asked, str) else asked  # noqa: S310 - judged in the next line
        _judge(request.full_url, request.headers)
        return opened(self, request, *rest, **options)

    requests.Session.send = sending  # type: ignore[method-assign]
    urllib.request.OpenerDirector.open = opening  # type: ignore[method-assign,assignment]


def _judge(address: Any, headers: Any) -> None:
    """Raises yt-dlp's own error, at any other it asks the same of its next client."""
    from yt_dlp.networking.exceptions import RequestError

    job = _job[0]
    try:
        host = check_url(str(address), job.policy).raw_host or ""
    except RefusedAddress as error:
        raise RequestError(cause=error) from error
    for name, value in job.login_headers.items():
        headers.pop(name, None)
        if job.covers(host):
            headers[name] = value
