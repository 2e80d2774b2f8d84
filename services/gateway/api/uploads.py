"""Uploads of finished files."""

from __future__ import annotations

from typing import Annotated, Any

from contracts.aggregate import Rejected
from contracts.uploader import CancelUpload, StartUpload, UploadProgress
from contracts.values import Artifact, Id, Strict, Uri
from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from services.gateway.api.context import Gateway, Parts, fresh_key
from services.gateway.api.outcome import ACCEPTED, change, resource
from services.gateway.api.paging import Page, Paged
from services.gateway.api.problems import existing
from services.gateway.api.resources import Upload
from services.gateway.api.security import changing, reading
from services.gateway.store import views

router = APIRouter(prefix="/api/uploads", tags=["uploads"])


class NewUpload(Strict):
    """Copy a finished segment, named by its recording and index, to a full target address."""

    session_id: Id
    recording_id: Id
    index: Annotated[int, Field(ge=0, lt=2**31)]
    destination: Uri


@router.get("", dependencies=[reading("uploads")])
async def uploads(
    parts: Parts,
    paging: Paged,
    session_id: Annotated[Id | None, Query()] = None,
    state: Annotated[str | None, Query(pattern=r"^[a-z]{1,20}$")] = None,
) -> Page[Upload]:
    """Uploads, newest first; running ones with their last progress."""
    found = await views.uploads(
        parts.pool, session_id=session_id, state=state, before=paging.by_time(), limit=paging.fetch
    )
    shown = [_live(parts, item) for item in found]
    return Page[Upload].model_validate(paging.page(shown, "requested_at", "id"))


@router.post("", status_code=201, response_model=Upload, responses=ACCEPTED, dependencies=[changing("uploads")])
async def start_upload(request: Request, body: NewUpload, parts: Parts) -> Response:
    """Upload a file by hand."""
    files = await views.artifacts(parts.pool, body.session_id, recording_id=body.recording_id, indexes=[body.index])
    if not files:
        raise Rejected("No file", status=422, detail="the session has no such finished segment")
    upload_id = fresh_key(request)
    source = Artifact.model_validate(files[0]["artifact"])
    command = StartUpload(upload_id=upload_id, session_id=body.session_id, source=source, destination=body.destination)
    location = f"/api/uploads/{upload_id}"
    return await change(request, command, Upload, lambda: _load(parts, upload_id), location=location, created=True)


@router.get("/{upload_id}", response_model=Upload, dependencies=[reading("uploads")])
async def upload(upload_id: Id, parts: Parts) -> Response:
    """One upload."""
    return resource(await _existing(parts, upload_id), Upload)


@router.post("/{upload_id}/cancel", response_model=Upload, responses=ACCEPTED, dependencies=[changing("uploads")])
async def cancel_upload(request: Request, upload_id: Id, parts: Parts) -> Response:
    """Give an upload up."""
    await _existing(parts, upload_id)
    command = CancelUpload(upload_id=upload_id)
    return await change(request, command, Upload, lambda: _load(parts, upload_id), location=f"/api/uploads/{upload_id}")


async def _load(parts: Gateway, upload_id: str) -> dict[str, Any] | None:
    found = await views.uploads(parts.pool, id=upload_id)
    return _live(parts, found[0]) if found else None


async def _existing(parts: Gateway, upload_id: str) -> dict[str, Any]:
    return existing(await _load(parts, upload_id), "upload", upload_id)


def _live(parts: Gateway, item: dict[str, Any]) -> dict[str, Any]:
    running = item["state"] == "running"
    return {**item, "progress": parts.signals.last(UploadProgress, item["id"]) if running else None}
