"""A session: which runs become due and when it is finished, whatever the order in which its events arrive."""

from __future__ import annotations

import pytest
from contracts.danmu import ChatEnded, ChatFileCompleted
from contracts.downloader import SegmentCompleted
from contracts.pipeline import (
    FilesAdded,
    ManifestListed,
    ProcessingPlanned,
    RecordingsClosed,
    RunOver,
    RunTriggered,
    SegmentAdded,
    SessionFinished,
)
from contracts.scheduler import ProcessCompleted, RecordingPlanned
from contracts.values import Artifact, Chat, Effective, EndReason, Pipelines, Step
from hypothesis import given, settings
from hypothesis import strategies as st

from services.pipeline.domain import RUN, SESSION
from services.pipeline.domain.run import decide_complete, decide_fail, decide_plan, decide_retry
from services.pipeline.domain.session import (
    decide_chat_ended,
    decide_chat_file,
    decide_joined,
    decide_planned,
    decide_recorded,
    decide_resumed,
    decide_run_over,
    decide_segment,
    run_for,
)

ONE = (Step(id="one", processor="remux"),)
ALL = Pipelines(segment=ONE, paired=ONE, session=ONE)


def file(name):
    return Artifact(uri=f"file:///v/{name}", media_type="video/mp4", size=1)


def planned(pipelines=ALL, *, chat=True):
    return RecordingPlanned(
        session_id="s",
        streamer_id="st",
        streamer_name="Ada",
        url="http://x/y",
        platform="direct",
        title="t",
        category="",
        recording_id="r",
        effective=Effective(pipelines=pipelines, upload_to="s3://b"),
        chat=Chat(kind="bilibili") if chat else None,
        started_at="2026-01-02T03:04:05+00:00",
    )


def segment(index):
    return SegmentCompleted(
        recording_id="r",
        session_id="s",
        streamer_id="st",
        index=index,
        artifact=file(f"{index}.flv"),
        start_ms=0,
        duration_ms=1000,
        started_at="2026-01-02T03:04:05+00:00",
        split_reason="time",
    )


def chat_file(index):
    return ChatFileCompleted(
        session_id="s",
        streamer_id="st",
        recording_id="r",
        index=index,
        log=file(f"{index}.jsonl"),
        xml=file(f"{index}.xml"),
        lines=7,
        started_at="2026-01-02T03:04:05+00:00",
    )


def recorded(segments):
    return ProcessCompleted(session_id="s", streamer_id="st", recordings=("r",), segments=segments)


def chat_ended(files):
    return ChatEnded(session_id="s", streamer_id="st", reason=EndReason.OFFLINE, files=files, lines=7 * files)


DECIDE = {
    RecordingPlanned: decide_planned,
    SegmentCompleted: decide_segment,
    ChatFileCompleted: decide_chat_file,
    ProcessCompleted: decide_recorded,
    ChatEnded: decide_chat_ended,
}


class Story:
    """A session as its handlers drive it, with its runs; ``log`` is what its stream holds."""

    def __init__(self):
        self.state, self.log, self.runs = SESSION.initial, [], {}

    def hears(self, *events):
        for event in events:
            self._append(DECIDE[type(event)](self.state, event))
        return self

    def ends_run(self, run_id, *, fails=False, output=""):
        run = self.runs[run_id]
        job = next(iter(run.open_jobs))
        made = [file(output or f"{run.plan.kind}-{run.plan.index}.mp4")]
        run = RUN.fold(decide_fail(run, job, "no") if fails else decide_complete(run, job, made, 1.0), run)
        self.runs[run_id] = run
        self._append(decide_run_over(self.state, run))
        return self

    def retries(self, run_id):
        self._append(decide_resumed(self.state, run_id))
        self.runs[run_id] = RUN.fold(decide_retry(self.runs[run_id], run_id), self.runs[run_id])
        return self

    @property
    def pending(self):
        return [id for id, run in self.runs.items() if not run.over]

    def of(self, kind, index=None):
        """The id of the run of a kind."""
        return next(id for id, run in self.runs.items() if run.plan.kind == kind and index in (None, run.plan.index))

    def inputs(self, kind, index=None):
        return [one.uri.rpartition("/")[2] for one in self.runs[self.of(kind, index)].plan.inputs]

    def logged(self, kind):
        return [event for event in self.log if isinstance(event, kind)]

    @property
    def finished(self):
        return self.logged(SessionFinished)

    def _append(self, events):
        self.log += events
        self.state = SESSION.fold(events, self.state)
        for trigger in (event for event in events if isinstance(event, RunTriggered)):
            if trigger.run_id not in self.runs and trigger.kind != "manual":
                self.runs[trigger.run_id] = RUN.fold(decide_plan(RUN.initial, run_for(self.state, trigger)))


