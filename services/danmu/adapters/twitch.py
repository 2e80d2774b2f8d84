"""The wire protocol of Twitch chat, as pure code: IRC lines with IRCv3 tags.

A WebSocket text frame holds one or more lines that end in CR LF. A line is ``[@tags] [:prefix] COMMAND [parameters]
[:trailing]``; tags are ``key=value`` joined by ``;``, with ``\\:`` for ``;``, ``\\s`` for a space, ``\\\\``, ``\\r``, ``\\n``.
Sources: IRCv3, "Message Tags"; Twitch developer documentation, "Twitch IRC Concepts" (anonymous nicknames ``justinfan`` and
digits, capabilities ``twitch.tv/tags`` and ``twitch.tv/commands``, PING, RECONNECT) and "IRC Command Reference".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from services.danmu.adapters.codec import CodecCounters, Decoded, now_ms
from services.danmu.adapters.twitch_commands import GONE, HANDLERS

MAX_FRAME_BYTES: Final = 1 << 20
MAX_FRAME_LINES: Final = 4096
MAX_LINE: Final = 16_384
"""Tags may have 8191 characters and the rest 512; Twitch has been seen to exceed the latter with long system messages."""
MAX_TAGS: Final = 128

_LOGIN: Final = re.compile(r"[a-z0-9_]{1,25}")
_ESCAPE: Final = re.compile(r"\\(.?)", re.DOTALL)
_ESCAPED: Final = {":": ";", "s": " ", "\\": "\\", "r": "\r", "n": "\n"}


class Line(NamedTuple):
    """One parsed line. `parameters` end with the trailing one where there is one."""

    command: str
    tags: Mapping[str, str]
    nick: str
    parameters: tuple[str, ...]

    @property
    def text(self) -> str:
        """The last parameter, "" where there is none beside the channel's name."""
        return self.parameters[-1] if len(self.parameters) > 1 else ""


def is_login(name: str) -> bool:
    """Whether this can be the login name of a channel: lower-case letters, digits, ``_``; at most 25."""
    return _LOGIN.fullmatch(name) is not None


class TwitchCodec:
    """One connection's codec; make a new one for each connection. `clock` gives unix milliseconds."""

    def __init__(self, clock: Callable[[], int] = now_ms) -> None:
        self.counters = CodecCounters()
        self._clock = clock

    def hello(self, channel: str, visitor: int) -> list[str]:
        """What a visitor says first: the capabilities, an anonymous name made of the number, the channel to join."""
        lines = (
            "CAP REQ :twitch.tv/tags twitch.tv/commands",
            "PASS SCHMOOPIIE",
            f"NICK justinfan{visitor}",
            f"JOIN #{channel}",
        )
        return [f"{line}\r\n" for line in lines]

    def heartbeat(self) -> str:
        """Answered with PONG; the server itself asks about every five minutes only."""
        return "PING :aircheck\r\n"

    def feed(self, frame: bytes) -> Decoded:
        """Everything in one frame. Never raises: what is broken or unknown is counted and left out."""
        decoded = Decoded()
        if len(frame) > MAX_FRAME_BYTES:
            self.counters.oversized += 1
            return decoded
        now = self._clock()
        lines = frame.decode("utf-8", "replace").split("\r\n", MAX_FRAME_LINES)
        if len(lines) > MAX_FRAME_LINES:
            self.counters.oversized += 1
            lines.pop()
        for text in lines:
            if text:
                self._line(text, decoded, now)
        return decoded

    def _line(self, text: str, decoded: Decoded, now: int) -> None:
        if len(text) > MAX_LINE:
            self.counters.oversized += 1
            return
        line = parse_line(text)
        if line is None:
            self.counters.malformed += 1
        elif line.command == "PING":
            token = line.parameters[-1] if line.parameters else ""
            decoded.replies.append(f"PONG :{token}\r\n")
        elif line.command == "RECONNECT":
            decoded.reconnect = "the server is about to restart"
        elif line.command == "366":
            decoded.authenticated = True  # the end of the list of names: the channel has been joined
        elif line.command == "NOTICE" and line.parameters[:1] == ("*",):
            decoded.authenticated = False  # before anything is joined, only refusals are sent
        else:
            self._handled(line, decoded, now)

    def _handled(self, line: Line, decoded: Decoded, now: int) -> None:
        handler = HANDLERS.get(line.command)
        messages = handler(line, now) if handler else []
        if not messages:
            self.counters.ignore(line.command)
        decoded.messages += messages
        if line.command == "NOTICE" and line.tags.get("msg-id") in GONE:
            decoded.reconnect = "the channel does not exist, or is suspended"


def parse_line(text: str) -> Line | None:
    """One line without its end, or None where it has no command."""
    tags: dict[str, str] = {}
    nick = ""
    if text.startswith("@"):
        raw, _, text = text[1:].partition(" ")
        tags = _tags(raw)
        text = text.lstrip(" ")
    if text.startswith(":"):
        prefix, _, text = text[1:].partition(" ")
        nick = prefix.partition("!")[0]
        text = text.lstrip(" ")
    head, colon, trailing = text.partition(" :")
    words = head.split(" ")
    words = [word for word in words if word]
    if not words or not words[0].isalnum():
        return None
    parameters = (*words[1:], trailing) if colon else tuple(words[1:])
    return Line(words[0].upper(), tags, nick, parameters)


def _tags(raw: str) -> dict[str, str]:
    tags = {}
    for item in raw.split(";", MAX_TAGS)[:MAX_TAGS]:
        key, _, value = item.partition("=")
        tags[key] = _ESCAPE.sub(_unescaped, value) if "\\" in value else value
    return tags


def _unescaped(match: re.Match[str]) -> str:
    """An unknown escape stands for its second character, a lone backslash at the end for nothing."""
    return _ESCAPED.get(match[1], match[1])
