from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from contracts.values import Effective
from hypothesis import given
from hypothesis import strategies as st

from services.downloader.adapters.engine import GapOpened, SegmentCompleted
from services.downloader.splitting import Bounds, ClockCuts, Splits, bounds_of, clock_step_s, next_boundary

HOUR = 3600


def offset_in(zone):
    return lambda at: datetime.fromtimestamp(at, ZoneInfo(zone)).utcoffset().total_seconds()


def boundaries(zone, start, step_s, count):
    """What the clock shows at the next boundaries."""
    at, shown = start.timestamp(), []
    for _ in range(count):
        at = next_boundary(at, step_s, offset_in(zone))
        shown.append(datetime.fromtimestamp(at, ZoneInfo(zone)).strftime("%H:%M:%S%z"))
    return shown


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "start", "step_s", "shown"),
    [
        ("UTC", "2026-01-01 10:17", HOUR, ["11:00:00+0000", "12:00:00+0000"]),
        ("UTC", "2026-01-01 10:00", HOUR, ["11:00:00+0000"]),
        # half an hour off UTC: what counts is the local clock
        ("Asia/Kolkata", "2026-01-01 10:17", HOUR, ["16:00:00+0530", "17:00:00+0530"]),
        # a period that does not divide the day begins anew at midnight
        ("UTC", "2026-01-01 20:00", 7 * HOUR, ["21:00:00+0000", "00:00:00+0000", "07:00:00+0000"]),
        # 02:00 does not exist in this night: the clocks jump from 02:00 to 03:00
        ("Europe/Berlin", "2026-03-28 23:30", HOUR, ["01:00:00+0100", "03:00:00+0200", "04:00:00+0200"]),
        ("Europe/Berlin", "2026-03-29 00:30", 2 * HOUR, ["04:00:00+0200"]),
        # 02:00 to 03:00 comes twice in this one
        (
            "Europe/Berlin",
            "2026-10-24 23:30",
            HOUR,
            ["02:00:00+0200", "02:00:00+0100", "03:00:00+0100", "04:00:00+0100"],
        ),
        # the clocks change by half an hour
        ("Australia/Lord_Howe", "2026-10-03 15:10", HOUR, ["03:00:00+1100", "04:00:00+1100"]),
    ],
)
def test_boundaries_are_what_the_local_clock_shows(zone, start, step_s, shown):
    assert boundaries(zone, at(start), step_s, len(shown)) == shown


@given(
    st.integers(1_767_225_600, 1_798_761_600),
    st.integers(1, 86_400),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]),
)
def test_a_boundary_is_always_ahead_and_never_more_than_a_period_and_a_change_of_the_clocks_away(now, step_s, zone):
    offset_s = offset_in(zone)
    boundary = next_boundary(now, step_s, offset_s)
    assert now < boundary <= now + step_s + HOUR + 1
    assert (boundary + offset_s(boundary)) % 86_400 % step_s == pytest.approx(0, abs=1e-3)


class Clock:
    """A clock that sleeping moves."""

    def __init__(self, at):
        self.at, self.cuts = at, []

    async def sleep(self, seconds):
        self.at += seconds
        if self.at > 1000:
            raise TimeoutError


async def test_cuts_are_made_at_the_boundaries_as_long_as_they_are_wanted():
    clock = Clock(95.0)
    steps = ClockCuts(
        lambda: 10 if clock.at < 125 else 0,
        lambda: clock.cuts.append(clock.at),
        now=lambda: clock.at,
        offset_s=lambda _: 0.0,
        sleep=clock.sleep,
    )
    with pytest.raises(TimeoutError):
        await steps.run()
    assert clock.cuts == [100.0, 110.0, 120.0]


async def test_another_period_holds_at_once():
    clock = Clock(95.0)
    steps = ClockCuts(
        lambda: 900 if clock.at < 100 else 300,
        lambda: clock.cuts.append(clock.at),
        now=lambda: clock.at,
        offset_s=lambda _: 0.0,
        sleep=clock.sleep,
    )
    with pytest.raises(TimeoutError):
        await steps.run()
    assert clock.cuts == [300.0, 600.0, 900.0]


def completed(reason):
    return SegmentCompleted(index=0, start_ms=0, bytes=1, duration_ms=1, reason=reason)


def test_a_cut_that_was_asked_for_is_told_with_its_reason_once():
    told = []
    splits = Splits(told.append)
    splits.asked("title_change")
    for event in (GapOpened(1, "x"), completed("duration_limit"), completed("cut"), completed("cut")):
        splits.tell(event)
    assert [event.reason for event in told[1:]] == ["duration_limit", "title_change", "cut"]
    assert told[0] == GapOpened(1, "x")


def test_files_that_are_cut_by_the_clock_have_no_other_duration():
    settings = {"segment_seconds": 60, "segment_bytes": 7}
    assert bounds_of(Effective(**settings)) == Bounds(60_000, 7)
    assert bounds_of(Effective(**settings, align_to_clock=True)) == Bounds(None, 7)
    assert clock_step_s(Effective(**settings)) == 0
    assert clock_step_s(Effective(**settings, align_to_clock=True)) == 60
    assert bounds_of(Effective(segment_seconds=0, segment_bytes=0)) == Bounds(None, None)
