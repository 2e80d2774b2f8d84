"""A terminal that is closed ends the system as Ctrl-C does, and under nohup it does not."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.embedded.process import is_alive
from deploy.embedded.system import stop_signals
from tests.deadline import DEADLINE_S
from tests.system import SystemProcess


@pytest.fixture
def in_a_terminal() -> Iterator[None]:
    """Heed a hang-up in this process and in its children, even where the tests themselves were started by nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.engines
@pytest.mark.usefixtures("in_a_terminal")
async def test_a_closed_terminal_stops_the_system_in_order(tmp_path: Path) -> None:
    # given
    async with SystemProcess(tmp_path / "s") as system:
        family = psutil.Process(system.pid).children(recursive=True)
        # when
        os.kill(system.pid, signal.SIGHUP)
        # then: it ends by itself, after the services and the engines
        assert system._process is not None
        async with asyncio.timeout(DEADLINE_S):
            assert await system._process.wait() == 0
    assert "stopped; everything is kept" in (tmp_path / "s" / "output.txt").read_text()
    assert [process for process in family if is_alive(process)] == []


@pytest.mark.usefixtures("in_a_terminal")
def test_under_nohup_a_hang_up_is_not_heard() -> None:
    assert signal.SIGHUP in stop_signals()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert stop_signals() == [signal.SIGINT, signal.SIGTERM]
