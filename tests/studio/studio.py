"""The studio: one server process that is a live platform, and the methods that direct it."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from aiohttp import web

from tests.deadline import DEADLINE_S

from .acfun import AcfunPlatform
from .bigo import BigoPlatform
from .bilibili import BilibiliEndpoints
from .changes import Changes
from .chat import ChatServer
from .chzzk import ChzzkPlatform
from .control import ControlEndpoints
from .douyin import DouyinPlatform
from .douyu import DouyuPlatform
from .huya import HuyaPlatform
from .kick import KickChat
from .media import MediaEndpoints
from .niconico import NiconicoChat
from .options import ChatMessage, Fault, RoomOptions, SinkFailure
from .pages import PageEndpoints
from .room import LoopLibrary, Room
from .signatures import WbiKeys
from .sink import Sinks
from .soop import SoopPlatform
from .sources import EncoderSource
from .tiktok import TiktokPlatform
from .twitcasting import TwitcastingChat
from .twitch import TwitchChat
from .urls import StudioUrls
from .youtube import YoutubeChat

_ROOM_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_ROOMS = 1000


class Studio(StudioUrls):
    """Use as `async with Studio() as studio:`; serves on a free port, of the loopback unless `host` says otherwise, until the block ends.

    Methods raise KeyError for an unknown room, ValueError (pydantic's included) for what cannot be, TimeoutError
    from the waiting ones.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        chat_auth_timeout: float = 5.0,
        chat_heartbeat_timeout: float = 70.0,
    ) -> None:
        self.url = ""
        self._host = host
        self._port = port
        self._changes = Changes()
        self._sinks = Sinks(self._changes)
        self._rooms: dict[str, Room] = {}
        self._loops = LoopLibrary()
        self._chat = ChatServer(chat_auth_timeout, chat_heartbeat_timeout)
        self._keys = WbiKeys()
        self.douyu = DouyuPlatform(self._changes)
        self.douyin = DouyinPlatform(self._changes)
        self.acfun = AcfunPlatform(self._changes)
        self.huya = HuyaPlatform(self._changes)
        self.bigo = BigoPlatform(self._changes)
        self.twitch = TwitchChat()
        self.soop = SoopPlatform(self._changes)
        self.chzzk = ChzzkPlatform(self._changes)
        self.tiktok = TiktokPlatform(self._changes)
        self.youtube = YoutubeChat()
        self.kick = KickChat()
        self.twitcasting = TwitcastingChat()
        self.niconico = NiconicoChat()
        self.pages = PageEndpoints(self._rooms.get)
        self._platforms = (
            *(self.acfun, self.douyu, self.douyin, self.huya, self.bigo, self.soop, self.chzzk, self.tiktok),
            *(self.twitch, self.youtube, self.kick, self.twitcasting, self.niconico),
        )
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Studio:
        app = web.Application(client_max_size=64 << 20)
        app.add_routes(ControlEndpoints(self, self._sinks).routes())
        app.add_routes(MediaEndpoints(self._rooms.get).routes())
        app.add_routes(BilibiliEndpoints(self._by_number, self._keys, self._chat).routes())
        app.add_routes(self.pages.routes())
        app.router.add_get("/sub", self._chat.handle)
        await self.douyu.start()
        for platform in self._platforms:
            app.add_routes(platform.routes())
        # A viewer that went away must not stay counted while nothing is being sent to it.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        self.url = f"http://{self._host}:{self._runner.addresses[0][1]}"
        self.pages.url = self.url
        for platform in self._platforms:
            platform.url = self.url
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(room.close() for room in self._rooms.values()))
        await self._loops.close()
        await self._chat.close()
        await asyncio.gather(*(platform.close() for platform in self._platforms))
        if self._runner is not None:
            await self._runner.cleanup()

    async def create_room(self, room: str, **options: Any) -> dict[str, Any]:
        """Create a room, or change the given options of an off-air one; returns its state."""
        if not _ROOM_ID.fullmatch(room):
            raise ValueError("a room's id has 1 to 64 letters, digits, _ or -")
        known = self._rooms.get(room)
        base = known.options.model_dump() if known else {}
        wanted = RoomOptions.model_validate(base | options)
        self._refuse_taken_number(room, wanted)
        if known is not None:
            known.change_options(wanted)
        elif len(self._rooms) >= _MAX_ROOMS:
            raise ValueError(f"there are {_MAX_ROOMS} rooms already")
        else:
            self._rooms[room] = Room(room, wanted, self._changes, self._loops)
        return self._state(room)

    async def remove_room(self, room: str) -> None:
        """End the room's broadcast and forget it."""
        gone = self._room(room)
        await gone.close()
        self._chat.forget(gone.chat)
        self._rooms.pop(room, None)

    async def put_on_air(self, room: str, title: str | None = None, **options: Any) -> dict[str, Any]:
        """Start a broadcast (creating the room when it is new) and return when all its formats can be played."""
        if room not in self._rooms or options:
            await self.create_room(room, **options)
        await self._room(room).put_on_air(title)
        return self._state(room)

    async def put_off_air(self, room: str) -> dict[str, Any]:
        """End the broadcast: FLV ends with its last chunk, playlists get ENDLIST, the chat hears PREPARING."""
        await self._room(room).put_off_air()
        return self._state(room)

    async def room(self, room: str) -> dict[str, Any]:
        """The state of one room."""
        return self._state(room)

    async def rooms(self) -> list[dict[str, Any]]:
        """The states of all rooms."""
        return [room.state(self.url) for room in self._rooms.values()]

    async def say(self, room: str, text: str = "hello", **message: Any) -> dict[str, Any]:
        """Say one message (fields of ChatMessage); returns its entry in the log."""
        entries = await self.say_many(room, [{"text": text, **message}])
        return entries[0]

    async def say_many(self, room: str, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Say several messages in one packet; returns their entries in the log."""
        return self._room(room).say([ChatMessage.model_validate(message) for message in messages])

    async def chat_log(self, room: str) -> list[dict[str, Any]]:
        """Everything that was said in the room since it exists, oldest first."""
        return list(self._room(room).chat.log)

    async def retitle(
        self, room: str, title: str | None = None, category: str | None = None, parent_category: str | None = None
    ) -> dict[str, Any]:
        """Change title or category, on air or off; the chat hears ROOM_CHANGE."""
        self._room(room).retitle(title, category, parent_category)
        return self._state(room)

    async def fault(self, room: str, kind: str, **parameters: Any) -> dict[str, Any]:
        """Inflict a fault; returns it with `affected`, the number of connections it hits now."""
        fault = Fault.model_validate({"kind": kind, **parameters})
        return {"fault": fault.model_dump(), "affected": await self._room(room).inflict(fault)}

    async def clear_faults(self, room: str, kind: str | None = None) -> None:
        """Clear the lasting faults of the room: all, or those of one kind."""
        self._room(room).faults.clear(kind)

    async def wait_for_room(
        self,
        room: str,
        *,
        viewers: int | None = None,
        chatters: int | None = None,
        on_air: bool | None = None,
        timeout: float = DEADLINE_S,
    ) -> dict[str, Any]:
        """Return when there are at least that many FLV viewers and chatters (0 means none) and the room is on/off air."""

        def enough(count: int, wanted: int | None) -> bool:
            return wanted is None or (count >= wanted if wanted else count == 0)

        def reached() -> bool:
            now = self._room(room)
            there = enough(now.viewers, viewers) and enough(len(now.chat.sockets), chatters)
            return there and on_air in {None, now.on_air}

        try:
            await self._changes.wait_until(reached, timeout)
        except TimeoutError:
            raise TimeoutError(f"room {room} did not get there within {timeout} s: {self._state(room)}") from None
        return self._state(room)

    async def sink(self, name: str) -> list[dict[str, Any]]:
        """All requests the sink got, the refused ones too, oldest first."""
        return list(self._sinks[name].requests)

    async def fail_sink(self, name: str, times: int, status: int = 500) -> None:
        """Answer the sink's next requests with `status`."""
        self._sinks[name].failing = SinkFailure(times=times, status=status)

    async def clear_sink(self, name: str) -> None:
        """Empty the sink and let it succeed again."""
        self._sinks.forget(name)

    async def wait_for_sink(self, name: str, n: int = 1, timeout: float = DEADLINE_S) -> list[dict[str, Any]]:
        """The accepted (2xx) requests as soon as there are `n` of them."""
        return await self._sinks.wait_for(name, n, timeout)

    async def rotate_wbi_keys(self) -> None:
        """New WBI keys, as the platform makes them every day."""
        self._keys.rotate()

    def encoder_pids(self) -> list[int]:
        """The process ids of the encoders that run now."""
        encoders = (getattr(room.source, "encoder", None) for room in self._rooms.values())
        return [encoder.pid for encoder in encoders if encoder is not None and encoder.pid is not None]

    def backlog(self, room: str) -> int:
        """The most bytes that a viewer of the room's encoder still has to be sent."""
        source = self._room(room).source
        return source.feed.backlog if isinstance(source, EncoderSource) else 0

    def _room(self, room: str) -> Room:
        return self._rooms[room]

    def _state(self, room: str) -> dict[str, Any]:
        return self._room(room).state(self.url)

    def _by_number(self, wanted: str) -> Room | None:
        for room in self._rooms.values():
            numbers = {room.number, room.options.short_id or room.number}
            if room.id == wanted or (wanted.isdecimal() and int(wanted) in numbers):
                return room
        return None

    def _refuse_taken_number(self, room: str, options: RoomOptions) -> None:
        numbers = {options.number_for(room), options.short_id} - {0}
        for other in self._rooms.values():
            if other.id != room and numbers & {other.number, other.options.short_id}:
                raise ValueError(f"room {other.id} has one of the numbers {sorted(numbers)} already")
