"""Events in words for people: a short title and one sentence. Pure; English.

Text that comes from outside (titles of broadcasts, error messages) is put on one line and cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch

from contracts import danmu, downloader, monitor, notifier, pipeline, scheduler, uploader
from contracts.message import Message
from contracts.values import EndReason

from services.notifier.adapters.channel import Severity

_WHY = {
    EndReason.OFFLINE: "the channel went offline",
    EndReason.STOPPED: "it was stopped",
    EndReason.REMOVED: "the streamer was removed",
    EndReason.FILTERED: "the filters exclude it",
    EndReason.SOURCE_ENDED: "the source ended",
    EndReason.FAILED: "it failed",
    EndReason.SUPERSEDED: "another one took its place",
}
_UNITS = ("bytes", "kB", "MB", "GB", "TB")


@dataclass(frozen=True, slots=True)
class About:
    """Whom and what an event is about: the streamer's name and the broadcast's title, empty where nobody has told them yet."""

    streamer: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """What a person reads."""

    title: str
    body: str
    severity: Severity = "info"


@singledispatch
def tell(event: Message, about: About) -> Text:
    """The text for one event; raises TypeError for an event nobody is told of."""
    raise TypeError(f"there is no text for {event.message_type}")


@tell.register
def _went_live(event: monitor.ChannelWentLive, about: About) -> Text:
    who = _who(event, about)
    return Text(f"{who} is live", f"{who} went live{_with(event.title)}{_in(event.category)}.")


@tell.register
def _went_offline(event: monitor.ChannelWentOffline, about: About) -> Text:
    who = _who(event, about)
    return Text(f"{who} is offline", f"{who} went offline.")


@tell.register
def _title_changed(event: monitor.ChannelTitleChanged, about: About) -> Text:
    who = _who(event, about)
    return Text(f"{who} has a new title", f"{who} goes on{_with(event.title)}{_in(event.category)}.")


@tell.register
def _check_failed(event: monitor.ChannelFailed, about: About) -> Text:
    who, error = _who(event, about), _line(event.error, 500)
    if event.fatal:
        return Text(
            f"{who} cannot be checked", f"Checks of {who} fail and repeating them will not help: {error}", "failure"
        )
    return Text(f"{who} cannot be checked", f"Checks of {who} fail and are repeated: {error}", "warning")


@tell.register
def _check_recovered(event: monitor.ChannelRecovered, about: About) -> Text:
    who = _who(event, about)
    return Text(f"{who} can be checked again", f"Checks of {who} work again.", "success")


@tell.register
def _session_opened(event: monitor.SessionOpened, about: About) -> Text:
    who = _line(event.streamer_name, 100) or _who(event, about)
    where = event.url.partition("?")[0]
    return Text(
        f"Broadcast of {who}",
        f"A broadcast of {who} began on {_line(event.platform, 100)}{_with(event.title)}: {where}",
    )


@tell.register
def _session_closed(event: monitor.SessionClosed, about: About) -> Text:
    who = _who(event, about)
    return Text(f"Broadcast of {who} is over", f"The broadcast of {who} is over: {_WHY[event.reason]}.")


@tell.register
def _recording_started(event: downloader.RecordingStarted, about: About) -> Text:
    who = _who(event, about)
    return Text(f"Recording {who}", f"{_line(event.worker, 100)} records {who}{_with(about.title)}.")


@tell.register
def _segment_completed(event: downloader.SegmentCompleted, about: About) -> Text:
    who, length = _who(event, about), f"{_duration(event.duration_ms)}, {_size(event.artifact.size)}"
    saved = " was saved after a crash" if event.recovered else " is finished"
    return Text(
        f"Segment {event.index + 1} of {who}",
        f"Segment {event.index + 1} of the recording of {who}{saved}: {length}.",
        "success",
    )


@tell.register
def _gap_opened(event: downloader.GapOpened, about: About) -> Text:
    who = _who(event, about)
    body = f"The recording of {who} is interrupted after {_duration(event.at_ms)}: {_line(event.cause, 500)}"
    return Text(f"Recording of {who} interrupted", body, "warning")


@tell.register
def _recording_ended(event: downloader.RecordingEnded, about: About) -> Text:
    who = _who(event, about)
    kept = f"{_count(event.segments, 'segment')}, {_duration(event.duration_ms)}, {_size(event.bytes)}"
    detail = f" ({_line(event.detail, 500)})" if event.detail else ""
    failed = event.reason is EndReason.FAILED
    return Text(
        f"Recording of {who} {'failed' if failed else 'ended'}",
        f"The recording of {who} ended because {_WHY[event.reason]}{detail}: {kept}.",
        "failure" if failed else "success",
    )


@tell.register
def _disk_low(event: downloader.DiskLow, about: About) -> Text:
    where, left = _line(event.worker, 100), f"{_size(event.free_bytes)} of {_size(event.total_bytes)} are free"
    if event.level == "stop":
        return Text(
            f"Disk of {where} is full", f"Nothing more is recorded by {where} until there is room: {left}.", "failure"
        )
    return Text(f"Disk of {where} is filling up", f"There is little room where {where} records: {left}.", "warning")


@tell.register
def _disk_unavailable(event: downloader.DiskUnavailable, about: About) -> Text:
    where = _line(event.worker, 100)
    body = f"Nothing more is recorded by {where} until its folder is back: {_line(event.reason, 500)}"
    return Text(f"Folder of {where} cannot be used", body, "failure")


@tell.register
def _disk_recovered(event: downloader.DiskRecovered, about: About) -> Text:
    where = _line(event.worker, 100)
    left = f"{_size(event.free_bytes)} of {_size(event.total_bytes)} are free"
    return Text(f"Disk of {where} has room again", f"{where} records again: {left}.", "success")


@tell.register
def _chat_unreachable(event: danmu.ChatUnreachable, about: About) -> Text:
    who = _who(event, about)
    since = _count(round(event.outage_s / 60), "minute")
    return Text(
        f"Chat of {who} is out of reach",
        f"The chat of {who} could not be joined for {since}: {_line(event.cause, 500)}",
        "failure",
    )


@tell.register
def _chat_ended(event: danmu.ChatEnded, about: About) -> Text:
    who = _who(event, about)
    body = f"The chat of {who} has {_count(event.lines, 'line')} in {_count(event.files, 'file')}."
    return Text(f"Chat of {who} is complete", body)


@tell.register
def _run_failed(event: pipeline.RunFailed, about: About) -> Text:
    what = f"segment {event.index + 1}" if event.index >= 0 else "the broadcast"
    who = _who(event, about)
    body = f"Processing {what} of {who} failed: {_line(event.error, 500)}"
    return Text(f"Processing for {who} failed", body, "failure")


@tell.register
def _session_finished(event: pipeline.SessionFinished, about: About) -> Text:
    who = _who(event, about)
    counts = (
        f"{_count(event.segments, 'segment')}, {_duration(event.duration_ms)}, {_count(event.chat_lines, 'chat line')}"
    )
    failed = f", {_count(event.failed_runs, 'run')} of the pipeline failed" if event.failed_runs else ""
    return Text(
        f"Broadcast of {who} is finished",
        f"Everything of the broadcast of {who}{_with(about.title)} is done: {counts}{failed}.",
        "warning" if event.failed_runs else "success",
    )


@tell.register
def _session_reclaimed(event: pipeline.SessionReclaimed, about: About) -> Text:
    who = _who(event, about)
    body = f"{_count(event.files, 'file')} of a broadcast of {who} were removed to make room: {_size(event.bytes)}."
    return Text(f"Files of {who} removed", body, "warning")


@tell.register
def _upload_completed(event: uploader.UploadCompleted, about: About) -> Text:
    name = _line(event.artifact.uri.rpartition("/")[2], 200)
    body = f"{name} of {_who(event, about)} was uploaded: {_size(event.artifact.size)} in {_duration(event.seconds * 1000)}."
    return Text(f"Uploaded {name}", body, "success")


@tell.register
def _upload_failed(event: uploader.UploadFailed, about: About) -> Text:
    who = _who(event, about)
    body = f"An upload of {who} was given up after {_count(event.attempts, 'attempt')}: {_line(event.error, 500)}"
    return Text(f"Upload for {who} failed", body, "failure")


@tell.register
def _watch_crashed(event: scheduler.WatchCrashed, about: About) -> Text:
    who = _who(event, about)
    body = (
        f"The watch of {who} crashed and starts again in {_duration(event.delay_s * 1000)}: {_line(event.error, 500)}"
    )
    return Text(f"Watch of {who} crashed", body, "warning")


@tell.register
def _test(event: notifier.TestTarget, about: About) -> Text:
    return Text("Test from Aircheck", "This is a test: notifications from Aircheck arrive here.")


def _who(event: Message, about: About) -> str:
    # Without a name the id says at least which one it is.
    known = about.streamer or getattr(event, "streamer_id", "") or getattr(event, "session_id", "")
    return _line(known, 100)


def _with(title: str) -> str:
    line = _line(title, 200)
    return f" with “{line}”" if line else ""


def _in(category: str) -> str:
    line = _line(category, 100)
    return f" in {line}" if line else ""


def _line(text: str, longest: int) -> str:
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _duration(ms: float) -> str:
    seconds = round(ms / 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"


def _size(size: float) -> str:
    for unit in _UNITS:
        if size < 1000 or unit == _UNITS[-1]:
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
