"""TwitCasting: the recorded shapes of its events, any bytes at all, and the driver in the studio."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.danmu.adapters import InvalidDescriptor, open_source
from services.danmu.adapters.messages import Badge, ChatMessage, Emote, MessageKind
from services.danmu.adapters.recent import Backlog
from services.danmu.adapters.source import ConnectionChange
from services.danmu.adapters.twitcasting import MAX_EVENTS, MAX_FRAME_BYTES, TwitcastingCodec
from services.danmu.fuzz.harness import check
from services.danmu.fuzz.twitcasting import COMMENT, GIFT, SEEDS
from services.danmu.tests.chat_driving import listening, next_message, studio_and_session, take

NOW = 1_750_000_000_123
USER: dict[str, object] = {"user": "studio"}


def codec(seen: Backlog | None = None) -> TwitcastingCodec:
    return TwitcastingCodec(seen, clock=lambda: NOW)


class TestEvents:
    def test_a_comment(self) -> None:
        assert codec().feed(COMMENT).messages == [
            ChatMessage(
                MessageKind.CHAT,
                NOW,
                "42",
                1_750_000_000_000,
                "Ann",
                "c:ann",
                "hello",
                badges=(Badge("fan", "grade", 3),),
            )
        ]

    def test_a_gift_of_ten(self) -> None:
        (said,) = codec().feed(GIFT).messages

        assert (said.kind, said.gift, said.quantity) == (MessageKind.GIFT, "お茶ｘ10", 10)
        assert (said.user, said.uid, said.text, said.action) == ("Bob", "bob", "for you", "")
        assert said.emotes == (Emote("お茶ｘ10", "https://i/tea.png"),)

    @pytest.mark.parametrize(("name", "quantity"), [("お茶", 1), ("tea x5", 5), ("x0", 1), ("", 1), ("50x", 1)])
    def test_how_many_stands_in_the_name(self, name: str, quantity: int) -> None:
        frame = json.dumps([{"type": "gift", "item": {"name": name}, "isPaidGift": True}]).encode()
        (said,) = codec().feed(frame).messages

        assert (said.quantity, said.action) == (quantity, "paid")

    def test_a_comment_is_told_once_over_connections(self) -> None:
        seen = Backlog()

        assert len(codec(seen).feed(COMMENT).messages) == 1
        assert codec(seen).feed(COMMENT).messages == []

    def test_other_events_and_other_frames_are_counted(self) -> None:
        one = codec()
        for frame in (SEEDS[-1], b"{}", b"not json"):
            one.feed(frame)

        assert one.counters.ignored == {"poll": 1, "no type": 2}
        assert one.counters.malformed == 2


class TestAnything:
    @given(st.binary(max_size=300))
    def test_no_bytes_raise(self, data: bytes) -> None:
        check([data], codec().feed)

    @given(st.sampled_from(["comment", "gift"]), st.dictionaries(
        st.sampled_from(["id", "message", "author", "sender", "item", "createdAt", "plainMessage"]),
        st.none() | st.integers() | st.text(max_size=6) | st.lists(st.integers(), max_size=2)
        | st.dictionaries(st.sampled_from(["id", "name", "grade", "image"]), st.none() | st.integers() | st.text(max_size=6)),
    ))  # fmt: skip
    def test_no_shape_raises(self, kind: str, event: dict[str, Any]) -> None:
        check([json.dumps([{**event, "type": kind}]).encode()], codec().feed)

    def test_too_many_events_and_too_large_frames_are_bounded(self) -> None:
        one = codec()

        assert len(one.feed(b"[" + b'{"type":"comment"},' * MAX_EVENTS + b'{"type":"comment"}]').messages) == MAX_EVENTS
        assert one.feed(b" " * (MAX_FRAME_BYTES + 1)).messages == []
        assert one.counters.oversized == 2


class TestDriver:
    async def test_it_finds_the_movie_and_hands_on_what_is_said(self) -> None:
        async with studio_and_session() as (studio, session):
            cast = studio.twitcasting
            cast.put_on_air("studio", 815)
            async with listening("twitcasting", USER, session, site=cast.site, frontend=cast.site) as (_, items):
                assert await take(items, 1) == ["connected"]
                await cast.wait_for("815")
                await cast.say(815, "hello")
                await cast.give(815, "お茶ｘ10", "for you")
                chat, gift = await next_message(items), await next_message(items)

        assert cast.forms == [{"movie_id": "815", "password": ""}]
        assert (chat.text, chat.user, chat.uid) == ("hello", "Ann", "c:ann")
        assert (gift.kind, gift.quantity, gift.text, gift.action) == (MessageKind.GIFT, 10, "for you", "paid")

    async def test_cut_off_it_asks_again_and_repeats_nothing(self) -> None:
        async with studio_and_session() as (studio, session):
            cast = studio.twitcasting
            cast.put_on_air("studio", 815)
            async with listening("twitcasting", USER, session, site=cast.site, frontend=cast.site) as (_, items):
                assert await take(items, 1) == ["connected"]
                await cast.wait_for("815")
                await cast.say(815, "before")
                assert await take(items, 1) == ["before"]
                assert await cast.cut("815") == 1
                await cast.say(815, "meanwhile")
                assert await take(items, 3) == ["lost", "connected", "meanwhile"]
        assert len(cast.forms) == 2

    async def test_a_connection_without_a_sign_of_life_is_left(self) -> None:
        async with studio_and_session() as (studio, session):
            cast = studio.twitcasting
            cast.put_on_air("studio", 815)
            times = {"heartbeat_s": 0.0, "silence_s": 0.1}
            async with listening("twitcasting", USER, session, site=cast.site, frontend=cast.site, times=times) as (
                _,
                items,
            ):
                assert await take(items, 3) == ["connected", "lost", "connected"]

    async def test_a_user_who_is_not_on_air_is_asked_for_again(self) -> None:
        async with studio_and_session() as (studio, session):
            cast = studio.twitcasting
            cast.put_on_air("studio", 0)
            async with listening("twitcasting", USER, session, site=cast.site, frontend=cast.site) as (_, items):
                failed = await anext(items)
                cast.put_on_air("studio", 815)
                states = await take(items, 1)
                while states[-1] == "failed":
                    states = await take(items, 1)

        assert isinstance(failed, ConnectionChange)
        assert failed.reason == "the user is not on air"
        assert states == ["connected"]

    @pytest.mark.parametrize("descriptor", [{}, {"user": ""}, {"user": "a/b"}, {"user": ":x"}, {"user": "x" * 65}])
    async def test_a_descriptor_without_a_user_is_refused(self, descriptor: dict[str, object]) -> None:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(InvalidDescriptor):
                open_source("twitcasting", descriptor, session)
