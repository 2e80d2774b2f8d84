"""A run: releases, fan-in and fan-out, failures, retries, uploads. Given events, when something is decided, then these events."""

from __future__ import annotations

import pytest
from contracts.aggregate import Rejected
from contracts.pipeline import (
    FileUploaded,
    JobCancelled,
    JobCompleted,
    JobFailed,
    JobReleased,
    JobStarted,
    PlanRun,
    RunCompleted,
    RunFailed,
    RunPlanned,
    RunRetried,
)
from contracts.values import Artifact, Step
from hypothesis import given, settings
from hypothesis import strategies as st

from services.pipeline.domain import RUN
from services.pipeline.domain.graph import MAX_FILES_BYTES, MAX_STEPS, job_id, merged, parts, problem_of, weight
from services.pipeline.domain.run import (
    CANCELLED,
    check_request,
    decide_cancel,
    decide_complete,
    decide_fail,
    decide_plan,
    decide_retry,
    decide_start,
    decide_uploaded,
)


def file(name, size=1):
    return Artifact(uri=f"file:///v/{name}", media_type="video/mp4", size=size)


def step(id, *after, processor="remux"):
    return Step(id=id, processor=processor, after=after)


def plan(*steps, inputs=None):
    inputs = (file("a.flv"),) if inputs is None else inputs
    return RunPlanned(run_id="r", session_id="s", kind="segment", index=0, steps=steps, inputs=inputs)


def planned(*steps, **options):
    return RUN.fold(decide_plan(RUN.initial, plan(*steps, **options)))


def done(state, id, *outputs):
    """The run after the job of a step completed."""
    return RUN.fold(decide_complete(state, job_id("r", id, state.attempt), outputs, 1.0), state)


def kinds(events):
    return [
        (type(event).__name__, getattr(event, "step_id", "") or getattr(event, "step", step("x")).id)
        for event in events
    ]


DIAMOND = (step("a"), step("b", "a"), step("c", "a"), step("d", "c", "b"))


def test_planning_releases_the_roots_with_the_inputs_of_the_run():
    events = decide_plan(RUN.initial, plan(step("a"), step("b"), step("c", "a", "b")))
    assert [type(event) for event in events] == [RunPlanned, JobReleased, JobReleased]
    assert [(event.step.id, event.inputs) for event in events[1:]] == [("a", (file("a.flv"),)), ("b", (file("a.flv"),))]
    assert decide_plan(RUN.fold(events), plan(step("a"))) == []


def test_a_finished_job_releases_every_job_that_waited_for_it_alone():
    state = planned(*DIAMOND)
    events = decide_complete(state, job_id("r", "a", 0), [file("1")], 2.0)
    assert kinds(events) == [("JobCompleted", "a"), ("JobReleased", "b"), ("JobReleased", "c")]
    assert all(event.inputs == (file("1"),) for event in events[1:])


def test_a_join_waits_for_all_and_gets_their_outputs_in_the_order_of_after_without_repeats():
    state = done(done(planned(*DIAMOND), "a", file("1")), "b", file("2"), file("shared"))
    assert state.jobs["d"].status == "waiting"
    events = decide_complete(state, job_id("r", "c", 0), [file("shared"), file("3")], 1.0)
    assert kinds(events) == [("JobCompleted", "c"), ("JobReleased", "d")]
    assert [artifact.uri[-6:] for artifact in events[1].inputs] == ["shared", "e:///v/3"[-6:], "e:///v/2"[-6:]]


def test_inputs_are_those_of_direct_predecessors_only():
    state = done(planned(step("a"), step("b", "a"), step("c", "b")), "a", file("1"))
    released = decide_complete(state, job_id("r", "b", 0), [file("2")], 1.0)[1]
    assert released.inputs == (file("2"),)


def test_the_last_job_completes_the_run_with_the_outputs_of_its_last_steps():
    state = done(planned(step("a"), step("b", "a"), step("c", "a")), "a", file("1"))
    state = done(state, "c", file("3"))
    events = decide_complete(state, job_id("r", "b", 0), [file("2"), file("3")], 1.0)
    assert [type(event) for event in events] == [JobCompleted, RunCompleted]
    assert events[1].outputs == (file("2"), file("3"))
    assert RUN.fold(events, state).status == "completed"


def test_completing_a_job_again_changes_nothing():
    state = planned(step("a"), step("b", "a"))
    after = done(state, "a", file("1"))
    assert decide_complete(after, job_id("r", "a", 0), [file("2")], 1.0) == []
    assert decide_complete(after, "unknown", [file("2")], 1.0) == []


