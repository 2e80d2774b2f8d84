"""One room: what it is, whether it is on air, who is connected, and the faults it suffers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any

from .changes import Changes
from .chat import ChatRoom
from .danmaku import live, preparing, room_change
from .faults import Faults
from .loop import LoopMedia
from .options import ChatMessage, Fault, MediaFormat, RoomOptions
from .signatures import UrlSigner
from .sources import EncoderSource, ReplaySource, Source

_CLOSING_S = 1.0
log = logging.getLogger("studio.room")


class MediaConnection:
    """One media response in flight; `truncate` asks its sender to cut the next tag in the middle."""

    def __init__(self, transport: asyncio.Transport | None, sending: asyncio.Task[None], is_flv: bool) -> None:
        self._transport = transport
        self._sending = sending
        self.is_flv = is_flv
        self.truncate = False

    def cut(self) -> None:
        """Break the connection: the client sees it end in the middle of the body."""
        if self._transport is not None:
            self._transport.abort()
        self._sending.cancel()


class Room:
    """A room and its broadcast. All changes happen on the studio's event loop."""

    def __init__(self, room_id: str, options: RoomOptions, changes: Changes, loops: LoopLibrary) -> None:
        self.id = room_id
        self.options = options
        self.number = options.number_for(room_id)
        self.title, self.category, self.parent_category = options.title, options.category, options.parent_category
        self.live_since: float | None = None
        self.live_key = ""
        self.faults = Faults()
        self.urls = UrlSigner()
        self.chat = ChatRoom(self.number, changes)
        self.bytes_sent = 0
        self.connections: set[MediaConnection] = set()
        self.source: Source | None = None
        self._changes = changes
        self._loops = loops
        self._changing = asyncio.Lock()
        self._lingering: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def on_air(self) -> bool:
        """True from the moment everything can be played until the broadcast is told to end."""
        return self.live_since is not None

    @property
    def viewers(self) -> int:
        """How many FLV connections are being fed."""
        return sum(connection.is_flv for connection in self.connections)

    def change_options(self, options: RoomOptions) -> None:
        """Reorder an off-air room; ValueError while it is on air."""
        if self.on_air:
            raise ValueError(f"room {self.id} is on air: its options can be changed when it is off air")
        self.options = options
        self.number = self.chat.number = options.number_for(self.id)
        self.title, self.category, self.parent_category = options.title, options.category, options.parent_category

    async def put_on_air(self, title: str | None) -> None:
        """Start a broadcast and return when it can be played; on air already: only the title changes."""
        async with self._changing:
            if self.on_air:
                self.retitle(title, None, None)
                return
            self.title = title or self.title
            await self._forget_last_broadcast()
            self.source = await self._new_source()
            try:
                await self.source.start()
            except BaseException:
                await self.source.stop()
                await self._forget_last_broadcast()
                raise
            self.live_since = time.time()
            self.live_key = str(time.time_ns() % 10**18)
            self.chat.broadcast([live(self.number, self.live_key, int(self.live_since))])
            self.chat.start_flow(self.options.chat_per_second)
            self._changes.notify()

    async def put_off_air(self) -> None:
        """End the broadcast cleanly; its ENDLIST playlists stay for `linger_s`."""
        async with self._changing:
            if not self.on_air or self.source is None:
                return
            self.live_since = None
            await self.chat.stop_flow()
            self.faults.resume()
            await self.source.stop()
            self.chat.broadcast([preparing(self.number)])
            self._lingering = asyncio.get_running_loop().call_later(self.options.linger_s, self._stop_lingering)
            self._changes.notify()

    def retitle(self, title: str | None, category: str | None, parent_category: str | None) -> None:
        """Change what is given and tell the chat."""
        self.title = title or self.title
        self.category = category or self.category
        self.parent_category = parent_category or self.parent_category
        self.chat.broadcast([room_change(self.title, self.category, self.parent_category, self.live_key)])
        self._changes.notify()

    def say(self, messages: list[ChatMessage]) -> list[dict[str, Any]]:
        """Say something in the chat; all messages travel in one packet."""
        return self.chat.say(messages)

    async def inflict(self, fault: Fault) -> int:
        """Carry out a fault; returns how many connections it hits now."""
        match fault.kind:
            case "drop":
                return self._cut_media()
            case "chat_drop":
                return self.chat.cut()
            case "stall":
                self.faults.stall(fault.seconds)
            case "status":
                self.faults.refuse(fault)
                return 0
            case "timestamp_jump":
                self._source_on_air().jump(fault.ms)
            case "repeated_headers":
                self._source_on_air().repeat_headers()
            case "resize":
                resized = self.options.model_copy(update={"width": fault.width, "height": fault.height})
                self._source_on_air().switch(await self._loops.get(resized))
            case "truncated_tag":
                self._truncate_next_tags()
            case "slow_body":
                self.faults.bytes_per_s = fault.bytes_per_s
            case "expired_url":
                self.urls.expire()
                return 0
        return self.viewers if fault.kind in _FLV_FAULTS else len(self.connections)

    @contextlib.contextmanager
    def sending(self, connection: MediaConnection) -> Iterator[None]:
        """Count the connection while it is being fed."""
        self.connections.add(connection)
        self._changes.notify()
        try:
            yield
        finally:
            self.connections.discard(connection)
            self._changes.notify()

    def state(self, base_url: str) -> dict[str, Any]:
        """The room as the control API shows it."""
        urls = {"page": f"{base_url}/bili/{self.number}", "chat": f"{base_url.replace('http', 'ws', 1)}/sub"}
        urls |= {name: base_url + self.media_path(name) for name in self.options.served_formats}
        return {
            "id": self.id,
            "number": self.number,
            "short_id": self.options.short_id,
            "title": self.title,
            "category": self.category,
            "parent_category": self.parent_category,
            "streamer": self.options.streamer,
            "uid": self.options.uid,
            "on_air": self.on_air,
            "live_since": self.live_since,
            "viewers": self.viewers,
            "chatters": len(self.chat.sockets),
            "members": sum(socket.member for socket in self.chat.sockets),
            "bytes_sent": self.bytes_sent,
            "shown_ms": self.source.shown if self.source is not None else [],
            "chat_messages": self.chat.sent,
            "faults": self.faults.active(),
            "options": self.options.model_dump(mode="json"),
            "urls": urls,
        }

    def media_path(self, media_format: MediaFormat) -> str:
        """The path of a format's stream or playlist."""
        return f"/live/{self.id}.flv" if media_format == "flv" else f"/live/{self.id}/{media_format}/index.m3u8"

    async def close(self) -> None:
        """End everything of this room: viewers get a second to take their last bytes, then they are cut."""
        await self.put_off_air()
        with contextlib.suppress(TimeoutError):
            await self._changes.wait_until(lambda: not self.connections, _CLOSING_S)
        self._cut_media()
        self.chat.cut()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._forget_last_broadcast()

    def _source_on_air(self) -> Source:
        if not self.on_air or self.source is None:
            raise ValueError(f"room {self.id} is off air: this fault needs a running broadcast")
        return self.source

    def _cut_media(self) -> int:
        connections = tuple(self.connections)
        for connection in connections:
            connection.cut()
        return len(connections)

    def _truncate_next_tags(self) -> None:
        for connection in self.connections:
            connection.truncate = connection.is_flv

    async def _new_source(self) -> Source:
        if self.options.source == "encoder":
            return EncoderSource(self.options, self._on_encoder_exit)
        return ReplaySource(self.options, await self._loops.get(self.options))

    def _on_encoder_exit(self) -> None:
        if self.on_air:
            log.error("the encoder of room %s ended by itself: the room goes off air", self.id)
            self._spawn(self.put_off_air())

    def _stop_lingering(self) -> None:
        self._lingering = None
        self._spawn(self._forget_unless_on_air())

    async def _forget_unless_on_air(self) -> None:
        async with self._changing:
            if not self.on_air:
                await self._forget_last_broadcast()

    async def _forget_last_broadcast(self) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if self.source is not None:
            source, self.source = self.source, None
            await source.remove()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work, name=f"studio-room-{self.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


_FLV_FAULTS = {"timestamp_jump", "repeated_headers", "resize", "truncated_tag"}


class LoopLibrary:
    """Pre-encoded loops, made once for each set of picture options and shared by all rooms."""

    def __init__(self) -> None:
        self._loops: dict[tuple[Any, ...], asyncio.Task[LoopMedia]] = {}

    async def get(self, options: RoomOptions) -> LoopMedia:
        """The loop for these options, encoded now if nobody asked before."""
        key = (options.width, options.height, options.fps, options.gop_s, options.video_kbps)
        key += (options.audio_kbps, options.video, options.audio)
        if key not in self._loops:
            self._loops[key] = asyncio.create_task(LoopMedia.encode(options))
        try:
            return await asyncio.shield(self._loops[key])
        except RuntimeError:
            del self._loops[key]
            raise

    async def close(self) -> None:
        """Stop the encodings that are still running."""
        for task in self._loops.values():
            task.cancel()
        if self._loops:
            await asyncio.wait(self._loops.values())