def names(artifacts):
    return [artifact.uri.rpartition("/")[2] for artifact in artifacts]


def test_a_segment_starts_its_run_once():
    story = Story().hears(planned(), segment(0), segment(0))
    assert [(t.kind, t.recording_id, t.index) for t in story.logged(RunTriggered)] == [("segment", "r", 0)]
    assert story.inputs("segment") == ["0.flv"]


def test_a_segment_that_is_heard_of_before_the_plan_waits_for_it():
    story = Story().hears(segment(0))
    assert not story.runs
    story.hears(planned())
    assert [run.plan.kind for run in story.runs.values()] == ["segment"]


def test_without_steps_nothing_runs_and_the_session_ends_with_its_recording():
    story = Story().hears(planned(Pipelines(), chat=False), segment(0), recorded(1))
    assert not story.runs and names(story.finished[0].manifest) == ["0.flv"]


def test_the_paired_run_waits_for_both_files_and_for_the_run_of_the_segment():
    story = Story().hears(planned(), chat_file(0), segment(0))
    assert [run.plan.kind for run in story.runs.values()] == ["segment"]
    story.ends_run(story.of("segment"), output="0.mp4")
    assert story.inputs("paired") == ["0.mp4", "0.jsonl", "0.xml"]


def test_a_paired_run_without_segment_steps_begins_at_once_with_the_recorded_file():
    story = Story().hears(planned(Pipelines(paired=ONE)), segment(0))
    assert not story.runs
    story.hears(chat_file(0))
    assert story.inputs("paired") == ["0.flv", "0.jsonl", "0.xml"]


def test_after_a_failed_segment_run_the_pair_begins_with_the_recorded_file():
    story = Story().hears(planned(), chat_file(0), segment(0))
    story.ends_run(story.of("segment"), fails=True)
    assert story.inputs("paired") == ["0.flv", "0.jsonl", "0.xml"]


def test_the_session_run_waits_for_every_segment_run_and_for_the_end_of_the_chat():
    story = Story().hears(planned(Pipelines(segment=ONE, session=ONE)), segment(1), segment(0), chat_file(0))
    story.hears(recorded(2)).ends_run(story.of("segment", 0)).ends_run(story.of("segment", 1))
    assert len(story.runs) == 2
    story.hears(chat_ended(1))
    assert story.inputs("session") == ["segment-0.mp4", "0.jsonl", "0.xml", "segment-1.mp4"]
    assert not story.finished
    story.ends_run(story.of("session"), output="all.mp4")
    assert len(story.finished) == 1


def test_the_session_run_begins_with_what_the_last_run_of_each_segment_handed_on():
    story = Story().hears(planned(), segment(0), segment(1), chat_file(0), chat_file(1), recorded(2), chat_ended(2))
    story.ends_run(story.of("segment", 0)).ends_run(story.of("segment", 1))
    story.ends_run(story.of("paired", 0)).ends_run(story.of("paired", 1), fails=True)
    assert story.inputs("session") == ["paired-0.mp4", "segment-1.mp4", "1.jsonl", "1.xml"]


