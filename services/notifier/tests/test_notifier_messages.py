"""Every event that can be told has one readable sentence."""

from __future__ import annotations

import pytest
from contracts import danmu, downloader, monitor, pipeline, scheduler, uploader
from contracts.message import Event
from contracts.notifier import TargetRemoved, TestTarget
from contracts.topology import NOTIFIABLE
from contracts.values import Artifact, EndReason

from services.notifier.messages import About, tell

ABOUT = About("Anna", "Night train")
FILE = Artifact(uri="s3://bucket/anna/001.mp4", media_type="video/mp4", size=1_234_567_890)
RECORDING = {"recording_id": "r", "session_id": "s", "streamer_id": "a"}
SESSION = {"session_id": "s", "streamer_id": "a"}

SAMPLES: dict[Event, tuple[str, str, str]] = {
    monitor.ChannelWentLive(streamer_id="a", title="Night train", category="Music"): (
        "Anna is live", "Anna went live with “Night train” in Music.", "info"),
    monitor.ChannelWentOffline(streamer_id="a"): ("Anna is offline", "Anna went offline.", "info"),
    monitor.ChannelTitleChanged(streamer_id="a", title="Dawn", category=""): (
        "Anna has a new title", "Anna goes on with “Dawn”.", "info"),
    monitor.ChannelFailed(streamer_id="a", error="banned", fatal=True): (
        "Anna cannot be checked", "Checks of Anna fail and repeating them will not help: banned", "failure"),
    monitor.ChannelRecovered(streamer_id="a"): (
        "Anna can be checked again", "Checks of Anna work again.", "success"),
    monitor.SessionOpened(
        **SESSION, streamer_name="Anna", url="https://live.example/1?token=x", platform="example", title="Night train",
        category="", started_at="2024-01-01T00:00:00+00:00"): (
        "Broadcast of Anna", "A broadcast of Anna began on example with “Night train”: https://live.example/1", "info"),
    monitor.SessionClosed(**SESSION, reason=EndReason.OFFLINE): (
        "Broadcast of Anna is over", "The broadcast of Anna is over: the channel went offline.", "info"),
    downloader.RecordingStarted(**RECORDING, worker="host-1", epoch=1, engine="flv"): (
        "Recording Anna", "host-1 records Anna with “Night train”.", "info"),
    downloader.SegmentCompleted(
        **RECORDING, index=2, artifact=FILE, start_ms=0, duration_ms=3_723_000, started_at="", split_reason="length"): (
        "Segment 3 of Anna", "Segment 3 of the recording of Anna is finished: 1 h 02 min, 1.2 GB.", "success"),
    downloader.GapOpened(**RECORDING, at_ms=65_000, cause="connection reset"): (
        "Recording of Anna interrupted", "The recording of Anna is interrupted after 1 min 05 s: connection reset", "warning"),
    downloader.RecordingEnded(
        **RECORDING, reason=EndReason.SOURCE_ENDED, detail="", segments=1, next_index=1, duration_ms=9_400, bytes=999): (
        "Recording of Anna ended", "The recording of Anna ended because the source ended: 1 segment, 9 s, 999 bytes.", "success"),
    downloader.DiskLow(worker="w1", level="warn", free_bytes=1_500_000_000, total_bytes=10**12): (
        "Disk of w1 is filling up", "There is little room where w1 records: 1.5 GB of 1.0 TB are free.", "warning"),
    downloader.DiskLow(worker="w1", level="stop", free_bytes=400_000_000, total_bytes=10**12): (
        "Disk of w1 is full",
        "Nothing more is recorded by w1 until there is room: 400.0 MB of 1.0 TB are free.", "failure"),
    downloader.DiskUnavailable(worker="w1", reason="the marker .aircheck is not there"): (
        "Folder of w1 cannot be used",
        "Nothing more is recorded by w1 until its folder is back: the marker .aircheck is not there", "failure"),
    downloader.DiskRecovered(worker="w1", free_bytes=2_000_000_000, total_bytes=10**12): (
        "Disk of w1 has room again", "w1 records again: 2.0 GB of 1.0 TB are free.", "success"),
    danmu.ChatUnreachable(**SESSION, outage_s=301, cause="no answer"): (
        "Chat of Anna is out of reach", "The chat of Anna could not be joined for 5 minutes: no answer", "failure"),
    danmu.ChatEnded(**SESSION, reason=EndReason.OFFLINE, files=2, lines=12_345): (
        "Chat of Anna is complete", "The chat of Anna has 12,345 lines in 2 files.", "info"),
    pipeline.RunFailed(run_id="x", session_id="s", kind="segment", index=0, error="ffmpeg: exit 1"): (
        "Processing for Anna failed", "Processing segment 1 of Anna failed: ffmpeg: exit 1", "failure"),
    pipeline.SessionFinished(
        **SESSION, segments=3, duration_ms=7_200_000, chat_lines=1, failed_runs=0, manifest=()): (
        "Broadcast of Anna is finished",
        "Everything of the broadcast of Anna with “Night train” is done: 3 segments, 2 h 00 min, 1 chat line.", "success"),
    pipeline.SessionReclaimed(**SESSION, files=4, bytes=1_234_000_000): (
        "Files of Anna removed", "4 files of a broadcast of Anna were removed to make room: 1.2 GB.", "warning"),
    uploader.UploadCompleted(upload_id="u", session_id="s", artifact=FILE, seconds=61.0): (
        "Uploaded 001.mp4", "001.mp4 of Anna was uploaded: 1.2 GB in 1 min 01 s.", "success"),
    uploader.UploadFailed(upload_id="u", session_id="s", error="no such bucket", attempts=10): (
        "Upload for Anna failed", "An upload of Anna was given up after 10 attempts: no such bucket", "failure"),
    scheduler.WatchCrashed(streamer_id="a", error="KeyError: 'x'", delay_s=5.0): (
        "Watch of Anna crashed", "The watch of Anna crashed and starts again in 5 s: KeyError: 'x'", "warning"),
}  # fmt: skip


