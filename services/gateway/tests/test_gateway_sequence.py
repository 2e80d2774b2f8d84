"""Streams wait for what they miss, whatever the order of arrival and wherever batches begin."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.projections.sequence import Sequencer

ONE, TWO = ("monitor", "session-1"), ("monitor", "session-2")


def run(batches):
    """Apply batches as the ingest does, with what it keeps in the database between them."""
    applied, parked, order = {}, {}, []
    for batch in batches:
        waiting = {}
        for position, (stream, version, by) in parked.items():
            if by is None:
                waiting.setdefault(stream, {})[version] = position
        sequencer = Sequencer(dict(applied), waiting)
        sequencer.take(batch)
        applied |= sequencer.moved
        parked |= sequencer.parked
        order += sequencer.order
    return applied, parked, order


def test_in_order_everything_is_applied_at_once():
    applied, parked, order = run([[(ONE, 1, 1), (TWO, 1, 2), (ONE, 2, 3)]])

    assert (applied, parked, order) == ({ONE: 2, TWO: 1}, {}, [1, 2, 3])


def test_a_gap_holds_up_its_own_stream_only():
    applied, parked, order = run([[(ONE, 1, 1), (ONE, 3, 2), (TWO, 1, 3)], [(ONE, 4, 4)]])

    assert order == [1, 3] and applied == {ONE: 1, TWO: 1}
    assert parked == {2: (ONE, 3, None), 4: (ONE, 4, None)}


def test_the_missing_version_releases_what_waited_in_order():
    _, parked, order = run([[(ONE, 3, 1)], [(ONE, 2, 2)], [(ONE, 1, 3)]])

    assert order == [3, 2, 1]
    assert parked == {1: (ONE, 3, 3), 2: (ONE, 2, 3)}


arrivals = st.permutations([(stream, version) for stream in (ONE, TWO) for version in range(1, 6)])


@given(arrivals, st.sets(st.integers(1, 9)))
def test_any_arrival_in_any_batches_ends_in_version_order(arrived, cuts):
    events = [(stream, version, position) for position, (stream, version) in enumerate(arrived, 1)]
    bounds = [0, *sorted(cuts), len(events)]
    batches = [events[first:last] for first, last in itertools.pairwise(bounds)]

    applied, parked, order = run(batches)

    versions = {position: (stream, version) for stream, version, position in events}
    for stream in (ONE, TWO):
        assert [versions[p][1] for p in order if versions[p][0] == stream] == [1, 2, 3, 4, 5]
    assert applied == {ONE: 5, TWO: 5} and all(by is not None for _, _, by in parked.values())
    assert order == run([events])[2], "where batches begin must not matter"
    # The order a rebuild reads: by the position that released an event, then by version.
    place = {p: parked[p][2] if p in parked else p for _, _, p in events}
    assert sorted(versions, key=lambda p: (place[p], versions[p][1])) == order
