"""The wire protocol of Bilibili live chat, as pure code.

A WebSocket frame holds one or more packets. A packet is a 16-byte big-endian header {length u32, header length u16,
version u16, operation u32, sequence u32} and a body. Operations: 7 authentication and 8 its answer, 2 heartbeat and 3
its answer (the viewer figure as u32), 5 a command. Versions of a body: 0 and 1 plain, 2 zlib, 3 brotli; a compressed
body holds packets again. Source: bilibili-API-collect, page "live/message_stream", and what two independent recorders
do (heartbeat every 30 s, body "[object Object]", nesting followed at most 8 deep).
"""

from __future__ import annotations

import json
import re
import zlib
from collections import deque
from collections.abc import Callable
from struct import Struct
from typing import Any, Final

import brotli
from pydantic_core import from_json

from services.danmu.adapters.bilibili_commands import HANDLERS, MALFORMED
from services.danmu.adapters.codec import CodecCounters, Decoded, now_ms
from services.danmu.adapters.messages import ChatMessage, MessageKind

MAX_NESTING: Final = 8
MAX_FRAME_BYTES: Final = 16 << 20
"""What one frame may hold, compressed bodies unpacked: a thousand times a busy room's largest frame."""
MAX_FRAME_PACKETS: Final = 65_536

HEADER: Final = Struct(">IHHII")
HEADER_BYTES: Final = 16

OP_HEARTBEAT: Final = 2
OP_HEARTBEAT_REPLY: Final = 3
OP_COMMAND: Final = 5
OP_AUTH: Final = 7
OP_AUTH_REPLY: Final = 8

VERSION_HEARTBEAT: Final = 1
VERSION_ZLIB: Final = 2
VERSION_BROTLI: Final = 3

_SEEN_SUPER_CHATS: Final = 512
_COMMAND_FIRST: Final = re.compile(rb'\{"cmd":"([A-Za-z0-9_]{1,64})[":]')
_HANDLED: Final = frozenset(name.encode() for name in HANDLERS)

