"""Fuzzes the codec of Kick's chat."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from services.danmu.adapters.codec import Decoded
from services.danmu.adapters.kick import KickCodec
from services.danmu.fuzz.harness import run


def event(name: str, data: dict[str, Any], channel: str = "chatrooms.9.v2") -> bytes:
    """A frame as the server sends it."""
    return json.dumps({"event": f"App\\Events\\{name}", "data": json.dumps(data), "channel": channel}).encode()


_USER: Final = {"id": 7, "username": "Ann", "slug": "ann"}
SEEDS = (
    b'{"event":"pusher:connection_established","data":"{\\"socket_id\\":\\"1.2\\",\\"activity_timeout\\":120}"}',
    b'{"event":"pusher_internal:subscription_succeeded","data":"{}","channel":"chatrooms.9.v2"}',
    b'{"event":"pusher:error","data":{"code":4200,"message":"x"}}',
    event(
        "ChatMessageEvent",
        {
            "id": "a",
            "content": "hi [emote:37226:KEKW]",
            "created_at": "2025-06-15T15:06:40Z",
            "sender": _USER
            | {"identity": {"color": "#FF9D00", "badges": [{"type": "subscriber", "text": "Sub", "count": 3}]}},
            "metadata": {"original_message": {"id": "b"}},
        },
    ),
    event("SubscriptionEvent", {"username": "Ann", "months": 3}),
    event("GiftedSubscriptionsEvent", {"gifter_username": "Ann", "gifted_usernames": ["Bob", "Cy"], "gifter_total": 7}),
    event("UserBannedEvent", {"id": "c", "user": _USER, "expires_at": "2025-06-15T15:16:40+00:00", "duration": 10}),
    event("MessageDeletedEvent", {"id": "d", "message": {"id": "a"}}),
    event("KicksGifted", {"gift": {"name": "Rage", "amount": 500}, "sender": _USER, "message": "m"}, "channel_5"),
    event("LivestreamUpdated", {"livestream": {"session_title": "t", "category": {"name": "n"}}}, "channel.5"),
    event("StreamHostEvent", {"host_username": "Bob", "number_viewers": 12, "optional_message": None}),
    event("ChatroomUpdatedEvent", {"slow_mode": {"enabled": True, "message_interval": 5}}),
    event("StopStreamBroadcast", {"livestream": {"id": 1}}, "channel.5"),
)


def connect() -> Callable[[bytes], Decoded]:
    """The feed of one connection."""
    return KickCodec(9, 5, clock=lambda: 1).feed


if __name__ == "__main__":
    run(connect, SEEDS)
