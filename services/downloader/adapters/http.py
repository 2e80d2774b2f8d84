"""HTTP requests for media: every way they fail becomes a :class:`SourceFailed` that names no address."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from aiohttp_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError
from chassis.egress import RefusedAddress, ResponseTooLarge, read_bounded
from contracts.values import Source

from services.downloader.adapters.engine import Chunk, LineFailed, SourceFailed
from services.downloader.adapters.network import Access
from services.downloader.adapters.take_over import body_of


class HttpFeed:
    """One endless GET: a live stream over HTTP. The session is `Access.open_live_session`'s; with another one aiohttp reads the bodies too."""

    def __init__(self, session: aiohttp.ClientSession, access: Access) -> None:
        self._session, self._access = session, access

    @asynccontextmanager
    async def open(self, source: Source) -> AsyncIterator[AsyncIterator[Chunk]]:
        """See `Feed`. A connection that ends in good order may be a restart as well as the end."""
        timeout = aiohttp.ClientTimeout(total=None, sock_read=self._access.stall_s)
        async with request(self._session, source.url, self._access.headers(source), timeout) as response:
            yield body_of(response, self._access.stall_s) or response.content.iter_any().__aiter__()


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
    except (TimeoutError, ProxyTimeoutError):
        raise LineFailed("no data in time") from None
    except (
        aiohttp.ClientProxyConnectionError,
        aiohttp.ClientHttpProxyError,
        ProxyConnectionError,
        ProxyError,
    ) as error:
        raise SourceFailed(f"the proxy refuses ({type(error).__name__})") from None
    except ResponseTooLarge:
        raise SourceFailed("the answer is too large") from None
    except (aiohttp.ClientError, OSError) as error:
        raise LineFailed(f"connection broke ({type(error).__name__})") from None


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
