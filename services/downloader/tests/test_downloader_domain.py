from datetime import UTC, datetime, timedelta

import pytest
from contracts.aggregate import Rejected
from contracts.downloader import (
    CutRecording,
    CutRequested,
    GapClosed,
    GapOpened,
    ReconfigureRecording,
    RecordingEnded,
    RecordingRequested,
    RecordingStarted,
    SegmentCompleted,
    SegmentDiscarded,
    SegmentOpened,
    StartRecording,
    StopRecording,
    StopRequested,
)
from contracts.values import Artifact, Effective, EndReason
from hypothesis import given
from hypothesis import strategies as st

from services.downloader.domain import (
    RECORDING,
    Recording,
    decide_cut,
    decide_facts,
    decide_reconfigure,
    decide_start,
    decide_stop,
    ending,
    resume_point,
    start_delay_s,
)

IDS = {"recording_id": "r", "session_id": "s", "streamer_id": "a"}
AT = datetime(2026, 11, 21, 20, 0, tzinfo=UTC)
START = StartRecording(
    **IDS, streamer_name="Ann", url="http://x/1", platform="p", title="t", effective=Effective(), first_index=7
)
STOP = StopRecording(recording_id="r", reason=EndReason.OFFLINE)


def after(*events, state=None):
    return RECORDING.fold(events, state or Recording())


def requested():
    return after(*decide_start(Recording(), START))


def started(worker="one", epoch=1):
    return RecordingStarted(**IDS, worker=worker, epoch=epoch, engine="native")


def opened(index=7, start_ms=0, at=AT):
    return SegmentOpened(**IDS, index=index, uri=f"file:///{index}.flv", start_ms=start_ms, started_at=at.isoformat())


def completed(index=7, start_ms=0, duration_ms=1000, at=AT):
    artifact = Artifact(uri=f"file:///{index}.flv", media_type="video/x-flv", size=10)
    return SegmentCompleted(
        **IDS,
        index=index,
        artifact=artifact,
        start_ms=start_ms,
        duration_ms=duration_ms,
        started_at=at.isoformat(),
        split_reason="end",
    )


def discarded(index=7):
    return SegmentDiscarded(**IDS, index=index, reason="empty")


GAP = GapOpened(**IDS, at_ms=1000, cause="drop")
CLOSED = GapClosed(**IDS, at_ms=2000, lost_ms=1000)


def test_a_recording_is_requested_once():
    (event,) = decide_start(Recording(), START)
    assert isinstance(event, RecordingRequested)
    assert decide_start(after(event), START) == []


def test_numbering_continues_that_of_the_session():
    assert requested().next_index == 7


def test_a_stop_of_an_unknown_recording_is_remembered():
    stopped = decide_stop(Recording(), STOP)
    assert stopped == [StopRequested(recording_id="r", reason=EndReason.OFFLINE)]
    request, end = decide_start(after(*stopped), START)
    assert isinstance(request, RecordingRequested)
    assert isinstance(end, RecordingEnded)
    assert (end.reason, end.segments, end.next_index) == (EndReason.OFFLINE, 0, 7)


def test_a_recording_nobody_claimed_ends_with_its_stop():
    events = decide_stop(requested(), STOP)
    assert [type(event) for event in events] == [StopRequested, RecordingEnded]


def test_a_running_recording_is_only_asked_to_stop():
    events = decide_stop(after(started(), state=requested()), STOP)
    assert [type(event) for event in events] == [StopRequested]
    assert decide_stop(after(started(), *events, state=requested()), STOP) == []


def test_a_stop_after_the_end_changes_nothing():
    state = after(started(), state=requested())
    assert decide_stop(after(ending(state, EndReason.FAILED, ""), state=state), STOP) == []


def test_a_new_configuration_is_kept_once_and_not_after_the_end():
    command = ReconfigureRecording(recording_id="r", effective=Effective(segment_seconds=60))
    state = after(*decide_reconfigure(requested(), command), state=requested())
    assert state.request.effective.segment_seconds == 60
    assert decide_reconfigure(state, command) == []
    assert decide_reconfigure(after(ending(requested(), EndReason.STOPPED, ""), state=requested()), command) == []
    assert decide_reconfigure(Recording(), command) == []


def test_only_a_running_recording_is_cut():
    cut = CutRecording(recording_id="r")
    running = after(started(), state=requested())
    assert decide_cut(running, cut) == [CutRequested(recording_id="r")]
    with pytest.raises(Rejected) as unknown:
        decide_cut(Recording(), cut)
    assert unknown.value.problem.status == 404
    for state in (requested(), after(*decide_stop(running, STOP), state=running)):
        with pytest.raises(Rejected) as refused:
            decide_cut(state, cut)
        assert refused.value.problem.status == 409


def test_a_changed_title_names_what_follows_also_while_the_recording_waits():
    retitle = CutRecording(recording_id="r", cause="title", title="new", category="Games")
    for before in (requested(), after(started(), state=requested())):
        state = after(*decide_cut(before, retitle), state=before)
        assert (state.request.title, state.request.category) == ("new", "Games")
        assert (state.cuts, state.cut_cause) == (1, "title")
        state = after(CutRequested(recording_id="r"), state=state)
        assert (state.request.title, state.cuts, state.cut_cause) == ("new", 2, "command")


def test_a_changed_title_that_comes_too_late_is_no_news():
    retitle = CutRecording(recording_id="r", cause="title", title="new")
    running = after(started(), state=requested())
    over = after(ending(running, EndReason.OFFLINE, ""), state=running)
    for state in (Recording(), over, after(*decide_stop(running, STOP), state=running)):
        assert decide_cut(state, retitle) == []


