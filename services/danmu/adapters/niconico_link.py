"""The connection of a Niconico viewer: the session's WebSocket, and beside it the endless HTTP answers with the comments.

Frames of the comment server are marked, so that one codec takes both. Facts: see `ndgr`; a view's answer ends with where to
go on, and names each segment some seconds before it begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, Final

import aiohttp
from chassis.egress import RefusedAddress
from yarl import URL

from services.danmu.adapters.links import Frame, LinkBroken, WebSocketLink
from services.danmu.adapters.ndgr import Entry, LengthDelimited, parse_entry
from services.danmu.adapters.niconico import COMMENT, NiconicoCodec
from services.danmu.adapters.recent import RecentIds

QUEUED_FRAMES: Final = 512
"""A reader that is slower makes the server wait."""
MAX_SEGMENTS: Final = 8
"""Segments that are read at once: one, two where they meet, and the last ones after an outage."""
MAX_WAITING: Final = 64
"""Segments that are read or wait for it; an honest server names one every sixteen seconds, and a few dozen after an outage."""
SEGMENTS_REMEMBERED: Final = 256
SESSION_SILENCE_S: Final = 120.0
"""The server pings every 30 s; a session that is silent for four of them is dead, however many comments come."""
MIN_VIEW_S: Final = 0.2
"""A server whose view ends at once must not be asked in a loop."""

_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=60)
_BROKEN: Final = (aiohttp.ClientError, OSError, ValueError)


class NiconicoLink:
    """Begins to read comments as soon as the codec knows where they are. `catch_up`: segments just gone are read too."""

    def __init__(
        self, socket: WebSocketLink, session: aiohttp.ClientSession, codec: NiconicoCodec, *, catch_up: bool
    ) -> None:
        self._socket, self._session, self._codec, self._catch_up = socket, session, codec, catch_up
        self._frames: asyncio.Queue[bytes | LinkBroken] = asyncio.Queue(QUEUED_FRAMES)
        self._segments = RecentIds(SEGMENTS_REMEMBERED)
        self._reading = asyncio.Semaphore(MAX_SEGMENTS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = self._over = False
        self._start(self._read_session(), "the session")

    async def send(self, frame: Frame) -> None:
        """See Link: to the session."""
        await self._socket.send(frame)

    async def ping(self) -> None:
        """See Link."""
        await self._socket.ping()

    async def receive(self, timeout_s: float) -> bytes:
        """See Link."""
        if self._codec.view_uri and not self._started:
            self._started = True
            self._start(self._read_view(self._codec.view_uri), "the comment server")
        if self._over:
            raise LinkBroken("closed")
        async with asyncio.timeout(timeout_s):
            frame = await self._frames.get()
        if isinstance(frame, LinkBroken):
            raise frame
        return frame

    async def close(self) -> None:
        """See Link. Who waits for a frame is told."""
        self._over = True
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._frames.empty():
            self._frames.put_nowait(LinkBroken("closed"))
        await self._socket.close()

    def _start(self, work: Coroutine[Any, Any, None], what: str) -> None:
        task = asyncio.create_task(self._guarded(work, what))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None], what: str) -> None:
        """Any part that breaks breaks the whole: what is then joined again repeats nothing."""
        try:
            await work
        except LinkBroken as error:
            await self._frames.put(error)
        except RefusedAddress as error:
            await self._frames.put(LinkBroken(str(error)))
        except _BROKEN as error:
            await self._frames.put(LinkBroken(f"{what}: {type(error).__name__}"))

    async def _read_session(self) -> None:
        while True:
            await self._frames.put(await self._socket.receive(SESSION_SILENCE_S))

    async def _read_view(self, uri: str) -> None:
        at = "now"
        while True:
            began = asyncio.get_running_loop().time()
            following = await self._read_entries(URL(uri).update_query(at=at))
            if following is None:
                raise LinkBroken("the view does not say how it goes on")
            at = str(following)
            await asyncio.sleep(max(began + MIN_VIEW_S - asyncio.get_running_loop().time(), 0))

    async def _read_entries(self, url: URL) -> int | None:
        following = None
        async for data in self._messages(url):
            entry = parse_entry(data)
            if entry is None:
                self._codec.counters.ignore("entry")
            elif entry.kind == "next":
                following = entry.at
            else:
                self._follow(entry)
        return following

    def _follow(self, entry: Entry) -> None:
        if entry.kind == "previous" and not self._catch_up:
            return
        if len(self._tasks) >= MAX_WAITING:
            raise LinkBroken("the comment server names too many segments at once")
        if entry.uri and self._segments.add(entry.uri):
            self._start(self._read_segment(URL(entry.uri)), "the comment server")

    async def _read_segment(self, url: URL) -> None:
        async with self._reading:
            async for data in self._messages(url):
                await self._frames.put(COMMENT + data)

    async def _messages(self, url: URL) -> AsyncIterator[bytes]:
        cut = LengthDelimited()
        async with self._session.get(url, timeout=_TIMEOUT, allow_redirects=False) as response:
            if response.status != 200:
                raise LinkBroken(f"the comment server: HTTP {response.status}")
            async for chunk in response.content.iter_any():
                for message in cut.feed(chunk):
                    yield message
