import pytest
from contracts.config import StreamerResolved
from contracts.downloader import RecordingEnded
from contracts.monitor import SessionClosed, SessionOpened
from contracts.scheduler import (
    ProcessCompleted,
    ProcessReconfigured,
    ProcessRetitled,
    ProcessStopping,
    RecordingOver,
    RecordingPlanned,
    RecordingRetried,
    WatchStarted,
    WatchStopped,
)
from contracts.values import Chat, Effective

from services.scheduler.domain import (
    PROCESS,
    Process,
    Watch,
    check_delay_s,
    decide_close,
    decide_ended,
    decide_plan,
    decide_reconfigure,
    decide_retitle,
    decide_unwatch,
    decide_watch,
    partition_of,
    split_of,
    start_of,
)

OPENED = SessionOpened(
    session_id="s", streamer_id="a", streamer_name="Ann", url="http://x/1", platform="p", title="t", category="c",
    started_at="2026-11-21T00:00:00+00:00",
    chat=Chat(kind="bilibili"),
)  # fmt: skip
CLOSED = SessionClosed(session_id="s", streamer_id="a", reason="offline")


def ended(recording="r1", reason="source_ended", segments=2, next_index=2):
    return RecordingEnded(
        recording_id=recording,
        session_id="s",
        streamer_id="a",
        reason=reason,
        detail="",
        segments=segments,
        next_index=next_index,
        duration_ms=1,
        bytes=1,
    )


def planned():
    return PROCESS.fold(decide_plan(Process(), OPENED, Effective(), "r1"))


def after(state, events):
    return PROCESS.fold(events, state)


def test_an_opened_session_is_planned_once():
    (plan,) = decide_plan(Process(), OPENED, Effective(), "r1")
    assert isinstance(plan, RecordingPlanned) and plan.chat == OPENED.chat
    assert decide_plan(planned(), OPENED, Effective(), "r2") == []


def test_chat_is_left_out_when_it_is_not_to_be_recorded():
    (plan,) = decide_plan(Process(), OPENED, Effective(record_chat=False), "r1")
    assert plan.chat is None


def test_closing_asks_for_the_end_and_completes_when_the_recording_ended():
    state = planned()
    events = decide_close(state, CLOSED)
    assert [type(one) for one in events] == [ProcessStopping]
    state = after(state, events)
    over, completed = decide_ended(state, ended(reason="offline"), "r2")
    assert isinstance(over, RecordingOver) and isinstance(completed, ProcessCompleted)
    assert completed.segments == 2 and completed.recordings == ("r1",)


def test_a_recording_that_ends_in_an_open_session_is_requested_again_with_the_next_number():
    events = decide_ended(planned(), ended(), "r2")
    assert [type(one) for one in events] == [RecordingOver, RecordingRetried]
    assert events[1].delay_s == 1.0
    command = start_of(after(planned(), events))
    assert (command.recording_id, command.first_index) == ("r2", 2)


def test_unproductive_retries_back_off_and_a_productive_one_resets():
    state, delays = planned(), []
    for n in range(1, 9):
        events = decide_ended(state, ended(f"r{n}", segments=0, next_index=0), f"r{n + 1}")
        delays.append(events[1].delay_s)
        state = after(state, events)
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60]
    assert decide_ended(state, ended("r9"), "r10")[1].delay_s == 1


def test_a_recording_stopped_by_hand_is_not_requested_again():
    events = decide_ended(planned(), ended(reason="stopped"), "r2")
    assert [type(one) for one in events] == [RecordingOver]
    completed = decide_close(after(planned(), events), CLOSED)
    assert [type(one) for one in completed] == [ProcessStopping, ProcessCompleted]


def test_a_close_that_overtakes_its_open_leaves_nothing_to_record():
    state = after(Process(), decide_close(Process(), CLOSED))
    assert decide_plan(state, OPENED, Effective(), "r1") == []


@pytest.mark.parametrize("recording", ["other", ""])
def test_the_end_of_a_recording_that_is_not_ours_changes_nothing(recording):
    assert decide_ended(planned(), ended(recording or "r0"), "r2") == []


def test_a_repeated_close_or_end_changes_nothing():
    state = after(planned(), decide_close(planned(), CLOSED))
    assert decide_close(state, CLOSED) == []
    state = after(state, decide_ended(state, ended(reason="offline"), "r2"))
    assert decide_ended(state, ended(reason="offline"), "r2") == []


