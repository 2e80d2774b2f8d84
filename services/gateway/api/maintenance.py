"""For administrators: publish a range of a log again, rebuild a read model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from contracts import system
from contracts.values import Strict
from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from services.gateway.api.context import Parts, fresh_key
from services.gateway.api.operations import Projection
from services.gateway.api.outcome import ACCEPTED, change
from services.gateway.api.paging import Page
from services.gateway.api.problems import Refusal, not_found
from services.gateway.api.security import administering, reading
from services.gateway.projections import MODELS
from services.gateway.projections.rebuild import RebuildRunning, UnknownProjection
from services.gateway.store.events import QUERIES
from services.gateway.store.views import EventFilter, history

router = APIRouter(prefix="/api", tags=["maintenance"])
Position = Annotated[int, Field(ge=0, lt=2**53)]


class Range(Strict):
    """What a service is to publish again: positions of its own log (inclusive, 0 is open), or one stream from a version on."""

    service: Literal[system.SERVICES]  # type: ignore[valid-type]
    from_position: Position = 0
    to_position: Position = 0
    stream: Annotated[str, Field(max_length=256)] = ""
    from_version: Annotated[int, Field(ge=0, lt=2**31)] = 0


class Republished(BaseModel):
    """How many events a service put on the bus again, with the ids they had."""

    request_id: str
    service: str
    events: int


class Rebuilt(BaseModel):
    """What was built: from how many events, up to which position."""

    name: str
    version: int
    position: int
    events: int


@router.post("/republish", response_model=Republished, responses=ACCEPTED, dependencies=[administering("system")])
async def republish(request: Request, body: Range, parts: Parts) -> Response:
    """Let a service publish a range of its own log again. Whoever handled those events before ignores them."""
    request_id = fresh_key(request)
    command = system.of(body.service, system.Republish)(request_id=request_id, **body.model_dump(exclude={"service"}))

    async def load() -> dict[str, Any] | None:
        found = await history(parts.pool, EventFilter(service=body.service, stream=f"log-{request_id}"), limit=1)
        return {**found[0].fields, "service": body.service} if found else None

    location = f"/api/events?service={body.service}&stream=log-{request_id}"
    return await change(request, command, Republished, load, location=location)


@router.get("/projections", dependencies=[reading("system")])
async def projections(parts: Parts) -> Page[Projection]:
    """The read models: their version, their state, and how far they are."""
    code = {model.name: model.version for model in MODELS}
    rows = await parts.pool.fetch(QUERIES["projections"])
    items = [Projection(code_version=code.get(row["name"], 0), **dict(row)) for row in rows]
    return Page[Projection](items=items)


@router.post("/projections/{name}/rebuild", response_model=Rebuilt, dependencies=[administering("system")])
async def rebuild(name: Annotated[str, Path(pattern=r"^[a-z_]{1,64}$")], parts: Parts) -> Response:
    """Build a read model anew from the whole store, beside the old one, and swap. 202 when it takes longer than a command may."""
    try:
        built = await parts.rebuild(name)
    except UnknownProjection:
        raise not_found("projection", name) from None
    except RebuildRunning:
        raise Refusal(409, f"{name} is being rebuilt already") from None
    except TimeoutError:
        return JSONResponse({"status": "accepted", "name": name}, 202, {"Location": "/api/projections"})
    return JSONResponse(
        {"name": built.name, "version": built.version, "position": built.position, "events": built.events}
    )