_scan_json: Final[Callable[[str, int], tuple[Any, int]]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
"""The C scanner without the wrappers of `json.loads`; it raises StopIteration where there is no JSON at all."""


class _Budget:
    """What is left of a frame's allowance."""

    __slots__ = ("packets", "unpacked")

    def __init__(self) -> None:
        self.packets = MAX_FRAME_PACKETS
        self.unpacked = MAX_FRAME_BYTES


class _TooLarge(Exception):
    """The frame holds more than its allowance."""


def pack(operation: int, body: bytes, version: int = VERSION_HEARTBEAT) -> bytes:
    """One packet."""
    return HEADER.pack(HEADER_BYTES + len(body), HEADER_BYTES, version, operation, 1) + body


class BilibiliCodec:
    """One connection's codec; make a new one for each connection. `clock` gives unix milliseconds."""

    def __init__(self, clock: Callable[[], int] = now_ms) -> None:
        self.counters = CodecCounters()
        self._clock = clock
        self._super_chats: deque[str] = deque(maxlen=_SEEN_SUPER_CHATS)

    def hello(self, room_id: int, *, uid: int = 0, token: str = "", buvid: str = "") -> bytes:
        """The authentication packet, due within 5 s of connecting; `uid` 0 is a guest, `room_id` the real room."""
        fields: dict[str, object] = {"uid": uid, "roomid": room_id, "protover": 3, "platform": "web", "type": 2}
        if buvid:
            fields["buvid"] = buvid
        if token:
            fields["key"] = token
        return pack(OP_AUTH, json.dumps(fields, separators=(",", ":")).encode())

    def heartbeat(self) -> bytes:
        """Due every 30 s; without it the server ends the connection after 60 s."""
        return pack(OP_HEARTBEAT, b"[object Object]")

    def feed(self, frame: bytes) -> Decoded:
        """Everything in one frame. Never raises: what is broken or unknown is counted and left out."""
        decoded = Decoded()
        if len(frame) > MAX_FRAME_BYTES:
            self.counters.oversized += 1
            return decoded
        try:
            self._packets(frame, decoded, self._clock(), _Budget(), 0)
        except _TooLarge:
            self.counters.oversized += 1
        return decoded

    def _packets(self, data: bytes, decoded: Decoded, now: int, budget: _Budget, depth: int) -> None:
        at, end = 0, len(data)
        unpack = HEADER.unpack_from
        while at + HEADER_BYTES <= end:
            length, header, version, operation, _ = unpack(data, at)
            if header < HEADER_BYTES or length < header or at + length > end:
                break
            budget.packets -= 1
            if budget.packets < 0:
                raise _TooLarge
            if operation != OP_COMMAND:
                self._control(operation, data[at + header : at + length], decoded)
                if operation == OP_HEARTBEAT_REPLY:
                    return  # The server echoes the heartbeat's body behind the packet, outside its declared length.
            elif version < VERSION_ZLIB:
                self._command(data, at + header, at + length, decoded, now)
            else:
                self._nested(version, data[at + header : at + length], decoded, now, budget, depth + 1)
            at += length
        if at < end:
            self.counters.malformed += 1

    def _nested(self, version: int, body: bytes, decoded: Decoded, now: int, budget: _Budget, depth: int) -> None:
        if version > VERSION_BROTLI:
            self.counters.ignore(f"version {version}")
            return
        if depth > MAX_NESTING:
            raise _TooLarge
        limit = budget.unpacked + 1
        try:
            inner = _inflate(body, limit) if version == VERSION_ZLIB else _unbrotli(body, limit)
        except (zlib.error, brotli.error):
            self.counters.malformed += 1
            return
        budget.unpacked -= len(inner)
        if budget.unpacked < 0:
            raise _TooLarge
        self._packets(inner, decoded, now, budget, depth)

    def _control(self, operation: int, body: bytes, decoded: Decoded) -> None:
        if operation == OP_HEARTBEAT_REPLY and len(body) >= 4:
            decoded.popularity = int.from_bytes(body[:4], "big")
        elif operation == OP_AUTH_REPLY:
            decoded.authenticated = self._accepted(body)
        else:
            self.counters.ignore(f"operation {operation}")

    def _accepted(self, body: bytes) -> bool:
        """Code 0 is success. An empty body is what older servers answered."""
        try:
            answer = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            self.counters.malformed += 1
            return False
        return isinstance(answer, dict) and answer.get("code", 0) == 0

    def _command(self, data: bytes, start: int, end: int, decoded: Decoded, now: int) -> None:
        # Most commands of a busy room are rankings and banners: known to be useless by their first bytes, not parsed.
        match = _COMMAND_FIRST.match(data, start, end)
        if match and match[1] not in _HANDLED:
            self.counters.ignore(match[1].decode())
            return
        try:
            root = _parse(data[start:end])
            name = root["cmd"].partition(":")[0]
            handler = HANDLERS.get(name)
            if handler is None:
                self.counters.ignore(name[:64])
                return
            messages = handler(root, now)
        except MALFORMED:
            self.counters.malformed += 1
            return
        if messages and messages[0].kind is MessageKind.SUPER_CHAT:
            messages = [message for message in messages if self._first_sight(message)]
        decoded.messages += messages

    def _first_sight(self, message: ChatMessage) -> bool:
        """A super chat comes as SUPER_CHAT_MESSAGE and, in some rooms, again as SUPER_CHAT_MESSAGE_JPN."""
        if message.id in self._super_chats:
            return False
        self._super_chats.append(message.id)
        return True


def _parse(body: bytes) -> Any:
    """The JSON value of a command. Raises ValueError, RecursionError.

    Half of a chat message is its sender's profile, which nobody reads; pydantic's parser is through with it before it could be
    cut out. What that refuses and the web page accepts (broken UTF-8, half of a surrogate pair) is for Python's own.
    """
    try:
        return from_json(body, cache_strings="keys")
    except ValueError:
        pass
    try:
        return _scan_json(str(body, "utf-8", "replace").lstrip(), 0)[0]
    except StopIteration:
        raise ValueError("no JSON") from None


def _inflate(body: bytes, limit: int) -> bytes:
    """At most `limit` bytes of a zlib stream, what there is of a truncated one."""
    return zlib.decompressobj().decompress(body, limit)


def _unbrotli(body: bytes, limit: int) -> bytes:
    """At most about twice `limit` bytes of a brotli stream: the library checks where its output buffer would grow."""
    output: bytes = brotli.Decompressor().process(body, output_buffer_limit=limit)
    return output
