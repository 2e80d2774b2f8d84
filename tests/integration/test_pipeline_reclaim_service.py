"""Room is made by whole sessions: asked dry, asked in earnest, by itself, and after it was interrupted."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest
from contracts.pipeline import (
    Reclaim,
    ReclaimCompleted,
    ReclaimPlanned,
    ReclaimStarted,
    SessionFinished,
    SessionReclaimed,
)
from contracts.uploader import UploadCompleted, UploadRequested
from contracts.values import Pipelines

from services.pipeline.adapters.shelves import Shelves
from tests.integration.test_pipeline_service import artifact_of, outside, planned, recorded, segment, start

pytestmark = pytest.mark.engines
__all__ = ["outside", "start"]  # fixtures


def recording(folder: Path, name: str):
    path = folder / "recordings" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(name.encode() * 100)
    return artifact_of(path, "video/mp4")


async def finished(outside, dsn, folder, session_id: str, *names: str, days: float = 0):
    """A session with these files that finished some days ago."""
    files = [recording(folder, name) for name in names]
    await outside.says(planned(Pipelines(), chat=False, session_id=session_id))
    for index, file in enumerate(files):
        await outside.says(segment(index, file, session_id))
    await outside.says(recorded(len(files), session_id))
    await outside.until(SessionFinished, session_id=session_id)
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            "update finished_sessions set finished_at = now() - make_interval(secs => $2) where session_id = $1",
            session_id,
            days * 86_400,
        )
    finally:
        await connection.close()
    return files


async def uploaded(outside, file, session_id, destination, *, done=True):
    upload = {"upload_id": f"u{file.size}{session_id}", "session_id": session_id}
    await outside.says(UploadRequested(**upload, source=file, destination=destination))
    if done:
        there = file.model_copy(update={"uri": destination})
        await outside.says(UploadCompleted(**upload, artifact=there, seconds=1))
    # A command may be handled before an event that was said before it.
    await outside.settled("pipeline")


async def asked(outside, request_id: str, **rules):
    await outside.says(Reclaim(request_id=request_id, **rules))
    return await outside.until(ReclaimPlanned, request_id=request_id)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "recordings").rglob("*") if path.is_file())


async def test_whole_sessions_go_when_they_are_asked_to_and_a_dry_run_touches_nothing(
    outside, start, postgres_dsn, tmp_path
):
    (tmp_path / "recordings").mkdir()
    await start(reclaim_roots=((tmp_path / "recordings").as_uri(),))
    await finished(outside, postgres_dsn, tmp_path, "old", "ann/1.mp4", "ann/2.mp4", days=9)
    await finished(outside, postgres_dsn, tmp_path, "new", "bob/3.mp4", days=2)
    # given nobody's rule, nothing went; when somebody asks what would go, then nothing goes either
    told = await asked(outside, "q1", keep_days=5)
    assert [(one.session_id, one.files, one.reason, one.blocked) for one in told.items] == [
        ("old", 2, "older than 5 days", "")
    ]
    assert (told.sessions, told.files, told.bytes) == (1, 2, 1800)
    assert left(tmp_path) == ["1.mp4", "2.mp4", "3.mp4"]
    # when somebody asks in earnest, then the session goes with all of its files, and history says where they went
    await asked(outside, "q2", dry_run=False, keep_days=5)
    done = await outside.until(ReclaimCompleted, request_id="q2")
    assert (done.sessions, done.bytes) == (1, 1800)
    assert left(tmp_path) == ["3.mp4"] and not (tmp_path / "recordings" / "ann").exists()
    (began,), (gone,) = outside.of(ReclaimStarted), outside.of(SessionReclaimed)
    assert (began.session_id, began.reason, len(began.files)) == ("old", "older than 5 days", 2)
    assert (gone.session_id, gone.files, gone.bytes) == ("old", 2, 1800)
    # and it is not counted again
    assert (await asked(outside, "q3", keep_days=5)).items == ()


async def test_what_is_not_uploaded_stays_and_what_was_uploaded_here_is_not_removed(
    outside, start, postgres_dsn, tmp_path
):
    (tmp_path / "recordings").mkdir()
    await start(reclaim_roots=((tmp_path / "recordings").as_uri(),), reclaim_only_uploaded="media")
    rules = {"keep_days": 1, "dry_run": False}
    (one,) = await finished(outside, postgres_dsn, tmp_path, "s1", "1.mp4", days=9)
    (two,) = await finished(outside, postgres_dsn, tmp_path, "s2", "22.mp4", days=8)
    archive = recording(tmp_path, "archive/1.mp4")
    told = await asked(outside, "q1", **rules)
    assert {one.blocked for one in told.items} == {"its videos are not uploaded"}
    # when one is uploaded, to a place below the root even, and the other one is on its way
    await uploaded(outside, one, "s1", archive.uri)
    await uploaded(outside, two, "s2", "s3://bucket/22.mp4", done=False)
    await asked(outside, "q2", **rules)
    await outside.until(ReclaimCompleted, request_id="q2")
    # then the one goes, its copy and the other one stay
    assert [event.session_id for event in outside.of(SessionReclaimed)] == ["s1"]
    assert left(tmp_path) == ["1.mp4", "22.mp4"] and (tmp_path / "recordings" / "archive" / "1.mp4").exists()
    told = await asked(outside, "q3", **rules, only_uploaded="no")
    assert [one.blocked for one in told.items] == ["a run or an upload of it is under way"]


async def test_the_policy_works_by_itself_and_goes_on_where_it_was_interrupted(
    outside, start, postgres_dsn, tmp_path, monkeypatch
):
    remove, refused = Shelves.remove, []

    async def remove_but_one(self, uri):
        if uri.endswith("2.mp4") and not refused:
            refused.append(uri)
            raise OSError("the disk refuses")
        await remove(self, uri)

    monkeypatch.setattr(Shelves, "remove", remove_but_one)
    (tmp_path / "recordings").mkdir()
    await start(reclaim_roots=((tmp_path / "recordings").as_uri(),), reclaim_keep_days=5, reclaim_every_s=0.2)
    await finished(outside, postgres_dsn, tmp_path, "young", "3.mp4")
    await finished(outside, postgres_dsn, tmp_path, "old", "1.mp4", "2.mp4", days=9)
    gone = await outside.until(SessionReclaimed)
    assert refused and (gone.session_id, gone.files) == ("old", 2)
    assert left(tmp_path) == ["3.mp4"]
    assert len(outside.of(ReclaimStarted)) == len(outside.of(SessionReclaimed)) == 1
