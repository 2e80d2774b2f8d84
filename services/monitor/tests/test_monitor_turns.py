"""Only so many checks of an adapter at the same time."""

from __future__ import annotations

import asyncio

import pytest

from services.monitor.adapters.platform import ProbeFailed
from services.monitor.adapters.turns import Turns
from tests.deadline import DEADLINE_S


async def test_who_finds_no_turn_in_time_is_told_which_setting_gives_more() -> None:
    turns = Turns("dialled", 2, 0.05)
    async with turns.one(), turns.one():
        with pytest.raises(ProbeFailed, match="MONITOR_PLATFORMS__DIALLED__AT_ONCE"):
            async with turns.one():
                raise AssertionError("three at once")


async def test_a_turn_is_free_for_the_next_one_however_it_ended() -> None:
    turns, began = Turns("dialled", 1, DEADLINE_S), asyncio.Event()

    async def hold() -> None:
        async with turns.one():
            began.set()
            await asyncio.Event().wait()

    holding = asyncio.create_task(hold())
    await began.wait()
    waiting = asyncio.create_task(hold())
    holding.cancel()
    began.clear()
    await began.wait()
    waiting.cancel()
    with pytest.raises(ProbeFailed, match="gone"):
        async with turns.one():
            raise ProbeFailed("gone")
    async with turns.one():
        pass


def test_none_at_once_is_refused() -> None:
    with pytest.raises(ValueError, match="ytdlp: at_once"):
        Turns("ytdlp", 0, 1.0)
