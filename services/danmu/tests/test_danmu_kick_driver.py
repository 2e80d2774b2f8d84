"""The Kick driver with the studio's API and Pusher server."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from services.danmu.adapters import InvalidDescriptor, open_source
from services.danmu.adapters.messages import MessageKind
from services.danmu.adapters.source import ConnectionChange
from services.danmu.tests.chat_driving import listening, next_message, studio_and_session, take

CHANNEL: dict[str, object] = {"slug": "studio"}


async def test_it_subscribes_and_hands_on_what_is_said() -> None:
    async with studio_and_session() as (studio, session):
        kick = studio.kick
        kick.open_channel("studio", 5, 9)
        async with listening("kick", CHANNEL, session, site=kick.site, pusher=kick.pusher) as (_, items):
            assert await take(items, 1) == ["connected"]
            await kick.say("studio", "hello [emote:1:wave]", badges=[{"type": "moderator", "text": "Moderator"}])
            chat = await next_message(items)
            await kick.wait_for("channel.5")
            await kick.emit("channel.5", "App\\Events\\StopStreamBroadcast", {"livestream": {"id": 1}})
            over = await next_message(items)

    assert (chat.text, chat.user, chat.badges[0].kind, chat.colour) == ("hello wave", "Ann", "moderator", 0xDEB2FF)
    assert (over.kind, over.action) == (MessageKind.STREAM_CLOSED, "ended")


async def test_it_beats_as_often_as_the_server_asks() -> None:
    async with studio_and_session() as (studio, session):
        kick = studio.kick
        kick.activity_timeout = 2
        kick.open_channel("studio", 5, 9)
        times = {"heartbeat_s": 3600.0}
        async with listening("kick", CHANNEL, session, site=kick.site, pusher=kick.pusher, times=times) as (_, items):
            assert await take(items, 1) == ["connected"]
            (socket,) = kick.rooms[kick.chatroom("studio")]
            rest = asyncio.create_task(take(items, 1))
            await kick.wait(lambda: sum(json.loads(text)["event"] == "pusher:ping" for text in socket.got) >= 2)
            await kick.say("studio", "after two beats")
            assert await rest == ["after two beats"]


async def test_cut_off_it_comes_back_without_asking_for_the_numbers_again() -> None:
    async with studio_and_session() as (studio, session):
        kick = studio.kick
        kick.open_channel("studio", 5, 9)
        async with listening("kick", CHANNEL, session, site=kick.site, pusher=kick.pusher) as (_, items):
            assert await take(items, 1) == ["connected"]
            assert await kick.cut(kick.chatroom("studio")) == 1
            assert await take(items, 2) == ["lost", "connected"]
            await kick.say("studio", "back")
            assert await take(items, 1) == ["back"]
        assert kick.asked == 1


async def test_told_of_an_error_it_connects_anew() -> None:
    async with studio_and_session() as (studio, session):
        kick = studio.kick
        kick.open_channel("studio", 5, 9)
        async with listening("kick", CHANNEL, session, site=kick.site, pusher=kick.pusher) as (_, items):
            assert await take(items, 1) == ["connected"]
            await kick.control(kick.chatroom("studio"), "pusher:error", {"code": 4200, "message": "please reconnect"})
            lost = await anext(items)
            assert await take(items, 1) == ["connected"]

    assert isinstance(lost, ConnectionChange)
    assert lost.reason == "error 4200 of the server"


async def test_a_channel_that_does_not_exist_is_reported_and_asked_for_again() -> None:
    async with studio_and_session() as (studio, session):
        kick = studio.kick
        async with listening("kick", CHANNEL, session, site=kick.site, pusher=kick.pusher) as (_, items):
            failed = await anext(items)
            kick.open_channel("studio", 5, 9)
            states = await take(items, 1)
            while states[-1] == "failed":
                states = await take(items, 1)

    assert isinstance(failed, ConnectionChange)
    assert failed.reason.endswith("/kick/api/v2/channels/studio: HTTP 404")
    assert states == ["connected"]


async def test_with_the_numbers_nothing_is_asked() -> None:
    async with studio_and_session() as (studio, session):
        kick = studio.kick
        numbers: dict[str, object] = {"chatroom_id": 9, "channel_id": 5}
        async with listening("kick", numbers, session, site=kick.site, pusher=kick.pusher) as (_, items):
            assert await take(items, 1) == ["connected"]
        assert kick.asked == 0


@pytest.mark.parametrize("descriptor", [{}, {"slug": ""}, {"slug": "../x"}, {"slug": "x" * 65}, {"chatroom_id": -1}])
async def test_a_descriptor_without_a_channel_is_refused(descriptor: dict[str, object]) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(InvalidDescriptor):
            open_source("kick", descriptor, session)
