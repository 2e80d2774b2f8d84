"""Reads messages out of finished chat logs, wherever they are kept."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from chassis.ids import new_key
from chassis.storage import Storage, StorageOptions
from media.chat.log import ChatLogReader
from media.chat.message import ChatMessage
from media.chat.timing import Timed

KEPT_FILES: Final = 32
"""Logs fetched from a bucket that are kept on this disk: whoever reads one page reads the next."""
MAX_LOG_BYTES: Final = 1 << 30


class ChatLogs:
    """Pages of chat logs. Logs on this machine's file system are read in place, others are fetched and kept for a while."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._options = StorageOptions.from_environment(environ)
        self._folder: Path | None = None
        self._kept: OrderedDict[str, Path] = OrderedDict()
        self._fetching = asyncio.Lock()

    async def page(self, artifact: Mapping[str, Any], first: int, limit: int) -> list[tuple[int, Timed]]:
        """At most ``limit`` messages of a log from line ``first`` on, with their places in the video. Raises OSError, ValueError."""
        path = await self._local(str(artifact["uri"]), int(artifact["size"]))
        return await asyncio.to_thread(_page, path, first, limit)

    async def start(self) -> None:
        """Nothing to do before somebody asks."""

    async def stop(self) -> None:
        """Forget what was fetched."""
        if self._folder is not None:
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
            self._folder = None
            self._kept.clear()

    async def _local(self, uri: str, size: int) -> Path:
        base, _, _ = uri.rpartition("/")
        storage = Storage.from_uri(base, self._options)
        key = storage.key(uri)
        here = storage.local_path(key)
        if here is not None:
            return here
        if size > MAX_LOG_BYTES:
            raise OSError(f"a chat log of {size} bytes is not fetched")
        async with self._fetching:
            return self._kept.get(uri) or await self._fetch(storage, key, uri)

    async def _fetch(self, storage: Storage, key: str, uri: str) -> Path:
        if self._folder is None:
            self._folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="aircheck-chat-logs-"))
        path = self._folder / new_key()
        try:
            await _download(storage, key, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        self._kept[uri] = path
        while len(self._kept) > KEPT_FILES:
            _, oldest = self._kept.popitem(last=False)
            oldest.unlink(missing_ok=True)
        return self._kept[uri]


async def _download(storage: Storage, key: str, path: Path) -> None:
    """Raises OSError also for a log that is longer than it was said to be."""
    size = 0
    with path.open("wb") as file:
        async for piece in storage.read(key):
            size += len(piece)
            if size > MAX_LOG_BYTES:
                raise OSError(f"a chat log of more than {MAX_LOG_BYTES} bytes is not fetched")
            await asyncio.to_thread(file.write, piece)


def _page(path: Path, first: int, limit: int) -> list[tuple[int, Timed]]:
    reader = ChatLogReader(path)
    found: list[tuple[int, ChatMessage]] = reader.page(first, limit)
    timing = reader.about.timing if reader.about else None
    return [(line, timing.of(message) if timing else Timed(0, message)) for line, message in found]
