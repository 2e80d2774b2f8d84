"""Which finished sessions go to make room: whole sessions, oldest first; pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from contracts.aggregate import Aggregate
from contracts.message import Event
from contracts.pipeline import (
    Reclaim,
    ReclaimCompleted,
    ReclaimItem,
    ReclaimPlanned,
    ReclaimRequested,
    ReclaimStarted,
    ReclaimUploaded,
    SessionReclaimed,
)
from contracts.values import Artifact

from services.pipeline.domain.graph import parts
from services.pipeline.domain.run import Run

MAX_ITEMS = 500
MEGABYTE, GIGABYTE = 1_000_000, 1_000_000_000


@dataclass(frozen=True, slots=True)
class Policy:
    """When a session goes; 0 is no rule. Nothing goes that finished less than ``protect_s`` ago."""

    keep_days: float = 0.0
    max_total_gb: float = 0.0
    min_free_mb: int = 0
    only_uploaded: ReclaimUploaded = "no"
    protect_s: float = 86_400.0

    def asked(self, request: ReclaimRequested) -> Policy:
        """This policy with the rules that a request names."""
        named = request.model_dump(include={"keep_days", "max_total_gb", "min_free_mb", "only_uploaded"})
        return replace(self, **{name: value for name, value in named.items() if value is not None})


@dataclass(frozen=True, slots=True)
class Candidate:
    """A finished session with the files of it that lie in the roots now. ``blocked`` says why it must stay in any case."""

    session_id: str
    streamer_id: str
    streamer_name: str
    title: str
    finished_at: datetime
    files: tuple[Artifact, ...]
    blocked: str = ""
    media_uploaded: bool = False
    all_uploaded: bool = False

    @property
    def bytes(self) -> int:
        """What its files take."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True)
class Going:
    """A session that a rule concerns. It goes when ``blocked`` is empty."""

    candidate: Candidate
    reason: str
    blocked: str = ""


def plan(candidates: Sequence[Candidate], policy: Policy, *, now: datetime, free_bytes: int | None) -> list[Going]:
    """The sessions that rules concern, oldest first. ``free_bytes`` is None where nobody can say how much is free."""
    found: list[Going] = []
    total = sum(one.bytes for one in candidates)
    for one in sorted(candidates, key=lambda candidate: candidate.finished_at):
        reason = _reason(one, policy, now, total, free_bytes)
        if not reason or not one.files:
            continue
        blocked = one.blocked or _stays(one, policy, now)
        found.append(Going(one, reason, blocked))
        if not blocked:
            total -= one.bytes
            free_bytes = None if free_bytes is None else free_bytes + one.bytes
    return found


def _reason(one: Candidate, policy: Policy, now: datetime, total: int, free: int | None) -> str:
    if policy.keep_days and now - one.finished_at > timedelta(days=policy.keep_days):
        return f"older than {policy.keep_days:g} days"
    if policy.max_total_gb and total > policy.max_total_gb * GIGABYTE:
        return f"more than {policy.max_total_gb:g} GB are kept"
    if policy.min_free_mb and free is not None and free < policy.min_free_mb * MEGABYTE:
        return f"less than {policy.min_free_mb} MB are free"
    return ""


def _stays(one: Candidate, policy: Policy, now: datetime) -> str:
    if now - one.finished_at < timedelta(seconds=policy.protect_s):
        return "too young"
    if policy.only_uploaded == "media" and not one.media_uploaded:
        return "its videos are not uploaded"
    if policy.only_uploaded == "all" and not one.all_uploaded:
        return "not everything of it is uploaded"
    return ""


def media_is_uploaded(recorded: Sequence[Artifact], runs: Sequence[Run], uploaded: Collection[str]) -> bool:
    """Whether each recorded file, or a video that completed runs made of it, was uploaded. ``uploaded`` are URIs of sources."""
    covered, before = set(uploaded), -1
    while len(covered) != before:
        before = len(covered)
        for run in runs:
            inputs = {file.uri for file in run.plan.inputs if _is_media(file)} if run.plan else set()
            if run.status == "completed" and _stands_for(run, inputs, covered):
                covered |= inputs
    return all(file.uri in covered for file in recorded)


def _stands_for(run: Run, inputs: set[str], covered: set[str]) -> bool:
    """Whether what a run made is uploaded and stands for what it began with: of several inputs nobody knows which result is whose."""
    outputs = (file for job in run.jobs.values() if not job.is_upload for file in job.outputs)
    made = {file.uri for file in outputs if _is_media(file)} - inputs
    return bool(made) and (made <= covered if len(inputs) > 1 else not made.isdisjoint(covered))


def _is_media(file: Artifact) -> bool:
    return file.media_type.startswith(("video/", "audio/"))


def starting(going: Going) -> list[Event]:
    """What is said before the files of a session go."""
    one = going.candidate
    return [
        ReclaimStarted(session_id=one.session_id, streamer_id=one.streamer_id, reason=going.reason, files=files)
        for files in parts(one.files)
    ]


def reclaimed(session_id: str, streamer_id: str, files: int, size: int) -> SessionReclaimed:
    """What is said when they are gone."""
    return SessionReclaimed(session_id=session_id, streamer_id=streamer_id, files=files, bytes=size)


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asked for, and how far it is."""

    asked: ReclaimRequested | None = None
    planned: bool = False
    over: bool = False


def evolve(state: Request, event: Event) -> Request:
    """The request after an event."""
    match event:
        case ReclaimRequested():
            return Request(event)
        case ReclaimPlanned():
            return replace(state, planned=True, over=state.asked is None or state.asked.dry_run)
        case ReclaimCompleted():
            return replace(state, over=True)
    return state


REQUEST = Aggregate("reclaim", Request(), evolve)


def decide_request(state: Request, command: Reclaim) -> list[Event]:
    """Take a request once."""
    return [] if state.asked is not None else [ReclaimRequested(**command.model_dump())]


def answer(request_id: str, found: Sequence[Going]) -> ReclaimPlanned:
    """The plan as an event."""
    goes = [one.candidate for one in found if not one.blocked]
    return ReclaimPlanned(
        request_id=request_id,
        items=tuple(_item(one) for one in found[:MAX_ITEMS]),
        sessions=len(goes),
        files=sum(len(one.files) for one in goes),
        bytes=sum(one.bytes for one in goes),
    )


def _item(going: Going) -> ReclaimItem:
    one = going.candidate
    return ReclaimItem(
        session_id=one.session_id,
        streamer_name=one.streamer_name[:200],
        title=one.title[:200],
        finished_at=one.finished_at.isoformat(),
        files=len(one.files),
        bytes=one.bytes,
        reason=going.reason,
        blocked=going.blocked,
    )
