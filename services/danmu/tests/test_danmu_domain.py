"""The chat of a session as a pure fold, and the cuts between its files."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from contracts.danmu import (
    ChatDisconnected,
    ChatEnded,
    ChatFileCompleted,
    ChatReconnected,
    ChatStarted,
    ChatUnreachable,
)
from contracts.message import Event
from contracts.values import Artifact, EndReason
from hypothesis import given
from hypothesis import strategies as st

from services.danmu.domain import (
    CHAT,
    Chat,
    Segment,
    all_known,
    decide_disconnect,
    decide_end,
    decide_file,
    decide_reconnect,
    decide_start,
    decide_unreachable,
    is_waiting,
    next_cut,
)

IDS = {"session_id": "s", "streamer_id": "a"}
LOST = ChatDisconnected(**IDS, cause="gone")
BACK = ChatReconnected(**IDS, outage_s=1.5)
LINGER_MS = 60_000


def started(epoch: int) -> ChatStarted:
    return ChatStarted(**IDS, chat_kind="bilibili", worker="w", epoch=epoch)


def file(index: int, lines: int = 10) -> ChatFileCompleted:
    artifact = Artifact(uri="file:///x", media_type="application/xml", size=1)
    return ChatFileCompleted(
        **IDS, recording_id="r", index=index, log=artifact, xml=artifact, lines=lines, started_at="2026-01-01T00:00:00Z"
    )


def end(state: Chat) -> list[Event]:
    return decide_end(state, **IDS, reason=EndReason.OFFLINE)


def after(*events: Event) -> Chat:
    return CHAT.fold(events)


def test_a_chat_is_started_once_per_claim() -> None:
    assert decide_start(Chat(), started(1)) == [started(1)]
    assert decide_start(after(started(2)), started(2)) == []
    assert decide_start(after(started(2)), started(1)) == []
    assert decide_start(after(started(2)), started(3)) == [started(3)]


def test_an_outage_is_told_once_and_ended_once() -> None:
    assert decide_disconnect(after(started(1)), LOST) == [LOST]
    assert decide_disconnect(after(started(1), LOST), LOST) == []
    assert decide_reconnect(after(started(1), LOST), BACK) == [BACK]
    assert decide_reconnect(after(started(1), LOST, BACK), BACK) == []


def test_the_first_connection_is_no_reconnection() -> None:
    assert decide_reconnect(after(started(1)), BACK) == []


def test_a_new_owner_forgets_the_outage_of_the_last_one() -> None:
    assert decide_disconnect(after(started(1), LOST, started(2)), LOST) == [LOST]


def test_a_file_is_finished_once_and_counted_at_the_end() -> None:
    state = after(started(1), file(0, 3))
    assert decide_file(state, file(0, 3)) == []
    assert decide_file(state, file(1)) == [file(1)]
    (ended,) = end(after(started(1), file(0, 3), file(1, 4)))
    assert isinstance(ended, ChatEnded) and (ended.files, ended.lines) == (2, 7)


def test_nothing_follows_the_end() -> None:
    state = after(started(1), *end(Chat()))
    assert decide_start(state, started(2)) == []
    assert decide_disconnect(state, LOST) == []
    assert decide_reconnect(replace(state, down=True), BACK) == []
    assert decide_file(state, file(0)) == []
    assert end(state) == []


def segment(index: int, started_ms: int, **known: Any) -> Segment:
    return Segment("r", index, started_ms, **known)


def done(index: int, started_ms: int, ended_ms: int, **known: Any) -> Segment:
    return segment(index, started_ms, **{"ended_ms": ended_ms, "closed_ms": ended_ms + 100, **known})


def cut(*segments: Segment, now_ms: int = 1_000_000, over: bool = False) -> tuple[int, int, int] | None:
    found = next_cut(segments, now_ms=now_ms, over=over, linger_ms=LINGER_MS)
    return found and (found.segment.index, found.lower_ms, found.upper_ms)


def test_nothing_is_cut_while_the_segment_is_recorded() -> None:
    assert cut() is None
    assert cut(segment(0, 1000)) is None
    assert cut(segment(0, 1000), done(1, 5000, 9000)) is None


def test_the_first_file_has_everything_that_came_before_its_segment() -> None:
    assert cut(done(0, 1000, 5000), segment(1, 5000)) == (0, 0, 5000)


def test_chat_between_two_segments_belongs_to_the_later_one() -> None:
    first = done(0, 1000, 5000, cut_ms=5000)
    assert cut(done(0, 1000, 5000), segment(1, 8000)) == (0, 0, 5000)
    assert cut(first, done(1, 8000, 9000), segment(2, 9000)) == (1, 5000, 9000)


def test_media_that_came_in_a_burst_does_not_reach_into_the_next_segment() -> None:
    assert cut(done(0, 1000, 9000), segment(1, 5000)) == (0, 0, 5000)


def test_what_the_clock_of_another_machine_calls_the_future_is_not_cut() -> None:
    assert cut(done(0, 1000, 9000), segment(1, 9000), now_ms=7000) == (0, 0, 7000)


def test_a_discarded_segment_is_no_segment() -> None:
    lost = segment(1, 5000, discarded=True)
    assert cut(done(0, 1000, 5000), lost, now_ms=6000) is None
    assert cut(done(0, 1000, 5000, cut_ms=5000), lost, done(2, 7000, 9000), segment(3, 9000)) == (2, 5000, 9000)


def test_the_last_file_waits_for_a_successor_and_then_keeps_what_came_after_it() -> None:
    last = done(0, 1000, 5000)
    assert cut(last, now_ms=5100 + LINGER_MS - 1) is None
    assert cut(last, now_ms=5100 + LINGER_MS) == (0, 0, 5100 + LINGER_MS)
    assert cut(last, now_ms=6000, over=True) == (0, 0, 6001)


def test_when_all_is_over_a_segment_that_never_ended_has_no_file() -> None:
    assert cut(segment(0, 1000), done(1, 5000, 9000), now_ms=9500, over=True) == (1, 0, 9501)
    assert cut(segment(0, 1000), over=True) is None


def test_a_segment_heard_of_too_late_gets_an_empty_file() -> None:
    assert cut(done(0, 1000, 2000), done(1, 3000, 9000, cut_ms=9000)) == (0, 9000, 9000)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.booleans()), max_size=8), st.booleans())
def test_the_ranges_of_all_files_touch_and_never_overlap(shape: list[tuple[int, int, bool]], all_closed: bool) -> None:
    """Given segments of any lengths and distances, when every file is cut that can be, no moment is in two or in none."""
    segments, at = [], 100
    for index, (gap, length, discarded) in enumerate(shape):
        known: dict[str, Any] = {} if discarded else {"ended_ms": at + gap + length, "closed_ms": at + gap + length + 5}
        segments.append(segment(index, at + gap, discarded=discarded, **known))
        at += gap + length // 2
    if segments and not all_closed:
        segments[-1] = replace(segments[-1], ended_ms=None, closed_ms=None)
    ranges = []
    while found := next_cut(segments, now_ms=10_000, over=all_closed, linger_ms=LINGER_MS):
        ranges.append((found.lower_ms, found.upper_ms))
        segments = [replace(one, cut_ms=found.upper_ms) if one == found.segment else one for one in segments]
    kept = [one for one in segments if not one.discarded]
    uncut = [one for one in kept if one.cut_ms is None]
    assert uncut == [] if all_closed else len(uncut) <= 2
    assert len(ranges) == len(kept) - len(uncut)
    assert all(lower <= upper for lower, upper in ranges)
    assert all(before[1] == later[0] for before, later in pairwise(ranges))
    if ranges:
        assert ranges[0][0] == 0


def test_all_segments_are_known_when_the_finished_ones_are_as_many_as_recorded() -> None:
    assert all_known([], expected=0)
    assert not all_known([done(0, 1, 2)], expected=2)
    assert not all_known([done(0, 1, 2), segment(1, 2)], expected=1)
    assert all_known([done(0, 1, 2), segment(1, 2, discarded=True)], expected=1)


@pytest.mark.parametrize(
    ("segments", "waiting"),
    [
        ([], True),
        ([segment(0, 1)], False),
        ([done(0, 1, 2)], False),
        ([done(0, 1, 2, cut_ms=2)], True),
        ([done(0, 1, 2, cut_ms=2), segment(1, 2)], False),
        ([segment(0, 1, discarded=True)], True),
    ],
)
def test_chat_waits_when_no_segment_can_take_it(segments: list[Segment], waiting: bool) -> None:
    assert is_waiting(segments) is waiting


def test_a_long_outage_is_told_once_and_anew_in_the_next_one():
    unreachable = ChatUnreachable(session_id="s", streamer_id="a", outage_s=300, cause="x")
    lost = ChatDisconnected(session_id="s", streamer_id="a", cause="x")
    assert decide_unreachable(Chat(), unreachable) == [], "nothing was lost"
    down = CHAT.evolve(Chat(), lost)
    assert decide_unreachable(down, unreachable) == [unreachable]
    told = CHAT.evolve(down, unreachable)
    assert decide_unreachable(told, unreachable) == []
    back = CHAT.evolve(told, ChatReconnected(session_id="s", streamer_id="a", outage_s=900))
    assert decide_unreachable(CHAT.evolve(back, lost), unreachable) == [unreachable]
