"""Registration refuses what the topology does not say."""

from __future__ import annotations

import pytest
from chassis.handlers import Handlers
from chassis.work import Resources
from contracts import config, monitor


async def nothing(message, work) -> None: ...


def test_a_command_of_another_service_is_refused() -> None:
    with pytest.raises(TypeError, match="is a command of config, not of monitor"):
        Handlers("monitor").command(config.AddStreamer)


def test_an_event_the_service_does_not_consume_is_refused() -> None:
    with pytest.raises(TypeError, match="does not consume StreamerAdded"):
        Handlers("scheduler").event(config.StreamerAdded)


def test_a_second_handler_is_refused() -> None:
    handlers = Handlers("config")
    handlers.command(config.AddStreamer)(nothing)
    with pytest.raises(TypeError, match="two handlers"):
        handlers.command(config.AddStreamer)(nothing)


def test_what_has_no_handler_is_listed() -> None:
    handlers = Handlers("monitor")
    assert set(handlers.missing()) == {"CheckChannel", "CloseSession"}
    handlers.direct(monitor.CheckChannel)(nothing)
    assert handlers.missing() == ["CloseSession"]
    assert handlers.is_direct(monitor.CheckChannel)
    assert not handlers.is_direct(monitor.CloseSession)
    assert handlers.find(monitor.CheckChannel) is nothing
    assert handlers.find(monitor.CloseSession) is None


def test_a_handler_gets_what_the_composition_root_provides_by_type() -> None:
    resources = Resources()
    resources.provide("text")
    resources.provide(7, float)
    assert (resources.get(str), resources.get(float)) == ("text", 7)
    with pytest.raises(LookupError, match=r"app\.py provides no bytes"):
        resources.get(bytes)
