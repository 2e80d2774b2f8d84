"""Making room: what the policy would remove, and its removal."""

from __future__ import annotations

from typing import Any

from contracts import pipeline
from contracts.values import Id
from fastapi import APIRouter, Request, Response

from services.gateway.api.context import Parts, fresh_key
from services.gateway.api.outcome import ACCEPTED, change, resource
from services.gateway.api.problems import not_found
from services.gateway.api.resources import Reclaim, ReclaimRequest
from services.gateway.api.security import administering, reading
from services.gateway.store import views

router = APIRouter(prefix="/api/reclaims", tags=["reclaims"])


@router.post("", status_code=201, response_model=Reclaim, responses=ACCEPTED, dependencies=[administering("reclaims")])
async def reclaim(request: Request, body: ReclaimRequest, parts: Parts) -> Response:
    """Ask what would be removed, or for its removal. The answer is in the resource when its `state` is `completed`."""
    request_id = fresh_key(request)

    async def load() -> dict[str, Any] | None:
        return await views.reclaim(parts.pool, request_id)

    command = pipeline.Reclaim(request_id=request_id, **body.model_dump())
    return await change(request, command, Reclaim, load, location=f"/api/reclaims/{request_id}", created=True)


@router.get("/{request_id}", response_model=Reclaim, dependencies=[reading("reclaims")])
async def one(request_id: Id, parts: Parts) -> Response:
    """A request and what became of it."""
    found = await views.reclaim(parts.pool, request_id)
    if found is None:
        raise not_found("reclaim", request_id)
    return resource(found, Reclaim)
