"""Files that go into a bucket while they are written, with no local disk: memory for the head and for what is on its way, nothing else.

The first part of a multipart upload is sent as soon as it is full and once more at the end, because indexes and durations are patched
into a file's head when it is closed. What is in the bucket of an unfinished file is noted with each part, so that another replica can
finish it.
"""

from __future__ import annotations

import asyncio
import errno
import io
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import structlog
from chassis.s3_multipart import Body, Interrupted, NoSuchUpload, Part, S3Multipart
from chassis.storage import StorageFailed
from contracts.values import Json

MAX_PARTS = 10_000
RETRY_CAP_S = 30.0
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sent:
    """What of a file is in the bucket: of one piece up to ``size`` once the upload is completed. ``cursor``: see `StartPoint`, for that place.

    ``written_at``: when the last byte of it was written (Unix time), 0 while nothing is there.
    """

    key: str
    upload_id: str = ""
    parts: tuple[Part, ...] = ()
    size: int = 0
    cursor: Json | None = None
    written_at: float = 0.0

    def to_json(self) -> Json:
        """Plain values; :meth:`from_json` reads them."""
        parts = [[part.number, part.etag, part.sha256.hex()] for part in self.parts]
        return {
            "key": self.key,
            "upload_id": self.upload_id,
            "parts": parts,
            "size": self.size,
            "cursor": self.cursor,
            "written_at": self.written_at,
        }

    @classmethod
    def from_json(cls, value: Json) -> Sent:
        """What :meth:`to_json` wrote; raises KeyError, TypeError or ValueError for anything else."""
        parts = tuple(Part(int(number), str(etag), bytes.fromhex(sha)) for number, etag, sha in value["parts"])
        at = float(value.get("written_at", 0.0))
        return cls(str(value["key"]), str(value["upload_id"]), parts, int(value["size"]), value.get("cursor"), at)


Note = Callable[[Sent], Awaitable[None]]
"""Keeps what is in the bucket where another replica finds it."""


@dataclass(frozen=True, slots=True)
class Full:
    """A part that will not change, and when its last byte was written (Unix time)."""

    data: bytes
    at: float


