"""Where the chat of a session without video is cut."""

from __future__ import annotations

from services.danmu.domain import OwnCuts, Segment, Turn, next_turn

HOURLY = OwnCuts("r", 3_600_000)
WHOLE = OwnCuts("r", 0)


def opened(index: int, started_ms: int) -> Segment:
    return Segment("r", index, started_ms)


def closed(index: int, started_ms: int, ended_ms: int) -> Segment:
    return Segment("r", index, started_ms, ended_ms, ended_ms)


def test_a_file_goes_on_until_its_time_is_over() -> None:
    assert next_turn([opened(0, 1000)], HOURLY, now_ms=3_600_999, over_ms=None) is None
    assert next_turn([opened(0, 1000)], HOURLY, now_ms=3_601_000, over_ms=None) == Turn(0, 3_601_000, opens=True)


def test_a_later_owner_finds_the_same_places_one_after_the_other() -> None:
    now_ms = 3 * 3_600_000 + 5
    first = next_turn([opened(0, 0)], HOURLY, now_ms=now_ms, over_ms=None)
    second = next_turn([closed(0, 0, 3_600_000), opened(1, 3_600_000)], HOURLY, now_ms=now_ms, over_ms=None)
    assert first == Turn(0, 3_600_000, opens=True) and second == Turn(1, 7_200_000, opens=True)


def test_one_file_for_all_ends_with_the_session_only() -> None:
    assert next_turn([opened(0, 0)], WHOLE, now_ms=1 << 50, over_ms=None) is None
    assert next_turn([opened(0, 0)], WHOLE, now_ms=100, over_ms=90) == Turn(0, 90, opens=False)


def test_the_end_of_the_session_ends_the_last_file_after_those_that_were_full_before() -> None:
    over = 3_600_000 + 10
    assert next_turn([opened(0, 0)], HOURLY, now_ms=over + 5, over_ms=over) == Turn(0, 3_600_000, opens=True)
    assert next_turn([opened(1, 3_600_000)], HOURLY, now_ms=over + 5, over_ms=over) == Turn(1, over, opens=False)
    assert next_turn([opened(0, 0)], HOURLY, now_ms=over, over_ms=3_600_000) == Turn(0, 3_600_000, opens=False)


def test_when_every_file_is_closed_there_is_nothing_to_do() -> None:
    assert next_turn([closed(0, 0, 5)], HOURLY, now_ms=1 << 50, over_ms=1) is None
    assert next_turn([], HOURLY, now_ms=1 << 50, over_ms=1) is None


def test_a_session_that_is_over_before_it_began_gets_an_empty_file() -> None:
    assert next_turn([opened(0, 50)], WHOLE, now_ms=60, over_ms=40) == Turn(0, 50, opens=False)