def test_every_event_that_can_be_told_has_a_sample():
    assert {type(event) for event in SAMPLES} == set(NOTIFIABLE)


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: event.message_type)
def test_the_sentence(event: Event):
    text = tell(event, ABOUT)
    assert (text.title, text.body, text.severity) == SAMPLES[event]


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: event.message_type)
def test_without_a_name_the_id_says_which_one(event: Event):
    text = tell(event, About())
    expected = (
        "Anna"
        if isinstance(event, monitor.SessionOpened)
        else getattr(event, "streamer_id", getattr(event, "worker", "s"))
    )
    assert f" {expected}" in f" {text.body}"
    assert "“”" not in text.body


def test_every_reason_has_words_of_its_own():
    bodies = {tell(monitor.SessionClosed(**SESSION, reason=reason), ABOUT).body for reason in EndReason}
    assert len(bodies) == len(EndReason)


def test_a_failed_recording_is_a_failure_and_gives_the_detail():
    ended = downloader.RecordingEnded(
        **RECORDING, reason=EndReason.FAILED, detail="no\nspace", segments=0, next_index=0, duration_ms=0, bytes=0
    )
    text = tell(ended, ABOUT)
    assert (text.title, text.severity) == ("Recording of Anna failed", "failure")
    assert text.body == "The recording of Anna ended because it failed (no space): 0 segments, 0 s, 0 bytes."


def test_failed_runs_make_a_finished_session_a_warning():
    done = pipeline.SessionFinished(**SESSION, segments=1, duration_ms=0, chat_lines=0, failed_runs=2, manifest=())
    text = tell(done, About("Anna"))
    assert text.severity == "warning"
    assert text.body.endswith(", 2 runs of the pipeline failed.")


def test_checks_that_go_on_are_a_warning_and_a_saved_segment_says_so():
    assert tell(monitor.ChannelFailed(streamer_id="a", error="x", fatal=False), ABOUT).severity == "warning"
    saved = downloader.SegmentCompleted(
        **RECORDING, index=0, artifact=FILE, start_ms=0, duration_ms=0, started_at="", split_reason="", recovered=True
    )
    assert "was saved after a crash" in tell(saved, ABOUT).body


def test_a_failed_session_run_is_about_the_broadcast():
    failed = pipeline.RunFailed(run_id="x", session_id="s", kind="session", index=-1, error="x")
    assert "Processing the broadcast of Anna failed" in tell(failed, ABOUT).body


def test_foreign_text_stays_on_one_bounded_line():
    hostile = "a\r\nb\x00\x1b[31m\u2028" + "x" * 5000
    text = tell(monitor.ChannelWentLive(streamer_id="a", title=hostile, category=hostile), About(hostile))
    for line in (text.title, text.body):
        assert len(line) < 600
        assert line.isprintable()
    assert "a b [31m x" in text.body


def test_a_test_says_what_it_is_and_other_messages_have_no_text():
    assert "test" in tell(TestTarget(target_id="t"), About()).body
    with pytest.raises(TypeError, match=r"notifier\.target\.removed\.v1"):
        tell(TargetRemoved(target_id="t"), About())