class StreamedFile(io.RawIOBase):
    """A file to write from the front, whose first part may be written over. Raises OSError when more waits than ``max_bytes``."""

    def __init__(self, *, part_size: int, max_bytes: int) -> None:
        super().__init__()
        self._part_size, self._max_bytes = part_size, max_bytes
        self._lock = threading.Lock()
        self._head, self._rest = bytearray(), bytearray()
        self._full: deque[Full] = deque()
        self.head_at = 0.0
        self._position = self.size = 0
        self.ready: Callable[[], None] = lambda: None

    def writable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Within the first part, and back to the end."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """From the beginning only."""
        if whence != io.SEEK_SET or not (offset == self.size or offset < len(self._head)):
            raise OSError(errno.ESPIPE, "only the head of a streamed file can be written over")
        self._position = offset
        return offset

    def tell(self) -> int:
        """Where the next byte goes."""
        return self._position

    def write(self, data: object) -> int:
        """Append, or write over the head."""
        view = memoryview(data)  # type: ignore[arg-type]
        with self._lock:
            if self._position < self.size:
                return self._patch(view)
            room = self._part_size - len(self._head)
            if 0 < room <= len(view):
                self.head_at = time.time()
            self._head += view[:room]
            self._rest += view[room:] if room > 0 else view
            self._cut()
            self.size += len(view)
            self._position = self.size
        if self._full:
            self.ready()
        return len(view)

    def take(self) -> Full | None:
        """The next part behind the first, once it is full."""
        with self._lock:
            return self._full.popleft() if self._full else None

    def head(self) -> bytes:
        """The first part as it is now."""
        with self._lock:
            return bytes(self._head)

    def rest(self) -> bytes:
        """What is behind the last full part."""
        with self._lock:
            return bytes(self._rest)

    @property
    def long(self) -> bool:
        """Whether there is more than a first part."""
        return self.size > self._part_size

    def _patch(self, view: memoryview) -> int:
        end = self._position + len(view)
        if end > len(self._head):
            raise OSError(errno.ESPIPE, "only the head of a streamed file can be written over")
        self._head[self._position : end] = view
        self._position = end
        return len(view)

    def _cut(self) -> None:
        while len(self._rest) >= self._part_size:
            waiting = (len(self._full) + 2) * self._part_size
            if waiting > self._max_bytes:
                raise OSError(errno.ENOBUFS, "the bucket does not take media as fast as it comes")
            self._full.append(Full(bytes(self._rest[: self._part_size]), time.time()))
            del self._rest[: self._part_size]


class Streaming:
    """Sends one file. :meth:`begin` when its key is known, :meth:`finish` when it is closed; requests are repeated for ever."""

    def __init__(self, file: StreamedFile, bucket: S3Multipart, cursor_at: Callable[[int], Json | None]) -> None:
        self.file, self._bucket, self._cursor_at = file, bucket, cursor_at
        self._sent = Sent("")
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._note: Note

    @property
    def durable(self) -> int:
        """Bytes that another replica would find."""
        return self._sent.size

    def begin(self, key: str, note: Note) -> None:
        """Send what is full, from now on."""
        loop = asyncio.get_running_loop()
        self._sent, self._note = Sent(key), note

        def wake() -> None:
            loop.call_soon_threadsafe(self._more.set)

        self.file.ready = wake
        self._more.set()
        self._task = asyncio.create_task(self._run(), name=f"stream-{key}")

    async def finish(self) -> int:
        """Send the rest and make the object; gives its size. Raises StorageFailed; may be called again."""
        await self.stop()
        if not self.file.long:
            body = await asyncio.to_thread(Body.of, self.file.head())
            await self._bucket.put_object(self._sent.key, body, {})
            return self.file.size
        await self._send_full()
        parts = list(self._sent.parts)
        if rest := self.file.rest():
            parts.append(await self._put(len(parts) + 1, rest))
        parts[0] = await self._put(1, self.file.head())
        try:
            await self._bucket.complete(self._sent.key, self._sent.upload_id, parts)
        except NoSuchUpload:
            stored = await self._bucket.head(self._sent.key)
            if stored is None or stored.size != self.file.size:
                raise StorageFailed("the bucket has forgotten the upload") from None
        return self.file.size

    async def abort(self) -> None:
        """Nothing of it is wanted."""
        await self.stop()
        if self._sent.upload_id:
            await self._bucket.abort(self._sent.key, self._sent.upload_id)

    async def stop(self) -> None:
        """Send nothing more; what is in the bucket stays there."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        delay_s = 1.0
        while True:
            await self._more.wait()
            self._more.clear()
            try:
                await self._send_full()
                delay_s = 1.0
            except (StorageFailed, OSError, NoSuchUpload) as error:
                log.warning("stream.interrupted", key=self._sent.key, error=repr(error)[:200], retry_s=delay_s)
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, RETRY_CAP_S)
                self._more.set()

    async def _send_full(self) -> None:
        if not self.file.long:
            return
        if not self._sent.upload_id:
            # Noted before anything is sent: an upload that nobody knows of would lie in the bucket for ever, and cost.
            upload_id = await self._bucket.create(self._sent.key, {})
            await self._keep(replace(self._sent, upload_id=upload_id), 0, 0.0)
        if not self._sent.parts:
            head = self.file.head()
            await self._keep(replace(self._sent, parts=(await self._put(1, head),)), len(head), self.file.head_at)
        while (full := self._pending or self.file.take()) is not None:
            self._pending = full
            part = await self._put(len(self._sent.parts) + 1, full.data)
            sent = replace(self._sent, parts=(*self._sent.parts, part))
            self._pending = None
            await self._keep(sent, self._sent.size + len(full.data), full.at)

    _pending: Full | None = None

    async def _keep(self, sent: Sent, size: int, written_at: float) -> None:
        self._sent = replace(sent, size=size, cursor=self._cursor_at(size), written_at=written_at)
        await self._note(self._sent)

    async def _put(self, number: int, data: bytes) -> Part:
        if number > MAX_PARTS:
            raise OSError(errno.EFBIG, "an object has at most 10000 parts")
        body = await asyncio.to_thread(Body.of, data)
        return await self._bucket.put_part(self._sent.key, self._sent.upload_id, number, body)


async def assemble(bucket: S3Multipart, sent: Sent) -> bool:
    """Make an object of what a lost owner had sent; False when there is nothing of it. Idempotent; raises StorageFailed."""
    if not sent.parts:
        if sent.upload_id:
            await bucket.abort(sent.key, sent.upload_id)
        return False
    try:
        await bucket.complete(sent.key, sent.upload_id, list(sent.parts))
    except NoSuchUpload:
        # Completed already, by its owner or by somebody who was interrupted like it.
        return await bucket.head(sent.key) is not None
    return True


__all__ = ["Interrupted", "Note", "Sent", "StreamedFile", "Streaming", "assemble"]
