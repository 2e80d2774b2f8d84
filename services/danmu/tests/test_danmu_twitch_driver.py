"""The Twitch driver in the studio's IRC server."""

from __future__ import annotations

import asyncio
import re

import aiohttp
import pytest

from services.danmu.adapters import InvalidDescriptor, open_source
from services.danmu.adapters.messages import MessageKind
from services.danmu.tests.chat_driving import listening, next_message, studio_and_session, take

CHANNEL: dict[str, object] = {"channel": "Studio"}


async def test_it_joins_anonymously_and_hears_the_channel() -> None:
    async with studio_and_session() as (studio, session):
        twitch = studio.twitch
        async with listening("twitch", CHANNEL, session, irc=twitch.irc_url) as (_, items):
            assert await take(items, 1) == ["connected"]
            await twitch.say("studio", "hello; world", color="#00FF7F", badges="vip/1", emotes="25:0-4")
            await twitch.announce("studio", "resub", "six months", msg_param_cumulative_months=6)
            chat, resub = await next_message(items), await next_message(items)

        assert re.fullmatch(r"justinfan\d+", twitch.nicks[0])
    assert (chat.kind, chat.text, chat.user, chat.uid) == (MessageKind.CHAT, "hello; world", "Ann", "7")
    assert (chat.colour, chat.badges[0].name, chat.emotes[0].name) == (0x00FF7F, "vip", "hello")
    assert (resub.kind, resub.quantity) == (MessageKind.MEMBERSHIP, 6)


async def test_it_beats_and_answers_the_servers_pings() -> None:
    async with studio_and_session() as (studio, session):
        studio.twitch.ping_s = 0.02  # and as long as a test may take for the answer
        async with listening("twitch", CHANNEL, session, irc=studio.twitch.irc_url, times={"heartbeat_s": 0.02}) as (
            _,
            items,
        ):
            assert await take(items, 1) == ["connected"]
            (socket,) = studio.twitch.rooms["studio"]
            rest = asyncio.create_task(take(items, 1))
            await studio.twitch.wait(lambda: sum(text.startswith("PING") for text in socket.got) >= 3)
            await studio.twitch.wait(lambda: sum(text.startswith("PONG") for text in socket.got) >= 3)
            await studio.twitch.say("studio", "still here")
            assert await rest == ["still here"]


async def test_cut_off_it_comes_back() -> None:
    async with (
        studio_and_session() as (studio, session),
        listening("twitch", CHANNEL, session, irc=studio.twitch.irc_url) as (_, items),
    ):
        assert await take(items, 1) == ["connected"]
        assert await studio.twitch.cut("studio") == 1
        assert await take(items, 2) == ["lost", "connected"]
        await studio.twitch.say("studio", "back")
        assert await take(items, 1) == ["back"]


async def test_told_to_reconnect_it_does() -> None:
    async with (
        studio_and_session() as (studio, session),
        listening("twitch", CHANNEL, session, irc=studio.twitch.irc_url) as (_, items),
    ):
        assert await take(items, 1) == ["connected"]
        await studio.twitch.restart("studio")
        assert await take(items, 2) == ["lost", "connected"]
    assert len(studio.twitch.nicks) == 2


async def test_closed_it_leaves() -> None:
    async with (
        studio_and_session() as (studio, session),
        listening("twitch", CHANNEL, session, irc=studio.twitch.irc_url) as (source, items),
    ):
        assert await take(items, 1) == ["connected"]
        await source.close()
        await studio.twitch.wait_for("studio", 0)
        assert [item async for item in items] == []


@pytest.mark.parametrize(
    "descriptor", [{}, {"channel": ""}, {"channel": "a b"}, {"channel": "x" * 26}, {"channel": "no\nchannel"}]
)
async def test_a_descriptor_without_a_channel_is_refused(descriptor: dict[str, object]) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(InvalidDescriptor):
            open_source("twitch", descriptor, session)
