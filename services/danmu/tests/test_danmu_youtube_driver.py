"""The YouTube driver with the studio's pages and polls."""

from __future__ import annotations

import aiohttp
import pytest

from services.danmu.adapters import InvalidDescriptor, open_source
from services.danmu.adapters.messages import Badge, MessageKind
from services.danmu.adapters.source import ConnectionChange
from services.danmu.tests.chat_driving import listening, next_message, studio_and_session, take

VIDEO = "dQw4w9WgXcQ"
DESCRIPTOR: dict[str, object] = {"video_id": VIDEO}
QUIET = {"heartbeat_s": 0.0}


async def test_it_polls_and_hands_on_what_is_said() -> None:
    async with studio_and_session() as (studio, session):
        youtube = studio.youtube
        youtube.put_on_air(VIDEO)
        async with listening("youtube", DESCRIPTOR, session, site=youtube.site, times=QUIET) as (_, items):
            assert await take(items, 1) == ["connected"]
            await youtube.say(VIDEO, "hello :wave:", badges=("moderator", "Member (6 months)"))
            paid = {"purchaseAmountText": {"simpleText": "$5.00"}, "message": {"runs": [{"text": "here"}]}}
            await youtube.add(VIDEO, "liveChatPaidMessageRenderer", author="Bob", **paid)
            chat, super_chat = await next_message(items), await next_message(items)
            await youtube.act(VIDEO, {"markChatItemAsDeletedAction": {"targetItemId": chat.id}})
            deleted = await next_message(items)

        assert youtube.broadcasts[VIDEO].bad_polls == 0
    assert (chat.text, chat.emotes[0].url) == ("hello :wave:", "https://yt3.ggpht.com/large")
    assert chat.badges == (Badge("moderator", "moderator"), Badge("member", "Member (6 months)", 6))
    assert (super_chat.kind, super_chat.user, super_chat.price) == (MessageKind.SUPER_CHAT, "Bob", 5000)
    assert (deleted.kind, deleted.target) == (MessageKind.MODERATION, chat.id)


async def test_a_channel_leads_to_its_running_broadcast() -> None:
    async with studio_and_session() as (studio, session):
        youtube = studio.youtube
        channel: dict[str, object] = {"channel": "@studio"}
        async with listening("youtube", channel, session, site=youtube.site, times=QUIET) as (_, items):
            failed = await anext(items)
            youtube.put_on_air(VIDEO)
            states = await take(items, 1)
            while states[-1] == "failed":
                states = await take(items, 1)

    assert isinstance(failed, ConnectionChange)
    assert failed.reason == "the channel shows no broadcast"
    assert states == ["connected"]


async def test_a_broken_poll_loses_and_repeats_nothing() -> None:
    async with studio_and_session() as (studio, session):
        youtube = studio.youtube
        youtube.put_on_air(VIDEO)
        async with listening("youtube", DESCRIPTOR, session, site=youtube.site, times=QUIET) as (_, items):
            assert await take(items, 1) == ["connected"]
            await youtube.say(VIDEO, "before")
            assert await take(items, 1) == ["before"]
            youtube.failing = 2
            await youtube.say(VIDEO, "meanwhile")
            lost = await anext(items)
            assert await take(items, 3) == ["failed", "connected", "meanwhile"]

    assert isinstance(lost, ConnectionChange)
    assert lost.reason.endswith("get_live_chat: HTTP 503")


async def test_what_was_said_long_before_is_not_told() -> None:
    async with studio_and_session() as (studio, session):
        youtube = studio.youtube
        youtube.put_on_air(VIDEO)
        await youtube.say(VIDEO, "an hour ago", timestampUsec="1000000000")
        await youtube.say(VIDEO, "just now")
        async with listening("youtube", DESCRIPTOR, session, site=youtube.site, times=QUIET) as (_, items):
            assert await take(items, 2) == ["connected", "just now"]


async def test_the_end_of_the_broadcast_is_told_once() -> None:
    async with studio_and_session() as (studio, session):
        youtube = studio.youtube
        youtube.put_on_air(VIDEO)
        async with listening("youtube", DESCRIPTOR, session, site=youtube.site, times=QUIET) as (_, items):
            assert await take(items, 1) == ["connected"]
            await youtube.say(VIDEO, "bye")
            await youtube.end(VIDEO)
            assert await take(items, 4) == ["bye", "ended", "lost", "failed"]


async def test_closed_it_polls_no_more() -> None:
    async with studio_and_session() as (studio, session):
        youtube = studio.youtube
        youtube.timeout_ms = 3_600_000
        youtube.put_on_air(VIDEO)
        async with listening("youtube", DESCRIPTOR, session, site=youtube.site, times=QUIET) as (source, items):
            assert await take(items, 1) == ["connected"]
            await source.close()
            assert [item async for item in items] == []
        assert youtube.broadcasts[VIDEO].polls == 0


@pytest.mark.parametrize(
    "descriptor", [{}, {"video_id": "short"}, {"channel": "x"}, {"channel": "@a/../b"}, {"channel": "@"}]
)
async def test_a_descriptor_without_a_video_is_refused(descriptor: dict[str, object]) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(InvalidDescriptor):
            open_source("youtube", descriptor, session)
