"""The two maps onto the recording's timeline."""

from __future__ import annotations

from media.repair.timeline import Timeline


def test_an_empty_timeline_knows_nothing():
    timeline = Timeline()
    assert timeline.at_wall(1.0) is None
    assert timeline.at_source(0, 0) is None


def test_wall_time_is_interpolated_and_runs_on_behind_the_last_sample():
    timeline = Timeline()
    for n in range(5):
        timeline.add_wall(100.0 + 2 * n, 2000 * n)
    assert timeline.at_wall(100.5) == 500
    assert timeline.at_wall(107.25) == 7250
    assert timeline.at_wall(110.0) == 10_000


def test_before_the_first_sample_time_ends_at_zero():
    timeline = Timeline()
    timeline.add_wall(100.0, 3000)
    assert timeline.at_wall(98.0) == 1000
    assert timeline.at_wall(50.0) == 0


def test_time_stands_still_while_the_source_was_away():
    timeline = Timeline()
    timeline.add_wall(100.0, 0)
    timeline.add_wall(102.0, 2000)
    timeline.add_wall(132.0, 2400)
    assert timeline.at_wall(101.0) == 1000
    assert timeline.at_wall(120.0) == 2400
    assert timeline.at_wall(133.0) == 3400


def test_a_wall_clock_that_was_set_back_is_ignored():
    timeline = Timeline()
    timeline.add_wall(100.0, 0)
    timeline.add_wall(90.0, 5000)
    assert timeline.at_wall(105.0) == 5000


def test_source_times_follow_the_piece_they_lie_in():
    timeline = Timeline()
    timeline.add_source(0, 1000, 0)
    timeline.add_source(0, 2000, 1000)  # the same pace: no new piece
    timeline.add_source(0, 60_000, 5000)
    timeline.add_source(1, 0, 9000)
    assert timeline.at_source(0, 1500) == 500
    assert timeline.at_source(0, 60_500) == 5500
    assert timeline.at_source(1, 250) == 9250
    assert timeline.at_source(0, 500) is None
    assert timeline.at_source(2, 0) is None


def test_when_media_was_on_air_is_told_by_the_newest_of_it() -> None:
    """A server that sends 3 s of its past at once is not 3 s behind; the next connection is judged by itself."""
    timeline = Timeline()
    before = timeline.on_air(0)
    timeline.add_arrival(100.0, 3_000)
    timeline.add_arrival(102.5, 5_000)
    first = timeline.on_air(0)
    timeline.begin_connection()
    timeline.add_arrival(110.0, 8_000)

    assert before is None
    assert first == 97.0
    assert timeline.on_air(8_000) == 110.0
