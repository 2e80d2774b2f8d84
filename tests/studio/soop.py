"""SOOP on the studio's own URL: the player's API and the chat, in the platform's packets.

Source of the shapes: the published readers of the platform's own player and the recorders that speak its chat: ESC TAB,
service (4 digits), length of the body (6), two zeros, fields with a form feed before each and behind the last; 0001 logs a
guest in, 0002 enters with the chat number and the ticket of the API, 0000 is the heartbeat (nobody reports an answer).
"""

from __future__ import annotations

import secrets

from aiohttp import web

from .audience import Audience, Frame, Viewer
from .changes import Changes


def packet(service: int, *fields: str) -> bytes:
    """One packet as the server sends it."""
    body = ("\f" + "\f".join(fields) + "\f").encode("utf-8")
    return f"\x1b\t{service:04d}{len(body):06d}00".encode("ascii") + body


def fields_of(data: bytes) -> tuple[int, list[str]]:
    """The service and the fields of a client's packet; ValueError when it is none."""
    if data[:2] != b"\x1b\t" or data[12:14] != b"00" or int(data[6:12]) != len(data) - 14:
        raise ValueError("no packet")
    text = data[14:].decode("utf-8")
    if not (text.startswith("\f") and text.endswith("\f")):
        raise ValueError("no fields")
    return int(data[2:6]), text[1:-1].split("\f") if len(text) > 1 else []


class SoopRoom(Audience):
    """One channel. The ticket changes with every question, as the platform's does; `used`: those that were joined with."""

    def __init__(self, channel: str, number: int, changes: Changes) -> None:
        super().__init__(changes)
        self.channel, self.number = channel, number
        self.on_air = True
        self.tickets: set[str] = set()
        self.used: list[str] = []

    async def say(self, text: str, user: str = "viewer", nick: str = "", color: int = 0, flags: str = "65536|0") -> int:
        """Service 5."""
        return await self.send(packet(5, text, user, str(color), "0", "1", nick or user, flags, "-1", "", "", "-1"))

    async def give_balloons(self, count: int, user: str = "viewer", nick: str = "") -> int:
        """Service 18."""
        fields = (self.channel, user, nick or user, str(count), "0", "0", "", "", "1", "0", "", "", "", "")
        return await self.send(packet(18, *fields))


class SoopPlatform:
    """The endpoints; rooms are made with `room`."""

    def __init__(self, changes: Changes) -> None:
        self.url = ""
        self.rooms: dict[str, SoopRoom] = {}
        self._changes = changes

    def room(self, channel: str) -> SoopRoom:
        """The channel, made and put on air when it is new."""
        return self.rooms.setdefault(channel, SoopRoom(channel, 1000 + len(self.rooms), self._changes))

    def routes(self) -> list[web.RouteDef]:
        """The routes of this module."""
        return [
            web.post("/afreeca/player_live_api.php", self.player_api),
            web.get("/Websocket/{channel}", self.chat),
        ]

    async def player_api(self, request: web.Request) -> web.Response:
        """Where the chat is; RESULT 0 off air."""
        form = await request.post()
        room = self.rooms.get(str(form.get("bid")))
        if (
            request.query.get("bjid") != form.get("bid")
            or form.get("type") != "live"
            or room is None
            or not room.on_air
        ):
            return web.json_response({"CHANNEL": {"RESULT": 0}})
        ticket = secrets.token_hex(16)
        room.tickets.add(ticket)
        channel = {
            "RESULT": 1,
            "CHDOMAIN": (request.url.host or "").upper(),
            "CHPT": str(request.url.port),
            "CHATNO": str(room.number),
            "FTK": ticket,
            "BJID": room.channel,
            "TITLE": "studio",
        }
        return web.json_response({"CHANNEL": channel})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """The WebSocket; wants the subprotocol."""
        room = self.rooms.get(request.match_info["channel"])
        if room is None or request.headers.get("Sec-WebSocket-Protocol") != "chat":
            raise web.HTTPForbidden
        logged_in: set[Viewer] = set()

        async def answer(viewer: Viewer, frame: Frame) -> None:
            service, fields = fields_of(frame) if isinstance(frame, bytes) else (-1, [])
            if service == 1 and fields == ["", "", "16"]:
                logged_in.add(viewer)
                await viewer.send(packet(1, "guest", "16|0"))
            elif service == 2 and viewer in logged_in and fields[0] == str(room.number) and fields[1] in room.tickets:
                await viewer.send(packet(2, fields[0], room.channel, "0", "", "0", "16|0", ""))
                room.used.append(fields[1])
                room.admit(viewer)
            elif service == 0 and not fields:
                room.beat()
            else:
                await viewer.socket.close()

        return await room.serve(request, answer, ("chat",))

    async def close(self) -> None:
        """Close all sockets."""
        for room in self.rooms.values():
            await room.close()
