"""Is it alive, is it ready, how is it doing."""

from __future__ import annotations

from typing import Any

from chassis.telemetry import REGISTRY
from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse

from services.gateway.api.context import Parts
from services.gateway.api.security import reading
from services.gateway.store import events
from services.gateway.store.events import QUERIES

router = APIRouter(tags=["health"])


@router.get("/api/health", dependencies=[reading("system")])
async def health(parts: Parts) -> dict[str, Any]:
    """What is not ready and why, and how far the store is."""
    failed = await parts.health.failures()
    body: dict[str, Any] = {
        "status": "ready" if not failed else "not ready",
        "failed": failed,
        "projecting_here": parts.projecting(),
        "followed_to": parts.follower.position,
    }
    if "database" not in failed:
        rows = await parts.pool.fetch(QUERIES["projections"])
        body |= {
            "position": await events.head(parts.pool),
            "parked_events": await parts.pool.fetchval(QUERIES["parked_count"]),
            "failed_projections": [row["name"] for row in rows if row["state"] != "current"],
        }
    return body


@router.get("/api/health/live")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@router.get("/api/health/ready")
async def ready(parts: Parts) -> Response:
    """Everything this replica needs answers. Reasons are told to those who may read /api/health."""
    failed = await parts.health.failures()
    return JSONResponse({"status": "not ready" if failed else "ready"}, 503 if failed else 200)


@router.get("/metrics", include_in_schema=False)
async def metrics(parts: Parts) -> Response:
    """Prometheus text format."""
    for refresh in parts.health.refresh:
        await refresh()
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)
