"""The Niconico driver with the studio's page, session and comment server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from services.danmu.adapters import InvalidDescriptor, open_source
from services.danmu.adapters.messages import MessageKind
from services.danmu.adapters.niconico_driver import NiconicoSource
from services.danmu.adapters.source import ChatSource, ConnectionChange
from services.danmu.tests.chat_driving import Items, listening, next_message, studio_and_session, take
from tests.studio.niconico import NiconicoChat

PROGRAMME = "lv345"
DESCRIPTOR: dict[str, object] = {"programme": PROGRAMME}


@asynccontextmanager
async def joined() -> AsyncIterator[tuple[NiconicoChat, ChatSource, Items]]:
    """A programme on air, and a source that has joined it."""
    async with studio_and_session() as (studio, session):
        nico = studio.niconico
        nico.put_on_air(PROGRAMME)
        async with listening("niconico", DESCRIPTOR, session, site=nico.site) as (source, items):
            assert await take(items, 1) == ["connected"]
            yield nico, source, items


async def test_it_takes_a_seat_and_hands_on_the_comments() -> None:
    async with joined() as (nico, source, items):
        await nico.say(PROGRAMME, "hello", user="Ann", modifier=[(3, 1)])
        await nico.emit(PROGRAMME, [(2, [(8, [(3, "Bob"), (4, 300), (6, "Stamp")])])])
        chat, gift = await next_message(items), await next_message(items)
        assert isinstance(source, NiconicoSource)
        assert source.popularity == 77

    assert (chat.text, chat.user, chat.uid, chat.colour) == ("hello", "Ann", "42", 0xFF0000)
    assert (gift.kind, gift.user, gift.price) == (MessageKind.GIFT, "Bob", 300_000)


async def test_it_follows_from_segment_to_segment() -> None:
    async with studio_and_session() as (studio, session):
        nico = studio.niconico
        nico.put_on_air(PROGRAMME)
        await nico.say(PROGRAMME, "before it came")
        await nico.turn(PROGRAMME)
        async with listening("niconico", DESCRIPTOR, session, site=nico.site) as (_, items):
            assert await take(items, 1) == ["connected"]
            for number in range(3):
                await nico.say(PROGRAMME, f"segment {number}")
                assert await take(items, 1) == [f"segment {number}"]
                await nico.turn(PROGRAMME)


async def test_it_keeps_its_seat() -> None:
    async with studio_and_session() as (studio, session):
        nico = studio.niconico
        nico.keep_s = 1
        nico.put_on_air(PROGRAMME)
        times = {"heartbeat_s": 3600.0}
        async with listening("niconico", DESCRIPTOR, session, site=nico.site, times=times) as (_, items):
            assert await take(items, 1) == ["connected"]
            (socket,) = nico.rooms[PROGRAMME]
            rest = asyncio.create_task(take(items, 1))
            await nico.wait(lambda: nico.programmes[PROGRAMME].kept >= 3)
            await nico.say(PROGRAMME, "still here")
            assert await rest == ["still here"]
            assert "pong" in {json.loads(text)["type"] for text in socket.got}


async def test_cut_off_it_comes_back_and_catches_up() -> None:
    async with joined() as (nico, _, items):
        await nico.say(PROGRAMME, "before")
        assert await take(items, 1) == ["before"]
        assert await nico.cut(PROGRAMME) == 1
        await nico.say(PROGRAMME, "meanwhile")
        await nico.turn(PROGRAMME)
        seen = await take(items, 2)
        await nico.say(PROGRAMME, "after")
        while len(seen) < 4:
            seen += await take(items, 1)

    # What came before the break and is still in the pipe may be told before the loss.
    assert sorted(seen) == ["after", "connected", "lost", "meanwhile"]
    assert seen.index("lost") < seen.index("connected") < seen.index("after")


async def test_a_broken_comment_server_is_joined_again() -> None:
    async with joined() as (nico, _, items):
        await nico.say(PROGRAMME, "before")
        assert await take(items, 1) == ["before"]
        assert nico.cut_comments(PROGRAMME) == 2
        lost = await anext(items)
        assert await take(items, 1) == ["connected"]
        await nico.say(PROGRAMME, "after")
        assert await take(items, 1) == ["after"]

    assert isinstance(lost, ConnectionChange)
    assert lost.reason.startswith("the comment server: ")


async def test_the_end_of_the_programme_is_told() -> None:
    async with joined() as (nico, _, items):
        await nico.end(PROGRAMME)
        assert await take(items, 2) == ["ended", "lost"]
        failed = await anext(items)

    assert isinstance(failed, ConnectionChange)
    assert failed.reason == "the programme is not on air, or not for guests"


async def test_closed_it_leaves_nothing_behind() -> None:
    async with joined() as (nico, source, items):
        await nico.say(PROGRAMME, "hello")
        assert await take(items, 1) == ["hello"]
        await source.close()
        await nico.wait_for(PROGRAMME, 0)
        await nico.wait_for_readers(PROGRAMME, 0)
        assert [item async for item in items] == []


@pytest.mark.parametrize(
    "descriptor", [{}, {"programme": ""}, {"programme": "lv"}, {"programme": "../lv1"}, {"programme": 5}]
)
async def test_a_descriptor_without_a_programme_is_refused(descriptor: dict[str, object]) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(InvalidDescriptor):
            open_source("niconico", descriptor, session)
