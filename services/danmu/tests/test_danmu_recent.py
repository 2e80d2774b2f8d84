"""What a source remembers: the last ids, and the place in time of what comes late."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.danmu.adapters.recent import Backlog, RecentIds


def test_the_last_ids_are_remembered() -> None:
    ids = RecentIds(2)

    assert [ids.add(one) for one in ("a", "a", "b", "c", "a")] == [True, False, True, True, True]


def test_what_is_sent_while_connected_is_received_when_it_comes() -> None:
    backlog = Backlog()
    backlog.join(1000)

    assert backlog.received_at(1500, 2000) == 2000
    assert backlog.received_at(0, 2100) == 2100


def test_what_was_said_during_an_outage_lies_where_it_was_said() -> None:
    backlog = Backlog()
    backlog.join(1000)
    backlog.received_at(1500, 1500)
    backlog.join(9000)

    assert [backlog.received_at(sent_at, 9100) for sent_at in (3000, 5000, 8999)] == [3000, 5000, 8999]
    assert backlog.received_at(9050, 9100) == 9100


def test_nothing_lies_before_what_was_heard_already() -> None:
    backlog = Backlog()
    backlog.join(1000)
    backlog.join(9000)

    assert backlog.received_at(10, 9000) == 1000


def test_before_the_first_connection_nothing_was_heard() -> None:
    backlog = Backlog()
    backlog.join(1000)

    assert backlog.received_at(10, 1200) == 1000


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 10_000)), max_size=20))
def test_poll_after_poll_time_never_runs_backwards(polls: list[tuple[int, int]]) -> None:
    backlog = Backlog()
    now = last = 0
    for step, sent_at in polls:
        now += step + 1
        backlog.join(now)
        received_at = backlog.received_at(sent_at, now)
        assert last <= received_at <= now
        last = now
