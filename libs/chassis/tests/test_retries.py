"""Back-off and the count of failures."""

from __future__ import annotations

import pytest
from chassis import retries
from chassis.retries import Policy, Tally


def test_the_delay_doubles_up_to_a_cap_with_at_most_a_quarter_of_jitter() -> None:
    policy = Policy()
    for failures, least in [(1, 2), (2, 4), (3, 8), (8, 256), (9, 300), (10_000, 300)]:
        seen = [policy.delay_s(failures) for _ in range(200)]
        assert min(seen) >= least
        assert max(seen) <= least * 1.25
    assert len({policy.delay_s(3) for _ in range(50)}) > 1


def test_failures_are_counted_per_message_until_it_is_dealt_with() -> None:
    failures = Tally()
    assert [failures.add("c", 1), failures.add("c", 1), failures.add("c", 2), failures.add("d", 1)] == [1, 2, 1, 1]
    failures.forget("c", 1)
    failures.forget("c", 99)
    assert failures.add("c", 1) == 1


def test_the_oldest_are_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "REMEMBERED", 3)
    failures = Tally()
    for sequence in (1, 2, 3):
        failures.add("c", sequence)
    failures.add("c", 1)
    failures.add("c", 4)
    assert (failures.add("c", 1), failures.add("c", 2)) == (3, 1)
