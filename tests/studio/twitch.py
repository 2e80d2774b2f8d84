"""Twitch's chat: an IRC server over a WebSocket at /twitch/irc.

As the platform does: a visitor asks for capabilities, gives an anonymous nickname, joins; tags are sent to who asked for
them; the server pings and cuts who does not answer. Sources: IRCv3 "Message Tags" (escapes) and Twitch's "IRC Command Reference".
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import uuid
from functools import partial

from aiohttp import web

from .platform import Platform, Socket

_ESCAPES = {";": "\\:", " ": "\\s", "\\": "\\\\", "\r": "\\r", "\n": "\\n"}
_SERVER = ":tmi.twitch.tv"


class TwitchChat(Platform):
    """Rooms are channels' login names. `ping_s`: how long after an answer the server pings again; who does not answer in time is cut."""

    def __init__(self, ping_s: float = 300.0) -> None:
        super().__init__()
        self.ping_s = ping_s
        self.nicks: list[str] = []
        self._tagged: set[Socket] = set()

    @property
    def irc_url(self) -> str:
        """Where the server is."""
        return f"{self.ws_url}/twitch/irc"

    def routes(self) -> list[web.RouteDef]:
        """See Platform."""
        return [web.get("/twitch/irc", self._serve)]

    async def say(self, channel: str, text: str, *, user: str = "Ann", uid: int = 7, **tags: object) -> str:
        """A chat message with the tags of one; returns its id."""
        message_id = str(uuid.uuid4())
        known: dict[str, object] = {
            "badge-info": "",
            "badges": "",
            "color": "",
            "display-name": user,
            "emotes": "",
            "id": message_id,
            "room-id": 1337,
            "tmi-sent-ts": time.time_ns() // 1_000_000,
            "user-id": uid,
        }
        nick = user.lower()
        await self.raw(
            channel, known | _dashed(tags), f":{nick}!{nick}@{nick}.tmi.twitch.tv PRIVMSG #{channel} :{text}"
        )
        return message_id

    async def announce(self, channel: str, event: str, text: str = "", **tags: object) -> None:
        """A USERNOTICE: `event` is its msg-id."""
        known: dict[str, object] = {
            "msg-id": event,
            "id": str(uuid.uuid4()),
            "login": "ann",
            "display-name": "Ann",
            "user-id": 7,
        }
        tail = f" :{text}" if text else ""
        await self.raw(channel, known | _dashed(tags), f"{_SERVER} USERNOTICE #{channel}{tail}")

    async def raw(self, channel: str, tags: dict[str, object], line: str) -> int:
        """One line to everybody in the channel; to how many."""
        tagged = "@" + ";".join(f"{name}={_escaped(str(value))}" for name, value in tags.items()) + " " if tags else ""
        sockets = tuple(self.rooms[channel])
        for socket in sockets:
            await socket.send((tagged if socket in self._tagged else "") + line + "\r\n")
        return len(sockets)

    async def restart(self, channel: str) -> None:
        """What the server says before it goes away."""
        await self.send(channel, f"{_SERVER} RECONNECT\r\n")

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        async with self.visitor(request) as socket:
            pinging = asyncio.create_task(self._ping(socket))
            nick = ""
            try:
                async for frame in socket.texts():
                    for line in filter(None, frame.split("\r\n")):
                        nick = await self._answer(socket, nick, line)
            finally:
                pinging.cancel()
                self._tagged.discard(socket)
        return socket.socket

    async def _answer(self, socket: Socket, nick: str, line: str) -> str:
        command, _, rest = line.partition(" ")
        if command == "CAP":
            wanted = rest.partition(":")[2]
            if "twitch.tv/tags" in wanted.split():
                self._tagged.add(socket)
            await socket.send(f"{_SERVER} CAP * ACK :{wanted}\r\n")
        elif command == "NICK":
            if not re.fullmatch(r"justinfan\d+", rest):
                await socket.send(f"{_SERVER} NOTICE * :Login authentication failed\r\n")
                return nick
            self.nicks.append(rest)
            welcome = "".join(f"{_SERVER} {number} {rest} :{words}\r\n" for number, words in _WELCOME)
            await socket.send(welcome)
            return rest
        elif command == "JOIN" and nick:
            await self._join(socket, nick, rest.removeprefix("#"))
        elif command == "PING":
            await socket.send(f"{_SERVER} PONG tmi.twitch.tv {rest}\r\n")
        await self.tell()
        return nick

    async def _join(self, socket: Socket, nick: str, channel: str) -> None:
        state = (
            f"emote-only=0;followers-only=-1;r9k=0;room-id=1337;slow=0;subs-only=0 {_SERVER} ROOMSTATE #{channel}\r\n"
        )
        await socket.send(
            f":{nick}!{nick}@{nick}.tmi.twitch.tv JOIN #{channel}\r\n"
            + (f"@{state}" if socket in self._tagged else "")
            + f":{nick}.tmi.twitch.tv 353 {nick} = #{channel} :{nick}\r\n"
            + f":{nick}.tmi.twitch.tv 366 {nick} #{channel} :End of /NAMES list\r\n"
        )
        await self.joined(channel, socket)

    async def _ping(self, socket: Socket) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await asyncio.sleep(self.ping_s)
                heard = len(socket.got)
                await socket.send("PING :tmi.twitch.tv\r\n")
                try:
                    await self.wait(partial(_answered, socket, heard))
                except TimeoutError:
                    socket.cut()


_WELCOME = (
    ("001", "Welcome, GLHF!"),
    ("002", "Your host is tmi.twitch.tv"),
    ("003", "This server is rather new"),
    ("376", ">"),
)


def _answered(socket: Socket, heard: int) -> bool:
    return any(text.startswith("PONG") for text in socket.got[heard:])


def _dashed(tags: dict[str, object]) -> dict[str, object]:
    return {name.replace("_", "-"): value for name, value in tags.items()}


def _escaped(value: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in value)