def test_it_waits_for_announced_segments_and_chat_files_that_have_not_arrived():
    story = Story().hears(planned(Pipelines()), recorded(2), chat_ended(1), segment(0), segment(1))
    assert not story.finished
    story.hears(chat_file(1))
    assert names(story.finished[0].manifest) == ["0.flv", "1.flv", "1.jsonl", "1.xml"]


def test_nothing_recorded_means_nothing_to_run_but_an_end():
    story = Story().hears(planned(chat=False), recorded(0))
    assert not story.runs
    assert (story.finished[0].segments, story.finished[0].manifest) == (0, ())


def test_the_end_counts_what_there_was_and_what_failed():
    story = Story().hears(planned(Pipelines(segment=ONE)), segment(0), segment(1), chat_file(0), recorded(2))
    story.ends_run(story.of("segment", 0), fails=True).ends_run(story.of("segment", 1))
    story.hears(chat_ended(1))
    end = story.finished[0]
    assert (end.segments, end.duration_ms, end.chat_lines, end.failed_runs) == (2, 2000, 7, 1)
    assert names(end.manifest) == ["0.flv", "1.flv", "0.jsonl", "0.xml", "segment-1.mp4"]


def test_raw_frames_of_the_chat_are_listed_and_nothing_is_made_of_them():
    # given a session whose chat kept its frames
    story = Story().hears(planned(), segment(0), chat_file(0), recorded(1))
    frames = (file("1.frames.zst"), file("2.frames.zst"))
    # when it is over
    story.hears(chat_ended(1).model_copy(update={"frames": frames}))
    for kind in ("segment", "paired", "session"):
        story.ends_run(story.of(kind))
    # then they are in the manifest, which is what goes when room is made, and in no run
    (end,) = story.finished
    assert {"1.frames.zst", "2.frames.zst"} < set(names(end.manifest))
    assert not any(name.endswith(".zst") for run in story.runs.values() for name in names(run.plan.inputs))


def test_files_that_a_run_moved_leave_the_manifest_and_do_not_come_back():
    story = Story().hears(planned(Pipelines(segment=ONE, session=ONE), chat=False), segment(0), recorded(1))
    run_id = story.of("segment")
    run = story.runs[run_id]
    moved = decide_complete(run, next(iter(run.open_jobs)), [file("archive.flv")], 1.0, ["file:///v/0.flv"])
    story.runs[run_id] = RUN.fold(moved, run)
    story._append(decide_run_over(story.state, story.runs[run_id]))
    assert story.inputs("session") == ["archive.flv"]
    story.ends_run(story.of("session"), output="all.mp4")
    assert names(story.finished[0].manifest) == ["archive.flv", "all.mp4"]


def test_a_retried_run_is_waited_for_again():
    story = Story().hears(planned(Pipelines(segment=ONE), chat=False), segment(0))
    run_id = story.of("segment")
    story.ends_run(run_id, fails=True).retries(run_id).hears(recorded(1))
    assert not story.finished
    story.ends_run(run_id)
    assert story.finished[0].failed_runs == 0


def test_a_run_planned_by_hand_belongs_to_the_session_until_it_is_finished():
    story = Story().hears(planned(Pipelines(), chat=False), segment(0))
    assert decide_joined(SESSION.initial, "s", "mine") == []
    joined = decide_joined(story.state, "s", "mine")
    story._append(joined)
    assert decide_joined(story.state, "s", "mine") == []
    assert not story.hears(recorded(1)).finished
    run = RUN.fold(
        decide_plan(
            RUN.initial, run_for(story.state, joined[0]).model_copy(update={"steps": ONE, "inputs": (file("0.flv"),)})
        )
    )
    story.runs["mine"] = run
    story.ends_run("mine", output="mine.mp4")
    assert names(story.finished[0].manifest) == ["0.flv", "mine.mp4"]
    assert decide_joined(story.state, "s", "late") == []


