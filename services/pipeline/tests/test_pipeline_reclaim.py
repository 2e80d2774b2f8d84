"""Which sessions go to make room, and what must never be removed."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from chassis.storage import StorageOptions
from contracts.pipeline import ReclaimRequested, RunPlanned
from contracts.values import Artifact, Processor, Step
from hypothesis import given
from hypothesis import strategies as st

from services.pipeline.adapters.shelves import Shelves
from services.pipeline.domain.reclaim import (
    MAX_ITEMS,
    Candidate,
    Policy,
    answer,
    media_is_uploaded,
    plan,
    starting,
)
from services.pipeline.domain.run import Job, Run

NOW = datetime(2026, 11, 21, tzinfo=UTC)
GB = 10**9


def file(name, size=GB, media_type="video/mp4"):
    return Artifact(uri=f"file:///r/{name}", media_type=media_type, size=size)


def session(name, days, *sizes, **more):
    files = tuple(file(f"{name}/{number}", size) for number, size in enumerate(sizes or (GB,)))
    return Candidate(name, "a", "Ann", "t", NOW - timedelta(days=days), files, **more)


def goes(found):
    return [(one.candidate.session_id, one.blocked) for one in found]


def planned(candidates, free=None, **rules):
    return goes(plan(candidates, Policy(**rules), now=NOW, free_bytes=free))


def test_without_a_rule_nothing_goes():
    assert planned([session("old", 5000)], free=0) == []


def test_what_is_older_than_wanted_goes():
    assert planned([session("a", 29), session("b", 31), session("c", 40)], keep_days=30) == [("c", ""), ("b", "")]


def test_the_oldest_go_until_little_enough_is_left():
    three = [session("new", 2, 2 * GB), session("middle", 3, 2 * GB), session("old", 4, GB)]
    assert planned(three, max_total_gb=4) == [("old", "")]
    assert planned(three, max_total_gb=3.9) == [("old", ""), ("middle", "")]
    assert planned(three, max_total_gb=5) == []


def test_the_oldest_go_until_enough_is_free():
    three = [session("new", 2, 2 * GB), session("middle", 3, 2 * GB), session("old", 4, GB)]
    assert planned(three, free=GB, min_free_mb=2000) == [("old", "")]
    assert planned(three, free=GB, min_free_mb=2001) == [("old", ""), ("middle", "")]
    assert planned(three, free=None, min_free_mb=2001) == [], "nobody can say how much is free"


def test_what_must_stay_is_told_and_the_next_one_goes_instead():
    found = planned(
        [
            session("busy", 9, blocked="a run of it is under way"),
            session("kept", 8),
            session("uploaded", 7, media_uploaded=True),
            session("young", 0.5, media_uploaded=True),
        ],
        free=0,
        min_free_mb=10_000,
        only_uploaded="media",
    )
    assert found == [
        ("busy", "a run of it is under way"),
        ("kept", "its videos are not uploaded"),
        ("uploaded", ""),
        ("young", "too young"),
    ]


def test_everything_uploaded_is_more_than_the_videos():
    one = session("a", 9, media_uploaded=True)
    assert planned([one], keep_days=1, only_uploaded="all") == [("a", "not everything of it is uploaded")]
    assert planned([session("a", 9, all_uploaded=True)], keep_days=1, only_uploaded="all") == [("a", "")]


@given(
    st.lists(st.tuples(st.integers(0, 100), st.integers(1, 50)), max_size=20),
    st.integers(0, 60),
    st.integers(0, 300),
    st.integers(0, 300),
)
def test_it_frees_what_is_asked_for_or_everything_it_may_and_never_more_than_needed(given_sessions, days, gb, free_gb):
    candidates = [session(f"s{n}", age, size * GB) for n, (age, size) in enumerate(given_sessions)]
    found = plan(candidates, Policy(max_total_gb=gb, min_free_mb=days * 1000), now=NOW, free_bytes=free_gb * GB)
    gone = [one.candidate for one in found if not one.blocked]
    left = [one for one in candidates if one not in gone and now_old(one)]
    total = sum(one.bytes for one in candidates) - sum(one.bytes for one in gone)
    free = free_gb * GB + sum(one.bytes for one in gone)
    enough = (not gb or total <= gb * GB) and free >= days * GB
    assert enough or not left
    if gone:
        last = gone[-1]
        assert (gb and total + last.bytes > gb * GB) or free - last.bytes < days * GB


def now_old(one):
    return NOW - one.finished_at >= timedelta(days=1)


def test_a_request_changes_only_the_rules_it_names():
    policy = Policy(keep_days=30, max_total_gb=5, only_uploaded="all")
    asked = policy.asked(ReclaimRequested(request_id="x", dry_run=True, keep_days=0, min_free_mb=7))
    assert asked == Policy(keep_days=0, max_total_gb=5, min_free_mb=7, only_uploaded="all")


def test_the_answer_counts_what_goes_and_is_bounded():
    found = plan([session(f"s{n}", 9, 1, 2) for n in range(600)], Policy(keep_days=1), now=NOW, free_bytes=0)
    told = answer("x", found)
    assert (len(told.items), told.sessions, told.files, told.bytes) == (MAX_ITEMS, 600, 1200, 1800)
    assert len(told.to_json()) < 512 * 1024


def test_every_file_is_named_before_it_goes_however_many():
    files = tuple(file("x" * 200 + str(number), 1) for number in range(3000))
    (going,) = plan(
        [Candidate("s", "a", "Ann", "t", NOW - timedelta(days=9), files)], Policy(keep_days=1), now=NOW, free_bytes=0
    )
    events = starting(going)
    assert len(events) > 1 and all(len(event.to_json()) < 512 * 1024 for event in events)
    assert tuple(one for event in events for one in event.files) == files


def run(inputs, *jobs, status="completed"):
    made = {
        str(number): Job(Step(id=f"j{number}", processor=processor), str(number), "done", outputs=tuple(outputs))
        for number, (processor, outputs) in enumerate(jobs)
    }
    steps = tuple(job.step for job in made.values())
    planned = RunPlanned(run_id="r", session_id="s", kind="segment", index=0, steps=steps, inputs=tuple(inputs))
    return Run(planned, made, status)


FLV, MP4, FLV2, MP4_2, COVER = (
    file("0.flv"),
    file("0.mp4"),
    file("1.flv"),
    file("1.mp4"),
    file("0.jpg", 1, "image/jpeg"),
)
REMOTE = Artifact(uri="s3://b/0.mp4", media_type="video/mp4", size=GB)
REMUX = run([FLV], (Processor.REMUX, [MP4]), (Processor.THUMBNAIL, [MP4, COVER]), (Processor.UPLOAD, [REMOTE]))


@pytest.mark.parametrize(
    ("recorded", "runs", "uploaded", "is_uploaded"),
    [
        ([FLV], [], [FLV], True),
        ([FLV], [], [], False),
        # what was made of it stands for it
        ([FLV], [REMUX], [MP4], True),
        # but not its cover, and not what a failed run made
        ([FLV], [REMUX], [COVER], False),
        ([FLV], [run([FLV], (Processor.REMUX, [MP4]), status="failed")], [MP4], False),
        # each segment counts
        ([FLV, FLV2], [REMUX], [MP4], False),
        # a session run over several files stands for them only when all it made is uploaded
        ([FLV, FLV2], [run([FLV, FLV2], (Processor.EXECUTE, [file("whole.mp4")]))], [file("whole.mp4")], True),
        ([FLV, FLV2], [run([FLV, FLV2], (Processor.REMUX, [MP4, MP4_2]))], [MP4], False),
        # through two runs
        (
            [FLV],
            [run([FLV], (Processor.REMUX, [MP4])), run([MP4], (Processor.EXECUTE, [file("whole.mp4")]))],
            [file("whole.mp4")],
            True,
        ),
        # a run that only hands its inputs on proves nothing
        ([FLV, FLV2], [run([FLV, FLV2], (Processor.THUMBNAIL, [FLV, FLV2, COVER]))], [FLV], False),
    ],
)
def test_a_recording_is_uploaded_when_it_or_what_was_made_of_it_is(recorded, runs, uploaded, is_uploaded):
    assert media_is_uploaded(recorded, runs, {one.uri for one in uploaded}) is is_uploaded


def artifact(path):
    return Artifact(uri=path.as_uri(), media_type="video/mp4", size=1)


async def test_only_what_lies_below_a_root_is_found_and_removed(tmp_path):
    root, other = tmp_path / "recordings", tmp_path / "other"
    for folder in (root / "ann" / "2026", other):
        folder.mkdir(parents=True)
    inside, beside, outside = root / "ann" / "2026" / "a b.mp4", root / "ann" / "keep.mp4", other / "x.mp4"
    for path in (inside, beside, outside):
        path.write_bytes(b"123")
    (root / "link").symlink_to(other)
    shelves = Shelves([root.as_uri()], StorageOptions())
    for hostile in (outside, root / "link" / "x.mp4"):
        assert await shelves.find(artifact(hostile)) is None
        await shelves.remove(artifact(hostile).uri)
    climbing = SimpleNamespace(uri=f"{root.as_uri()}/../other/x.mp4")
    assert await shelves.find(climbing) is None
    await shelves.remove(climbing.uri)
    assert outside.exists()
    # the size that counts is the one it has now
    assert (await shelves.find(artifact(inside))).size == 3
    await shelves.remove(artifact(inside).uri)
    await shelves.remove(artifact(inside).uri)
    assert await shelves.find(artifact(inside)) is None
    assert not inside.parent.exists() and beside.exists()
    await shelves.remove(artifact(beside).uri)
    assert root.exists() and not (root / "ann").exists()


async def test_what_lies_in_a_bucket_is_believed(tmp_path):
    shelves = Shelves(["s3://bucket/recordings"], StorageOptions())
    inside = Artifact(uri="s3://bucket/recordings/ann/1.mp4", media_type="video/mp4", size=7)
    assert await shelves.find(inside) == inside
    assert await shelves.find(inside.model_copy(update={"uri": "s3://bucket/other/1.mp4"})) is None


async def test_without_roots_nothing_is_found(tmp_path):
    (tmp_path / "x.mp4").touch()
    shelves = Shelves([], StorageOptions())
    assert await shelves.find(artifact(tmp_path / "x.mp4")) is None
    assert await shelves.free_bytes() is None


async def test_free_space_is_that_of_the_roots_that_are_there(tmp_path):
    shelves = Shelves([tmp_path.as_uri(), (tmp_path / "gone").as_uri(), "s3://bucket/x"], StorageOptions())
    assert (await shelves.free_bytes() or 0) > 0
