"""Asks a platform's HTTP API: bounded, without following redirects unless told to, and with errors that name no secret."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
from chassis.egress import RefusedAddress, read_bounded
from yarl import URL

from services.danmu.adapters.driver import AccessFailed, describe

MAX_ANSWER_BYTES: Final = 4 << 20
USER_AGENT: Final = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"
)
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)
COOKIE: Final = re.compile(r"[\x21\x23-\x2b\x2d-\x3a\x3c-\x5b\x5d-\x7e]{1,1024}")
"""A value as RFC 6265 allows it."""


async def fetch(
    session: aiohttp.ClientSession,
    url: URL,
    *,
    params: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    body: object = None,
    redirects: bool = False,
    limit: int = MAX_ANSWER_BYTES,
) -> bytes:
    """GET, or POST a `form`, raw bytes or (any other) `body` as JSON; the answer's body, at most `limit` bytes.

    Raises AccessFailed.
    """
    what = f"{url.host}{url.path}"[:200]
    content: dict[str, Any] = {"data": form} if form is not None else {}
    if body is not None:
        content = {"data": body} if isinstance(body, bytes) else {"json": body}
    try:
        async with session.request(
            "POST" if content else "GET",
            url,
            params=params,
            headers={"User-Agent": USER_AGENT, **(headers or {})},
            timeout=_TIMEOUT,
            allow_redirects=redirects,
            **content,
        ) as response:
            if response.status != 200:
                raise AccessFailed(f"{what}: HTTP {response.status}")
            return await read_bounded(response, limit)
    except (aiohttp.ClientError, OSError, ValueError) as error:
        said = str(error) if isinstance(error, RefusedAddress) else describe(error)
        raise AccessFailed(f"{what}: {said}") from error


async def fetch_json(session: aiohttp.ClientSession, url: URL, **request: Any) -> dict[str, Any]:
    """The JSON object that `fetch` brings. Raises AccessFailed, also for any other answer."""
    text = await fetch(session, url, **request)
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AccessFailed(f"{url.host}{url.path}: no JSON") from error
    if not isinstance(answer, dict):
        raise AccessFailed(f"{url.host}{url.path}: no JSON object")
    return answer


async def cookie_of(
    session: aiohttp.ClientSession, url: URL, name: str, headers: Mapping[str, str] | None = None
) -> str:
    """The value of the cookie that a site gives its visitors. Raises AccessFailed."""
    try:
        async with session.get(
            url, headers={"User-Agent": USER_AGENT, **(headers or {})}, timeout=_TIMEOUT, allow_redirects=False
        ) as response:
            given = response.headers.getall("Set-Cookie", [])
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise AccessFailed(f"no visitor's cookie: {describe(error)}") from error
    for header in given:
        value = header.partition(";")[0].removeprefix(f"{name}=")
        if header.startswith(f"{name}=") and COOKIE.fullmatch(value):
            return value
    raise AccessFailed(f"the web site gave no {name} cookie")