@pytest.mark.parametrize(
    ("split_on", "title", "category", "cause"),
    [
        ((), "new", "new", None),
        (("title",), "new", "c", "title"),
        (("title",), "t", "new", None),
        (("category",), "new", "new", "category"),
        (("category", "title"), "new", "new", "title"),
    ],
)
def test_a_change_of_what_the_channel_shows_cuts_where_that_is_wanted(split_on, title, category, cause):
    state = PROCESS.fold(decide_plan(Process(), OPENED, Effective(split_on=split_on), "r1"))
    events = decide_retitle(state, title, category)
    assert events == [ProcessRetitled(session_id="s", title=title, category=category)]
    cut = split_of(state, after(state, events))
    assert (cut and (cut.cause, cut.recording_id, cut.title, cut.category)) == (
        cause and (cause, "r1", title, category)
    )


def test_a_title_that_is_known_or_comes_after_the_end_is_no_news():
    assert decide_retitle(planned(), "t", "c") == []
    assert decide_retitle(Process(), "new", "c") == []
    assert decide_retitle(after(planned(), decide_close(planned(), CLOSED)), "new", "c") == []


def test_nothing_is_cut_while_no_recording_runs():
    state = PROCESS.fold(decide_plan(Process(), OPENED, Effective(split_on=("title",)), "r1"))
    state = after(state, decide_ended(state, ended(reason="stopped"), "r2"))
    assert split_of(state, after(state, decide_retitle(state, "new", "c"))) is None


def test_only_what_a_recording_reads_reconfigures_it():
    state = planned()
    same = Effective(check_interval_s=1, offline_grace_s=1, record_chat=False, upload_to="s3://b")
    assert decide_reconfigure(state, same) == []
    events = decide_reconfigure(state, Effective(segment_seconds=60))
    assert events == [ProcessReconfigured(session_id="s", effective=Effective(segment_seconds=60))]
    state = after(state, events)
    assert decide_reconfigure(state, Effective(segment_seconds=60)) == []
    assert decide_reconfigure(after(state, decide_close(state, CLOSED)), Effective()) == []


def test_the_next_recording_of_a_session_begins_with_the_newest_title_and_settings():
    state = after(planned(), decide_retitle(planned(), "new", "Games"))
    state = after(state, decide_reconfigure(state, Effective(segment_seconds=60)))
    state = after(state, decide_ended(state, ended(), "r2"))
    command = start_of(state)
    assert (command.title, command.category, command.effective.segment_seconds) == ("new", "Games", 60)


def resolved(enabled):
    return StreamerResolved(
        streamer_id="a", url="u", name="n", platform="p", enabled=enabled, effective=Effective(), provenance={}
    )


def test_watching_follows_the_configuration():
    (started,) = decide_watch(Watch(), resolved(True))
    assert isinstance(started, WatchStarted)
    assert decide_watch(Watch(active=True), resolved(True)) == []
    assert isinstance(decide_watch(Watch(active=True), resolved(False))[0], WatchStopped)
    assert decide_watch(Watch(), resolved(False)) == []
    assert decide_unwatch(Watch(), "a") == []


def test_an_open_session_is_checked_three_times_within_its_grace():
    effective = Effective(check_interval_s=60, offline_grace_s=30)
    assert check_delay_s(effective, session_open=False, jitter=0) == 60
    assert check_delay_s(effective, session_open=True, jitter=0) == 10
    assert check_delay_s(Effective(offline_grace_s=0), session_open=True, jitter=0) == 1
    assert 54 <= check_delay_s(effective, session_open=False, jitter=0.1) <= 66


def test_partitions_cover_every_streamer():
    assert {partition_of(f"{n:032x}", 8) for n in range(1000)} == set(range(8))


def chat_only():
    return PROCESS.fold(decide_plan(Process(), OPENED, Effective(record_video=False), "r1"))


def test_without_video_nothing_runs_and_the_process_is_complete_when_the_session_closes():
    state = chat_only()
    assert state.plan is not None and state.plan.chat == OPENED.chat
    assert (state.running, state.recordings) == ("", ())
    stopping, completed = decide_close(state, CLOSED)
    assert isinstance(stopping, ProcessStopping) and isinstance(completed, ProcessCompleted)
    assert (completed.recordings, completed.segments) == ((), 0)


def test_a_recording_is_not_requested_again_when_video_is_not_wanted_any_more():
    state = after(planned(), decide_reconfigure(planned(), Effective(record_video=False)))
    events = decide_ended(state, ended(), "r2")
    assert [type(one) for one in events] == [RecordingOver]
    assert [type(one) for one in decide_close(after(state, events), CLOSED)] == [ProcessStopping, ProcessCompleted]
