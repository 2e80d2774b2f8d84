"""What is given to a program reaches it whole, on every event loop that services run on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop
from chassis.programs import open_program

from tests.deadline import DEADLINE_S

GIVEN = b"0123456789abcdef" * (1 << 16)
"""More than the buffers between two processes hold."""


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_program_reads_all_it_is_given_and_then_the_end(
    tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def read() -> bytes:
        async with asyncio.timeout(DEADLINE_S), open_program(["/bin/cat"], folder=tmp_path, given=GIVEN) as program:
            data = await program.output.read()
            assert (await program.ended()).code == 0
            return data

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(read()) == GIVEN


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_program_that_listens_reads_what_comes_later(
    tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def answers() -> list[bytes]:
        async with asyncio.timeout(DEADLINE_S), open_program(["/bin/cat"], folder=tmp_path, listens=True) as program:
            found = []
            for line in (b"one\n", b"two\n"):
                program.give(line)
                found.append(await program.output.readline())
            return found

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(answers()) == [b"one\n", b"two\n"]
