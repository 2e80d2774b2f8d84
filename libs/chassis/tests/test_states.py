"""What is remembered of streams, and how much."""

from __future__ import annotations

from chassis.eventlog import Loaded
from chassis.states import States


def at(stream: str, version: int) -> Loaded[int]:
    return Loaded(stream, version, version)


def test_the_newest_version_stays_whoever_comes_last() -> None:
    states = States()
    states.keep([at("a", 3)])
    states.keep([at("a", 2)])
    assert states.get("a") == at("a", 3)


def test_the_one_used_longest_ago_goes_first() -> None:
    states = States(limit=2)
    states.keep([at("a", 1), at("b", 1)])
    assert states.get("a") is not None
    states.keep([at("c", 1)])
    assert [states.get(name) is not None for name in "abc"] == [True, False, True]


def test_a_forgotten_stream_is_unknown() -> None:
    states = States()
    states.keep([at("a", 1)])
    states.forget(["a", "never known"])
    assert states.get("a") is None
