"""Options and the egress policy reach the drivers; a room is opened and closed with a session of its own."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest
from chassis.accounts import Login
from chassis.egress import EgressPolicy
from contracts.values import Chat

from services.danmu.adapters.registry import UnknownChatKind, kinds, text_options
from services.danmu.adapters.rooms import Rooms
from services.danmu.tests.chat_driving import items_of
from tests.deadline import DEADLINE_S
from tests.studio.studio import Studio

OPTIONS = {
    "acfun": {"accounts", "api", "servers"},
    "bigo": {"api", "servers"},
    "bilibili": {"live_api", "main_api"},
    "douyin": {"pages", "servers", "sign_url"},
    "douyu": {"gifts", "pages", "servers"},
    "huya": {"api", "pages", "servers"},
}


@pytest.mark.parametrize(("kind", "names"), OPTIONS.items())
def test_what_an_operator_may_set(kind: str, names: set[str]) -> None:
    assert text_options(kind) == names
    assert kind in kinds()


async def test_a_tcp_chat_is_joined_within_the_policy_of_the_installation() -> None:
    async with asyncio.timeout(DEADLINE_S), Studio() as studio:
        studio.douyu.room(9999)
        options = {"douyu": {"servers": studio.douyu.tcp, "pages": studio.url, "gifts": studio.url}}
        chat = Chat(kind="douyu", descriptor={"room_id": "9999"})
        states = []
        for allowed in (True, False):
            rooms = Rooms(EgressPolicy(allow_private=allowed), options)
            async with rooms.open(chat) as source, aclosing(items_of(source)) as items:
                states.append(await anext(items))
    assert [item.state for item in states] == ["connected", "failed"]
    assert "loopback" in states[1].reason


@pytest.mark.parametrize(
    ("options", "error"),
    [({"douyu": {"server": "x"}}, ValueError), ({"smoke signals": {"fire": "x"}}, UnknownChatKind)],
)
def test_an_option_that_no_driver_takes_is_a_mistake(
    options: dict[str, dict[str, str]], error: type[Exception]
) -> None:
    with pytest.raises(error):
        Rooms(EgressPolicy(), options)


async def test_an_account_reaches_the_drivers_that_can_join_with_one_and_no_other() -> None:
    asked = []

    async def account_of(account: str) -> Login:
        asked.append(account)
        return Login()

    async with asyncio.timeout(DEADLINE_S), Studio() as studio:
        await studio.put_on_air("1001")
        options = {"bilibili": {"live_api": studio.url, "main_api": studio.url}, "twitch": {}}
        rooms = Rooms(EgressPolicy(allow_private=True), options, account_of)
        chat = Chat(kind="bilibili", descriptor={"room_id": 1001})
        for account in ("mine", None):
            async with rooms.open(chat, account) as source, aclosing(items_of(source)) as items:
                assert (await anext(items)).state == "connected"
        async with rooms.open(Chat(kind="twitch", descriptor={"channel": "ann"}), "mine"):
            pass
    assert asked == ["mine"]
