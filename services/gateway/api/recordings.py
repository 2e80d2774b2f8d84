"""Recordings: looking at them, cutting and stopping them."""

from __future__ import annotations

from typing import Annotated, Any

from contracts.downloader import CutRecording, RecordingProgress, ReplicaStatus, SetSlots, StopRecording
from contracts.values import EndReason, Id
from fastapi import APIRouter, Query, Request, Response

from services.gateway.api.context import Gateway, Parts
from services.gateway.api.outcome import ACCEPTED, change, resource
from services.gateway.api.paging import MAX_LIMIT, Page, Paged
from services.gateway.api.problems import not_found
from services.gateway.api.resources import Recording, RecordingWithSegments, Slots, SlotsChange
from services.gateway.api.security import changing, reading
from services.gateway.store import views

router = APIRouter(prefix="/api/recordings", tags=["recordings"])


@router.get("", dependencies=[reading("recordings")])
async def recordings(
    parts: Parts,
    paging: Paged,
    session_id: Annotated[Id | None, Query()] = None,
    streamer_id: Annotated[Id | None, Query()] = None,
    active: bool | None = None,
) -> Page[Recording]:
    """Recordings, newest first; running ones with their last progress."""
    found = await views.recordings(
        parts.pool,
        session_id=session_id,
        streamer_id=streamer_id,
        active=active,
        before=paging.by_time(),
        limit=paging.fetch,
    )
    shown = [_live(parts, item) for item in found]
    return Page[Recording].model_validate(paging.page(shown, "requested_at", "id"))


@router.get("/slots", response_model=Slots, dependencies=[reading("recordings")])
async def slots(parts: Parts) -> dict[str, Any]:
    """How many recordings may run at a time, replica by replica; which of them take nothing at the moment, and why."""
    return await _slots(parts)


@router.patch("/slots", response_model=Slots, responses=ACCEPTED, dependencies=[changing("recordings")])
async def set_slots(request: Request, body: SlotsChange, parts: Parts) -> Response:
    """Set the slots of one replica or of all; what runs goes on. Replicas follow within seconds and say so in `replicas`."""

    async def load() -> dict[str, Any]:
        return await _slots(parts)

    return await change(request, SetSlots(**body.model_dump()), Slots, load, location="/api/recordings/slots")


async def _slots(parts: Gateway) -> dict[str, Any]:
    return {"replicas": parts.signals.all(ReplicaStatus), "waiting": await views.waiting(parts.pool)}


@router.get("/{recording_id}", response_model=RecordingWithSegments, dependencies=[reading("recordings")])
async def recording(recording_id: Id, parts: Parts) -> Response:
    """One recording with its first 200 files; the pages of a session's segments have all."""
    item = await _existing(parts, recording_id)
    files = await views.segments(parts.pool, recording_id=recording_id, limit=MAX_LIMIT)
    return resource({**item, "files": files}, RecordingWithSegments)


@router.post("/{recording_id}/cut", response_model=Recording, responses=ACCEPTED, dependencies=[changing("recordings")])
async def cut(request: Request, recording_id: Id, parts: Parts) -> Response:
    """Begin a new file at the next keyframe."""
    await _existing(parts, recording_id)
    return await _change(request, CutRecording(recording_id=recording_id), recording_id, parts)


@router.post(
    "/{recording_id}/stop", response_model=Recording, responses=ACCEPTED, dependencies=[changing("recordings")]
)
async def stop(request: Request, recording_id: Id, parts: Parts) -> Response:
    """End a recording; what was written is kept. To stop watching, stop the streamer."""
    await _existing(parts, recording_id)
    command = StopRecording(recording_id=recording_id, reason=EndReason.STOPPED)
    return await _change(request, command, recording_id, parts)


async def _change(
    request: Request, command: CutRecording | StopRecording, recording_id: str, parts: Gateway
) -> Response:
    async def load() -> dict[str, Any] | None:
        found = await views.recordings(parts.pool, id=recording_id)
        return _live(parts, found[0]) if found else None

    return await change(request, command, Recording, load, location=f"/api/recordings/{recording_id}")


async def _existing(parts: Gateway, recording_id: str) -> dict[str, Any]:
    found = await views.recordings(parts.pool, id=recording_id)
    if not found:
        raise not_found("recording", recording_id)
    return _live(parts, found[0])


def _live(parts: Gateway, item: dict[str, Any]) -> dict[str, Any]:
    running = item["ended_at"] is None
    return {**item, "progress": parts.signals.last(RecordingProgress, item["id"]) if running else None}