def test_the_first_failure_cancels_whatever_is_not_done_and_fails_the_run():
    state = done(planned(*DIAMOND), "a", file("1"))
    events = decide_fail(state, job_id("r", "b", 0), "broken " * 1000)
    assert kinds(events) == [("JobFailed", "b"), ("JobCancelled", "c"), ("JobCancelled", "d"), ("RunFailed", "x")]
    assert len(events[0].error) == 2000
    after = RUN.fold(events, state)
    assert after.status == "failed" and not after.open_jobs
    assert decide_fail(after, job_id("r", "c", 0), "late") == []
    assert decide_complete(after, job_id("r", "c", 0), [], 1.0) == []
    assert decide_start(after, job_id("r", "c", 0), worker="w", epoch=1) == []


def test_a_retry_keeps_what_is_done_and_gives_the_rest_new_jobs():
    state = done(planned(*DIAMOND), "a", file("1"))
    state = done(state, "c", file("3"))
    state = RUN.fold(decide_fail(state, job_id("r", "b", 0), "broken"), state)
    events = decide_retry(state, "r")
    assert [type(event) for event in events] == [RunRetried, JobReleased]
    assert (events[1].step.id, events[1].job_id, events[1].inputs) == ("b", job_id("r", "b", 1), (file("1"),))
    after = RUN.fold(events, state)
    assert decide_complete(after, job_id("r", "b", 0), [file("old")], 1.0) == []
    finished = done(done(after, "b", file("2")), "d", file("4"))
    assert finished.status == "completed" and finished.outputs == (file("4"),)


def test_only_a_failed_run_that_could_run_is_retried():
    state = planned(step("a"))
    with pytest.raises(Rejected) as refused:
        decide_retry(state, "r")
    assert refused.value.problem.status == 409
    with pytest.raises(Rejected) as unknown:
        decide_retry(RUN.initial, "r")
    assert unknown.value.problem.status == 404
    broken = RUN.fold(decide_plan(RUN.initial, plan(step("a", "a"))))
    with pytest.raises(Rejected, match="cannot be retried"):
        decide_retry(broken, "r")


def test_cancelling_ends_everything_once():
    state = done(planned(*DIAMOND), "a", file("1"))
    events = decide_cancel(state, "r")
    assert kinds(events)[:-1] == [("JobCancelled", "b"), ("JobCancelled", "c"), ("JobCancelled", "d")]
    assert isinstance(events[-1], RunFailed) and events[-1].error == CANCELLED
    with pytest.raises(Rejected) as over:
        decide_cancel(RUN.fold(events, state), "r")
    assert over.value.problem.status == 409
    with pytest.raises(Rejected) as unknown:
        decide_cancel(RUN.initial, "r")
    assert unknown.value.problem.status == 404


def test_a_claim_after_a_crash_starts_the_job_again():
    state = planned(step("a"))
    first = decide_start(state, job_id("r", "a", 0), worker="w1", epoch=1)
    second = decide_start(RUN.fold(first, state), job_id("r", "a", 0), worker="w2", epoch=2)
    assert [type(event) for event in (*first, *second)] == [JobStarted, JobStarted]
    assert (second[0].worker, second[0].epoch) == ("w2", 2)


def test_an_upload_is_handed_over_when_it_is_released_and_completes_with_its_last_file():
    files = (file("a.mp4"), file("a.jpg"))
    state = planned(step("up", processor="upload"), inputs=files)
    id = job_id("r", "up", 0)
    assert state.jobs["up"].status == "running" and state.jobs["up"].upload_ids == (id, f"{id}-1")
    there = [file("there/a.mp4"), file("there/a.jpg")]
    first = decide_uploaded(state, id, f"{id}-1", there[1], 2.0)
    assert [type(event) for event in first] == [FileUploaded]
    state = RUN.fold(first, state)
    assert decide_uploaded(state, id, f"{id}-1", there[1], 2.0) == []
    assert decide_uploaded(state, id, f"{id}-2", there[1], 2.0) == []
    last = decide_uploaded(state, id, id, there[0], 3.0)
    assert [type(event) for event in last] == [JobCompleted, RunCompleted]
    assert last[0].outputs == tuple(there) and last[0].seconds == 5.0


def test_files_a_job_removed_are_not_handed_on_as_results():
    state = planned(step("copy"), step("pass"))
    state = RUN.fold(decide_complete(state, job_id("r", "copy", 0), [file("x")], 1, ["file:///v/a.flv"]), state)
    state = RUN.fold(decide_complete(state, job_id("r", "pass", 0), [file("a.flv")], 1), state)
    assert state.outputs == (file("x"),) and state.made == (file("x"),)


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ((), "no steps"),
        ((step("a"), step("a")), "two steps have the id a"),
        ((step("a", "b"),), "a waits"),
        ((step("a"), step("b", "c"), step("c", "b")), "b waits"),
        (tuple(step(f"s{n}") for n in range(MAX_STEPS + 1)), "at most"),
    ],
)
def test_steps_that_are_no_graph_fail_the_run_or_refuse_the_command(steps, says):
    assert says in problem_of(steps)
    events = decide_plan(RUN.initial, plan(*steps))
    assert [type(event) for event in events] == [RunPlanned, RunFailed] and says in events[1].error
    with pytest.raises(Rejected) as refused:
        check_request(RUN.initial, PlanRun(run_id="r", session_id="s", steps=steps, inputs=(file("a"),)))
    assert refused.value.problem.status == 422 and says in refused.value.problem.detail