def test_after_the_end_nothing_is_said_any_more():
    story = Story().hears(planned(Pipelines(segment=ONE), chat=False), segment(0), recorded(1))
    run_id = story.of("segment")
    story.ends_run(run_id, fails=True)
    before = list(story.log)
    story.hears(segment(1), chat_file(0), recorded(1), planned()).retries(run_id).ends_run(run_id)
    assert story.log == before


def test_the_plan_is_a_snapshot_of_what_the_session_needs():
    plan = Story().hears(planned(chat=False)).log[0]
    assert isinstance(plan, ProcessingPlanned)
    assert (plan.streamer_name, plan.upload_to, plan.pipelines, plan.chat) == ("Ada", "s3://b", ALL, False)


def test_a_long_manifest_is_listed_in_parts_that_all_fit():
    story = Story().hears(planned(Pipelines(), chat=False))
    for index in range(900):
        one = segment(index)
        long = one.artifact.model_copy(update={"uri": f"file:///{'x' * 500}/{index}.flv"})
        story.hears(one.model_copy(update={"artifact": long}))
    story.hears(recorded(900))
    listed = story.logged(ManifestListed)
    assert [event.part for event in listed] == list(range(len(listed))) and listed
    everything = [*(one for event in listed for one in event.files), *story.finished[0].manifest]
    assert [one.uri.rpartition("/")[2] for one in everything] == [f"{index}.flv" for index in range(900)]
    assert all(len(event.to_json()) < 512 * 1024 for event in (*listed, *story.finished))


@pytest.mark.parametrize("event", [segment(0), chat_file(0), recorded(1), chat_ended(0), planned()])
def test_every_event_is_taken_once(event):
    story = Story().hears(event)
    first = list(story.log)
    assert first
    assert story.hears(event).log == first


PIPELINES = st.builds(
    Pipelines,
    segment=st.sampled_from([(), ONE]),
    paired=st.sampled_from([(), ONE]),
    session=st.sampled_from([(), ONE]),
)


@settings(max_examples=300, deadline=None)
@given(PIPELINES, st.booleans(), st.integers(0, 3), st.data())
def test_any_order_with_repeats_fires_each_trigger_once_and_ends_once(pipelines, chat, count, data):
    chats = [index for index in range(count) if chat and data.draw(st.booleans())]
    once = [planned(pipelines, chat=chat), recorded(count), *map(segment, range(count)), *map(chat_file, chats)]
    once += [chat_ended(len(chats))] if chat else []
    repeats = data.draw(st.lists(st.sampled_from(once), max_size=5))
    waiting = list(data.draw(st.permutations(once + repeats)))
    story = Story()
    while waiting or story.pending:
        if story.pending and (not waiting or data.draw(st.booleans())):
            assert not story.finished
            story.ends_run(data.draw(st.sampled_from(story.pending)), fails=data.draw(st.booleans()))
        else:
            story.hears(waiting.pop())
    triggers = [(t.kind, t.index) for t in story.logged(RunTriggered)]
    assert sorted(set(triggers)) == sorted(triggers)
    expected = {("segment", n) for n in range(count) if pipelines.segment}
    expected |= {("paired", n) for n in chats if pipelines.paired}
    expected |= {("session", -1)} if pipelines.session and count else set()
    assert set(triggers) == expected
    assert len(story.finished) == 1 and story.log[-1] is story.finished[0]
    assert len(story.finished[0].manifest) == len({one.uri for one in story.finished[0].manifest})
    recorded_files = {f"{n}.flv" for n in range(count)} | {
        f"{n}.{ending}" for n in chats for ending in ("jsonl", "xml")
    }
    made = {names(event.files)[0] for event in story.logged(FilesAdded)}
    assert set(names(story.finished[0].manifest)) == recorded_files | made
    completed = [event for event in story.logged(RunOver) if event.completed]
    assert len(made) == len(completed)
    assert story.finished[0].failed_runs == len(triggers) - len(completed)
    assert len(story.logged(SegmentAdded)) == count and len(story.logged(RecordingsClosed)) == 1
