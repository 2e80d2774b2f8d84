"""What the downloader owns: recordings, their segments and gaps."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.message import Command, Event, Signal, Value
from contracts.values import Artifact, Effective, EndReason, Id, Json, Url


class StartRecording(Command, type="downloader.start_recording.v1", key="recording_id"):
    """Record a live channel until it ends or is stopped. ``first_index`` continues the numbering of the session."""

    recording_id: Id
    session_id: Id
    streamer_id: Id
    streamer_name: str
    url: Url
    platform: str
    title: str
    category: str = ""
    effective: Effective
    first_index: int = 0
    not_before: str | None = None


class StopRecording(Command, type="downloader.stop_recording.v1", key="recording_id"):
    """End a recording; what was written is kept."""

    recording_id: Id
    reason: EndReason


class CutRecording(Command, type="downloader.cut_recording.v1", key="recording_id"):
    """Begin a new segment at the next keyframe.

    ``cause`` becomes the split reason of the segment before (``cut``, ``title_change``, ``category_change``); ``title`` and ``category``
    name the next ones, where they are given.
    """

    recording_id: Id
    cause: Literal["command", "title", "category"] = "command"
    title: str | None = None
    category: str | None = None


class ReconfigureRecording(Command, type="downloader.reconfigure_recording.v1", key="recording_id"):
    """The effective configuration of a running recording changed; what concerns engine, limits and network holds from the next segment on."""

    recording_id: Id
    effective: Effective


class SetSlots(Command, type="downloader.set_slots.v1", key="scope"):
    """Change how many recordings run at a time, in one replica (``scope`` is its name) or in all others (``all``).

    ``None`` returns to what the scope ``all`` or the settings of the replica say. What runs goes on, also above the new number.
    """

    scope: Id
    slots: Annotated[int, Field(ge=0, le=1000)] | None = None
    extra_high: Annotated[int, Field(ge=0, le=1000)] | None = None


class SlotsChanged(Event, type="downloader.slots.changed.v1", key="scope"):
    """Somebody changed how many recordings run at a time; survives restarts because every replica of the scope reads it."""

    scope: Id
    slots: int | None = None
    extra_high: int | None = None


class DiskLow(Event, type="downloader.disk.low.v1", key="worker"):
    """Free space where a replica writes fell below a threshold: ``warn`` tells, ``stop`` also lets nothing more begin there."""

    worker: Id
    level: Literal["warn", "stop"]
    free_bytes: int
    total_bytes: int


class DiskUnavailable(Event, type="downloader.disk.unavailable.v1", key="worker"):
    """The folder a replica writes to is missing, not mounted or not writable: nothing begins there until it is back."""

    worker: Id
    reason: str


class DiskRecovered(Event, type="downloader.disk.recovered.v1", key="worker"):
    """The folder of a replica can be written again and has enough free space."""

    worker: Id
    free_bytes: int
    total_bytes: int


class RecordingRequested(Event, type="downloader.recording.requested.v1", key="recording_id"):
    """A recording is waiting for a replica to claim it. First event of its stream."""

    recording_id: Id
    session_id: Id
    streamer_id: Id
    streamer_name: str
    url: Url
    platform: str
    title: str
    category: str = ""
    effective: Effective
    first_index: int
    not_before: str | None = None


class RecordingStarted(Event, type="downloader.recording.started.v1", key="recording_id"):
    """A replica claimed the recording under a lease (again, after a crash or a hand-over: ``epoch`` grows)."""

    recording_id: Id
    session_id: Id
    streamer_id: Id
    worker: str
    epoch: int
    engine: str


class StopRequested(Event, type="downloader.recording.stop_requested.v1", key="recording_id"):
    """Somebody asked for the end of a recording; its owner stops at once, or it never starts."""

    recording_id: Id
    reason: EndReason


class CutRequested(Event, type="downloader.recording.cut_requested.v1", key="recording_id"):
    """Somebody asked for a new segment at the next keyframe, or what the channel shows changed."""

    recording_id: Id
    cause: Literal["command", "title", "category"] = "command"
    title: str | None = None
    category: str | None = None


class RecordingReconfigured(Event, type="downloader.recording.reconfigured.v1", key="recording_id"):
    """A running recording got a new effective configuration; carries it whole."""

    recording_id: Id
    effective: Effective


class SegmentOpened(Event, type="downloader.recording.segment_opened.v1", key="recording_id"):
    """The first media of a new file was written. ``start_ms`` is its place in the repaired timeline; ``started_at`` is wall-clock UTC."""

    recording_id: Id
    session_id: Id
    streamer_id: Id
    index: int
    uri: str
    start_ms: int
    started_at: str


class SegmentCompleted(Event, type="downloader.recording.segment_completed.v1", key="recording_id"):
    """A file is finished and will not change. ``repairs`` says what was mended in it, so that chat can be aligned.

    ``split_reason`` says why it ended where it did: ``end``, ``cut``, ``title_change``, ``category_change``, ``clock``, ``duration_limit``,
    ``size_limit``, a change of the media (``codec_change`` and the like), or ``recovered`` after a crash.
    """

    recording_id: Id
    session_id: Id
    streamer_id: Id
    index: int
    artifact: Artifact
    start_ms: int
    duration_ms: int
    started_at: str
    split_reason: str
    recovered: bool = False
    repairs: tuple[Json, ...] = ()


class SegmentDiscarded(Event, type="downloader.recording.segment_discarded.v1", key="recording_id"):
    """A file held no usable media (a torn or empty start) and was removed, or is lost with its machine."""

    recording_id: Id
    session_id: Id
    streamer_id: Id
    index: int
    reason: str


class GapOpened(Event, type="downloader.recording.gap_opened.v1", key="recording_id"):
    """The source broke: no media from ``at_ms`` of the recording on."""

    recording_id: Id
    session_id: Id
    streamer_id: Id
    at_ms: int
    cause: str


class GapClosed(Event, type="downloader.recording.gap_closed.v1", key="recording_id"):
    """Media flows again. ``lost_ms`` is what the recording misses; 0 when the overlap joined without a seam."""

    recording_id: Id
    session_id: Id
    streamer_id: Id
    at_ms: int
    lost_ms: int


class RecordingEnded(Event, type="downloader.recording.ended.v1", key="recording_id"):
    """No more media will be written to this recording. Last event of its stream; ``segments`` counts the finished files."""

    recording_id: Id
    session_id: Id
    streamer_id: Id
    reason: EndReason
    detail: str
    segments: int
    next_index: int
    duration_ms: int
    bytes: int


class Breaker(Value):
    """An engine configuration that is not tried at the moment, or only by one recording (``half_open``). ``wait_s`` is left until then."""

    engine: str
    fingerprint: str
    state: Literal["open", "half_open"]
    wait_s: float


class ReplicaStatus(Signal, type="downloader.replica.v1", key="worker"):
    """What a replica takes on, every few seconds. ``paused`` says why it claims nothing; empty when it does."""

    worker: Id
    slots: int
    extra_high: int
    running: int
    running_high: int
    paused: str = ""
    free_bytes: int = 0
    breakers: tuple[Breaker, ...] = ()


class RecordingProgress(Signal, type="downloader.progress.v1", key="recording_id"):
    """How a running recording is doing, about once a second. ``bitrate`` in bit/s."""

    recording_id: Id
    session_id: Id
    streamer_id: Id
    index: int
    bytes: int
    duration_ms: int
    bitrate: int
