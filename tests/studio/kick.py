"""Kick below /kick: the channel's numbers, and its chat over the Pusher protocol.

As the platform does: the server opens with its activity time-out, events carry their data as JSON in a string, each channel is
subscribed to by itself, and a client that is silent is cut. Sources: Pusher's documentation, "Pusher Channels Protocol", and
the events in the "Kick WebSocket Channel Guide".
"""

from __future__ import annotations

import asyncio
import json
import secrets
import uuid
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from .platform import Platform, Socket

KEY = "32cbd69e4b950bf97679"


class KickChat(Platform):
    """Rooms are Pusher channels. `activity_timeout`: the seconds of silence after which a client is to ping, at half of it."""

    def __init__(self, activity_timeout: int = 120) -> None:
        super().__init__()
        self.activity_timeout = activity_timeout
        self.numbers: dict[str, tuple[int, int]] = {}
        self.asked = 0

    @property
    def site(self) -> str:
        """The base address of the site's API."""
        return f"{self.url}/kick"

    @property
    def pusher(self) -> str:
        """The application's address."""
        return f"{self.ws_url}/kick/app/{KEY}"

    def routes(self) -> list[web.RouteDef]:
        """See Platform."""
        return [
            web.get("/kick/api/v2/channels/{slug}", self._channel),
            web.get(f"/kick/app/{KEY}", self._serve),
        ]

    def open_channel(self, slug: str, channel: int, chatroom: int) -> None:
        """A channel with its numbers."""
        self.numbers[slug] = (channel, chatroom)

    def chatroom(self, slug: str) -> str:
        """The room of a channel's chat."""
        return f"chatrooms.{self.numbers[slug][1]}.v2"

    async def say(self, slug: str, text: str, *, user: str = "Ann", uid: int = 7, **fields: Any) -> str:
        """A chat message; returns its id."""
        message_id = str(uuid.uuid4())
        identity = {"color": fields.pop("color", "#DEB2FF"), "badges": fields.pop("badges", [])}
        message = {
            "id": message_id,
            "chatroom_id": self.numbers[slug][1],
            "content": text,
            "type": "message",
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "sender": {"id": uid, "username": user, "slug": user.lower(), "identity": identity},
        }
        await self.emit(self.chatroom(slug), "App\\Events\\ChatMessageEvent", message | fields)
        return message_id

    async def emit(self, room: str, event: str, data: dict[str, Any]) -> int:
        """Any event to all subscribers of a Pusher channel; to how many."""
        return await self.send(room, json.dumps({"event": event, "data": json.dumps(data), "channel": room}))

    async def control(self, room: str, event: str, data: dict[str, Any]) -> None:
        """A frame of the protocol itself to everybody in a room."""
        await self.send(room, json.dumps({"event": event, "data": data}))

    async def _channel(self, request: web.Request) -> web.Response:
        self.asked += 1
        numbers = self.numbers.get(request.match_info["slug"])
        if numbers is None:
            return web.json_response({"message": "No query results"}, status=404)
        return web.json_response({"id": numbers[0], "slug": request.match_info["slug"], "chatroom": {"id": numbers[1]}})

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        async with self.visitor(request) as socket:
            if request.query.get("protocol") != "7":
                await socket.send(_frame("pusher:error", {"code": 4007, "message": "Unsupported protocol version"}))
                return socket.socket
            hello = {"socket_id": f"{secrets.randbelow(10**6)}.{secrets.randbelow(10**6)}"}
            established = json.dumps(hello | {"activity_timeout": self.activity_timeout})
            await socket.send(_frame("pusher:connection_established", established))
            watching = asyncio.create_task(self._watch(socket))
            try:
                async for text in socket.texts():
                    await self._answer(socket, json.loads(text))
            finally:
                watching.cancel()
        return socket.socket

    async def _answer(self, socket: Socket, packet: dict[str, Any]) -> None:
        event = packet["event"]
        if event == "pusher:ping":
            await socket.send(_frame("pusher:pong", "{}"))
        elif event == "pusher:subscribe":
            room = packet["data"]["channel"]
            succeeded = {"event": "pusher_internal:subscription_succeeded", "data": "{}", "channel": room}
            await socket.send(json.dumps(succeeded))
            await self.joined(room, socket)
        await self.tell()

    async def _watch(self, socket: Socket) -> None:
        """A client that says nothing for one and a half of the time-outs is gone."""
        while True:
            heard = len(socket.got)
            await asyncio.sleep(self.activity_timeout * 1.5)
            if len(socket.got) == heard:
                socket.cut()


def _frame(event: str, data: object) -> str:
    return json.dumps({"event": event, "data": data})
