"""A check that cannot be decided says so; nothing about a channel stays silent."""

from __future__ import annotations

from typing import Any

from chassis.eventlog import Loaded
from contracts.message import Event
from contracts.monitor import ChannelFailed, CheckChannel
from contracts.values import Filters, TimeWindow

from services.monitor.handlers import check_channel


class Asked(Exception):
    """The platform was asked."""


class Unasked:
    """A prober that must not be needed."""

    def disturbs(self, command: CheckChannel) -> bool:
        return False

    async def probe(self, command: CheckChannel, *, received: bool) -> Any:
        raise Asked


class Page:
    """A unit of work without a database: what was appended."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def resource(self, cls: type[Any]) -> Unasked:
        return Unasked()

    async def load(self, aggregate: Any, id: str) -> Loaded[Any]:
        return Loaded(aggregate.stream(id), aggregate.fold(self.events), len(self.events))

    async def append(self, at: Loaded[Any], events: list[Event]) -> None:
        self.events += events


def check(timezone: str) -> CheckChannel:
    window = TimeWindow(start="18:00", end="23:00", timezone=timezone)
    return CheckChannel(
        streamer_id="ann",
        url="https://x.example/ann",
        name="Ann",
        offline_grace_s=0,
        filters=Filters(windows=(window,)),
    )


async def test_a_filter_in_a_time_zone_that_is_unknown_here_fails_the_check_where_people_see_it():
    page = Page()

    await check_channel(check("Mars/Base"), page)  # type: ignore[arg-type]
    await check_channel(check("../../etc/passwd"), page)  # type: ignore[arg-type]

    [failed] = page.events
    assert isinstance(failed, ChannelFailed)
    assert "Mars/Base" in failed.error
