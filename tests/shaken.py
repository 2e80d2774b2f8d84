"""Finds races: `make test-shaken SEED=7` runs the tests on event loops that pause and shuffle at random.

On an idle machine what two sockets bring comes apart; on a busy one it comes together, in either order. Nothing here does
what a busy machine would not: a loop comes late to its sockets, serves those that are ready in any order, and threads
begin and end late. What fails then takes an order for granted that nobody promised. Programs that tests start run as always.
"""

from __future__ import annotations

import os
import random
import time
from asyncio import base_events, selector_events
from concurrent.futures import thread
from typing import Any

import pytest

PAUSE_S = 0.03
# Most pauses are short: long ones in every turn make everything slow and nothing new.
SHAPE = 3


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("shaken")
    group.addoption("--shake", type=int, default=1, metavar="SEED", help="what the pauses are drawn from")
    group.addoption("--pauses", type=float, default=0.3, metavar="SHARE", help="how many turns of a loop begin late")


def pytest_configure(config: pytest.Config) -> None:
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    drawn = random.Random(f"{config.getoption('--shake')} {worker}")
    share: float = config.getoption("--pauses")

    def pause() -> None:
        if drawn.random() < share:
            time.sleep(drawn.random() ** SHAPE * PAUSE_S)

    _shake_loops(pause, drawn)
    _shake_threads(pause)


def _shake_loops(pause: Any, drawn: random.Random) -> None:
    turn = base_events.BaseEventLoop._run_once
    serve = selector_events.BaseSelectorEventLoop._process_events

    def late_turn(loop: Any) -> None:
        pause()
        turn(loop)

    def serve_in_any_order(loop: Any, ready: Any) -> None:
        shuffled = list(ready)
        drawn.shuffle(shuffled)
        serve(loop, shuffled)

    base_events.BaseEventLoop._run_once = late_turn
    selector_events.BaseSelectorEventLoop._process_events = serve_in_any_order


def _shake_threads(pause: Any) -> None:
    run = thread._WorkItem.run

    def run_late(item: Any) -> None:
        pause()
        run(item)
        pause()

    thread._WorkItem.run = run_late
