"""The wire protocol of Kick's chat, as pure code: the Pusher protocol, version 7, with Kick's events in it.

A text frame is ``{"event", "channel"?, "data"}``, whose ``data`` is JSON in a string, or an object in older servers. The
server opens with ``pusher:connection_established`` (``activity_timeout``: seconds of silence after which to ping), confirms
subscriptions with ``pusher_internal:subscription_succeeded`` and may refuse with ``pusher:error`` (codes 4000-4099: do not
come back the same way, 4100-4199: come back later, 4200-4299: come back at once). Sources: Pusher documentation, "Pusher
Channels Protocol"; for the channels ``chatrooms.<chatroom>.v2`` (chat, moderation), ``channel.<channel>`` and
``channel_<channel>`` (live and over, gifts of Kicks; both carry some events) the "Kick WebSocket Channel Guide".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any, Final

from services.danmu.adapters.codec import CodecCounters, Decoded, now_ms
from services.danmu.adapters.json_fields import count_at, object_at, parse_json, text_at
from services.danmu.adapters.kick_events import HANDLERS
from services.danmu.adapters.recent import RecentIds

MAX_FRAME_BYTES: Final = 1 << 20
MAX_DATA: Final = MAX_FRAME_BYTES
MAX_EVENT: Final = 128
USUAL_ACTIVITY_S: Final = 120.0

_APP_EVENT: Final = "App\\Events\\"


class KickCodec:
    """One connection's codec; `channel_id` 0: unknown. `seen` goes from connection to connection."""

    def __init__(
        self,
        chatroom_id: int,
        channel_id: int = 0,
        seen: RecentIds | None = None,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self.counters = CodecCounters()
        self._chatroom = f"chatrooms.{chatroom_id}.v2"
        self._channels = [self._chatroom]
        if channel_id:
            self._channels += [f"channel.{channel_id}", f"channel_{channel_id}"]
        self._seen = RecentIds() if seen is None else seen
        self._clock = clock

    def hello(self) -> list[str]:
        """The subscriptions, all public; due once the server has established the connection."""
        return [_frame("pusher:subscribe", {"auth": "", "channel": channel}) for channel in self._channels]

    def heartbeat(self) -> str:
        """Due at half the ``activity_timeout``; answered with ``pusher:pong``."""
        return _frame("pusher:ping", {})

    def feed(self, frame: bytes) -> Decoded:
        """One frame. Never raises: what is broken or unknown is counted and left out."""
        decoded = Decoded()
        if len(frame) > MAX_FRAME_BYTES:
            self.counters.oversized += 1
            return decoded
        packet = parse_json(frame)
        event = text_at(packet, "event", limit=MAX_EVENT)
        if not event:
            self.counters.malformed += 1
            return decoded
        data = object_at(packet, "data") or object_at(parse_json(text_at(packet, "data", limit=MAX_DATA)))
        channel = text_at(packet, "channel")
        if event.startswith("pusher"):
            self._control(event, channel, data, decoded)
        else:
            self._event(event.removeprefix(_APP_EVENT), channel, data, decoded)
        return decoded

    def _control(self, event: str, channel: str, data: dict[str, Any], decoded: Decoded) -> None:
        if event == "pusher:connection_established":
            decoded.beat_s = (count_at(data, "activity_timeout") or USUAL_ACTIVITY_S) / 2
            decoded.replies += self.hello()
        elif event == "pusher_internal:subscription_succeeded":
            decoded.authenticated = True if channel == self._chatroom else None
        elif event == "pusher:ping":
            decoded.replies.append(_frame("pusher:pong", {}))
        elif event == "pusher:error":
            # An error about one of the other channels has no code; the connection is of use without it.
            if code := count_at(data, "code"):
                decoded.reconnect = f"error {code} of the server"
        elif event != "pusher:pong":
            self.counters.ignore(event)

    def _event(self, event: str, channel: str, data: dict[str, Any], decoded: Decoded) -> None:
        handler = HANDLERS.get(event)
        if handler is None:
            self.counters.ignore(event)
        elif not data:
            self.counters.malformed += 1
        elif self._first_sight(event, channel, data):
            decoded.messages += handler(data, self._clock())

    def _first_sight(self, event: str, channel: str, data: dict[str, Any]) -> bool:
        """The two channels about the broadcaster carry the same events, most of them without an id."""
        if channel.startswith("chatrooms."):
            message_id = text_at(data, "id")
            return not message_id or self._seen.add(f"{event} {message_id}")
        digest = hashlib.blake2b(json.dumps(data, sort_keys=True).encode("utf-8", "replace"), digest_size=16)
        return self._seen.add(f"{event} {digest.hexdigest()}")


def _frame(event: str, data: dict[str, str]) -> str:
    return json.dumps({"event": event, "data": data}, separators=(",", ":"))
