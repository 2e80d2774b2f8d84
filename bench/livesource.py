"""A server for recorders to record from, in a process of its own: an FLV as fast as it is read, and live streams in real time.

``python -m bench.livesource FILE.flv`` prints its port. ``/file.flv`` is the file; ``/live/NAME.flv`` the same media paced by its timestamps, each
viewer from the beginning, which is a keyframe, to the end; ``/stats`` says how far the slowest viewer of a paced stream was behind, and
``/viewers/NAME.flv`` when each viewer of a live stream came and when its first media was sent.

No cache of a group of pictures is sent in a burst, as content networks do: a viewer waits for the next tick, and then has the media of that tick.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import cast

from tests.studio.flv import Tag, TagReader

TICK_MS = 100
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nCache-Control: no-cache\r\nConnection: close\r\n"


@dataclass(frozen=True, slots=True)
class Media:
    """What a viewer gets first, and then per tick."""

    head: bytes
    ticks: tuple[bytes, ...]

    @classmethod
    def read(cls, path: Path) -> Media:
        """Cut a file into ticks; blocking."""
        reader = TagReader()
        tags = reader.feed(path.read_bytes())
        head = [tag for tag in tags if tag.kind == 18 or tag.is_sequence_header]
        media = [tag for tag in tags if tag.kind != 18 and not tag.is_sequence_header]
        by_tick = {
            tick: b"".join(map(Tag.encode, some)) for tick, some in groupby(media, lambda tag: tag.timestamp // TICK_MS)
        }
        count = max(by_tick) + 1
        ticks = tuple(by_tick.get(tick, b"") for tick in range(count))
        return cls(reader.header + b"".join(tag.encode(0) for tag in head), ticks)


class Viewer(asyncio.Protocol):
    """One connection: a request, then media."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._request = b""
        self.transport: asyncio.WriteTransport | None = None
        self.tick = -1
        self.path = ""
        self.asked_at = self.media_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self.transport = cast(asyncio.WriteTransport, transport)
        self.transport.set_write_buffer_limits(high=1 << 30)

    def data_received(self, data: bytes) -> None:
        """Answer when the request is whole."""
        self._request += data
        if b"\r\n\r\n" in self._request and self.tick < 0:
            path = self._request.split(b" ", 2)[1].decode("latin-1").partition("?")[0]
            self._request = b""
            self.tick, self.path, self.asked_at = 0, path, time.time()
            self._server.answer(self, path)

    def connection_lost(self, _: Exception | None) -> None:
        """Forget it."""
        self._server.viewers.discard(self)


class Server:
    """All viewers of one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.viewers: set[Viewer] = set()
        self._behind = 0
        self._late_ms = 0.0
        self._sending: set[asyncio.Task[None]] = set()
        self._came: defaultdict[str, list[Viewer]] = defaultdict(list)

    @cached_property
    def _media(self) -> Media:
        # Only where it is asked for: a file of a gigabyte is sent as it is.
        return Media.read(self._path)

    def answer(self, viewer: Viewer, path: str) -> None:
        """Serve one path."""
        assert viewer.transport is not None
        if path == "/stats":
            found = {"viewers": len(self.viewers), "behind_bytes": self._behind, "late_ms": self._late_ms}
            self._behind, self._late_ms = 0, 0.0
            _answer(viewer.transport, found)
        elif path.startswith("/viewers/"):
            came = self._came[path.replace("/viewers/", "/live/")]
            _answer(viewer.transport, [{"asked_at": one.asked_at, "media_at": one.media_at} for one in came])
        elif path.startswith("/live/"):
            self._came[path].append(viewer)
            viewer.transport.write(_HEAD + b"\r\n" + self._media.head)
            self.viewers.add(viewer)
        else:
            task = asyncio.create_task(self._send_file(viewer.transport))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def _send_file(self, transport: asyncio.WriteTransport) -> None:
        size = self._path.stat().st_size
        transport.write(_HEAD + f"Content-Length: {size}\r\n\r\n".encode())
        with self._path.open("rb") as file:
            await asyncio.get_running_loop().sendfile(transport, file)
        transport.close()

    async def pace(self) -> None:
        """Send every viewer its next tick, for ever."""
        due = time.monotonic()
        while True:
            due += TICK_MS / 1000
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self._late_ms = max(self._late_ms, 1000 * (time.monotonic() - due))
            for viewer in tuple(self.viewers):
                transport = viewer.transport
                if transport is None or transport.is_closing() or viewer.tick >= len(self._media.ticks):
                    continue
                transport.write(self._media.ticks[viewer.tick])
                self._behind = max(self._behind, transport.get_write_buffer_size())
                viewer.media_at = viewer.media_at or time.time()
                viewer.tick += 1


def _answer(transport: asyncio.WriteTransport, value: object) -> None:
    body = json.dumps(value)
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    transport.write((head + body).encode())
    transport.close()


def first_line(process: subprocess.Popen[bytes]) -> str:
    """The port that a server started elsewhere has printed; blocking. Raises RuntimeError when it ended instead."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("the server of live streams did not start")
    return line.decode().strip()


async def main(path: Path) -> None:
    """Serve until the standard input ends: whoever started this is gone then."""
    server = Server(path)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(lambda: Viewer(server), "127.0.0.1", 0, backlog=1024)
    pacing = asyncio.create_task(server.pace())
    print(listening.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    pacing.cancel()
    listening.close()


if __name__ == "__main__":
    # Not uvloop, which cannot send a file.
    asyncio.run(main(Path(sys.argv[1])))