def test_the_end_sums_up():
    state = after(
        started(), opened(), completed(), opened(8, 1000), completed(8, 1000, 500), opened(9), discarded(9),
        state=requested(),
    )  # fmt: skip
    end = ending(state, EndReason.STOPPED, "x" * 1000)
    assert (end.segments, end.next_index, end.duration_ms, end.bytes) == (2, 10, 1500, 20)
    assert len(end.detail) == 500
    with pytest.raises(ValueError, match="never requested"):
        ending(Recording(), EndReason.STOPPED, "")


def test_facts_told_twice_are_told_once():
    state = after(started(), state=requested())
    facts = [opened(), GAP, CLOSED, completed(), opened(8, 1000), discarded(8)]
    assert decide_facts(state, facts) == facts
    assert decide_facts(after(*facts, state=state), [fact for fact in facts if fact not in (GAP, CLOSED)]) == []
    assert decide_facts(state, [CLOSED, completed()]) == [], "nothing to close, nothing to complete"
    assert decide_facts(state, [GAP, GAP]) == [GAP]


def test_nothing_follows_the_end():
    state = after(started(), opened(), state=requested())
    over = after(ending(state, EndReason.FAILED, ""), state=state)
    assert decide_facts(over, [completed(), started(epoch=2), GAP]) == []


def test_an_older_owner_does_not_start_again():
    state = after(started(epoch=5), state=requested())
    assert decide_facts(state, [started(epoch=5), started(epoch=4)]) == []
    assert decide_facts(state, [started("two", 6)]) == [started("two", 6)]


def test_an_open_file_belongs_to_the_owner_that_began_it():
    state = after(started("one", 1), opened(), started("two", 2), opened(8, 5000), state=requested())
    assert [(one.index, one.epoch, one.worker) for one in state.open] == [(7, 1, "one"), (8, 2, "two")]
    assert after(completed(7), state=state).completed == {(7, 1)}


def test_the_next_owner_goes_on_at_the_latest_known_place():
    assert resume_point(requested()) == (0, None)
    state = after(started(), opened(), completed(duration_ms=3000), state=requested())
    assert resume_point(state) == (3000, AT + timedelta(seconds=3))
    later = after(opened(8, 3000, AT + timedelta(seconds=3)), state=state)
    assert resume_point(later) == (3000, AT + timedelta(seconds=3))
    other_machine = after(started("two", 2), opened(9, 60_000, AT + timedelta(minutes=1)), state=later)
    assert resume_point(other_machine) == (60_000, AT + timedelta(minutes=1))


def test_time_that_passed_without_media_in_a_file_is_not_lost_again_behind_it():
    # given a file of three seconds in which the source was away for a minute
    broken = completed(duration_ms=3000).model_copy(
        update={"repairs": ({"kind": "gap", "at_ms": 1000, "lost_ms": 60_000}, {"kind": "filler", "at_ms": 0})}
    )
    state = after(started(), opened(), broken, state=requested())
    # then it ended a minute later than it is long
    assert resume_point(state) == (3000, AT + timedelta(seconds=63))


def test_breaks_are_kept_with_the_file_that_they_are_in():
    # given an open file, a break at its very beginning, damage, and a break inside
    state = after(started(), opened(start_ms=2000), state=requested())
    state = after(GAP, CLOSED, state=state)
    state = after(GapOpened(**IDS, at_ms=9000, cause="bytes"), GapClosed(**IDS, at_ms=9000, lost_ms=700), state=state)
    state = after(GapOpened(**IDS, at_ms=9500, cause="drop"), GapClosed(**IDS, at_ms=9533, lost_ms=4000), state=state)
    assert state.opened(7).breaks == ((9533, 4000),)
    # when another owner goes on, its breaks are not those of the file that was left
    state = after(started("two", 2), opened(8, 20_000), state=state)
    state = after(GapOpened(**IDS, at_ms=30_000, cause="drop"), GapClosed(**IDS, at_ms=30_040, lost_ms=50), state=state)
    assert (state.opened(7).breaks, state.opened(8).breaks) == (((9533, 4000),), ((30_040, 50),))


def test_a_file_that_is_brought_late_does_not_turn_the_timeline_back():
    state = after(
        started(), opened(), started("two", 2), opened(8, 60_000), completed(8, 60_000, 1000), completed(7, 0, 5000),
        state=requested(),
    )  # fmt: skip
    assert state.position_ms == 61_000


@given(
    st.lists(
        st.sampled_from(
            [opened(7), opened(8, 1000), completed(7), completed(8, 1000), discarded(7), discarded(8), GAP, CLOSED]
        )
    )
)
def test_whatever_is_reported_each_file_is_opened_once_and_settled_at_most_once(facts):
    state = after(started(), state=requested())
    news = decide_facts(state, facts)
    opened_indexes = [fact.index for fact in news if isinstance(fact, SegmentOpened)]
    settled = [fact.index for fact in news if isinstance(fact, SegmentCompleted | SegmentDiscarded)]
    assert len(opened_indexes) == len(set(opened_indexes))
    assert len(settled) == len(set(settled))
    assert set(settled) <= set(opened_indexes)
    assert (
        decide_facts(after(*news, state=state), [fact for fact in news if not isinstance(fact, GapOpened | GapClosed)])
        == []
    )


@pytest.mark.parametrize(
    ("not_before", "delay"),
    [
        (None, 0),
        ("", 0),
        ("soon", 0),
        ("2026-11-21T20:00:05", 0),
        ("2026-11-21T19:59:00+00:00", 0),
        ("2026-11-21T20:00:05+00:00", 5),
        ("2030-01-01T00:00:00+00:00", 3600),
    ],
)
def test_a_recording_waits_for_its_time_but_not_for_ever(not_before, delay):
    assert start_delay_s(not_before, AT) == delay
