"""Rows folded from events, without a database."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from contracts import danmu, downloader, monitor, pipeline
from contracts.config import StreamerAdded, StreamerChanged, StreamerRemoved, StreamerResolved, StreamerStopped
from contracts.values import Artifact, Effective, EndReason, EngineName

from services.gateway import projections
from services.gateway.projections import MODELS
from services.gateway.projections.jobs import job
from services.gateway.projections.model import Change, Folded
from services.gateway.projections.recordings import recording, segment
from services.gateway.projections.sessions import chat, session
from services.gateway.projections.streamers import channel, streamer

TIME = "2026-01-02T03:04:05+00:00"
FILE = Artifact(uri="file:///a.flv", media_type="video/x-flv", size=10)


def fold(evolve, *events):
    row = None
    for version, event in enumerate(events, 1):
        row = evolve(row, Change(event, version, TIME, version))
    return row


ADDED = StreamerAdded(streamer_id="s", url="https://a.example", name="one", platform="direct")


def test_a_streamer_is_what_its_events_made_of_it():
    changed = StreamerChanged(streamer_id="s", name="two", template="t")
    resolved = StreamerResolved(
        streamer_id="s",
        url="x",
        name="two",
        platform="direct",
        enabled=False,
        effective=Effective(),
        provenance={"quality": "default"},
    )

    row = fold(streamer, ADDED, changed, StreamerStopped(streamer_id="s"), resolved)

    assert (row["name"], row["template"], row["enabled"], row["version"]) == ("two", "t", False, 4)
    assert row["url"] == "https://a.example" and row["effective"]["quality"] == "best"
    assert row["created_at"] == row["updated_at"] == TIME


def test_a_removed_streamer_leaves_no_row():
    assert fold(streamer, ADDED, StreamerRemoved(streamer_id="s")) is None


def test_a_channel_keeps_its_title_while_it_fails():
    row = fold(
        channel,
        monitor.ChannelWentLive(streamer_id="s", title="T", category="c"),
        monitor.ChannelFailed(streamer_id="s", error="timeout", fatal=False),
    )

    assert (row["live"], row["title"], row["error"]) == (True, "T", "timeout")
    assert channel(row, Change(monitor.ChannelRecovered(streamer_id="s"), 3, TIME, 3))["error"] == ""


def test_events_after_the_end_do_not_bring_a_session_back_to_life():
    assert fold(session, monitor.SessionResumed(session_id="a", streamer_id="s")) is None


IDS = {"recording_id": "r", "session_id": "a", "streamer_id": "s"}
REQUESTED = downloader.RecordingRequested(
    **IDS, streamer_name="n", url="u", platform="p", title="t", effective=Effective(), first_index=0
)
STARTED = downloader.RecordingStarted(**IDS, worker="w1", epoch=1, engine="flv")
COMPLETED = downloader.SegmentCompleted(
    **IDS, index=0, artifact=FILE, start_ms=0, duration_ms=1000, started_at=TIME, split_reason="end"
)


def test_a_recording_counts_its_segments_and_losses():
    row = fold(
        recording,
        REQUESTED,
        STARTED,
        downloader.GapOpened(**IDS, at_ms=5, cause="eof"),
        downloader.GapClosed(**IDS, at_ms=5, lost_ms=40),
        COMPLETED,
        downloader.RecordingStarted(**IDS, worker="w2", epoch=2, engine="flv"),
    )

    assert (row["segments"], row["duration_ms"], row["bytes"], row["lost_ms"]) == (1, 1000, 10, 40)
    assert (row["worker"], row["epoch"], row["started_at"]) == ("w2", 2, TIME)
    assert row["gaps"] == [{"at_ms": 5, "cause": "eof", "opened_at": TIME, "closed_at": TIME, "lost_ms": 40}]


def test_a_recording_shows_the_engine_of_its_new_configuration():
    other = downloader.RecordingReconfigured(recording_id="r", effective=Effective(engine=EngineName.FFMPEG))

    assert fold(recording, REQUESTED, STARTED, other)["engine"] == "ffmpeg"
    assert fold(recording, REQUESTED, other)["engine"] == ""


def test_the_totals_of_the_end_are_the_truth():
    ended = downloader.RecordingEnded(
        **IDS, reason=EndReason.OFFLINE, detail="", segments=3, next_index=3, duration_ms=9, bytes=8
    )

    row = fold(recording, REQUESTED, COMPLETED, ended)

    assert (row["state"], row["segments"], row["duration_ms"], row["bytes"]) == ("ended", 3, 9, 8)
    late = downloader.StopRequested(recording_id="r", reason=EndReason.STOPPED)
    assert recording(row, Change(late, 4, TIME, 4))["state"] == "ended"


def test_a_segment_from_its_opening_to_its_end():
    opened = downloader.SegmentOpened(**IDS, index=0, uri="file:///a.part", start_ms=0, started_at=TIME)

    writing, done = fold(segment, opened), fold(segment, opened, COMPLETED)
    discarded = fold(segment, opened, downloader.SegmentDiscarded(**IDS, index=0, reason="torn"))

    assert (writing["state"], writing["uri"], writing["artifact"]) == ("writing", "file:///a.part", None)
    assert (done["state"], done["uri"], done["artifact"]["size"]) == ("completed", FILE.uri, 10)
    assert (discarded["state"], discarded["split_reason"]) == ("discarded", "torn")


def test_a_job_cancelled_before_its_release_is_shown():
    row = fold(job, pipeline.JobCancelled(run_id="r", session_id="a", job_id="j", step_id="upload"))

    assert (row["state"], row["step_id"], row["attempts"]) == ("cancelled", "upload", 0)


def test_a_chat_that_moves_to_another_replica_keeps_counting():
    started = danmu.ChatStarted(session_id="a", streamer_id="s", chat_kind="bilibili", worker="w1", epoch=1)
    file = danmu.ChatFileCompleted(
        session_id="a", streamer_id="s", recording_id="r", index=0, log=FILE, xml=FILE, lines=7, started_at=TIME
    )
    again = danmu.ChatStarted(session_id="a", streamer_id="s", chat_kind="bilibili", worker="w2", epoch=2)

    row = fold(chat, started, file, again)

    assert (row["files"], row["lines"], row["worker"], row["state"]) == (1, 7, "w2", "connected")


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_table_is_declared_with_its_key(model):
    assert isinstance(model, Folded)
    assert set(model.columns) == set(model.tables)
    for table in model.folds:
        assert set(table.key) <= set(model.columns[table.name])


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_handled_event_concerns_a_row(model):
    for cls in model.handles:
        values = dict.fromkeys(cls.model_fields, "x") | {"index": 0}
        event = cls.model_construct(**values)
        assert any(list(table.keys(event)) for table in model.folds), cls.__name__


def test_read_models_ask_no_clock_and_no_chance():
    folder = Path(inspect.getfile(projections)).parent
    for model in MODELS:
        for suffix in ("py", "sql"):
            text = (folder / f"{model.name}.{suffix}").read_text(encoding="utf-8")
            assert not re.search(r"\bnow\(|utcnow|time\.time|random|uuid4|clock_timestamp|current_timestamp", text), (
                model.name
            )