def test_a_command_is_the_same_run_or_refused():
    command = PlanRun(run_id="r", session_id="s", steps=(step("a"),), inputs=(file("a.flv"),))
    assert check_request(RUN.initial, command)
    state = planned(step("a"))
    assert not check_request(state, command)
    with pytest.raises(Rejected, match="exists"):
        check_request(state, command.model_copy(update={"inputs": (file("b"),)}))
    with pytest.raises(Rejected):
        check_request(RUN.initial, command.model_copy(update={"inputs": ()}))


def many(count):
    return tuple(file(f"{n:05d}" + "x" * 400) for n in range(count))


def test_more_files_than_an_event_takes_fail_the_run_instead_of_blocking_it():
    events = decide_plan(RUN.initial, plan(step("a"), inputs=many(1000)))
    assert [type(event) for event in events] == [RunPlanned, RunFailed] and events[0].inputs == ()
    state = planned(step("a"), step("b", "a"))
    flood = decide_complete(state, job_id("r", "a", 0), many(1000), 1.0)
    assert [type(event) for event in flood] == [JobFailed, JobCancelled, RunFailed]


def test_many_small_outputs_that_meet_in_one_step_are_too_many_as_well():
    files = many(700)
    state = planned(step("a"), step("b"), step("c", "a", "b"))
    state = done(state, "a", *files[:350])
    flood = decide_complete(state, job_id("r", "b", 0), files[350:], 1.0)
    assert [type(event) for event in flood] == [JobFailed, JobCancelled, RunFailed]


@settings(deadline=None)
@given(st.lists(st.integers(1, 4000), max_size=60))
def test_parts_lose_nothing_and_fit(lengths):
    files = [file(f"{n}-" + "x" * length) for n, length in enumerate(lengths)]
    cut = parts(files, 8192)
    assert [one for part in cut for one in part] == files
    assert all(weight(part) <= 8192 for part in cut)


@settings(deadline=None)
@given(st.lists(st.text(max_size=12), max_size=20), st.integers(0, 1 << 40))
def test_the_weight_is_no_less_than_what_an_event_takes(names, size):
    files = tuple(Artifact(uri=f"s3://b/{name}", media_type="video/mp4", size=size, sha256="0" * 64) for name in names)
    body = plan(step("a"), inputs=files).to_json()
    assert len(body) - len(plan(step("a"), inputs=()).to_json()) <= weight(files)


def test_the_limit_leaves_room_for_the_rest_of_an_event():
    assert 2 * MAX_FILES_BYTES < 512 * 1024


@st.composite
def graphs(draw):
    count = draw(st.integers(1, 7))
    return [
        step(f"s{n}", *(f"s{before}" for before in range(n) if draw(st.booleans())), processor="remux")
        for n in range(count)
    ]


@settings(deadline=None)
@given(graphs(), st.data())
def test_any_graph_runs_to_its_end_in_any_order_each_job_once(steps, data):
    state = RUN.fold(events := decide_plan(RUN.initial, plan(*data.draw(st.permutations(steps)))))
    log = list(events)
    while state.open_jobs:
        id = data.draw(st.sampled_from(sorted(state.open_jobs)))
        step_id = state.open_jobs[id].step.id
        decided = decide_complete(state, id, [file(step_id)], 1.0)
        log += decided
        state = RUN.fold(decided, state)
    assert state.status == "completed"
    released = [event.step.id for event in log if isinstance(event, JobReleased)]
    assert sorted(released) == sorted(one.id for one in steps)
    assert sum(isinstance(event, RunCompleted) for event in log) == 1
    for event in log:
        if isinstance(event, JobReleased) and event.step.after:
            assert event.inputs == merged([file(id) for id in event.step.after])


@settings(deadline=None)
@given(graphs(), st.data())
def test_any_failure_in_any_order_leaves_nothing_open_and_a_retry_finishes(steps, data):
    state = planned(*steps)
    while state.open_jobs:
        id = data.draw(st.sampled_from(sorted(state.open_jobs)))
        fails = state.attempt < 2 and data.draw(st.booleans())
        decided = decide_fail(state, id, "no") if fails else decide_complete(state, id, [file(id)], 1.0)
        state = RUN.fold(decided, state)
        if state.status == "failed":
            assert {job.status for job in state.jobs.values()} <= {"done", "failed", "cancelled"}
            state = RUN.fold(decide_retry(state, "r"), state)
    assert state.status == "completed"
