from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest
from contracts.monitor import (
    ChannelFailed,
    ChannelRecovered,
    ChannelTitleChanged,
    ChannelWentLive,
    ChannelWentOffline,
    SessionClosed,
    SessionOpened,
    SessionResumed,
    SessionSuspended,
)
from contracts.values import Filters, TimeWindow

from services.monitor.domain import (
    CHANNEL,
    SESSION,
    Channel,
    Observation,
    Session,
    decide_channel,
    decide_close,
    decide_failure,
    decide_session,
    passes,
)

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)  # a Saturday


def live(at=NOW, title="Hello World", category="Games"):
    return Observation("a", True, at, title=title, category=category, streamer_name="Ann", url="http://x", platform="p")


def offline(after_s=0.0):
    return Observation("a", False, NOW + timedelta(seconds=after_s))


def kinds(events):
    return [type(one) for one in events]


def session(*observations, grace_s=30.0):
    state = Session()
    for seen in observations:
        state = SESSION.fold(decide_session(state, seen, filters=Filters(), grace_s=grace_s, new_id="s"), state)
    return state


def decide(state, seen, grace_s=30.0, filters=Filters()):  # noqa: B008
    return decide_session(state, seen, filters=filters, grace_s=grace_s, new_id="s")


def test_edges_are_events_and_repetitions_are_not():
    state = Channel()
    first = decide_channel(state, live())
    assert kinds(first) == [ChannelWentLive]
    state = CHANNEL.fold(first, state)
    assert decide_channel(state, live()) == []
    assert kinds(decide_channel(state, live(title="New"))) == [ChannelTitleChanged]
    assert kinds(decide_channel(state, offline())) == [ChannelWentOffline]
    assert decide_channel(Channel(), offline()) == []


def test_where_a_broadcast_was_seen_is_remembered_when_it_is_over():
    state = CHANNEL.fold(decide_channel(Channel(), live()))
    state = CHANNEL.fold(decide_channel(state, offline()), state)
    assert (Channel().known, state.known, state.live) == (False, True, False)


def test_a_failure_is_said_once_until_a_check_succeeds():
    failed = decide_failure(Channel(), "a", "boom", fatal=False)
    assert kinds(failed) == [ChannelFailed]
    state = CHANNEL.fold(failed)
    assert decide_failure(state, "a", "boom", fatal=False) == []
    assert kinds(decide_channel(state, offline())) == [ChannelRecovered]


def test_a_channel_that_is_gone_fails_once_and_its_session_ends_as_any():
    state = CHANNEL.fold(decide_channel(Channel(), live()))
    gone = replace(offline(), gone="no such channel")
    events = decide_channel(state, gone)
    assert kinds(events) == [ChannelWentOffline, ChannelFailed]
    assert (events[1].error, events[1].fatal) == ("no such channel", True)
    state = CHANNEL.fold(events, state)
    assert decide_channel(state, gone) == [], "it is neither live nor recovered"
    assert kinds(decide(session(live()), gone)) == [SessionSuspended]


def test_a_live_channel_opens_one_session():
    (opened,) = decide(Session(), live())
    assert isinstance(opened, SessionOpened) and opened.started_at == NOW.isoformat()
    assert decide(session(live()), live()) == []


def test_going_offline_suspends_and_closes_only_after_the_grace_time():
    state = session(live())
    (suspended,) = decide(state, offline(10))
    assert isinstance(suspended, SessionSuspended)
    state = SESSION.fold([suspended], state)
    assert decide(state, offline(39)) == []
    assert kinds(decide(state, offline(40))) == [SessionClosed]


def test_coming_back_within_the_grace_time_resumes_the_same_session():
    state = session(live(), offline(1))
    (resumed,) = decide(state, live(NOW + timedelta(seconds=20)))
    assert isinstance(resumed, SessionResumed) and resumed.session_id == "s"
    assert SESSION.fold([resumed], state).suspended_at is None


def test_a_second_outage_has_its_own_grace_time():
    state = session(live(), offline(1), live(NOW + timedelta(seconds=20)), offline(60))
    assert decide(state, offline(80)) == []


def test_without_grace_the_session_closes_at_once():
    assert kinds(decide(session(live()), offline(), grace_s=0)) == [SessionClosed]


def test_a_closed_session_stays_closed():
    state = session(live(), offline(), offline(31))
    assert not state.open and decide_close(state, "stopped") == []


def test_a_session_whose_channel_no_longer_passes_the_filters_closes():
    (closed,) = decide(session(live()), live(title="Rerun"), filters=Filters(title_excludes=("rerun",)))
    assert closed.reason == "filtered"


@pytest.mark.parametrize(
    ("filters", "admitted"),
    [
        (Filters(), True),
        (Filters(title_includes=("WORLD",)), True),
        (Filters(title_includes=("moon",)), False),
        (Filters(title_includes=("world",), title_excludes=("hello",)), False),
        (Filters(categories=("games",)), True),
        (Filters(categories=("music",)), False),
        (Filters(windows=(TimeWindow(start=time(11), end=time(12)),)), False),
        (Filters(windows=(TimeWindow(start=time(12), end=time(13)),)), True),
        (Filters(windows=(TimeWindow(start=time(11), end=time(13), days=(0,)),)), False),
        (Filters(windows=(TimeWindow(start=time(20), end=time(22), timezone="Asia/Shanghai"),)), True),
        (Filters(windows=(TimeWindow(start=time(22), end=time(13), days=(4,)),)), True),
        (Filters(windows=(TimeWindow(start=time(22), end=time(13), days=(5,)),)), False),
        (Filters(windows=(TimeWindow(start=time(1), end=time(2)), TimeWindow(start=time(11), end=time(13)))), True),
    ],
)
def test_filters(filters, admitted):
    assert passes(filters, live()) is admitted
