"""The base addresses of these drivers can be set, as DANMU_SOURCES__<KIND>__<OPTION>, and none leads past the guard."""

from __future__ import annotations

import pytest
from chassis.egress import EgressPolicy
from contracts.values import Chat

from services.danmu.adapters.registry import text_options
from services.danmu.adapters.rooms import Rooms
from services.danmu.tests.chat_driving import items_of


@pytest.mark.parametrize(
    ("kind", "options", "descriptor"),
    [
        ("twitch", {"irc"}, {"channel": "studio"}),
        ("youtube", {"site"}, {"video_id": "dQw4w9WgXcQ"}),
        ("kick", {"site", "pusher"}, {"slug": "studio"}),
        ("twitcasting", {"site", "frontend"}, {"user": "studio"}),
        ("niconico", {"site"}, {"programme": "lv1"}),
    ],
)
async def test_the_addresses_of_a_driver_come_from_the_settings(
    kind: str, options: set[str], descriptor: dict[str, str]
) -> None:
    assert text_options(kind) == options

    rooms = Rooms(EgressPolicy(), {kind: dict.fromkeys(options, "http://127.0.0.1:1")})
    async with rooms.open(Chat(kind=kind, descriptor=descriptor)) as source:
        items = items_of(source)
        failed = await anext(items)
        await source.close()

    # The address was used, and refused: it is a private one.
    assert "loopback" in failed.reason
