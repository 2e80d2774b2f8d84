"""The session of a Niconico viewer, as pure code: the page that names its WebSocket, and the JSON that goes over it.

The watch page holds, in the attribute ``data-props`` of its element ``embedded-data``, JSON with ``site.relive.webSocketUrl``
(empty when the programme cannot be watched) and ``program.status``. Over the socket the viewer says ``startWatching``; the
server assigns a ``seat`` (``keepIntervalSec``: how often to say ``keepSeat``), names the ``messageServer`` (``viewUri``) where
the comments are, says ``ping`` (answered with ``pong`` and ``keepSeat``), ``statistics``, ``schedule``, ``reconnect`` and, at
the end, ``disconnect`` with a reason such as END_PROGRAM, TAKEOVER, PING_TIMEOUT, TOO_MANY_CONNECTIONS, CROWDED. Source:
"帰ってきたニコニコのニコ生コメントサーバーからのコメント取得備忘録" (qiita.com, DaisukeDaisuke) and the session messages that comment
viewers document.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from typing import Any, Final

from services.danmu.adapters.codec import CodecCounters, Decoded, now_ms
from services.danmu.adapters.json_fields import count_at, object_at, parse_json, text_at
from services.danmu.adapters.messages import ChatMessage, MessageKind
from services.danmu.adapters.ndgr import NdgrCodec
from services.danmu.adapters.recent import Backlog

MAX_FRAME_BYTES: Final = 256 << 10
MAX_PAGE_BYTES: Final = 4 << 20
MAX_URL: Final = 4096
COMMENT: Final = b"\0"
"""Stands before each message of the comment server; no JSON text begins with it."""

_PROPS: Final = re.compile(r'data-props="([^"]*)"')


def watch_socket(page: bytes) -> str:
    """The address of the session's WebSocket in a watch page; "" where the page has none: not on air, or not for guests."""
    if len(page) > MAX_PAGE_BYTES:
        return ""
    for match in _PROPS.finditer(page.decode("utf-8", "replace")):
        url = text_at(parse_json(html.unescape(match[1])), "site", "relive", "webSocketUrl", limit=MAX_URL)
        if url:
            return url
    return ""


class NiconicoCodec:
    """One session's codec, which takes the messages of the comment server too. `view_uri`: where that is, once it was said."""

    def __init__(self, seen: Backlog | None = None, clock: Callable[[], int] = now_ms) -> None:
        self.view_uri = ""
        self._comments = NdgrCodec(seen, clock)
        self._clock = clock

    @property
    def counters(self) -> CodecCounters:
        """What was left out, of both servers."""
        return self._comments.counters

    @counters.setter
    def counters(self, counters: CodecCounters) -> None:
        self._comments.counters = counters

    def hello(self) -> list[str]:
        """Take a seat for the comments; without ``stream`` no video is prepared."""
        room = {"protocol": "webSocket", "commentable": False}
        return [_frame({"type": "startWatching", "data": {"room": room, "reconnect": False}})]

    def heartbeat(self) -> str:
        """Due as often as the seat asks."""
        return _frame({"type": "keepSeat"})

    def feed(self, frame: bytes) -> Decoded:
        """One frame. Never raises: what is broken or unknown is counted and left out."""
        if frame.startswith(COMMENT):
            return self._comments.feed(frame[len(COMMENT) :])
        decoded = Decoded()
        if len(frame) > MAX_FRAME_BYTES:
            self.counters.oversized += 1
            return decoded
        packet = parse_json(frame)
        kind = text_at(packet, "type")
        if not kind:
            self.counters.malformed += 1
            return decoded
        self._packet(kind, object_at(packet, "data"), decoded)
        return decoded

    def _packet(self, kind: str, data: dict[str, Any], decoded: Decoded) -> None:
        if kind == "ping":
            decoded.replies += [_frame({"type": "pong"}), self.heartbeat()]
        elif kind == "seat":
            decoded.beat_s = float(min(max(count_at(data, "keepIntervalSec"), 1), 300))
        elif kind == "messageServer":
            self.view_uri = text_at(data, "viewUri", limit=MAX_URL)
            decoded.authenticated = bool(self.view_uri)
        elif kind == "statistics":
            decoded.popularity = count_at(data, "viewers")
        elif kind == "reconnect":
            decoded.reconnect = "the server asks to reconnect"
        elif kind in ("disconnect", "error"):
            self._end(kind, data, decoded)
        else:
            self.counters.ignore(kind[:64])

    def _end(self, kind: str, data: dict[str, Any], decoded: Decoded) -> None:
        reason = text_at(data, "reason", limit=64) or text_at(data, "code", limit=64)
        decoded.reconnect = f"{kind} {reason}".strip()
        if reason == "END_PROGRAM":
            decoded.messages.append(ChatMessage(MessageKind.STREAM_CLOSED, self._clock(), action="ended"))


def _frame(packet: dict[str, Any]) -> str:
    return json.dumps(packet, separators=(",", ":"))
