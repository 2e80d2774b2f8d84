"""A loopback proxy that fetches for a program: it gets media without ever seeing an address, a cookie or the proxy behind this one.

Playlists are rewritten so that everything they name comes through here too; each request is judged like one of our own. What a playlist
names in a way that only the program understands still comes here: this server is the program's proxy for everything (:attr:`Relay.proxy`),
and knows nothing but what it rewrote.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urljoin

import aiohttp
from aiohttp import web
from chassis.egress import ResponseTooLarge, read_bounded
from contracts.values import Selection, Source
from media.hls import MasterPlaylist, PlaylistError, decode_playlist, parse_playlist
from yarl import URL

from services.downloader.adapters.engine import SourceFailed
from services.downloader.adapters.http import request
from services.downloader.adapters.network import Access
from services.downloader.adapters.variant import NothingAdmitted, admitted, variant_of

MAX_PLAYLIST_BYTES = 8 << 20
_BASE, _USER = "http://source.invalid/", "program"
"""No host has this name (RFC 6761): outside of the relay it leads nowhere."""
MAX_KNOWN = 8192
"""Addresses that are remembered; a window of a few hundred segments and their keys are asked for."""
_PLAYLIST, _BOM = b"#EXTM3U", b"\xef\xbb\xbf"
SNIFF_BYTES = len(_BOM + _PLAYLIST)
_URI = re.compile(rb'\bURI=(?:"([^"]*)"|([^",\s]*))')
"""RFC 8216 wants the quotes, programs do without them."""


class Relay:
    """Serves one source; ``failure`` is why the last request to the world failed."""

    def __init__(
        self, session: aiohttp.ClientSession, access: Access, source: Source, *, quality: str, selection: Selection
    ) -> None:
        self._session, self._access, self._quality, self._selection = session, access, quality, selection
        self._headers = access.headers(source)
        self._password = secrets.token_urlsafe(24)
        self._expected = b"Basic " + base64.b64encode(f"{_USER}:{self._password}".encode())
        self._known: OrderedDict[str, str] = OrderedDict()
        self._names: dict[str, str] = {}
        self._count = 0
        self._port = 0
        self._first = source.url
        self.failure: SourceFailed | None = None

    @property
    def proxy(self) -> str:
        """What the program's HTTP connections are to go through, with the password that keeps other users of the machine out.

        It belongs into its environment, which they cannot read. An address that was not rewritten is unknown here, and refused.
        """
        return f"http://{_USER}:{self._password}@127.0.0.1:{self._port}"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        """The name of the source behind `proxy`, as long as the block runs: it is no secret."""
        app = web.Application()
        app.router.add_get("/{name}", self._serve)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self._port = int(runner.addresses[0][1])
            yield _BASE + self._name(self._first)
        finally:
            await runner.cleanup()

    async def _serve(self, asked: web.Request) -> web.StreamResponse:
        if not secrets.compare_digest(
            asked.headers.get("Proxy-Authorization", "").encode(errors="replace"), self._expected
        ):
            raise web.HTTPProxyAuthenticationRequired(headers={"Proxy-Authenticate": f'Basic realm="{_USER}"'})
        url = self._known.get(asked.match_info["name"])
        if url is None:
            raise web.HTTPNotFound
        headers = dict(self._headers)
        if (wanted := asked.headers.get("Range", "bytes=0-")) != "bytes=0-":
            headers["Range"] = wanted
        timeout = aiohttp.ClientTimeout(total=None, sock_read=self._access.stall_s)
        answer: web.StreamResponse | None = None
        try:
            async with request(self._session, url, headers, timeout) as response:
                head = await _head(response)
                if head.removeprefix(_BOM).startswith(_PLAYLIST):
                    rest = await read_bounded(response, MAX_PLAYLIST_BYTES)
                    return web.Response(body=self._rewritten((head + rest).removeprefix(_BOM), str(response.url)))
                answer = _answer(response)
                await answer.prepare(asked)
                await answer.write(head)
                async for chunk in response.content.iter_any():
                    await answer.write(chunk)
                return answer
        except (SourceFailed, ValueError) as error:
            self.failure = error if isinstance(error, SourceFailed) else SourceFailed(_unusable(error))
            if answer is None:
                raise _status(self.failure) from None
            answer.force_close()
            if asked.transport is not None:
                asked.transport.abort()  # a connection that broke must not look like the end of the file
            return answer

    def _rewritten(self, playlist: bytes, base: str) -> bytes:
        lines = [self._line(line.strip(), base) for line in self._of_one_variant(playlist, base)]
        return b"\n".join([*lines, b""])

    def _of_one_variant(self, playlist: bytes, base: str) -> list[bytes]:
        """The lines of a playlist; of a master playlist only the variant that is wanted, or the program would fetch them all."""
        lines = playlist.splitlines()
        if b"#EXT-X-STREAM-INF" not in playlist:
            return lines
        try:
            master = parse_playlist(decode_playlist(playlist), base)
            if not isinstance(master, MasterPlaylist):
                return lines
            chosen = variant_of(admitted(master, self._selection), self._quality, self._selection).uri
        except NothingAdmitted as error:
            raise SourceFailed(str(error)) from error
        except PlaylistError:
            return lines
        kept, announced = [], b""
        for line in lines:
            if line.startswith(b"#EXT-X-STREAM-INF"):
                announced = line
            elif line.startswith(b"#") or not line.strip():
                kept.append(line)
            elif urljoin(base, line.strip().decode("utf-8", "replace")) == chosen and announced:
                kept += [announced, line]
                announced = b""
        return kept

    def _line(self, line: bytes, base: str) -> bytes:
        if line.startswith(b"#"):
            return _URI.sub(lambda match: b'URI="' + self._here(match[1] or match[2] or b"", base) + b'"', line)
        return self._here(line, base) if line else line

    def _here(self, uri: bytes, base: str) -> bytes:
        return (_BASE + self._name(urljoin(base, uri.decode("utf-8", "replace")))).encode()

    def _name(self, url: str) -> str:
        """A name for an address, the same each time, with its ending: demuxers look at it."""
        name = self._names.get(url)
        if name is None:
            self._count += 1
            name = self._names[url] = f"{self._count}{_ending(url)}"
        self._known[name] = url
        self._known.move_to_end(name)
        while len(self._known) > MAX_KNOWN:
            _, forgotten = self._known.popitem(last=False)
            self._names.pop(forgotten, None)
        return name


async def _head(response: aiohttp.ClientResponse) -> bytes:
    """Enough to know a playlist by, in however small pieces it comes."""
    head = b""
    while len(head) < SNIFF_BYTES and (piece := await response.content.read(SNIFF_BYTES - len(head))):
        head += piece
    return head


def _unusable(error: ValueError) -> str:
    too_large = isinstance(error, ResponseTooLarge)
    return "the playlist is too large" if too_large else "the playlist names what is no address"


def _ending(url: str) -> str:
    try:
        suffix = URL(url).suffix.lower()
    except ValueError:
        return ""
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,5}", suffix) else ""


def _answer(response: aiohttp.ClientResponse) -> web.StreamResponse:
    kept = {name: response.headers[name] for name in ("Content-Type", "Content-Range") if name in response.headers}
    answer = web.StreamResponse(status=response.status, headers=kept)
    if response.content_length is not None and "Content-Encoding" not in response.headers:
        answer.content_length = response.content_length
    return answer


def _status(failure: SourceFailed) -> web.HTTPException:
    if failure.status in (401, 403):
        return web.HTTPForbidden()
    return web.HTTPNotFound() if failure.stale else web.HTTPBadGateway()
