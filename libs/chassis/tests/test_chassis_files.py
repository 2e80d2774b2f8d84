"""A file that is opened in a thread is closed, whatever becomes of who wanted it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
from chassis.files import opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "x").write_bytes(b"content")
    return tmp_path / "x"


async def test_it_is_closed_at_the_end_of_the_block(path: Path) -> None:
    async with opened(lambda: path.open("rb")) as file:
        assert file.read() == b"content"
    assert file.closed


async def test_what_opening_raises_is_raised(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        async with opened(lambda: (tmp_path / "nothing").open("rb")):
            raise AssertionError("there is nothing")


async def cancelled_meanwhile(open_it: Callable[[], BinaryIO]) -> None:
    """Cancel somebody whose file is opened only afterwards."""
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slowly() -> BinaryIO:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait()
        return open_it()

    async def use() -> None:
        async with opened(slowly):
            raise AssertionError("nobody wants it any more")

    using = asyncio.create_task(use())
    await begun.wait()
    using.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await using


async def test_it_is_closed_where_nobody_wants_it_any_more_when_it_is_open(path: Path) -> None:
    files: list[BinaryIO] = []

    def kept() -> BinaryIO:
        files.append(path.open("rb"))
        return files[-1]

    await cancelled_meanwhile(kept)
    assert files[0].closed


async def test_who_is_cancelled_hears_of_no_failure_to_open(tmp_path: Path) -> None:
    await cancelled_meanwhile(lambda: (tmp_path / "nothing").open("rb"))
