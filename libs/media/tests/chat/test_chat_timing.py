"""Where in a repaired video a message belongs."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from media.chat.timing import Timing

START = 1_750_000_000_000
GAP = {
    "kind": "gap",
    "at_ms": 70_000,
    "source_ms": 90_000,
    "amount": 20_000,
    "lost_ms": 20_000,
    "count": 1,
    "detail": "",
}
JUMP = {**GAP, "kind": "timestamp_jump", "at_ms": 65_000, "amount": 3_600_000, "lost_ms": 0}
STEPS = st.lists(st.tuples(st.integers(1, 10_000), st.integers(1, 10_000)), max_size=6)


def at(timing: Timing, seconds: float) -> float:
    return timing.offset_ms(START + round(seconds * 1000)) / 1000


def test_a_gap_moves_what_follows_and_a_jump_of_the_clock_moves_nothing() -> None:
    """A second file, which begins at one minute of its recording, and breaks after 10 s for 20 s."""
    timing = Timing.of_segment(START, 60_000, [JUMP, GAP])

    assert [at(timing, seconds) for seconds in (-1, 0, 4, 6, 10, 15, 30, 31)] == [0, 0, 4, 6, 10, 10, 10, 11]
    assert timing.lost_ms == 20_000


def test_what_was_lost_before_the_file_began_moves_nothing() -> None:
    assert Timing.of_segment(START, 70_000, [GAP]) == Timing(START)


@given(STEPS, st.lists(st.integers(0, 200_000), min_size=2))
def test_time_in_the_video_never_runs_backwards_and_ends_short_by_what_was_lost(
    steps: list[tuple[int, int]], moments: list[int]
) -> None:
    place, breaks = 0, []
    for distance, lost in steps:
        place += distance
        breaks.append((place, lost))
    timing = Timing(START, tuple(breaks))
    placed = [timing.offset_ms(START + moment) for moment in sorted(moments)]

    assert all(earlier <= later for earlier, later in pairwise(placed))
    assert timing.offset_ms(START + 10**9) == 10**9 - timing.lost_ms


@given(STEPS)
def test_a_timing_survives_being_kept(steps: list[tuple[int, int]]) -> None:
    assert Timing.from_json(Timing(START, tuple(steps)).to_json()) == Timing(START, tuple(steps))
