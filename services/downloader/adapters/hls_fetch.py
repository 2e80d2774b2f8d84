"""Downloads what a playlist names: segments, initialisation sections, keys; with retries, bounds and newer addresses."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import aiohttp
from media.hls import ByteRange, DecryptionError, InitSection, KeyRef, SegmentTask, decrypt_aes128

from services.downloader.adapters.engine import EXPIRED, LineFailed, SourceFailed
from services.downloader.adapters.http import fetch

MAX_PLAYLIST_BYTES = 8 << 20
MAX_SEGMENT_BYTES = 64 << 20
MAX_KEY_BYTES = 1024
KEYS_KEPT = 64
RETRY_S = 0.3
"""Delay before the second attempt; doubles with each further one."""
LINE_RETRY_S = 1.0
"""The longest delay between attempts that the line is to blame for."""
LINE_S = 30.0
"""A segment is asked for again for so long while it is the line that fails: it may be listed still when the line is back."""
FIRST_ANSWER_S = 3.0
"""How long a first attempt waits at least. It may go over a connection that died unnoticed since the last request; the second one is patient."""


def first_wait_s(duration_s: float, stall_s: float) -> float:
    """How long the first attempt waits for an object of a playlist whose segments last so long."""
    return min(stall_s, max(FIRST_ANSWER_S, 1.5 * duration_s))


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """``concurrency`` segments at a time, ``attempts`` per object; a connection that brings nothing for ``stall_s`` has failed."""

    concurrency: int = 5
    attempts: int = 3
    stall_s: float = 15.0


class Fetcher:
    """Fetches the objects of one recording; ``headers`` are those of the source in use."""

    def __init__(self, session: aiohttp.ClientSession, options: FetchOptions) -> None:
        self._session, self._options = session, options
        self.headers: Mapping[str, str] = {}
        self._keys: OrderedDict[str, bytes] = OrderedDict()
        self._inits: dict[InitSection, asyncio.Task[bytes]] = {}

    async def playlist(self, url: str, *, wait_s: float) -> tuple[bytes, str]:
        """The text of a playlist and where it came from after redirects; one attempt, raises SourceFailed."""
        timeout = aiohttp.ClientTimeout(total=wait_s)
        return await fetch(self._session, url, self.headers, timeout, limit=MAX_PLAYLIST_BYTES)

    async def segment(
        self, task: SegmentTask, newest: Callable[[SegmentTask], SegmentTask], wanted: Callable[[SegmentTask], bool]
    ) -> bytes:
        """The decrypted bytes of a segment; raises SourceFailed when every attempt failed.

        ``newest`` gives the task with the address that the playlist shows by now: signed ones expire. Failures of the line do not
        count while the segment is ``wanted``, for at most `LINE_S`.
        """
        attempt, began = 1, time.monotonic()
        while True:
            try:
                quiet_s = first_wait_s(task.duration, self._options.stall_s) if attempt == 1 else self._options.stall_s
                longest_s = max(15.0, 4 * task.duration)
                data = await self._get(task.url, task.byte_range, longest_s=longest_s, quiet_s=quiet_s)
                return await self._decrypted(data, task.key)
            except SourceFailed as error:
                patient = isinstance(error, LineFailed) and time.monotonic() - began < LINE_S and wanted(task)
                if attempt >= self._options.attempts and not patient:
                    raise
                pause_s = self._pause(attempt, task.duration if error.status in EXPIRED else 0.0)
                await asyncio.sleep(min(pause_s, LINE_RETRY_S) if patient else pause_s)
            attempt += 1
            task = newest(task)

    async def init(self, section: InitSection) -> bytes:
        """The decrypted bytes of an initialisation section; several segments that ask at once share one download."""
        running = self._inits.get(section)
        if running is None:
            running = self._inits[section] = asyncio.create_task(self._init(section))
            running.add_done_callback(lambda done: self._init_done(section, done))
        return await asyncio.shield(running)

    def close(self) -> None:
        """Cancel shared downloads."""
        for running in list(self._inits.values()):
            running.cancel()

    def _init_done(self, section: InitSection, done: asyncio.Task[bytes]) -> None:
        self._inits.pop(section, None)
        if not done.cancelled():
            done.exception()  # whoever asked has it; nobody may be left to ask

    async def _init(self, section: InitSection) -> bytes:
        attempt = 1
        while True:
            try:
                stall_s = self._options.stall_s
                data = await self._get(section.uri, section.byte_range, longest_s=15.0, quiet_s=stall_s)
                return await self._decrypted(data, section.key)
            except SourceFailed:
                if attempt >= self._options.attempts:
                    raise
                await asyncio.sleep(self._pause(attempt, 0.0))
            attempt += 1

    def _pause(self, attempt: int, until_next_playlist_s: float) -> float:
        return max(RETRY_S * 2.0 ** min(attempt - 1, 10), min(until_next_playlist_s, 2.0))

    async def _get(self, url: str, byte_range: ByteRange | None, *, longest_s: float, quiet_s: float) -> bytes:
        headers = dict(self.headers)
        if byte_range is not None:
            headers["Range"] = byte_range.header
        timeout = aiohttp.ClientTimeout(total=longest_s, sock_read=quiet_s)
        data, _ = await fetch(self._session, url, headers, timeout, limit=MAX_SEGMENT_BYTES)
        if byte_range is not None and len(data) > byte_range.length:
            # A server without ranges answers 200 with everything.
            return data[byte_range.offset : byte_range.end]
        return data

    async def _decrypted(self, data: bytes, key: KeyRef | None) -> bytes:
        if key is None:
            return data
        secret = await self._key(key.uri)
        try:
            return decrypt_aes128(data, secret, key.iv)
        except DecryptionError:
            self._keys.pop(key.uri, None)
            raise SourceFailed("a segment cannot be decrypted") from None

    async def _key(self, uri: str) -> bytes:
        known = self._keys.get(uri)
        if known is None:
            timeout = aiohttp.ClientTimeout(total=self._options.stall_s)
            known, _ = await fetch(self._session, uri, self.headers, timeout, limit=MAX_KEY_BYTES)
            self._keys[uri] = known
            while len(self._keys) > KEYS_KEPT:
                self._keys.popitem(last=False)
        return known
