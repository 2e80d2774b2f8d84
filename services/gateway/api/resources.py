"""What the API shows. Enumerations are open: a client must survive values it does not know."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from contracts.downloader import ReplicaStatus
from contracts.pipeline import ReclaimItem, ReclaimUploaded
from contracts.values import Artifact, Effective, Filters, Id, Layer, Step
from pydantic import BaseModel, ConfigDict, Field

Json = dict[str, Any]


class ChannelView(BaseModel):
    """What the monitor last said about a channel."""

    live: bool
    title: str
    category: str
    error: str
    fatal: bool
    changed_at: datetime


class OpenSession(BaseModel):
    """The broadcast that is going on."""

    id: str
    state: str
    title: str
    started_at: str


class RunningRecording(BaseModel):
    """The recording that is going on; ``bitrate`` in bit/s, ``null`` when it was not heard of for a while."""

    id: str
    state: str
    bytes: int
    duration_ms: int
    bitrate: int | None = None


class StreamerFilters(BaseModel):
    """What a channel must satisfy to be recorded, and the layer that says so: default, global, ``platform-…``, ``template-…`` or streamer."""

    filters: Filters
    origin: str
    version: int


class Streamer(BaseModel):
    """A watched channel. ``state``: stopped, waiting, offline, live, recording or failing."""

    id: str
    url: str
    name: str
    platform: str
    template: str | None
    layer: Layer
    enabled: bool
    effective: Effective | None
    provenance: dict[str, str] | None
    version: int
    created_at: datetime
    updated_at: datetime
    state: str
    channel: ChannelView | None
    session: OpenSession | None
    recording: RunningRecording | None


class SharedLayer(BaseModel):
    """A layer of the configuration that several streamers stand on."""

    id: str
    kind: str
    name: str
    layer: Layer
    version: int
    updated_at: datetime | None


class SessionChat(BaseModel):
    """The chat of a session in short. ``lines``: in its finished files; while it runs, what was said so far where that is known."""

    state: str
    kind: str
    files: int
    lines: int
    cause: str


class Session(BaseModel):
    """A broadcast and what was made of it. ``recorded_at``: nothing more will be recorded; ``finished_at``: everything is processed;
    ``reclaimed_at``: its files were removed to make room.
    """

    id: str
    streamer_id: str
    streamer_name: str
    url: str
    platform: str
    title: str
    category: str
    state: str
    started_at: str
    opened_at: datetime
    closed_at: datetime | None
    reason: str | None
    version: int
    recordings: list[str]
    segments: int
    duration_ms: int
    bytes: int
    lost_ms: int
    recorded_at: datetime | None
    finished_at: datetime | None
    failed_runs: int | None
    reclaimed_at: datetime | None
    reclaim_reason: str
    chat: SessionChat | None


class Manifest(BaseModel):
    """Every file that came out of a finished session."""

    session_id: str
    segments: int
    duration_ms: int
    chat_lines: int
    failed_runs: int
    manifest: list[Artifact]
    finished_at: datetime
    reclaimed_at: datetime | None


class ChatFile(BaseModel):
    """The chat of one segment."""

    recording_id: str
    index: int
    log: Artifact
    xml: Artifact
    lines: int
    started_at: str


class ChatFiles(BaseModel):
    """The chat of a session with its files."""

    session_id: str
    state: str
    kind: str
    files: int
    lines: int
    cause: str
    started_at: datetime
    ended_at: datetime | None
    items: list[ChatFile]


class ChatLine(BaseModel):
    """One message of a finished chat file. ``offset_ms``: its place in the video file; ``message``: as the log has it, and live chat too."""

    recording_id: str
    index: int
    file: int
    line: int
    offset_ms: int
    message: Json


class Segment(BaseModel):
    """One file of a recording. ``state``: writing, completed or discarded; times in the repaired timeline in milliseconds."""

    recording_id: str
    index: int
    session_id: str
    state: str
    uri: str
    artifact: Artifact | None
    start_ms: int
    duration_ms: int | None
    started_at: str
    split_reason: str
    recovered: bool
    repairs: list[Json]
    opened_at: datetime
    completed_at: datetime | None


class Gap(BaseModel):
    """A time without media."""

    at_ms: int
    cause: str
    opened_at: datetime
    closed_at: datetime | None
    lost_ms: int | None


class Recording(BaseModel):
    """A recording. ``state``: requested, recording, stopping or ended. ``progress`` is the last signal of a running one.

    One that is requested waits for a slot: ``queue_position`` counts from 1, by priority and then by age; not before ``not_before``.
    """

    id: str
    session_id: str
    streamer_id: str
    streamer_name: str
    url: str
    platform: str
    title: str
    category: str
    state: str
    worker: str
    epoch: int
    engine: str
    segments: int
    gaps: list[Gap]
    lost_ms: int
    duration_ms: int
    bytes: int
    reason: str | None
    detail: str
    priority: str
    not_before: datetime | None
    queue_position: int | None
    reclaimed_at: datetime | None
    requested_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    version: int
    progress: Json | None = None


class ReclaimRequest(BaseModel):
    """Look what would be removed (``dry_run``), or remove it. Rules that are null are those of the settings; 0 switches one off."""

    model_config = ConfigDict(extra="forbid")

    dry_run: bool = True
    keep_days: Annotated[float, Field(ge=0, le=36_500)] | None = None
    max_total_gb: Annotated[float, Field(ge=0)] | None = None
    min_free_mb: Annotated[int, Field(ge=0)] | None = None
    only_uploaded: ReclaimUploaded | None = None


class Reclaim(BaseModel):
    """A request to make room. ``state``: requested, running or completed; ``items`` are the sessions that go and those that a rule
    concerns but that stay (``blocked`` says why); ``sessions``, ``files`` and ``bytes`` count what goes.
    """

    id: str
    dry_run: bool
    state: str
    items: list[ReclaimItem]
    sessions: int
    files: int
    bytes: int
    requested_at: datetime
    ended_at: datetime | None
    version: int


class Slots(BaseModel):
    """The replicas that record, as they told during the last seconds, and how many recordings wait for a slot."""

    replicas: list[ReplicaStatus]
    waiting: int


class SlotsChange(BaseModel):
    """How many recordings run at a time, and how many of high priority beyond; null: as the settings of the replica say."""

    model_config = ConfigDict(extra="forbid")

    scope: Id = "all"
    slots: Annotated[int, Field(ge=0, le=1000)] | None = None
    extra_high: Annotated[int, Field(ge=0, le=1000)] | None = None


class RecordingWithSegments(Recording):
    """A recording with its files."""

    files: list[Segment]


class Job(BaseModel):
    """One job of a run. ``state``: released, running, completed, failed or cancelled. ``progress``: the last signal of a running one."""

    run_id: str
    job_id: str
    session_id: str
    step_id: str
    processor: str
    state: str
    worker: str
    attempts: int
    inputs: list[Artifact]
    outputs: list[Artifact]
    error: str
    seconds: float | None
    released_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    progress: Json | None = None


class Run(BaseModel):
    """A pipeline run. ``state``: running, completed or failed; ``index`` is the segment or -1."""

    id: str
    session_id: str
    kind: str
    index: int
    state: str
    steps: list[Step]
    inputs: list[Artifact]
    outputs: list[Artifact]
    error: str
    planned_at: datetime
    ended_at: datetime | None
    version: int


class RunWithJobs(Run):
    """A run with the jobs it has so far."""

    jobs: list[Job]


class Upload(BaseModel):
    """An upload. ``state``: requested, running, completed, failed or cancelled."""

    id: str
    session_id: str
    source: Artifact
    destination: str
    state: str
    worker: str
    artifact: Artifact | None
    seconds: float | None
    error: str
    attempts: int
    requested_at: datetime
    ended_at: datetime | None
    version: int
    progress: Json | None = None
