"""HTTP requests for media: every way they fail becomes a :class:`SourceFailed` that names no address."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from chassis.egress import MEDIA_READ_BUFFER, EgressPolicy, RefusedAddress, ResponseTooLarge, open_session, read_bounded

from services.downloader.adapters.engine import SourceFailed

USER_AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36"
)
"""Several content networks refuse clients that do not look like a browser."""


def media_session(policy: EgressPolicy, *, connect_timeout_s: float) -> aiohttp.ClientSession:
    """A guarded session for media: no total time limit, large read buffers. Close it."""
    return open_session(
        policy,
        timeout=aiohttp.ClientTimeout(total=None, connect=connect_timeout_s),
        headers={"User-Agent": USER_AGENT, "Accept": "*/*"},
        read_buffer=MEDIA_READ_BUFFER,
        limit=0,
    )


@asynccontextmanager
async def request(
    session: aiohttp.ClientSession, url: str, headers: Mapping[str, str], timeout: aiohttp.ClientTimeout
) -> AsyncIterator[aiohttp.ClientResponse]:
    """GET; raises SourceFailed for every refusal, also for one that comes while the body is read."""
    try:
        async with session.get(url, headers=dict(headers), timeout=timeout) as response:
            if response.status not in (200, 206):
                raise SourceFailed(f"HTTP {response.status}", status=response.status)
            yield response
    except RefusedAddress as error:
        raise SourceFailed(f"address refused: {error}"[:200]) from None
    except TimeoutError:
        raise SourceFailed("no data in time") from None
    except (aiohttp.ClientError, OSError, ResponseTooLarge) as error:
        raise SourceFailed(f"connection broke ({type(error).__name__})") from None


async def fetch(
    session: aiohttp.ClientSession,
    url: str,
    headers: Mapping[str, str],
    timeout: aiohttp.ClientTimeout,
    *,
    limit: int,
) -> tuple[bytes, str]:
    """A whole body of at most ``limit`` bytes and the address it came from in the end; raises SourceFailed."""
    async with request(session, url, headers, timeout) as response:
        return await read_bounded(response, limit), str(response.url)
