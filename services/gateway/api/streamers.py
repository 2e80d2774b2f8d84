"""Streamers."""

from __future__ import annotations

from typing import Annotated, Any

from chassis.egress import RefusedAddress, check_url
from contracts.aggregate import Rejected
from contracts.config import AddStreamer, ChangeStreamer, RemoveStreamer, StartStreamer, StopStreamer
from contracts.downloader import RecordingProgress
from contracts.monitor import CheckChannel
from contracts.values import Filters, Id, Layer, Name, Strict, Url
from fastapi import APIRouter, Depends, Request, Response

from services.gateway.api.context import Parts, fresh_key, metadata_of
from services.gateway.api.events import EventItem, event_page
from services.gateway.api.outcome import ACCEPTED, Accepted, accepted, change, erase, resource
from services.gateway.api.paging import Page, Paged
from services.gateway.api.problems import existing
from services.gateway.api.resources import Streamer, StreamerFilters
from services.gateway.api.security import allow, changing, guard_layer, reading
from services.gateway.api.versions import Expected, require
from services.gateway.domain import Principal
from services.gateway.store import views
from services.gateway.store.views import EventFilter

router = APIRouter(prefix="/api/streamers", tags=["streamers"])
Operator = Annotated[Principal, Depends(allow("operator", "streamers", "write"))]


class NewStreamer(Strict):
    """A channel to watch."""

    url: Url
    name: Name | None = None
    template: Id | None = None
    layer: Layer = Layer()
    enabled: bool = True


class StreamerPatch(Strict):
    """What is to change. A field that is left out stays; ``"template": null`` takes the template away."""

    name: Name | None = None
    template: Id | None = None
    layer: Layer | None = None


@router.get("", dependencies=[reading("streamers")])
async def streamers(parts: Parts, paging: Paged, enabled: bool | None = None) -> Page[Streamer]:
    """All streamers by name, with the state of each."""
    found = await views.streamers(parts.pool, enabled=enabled, after=paging.by_name(), limit=paging.fetch)
    return Page[Streamer].model_validate(paging.page([_live(parts, item) for item in found], "name", "id"))


@router.post("", status_code=201, response_model=Streamer, responses=ACCEPTED)
async def add_streamer(request: Request, body: NewStreamer, parts: Parts, principal: Operator) -> Response:
    """Watch one more channel."""
    guard_layer(principal, body.layer)
    try:
        check_url(body.url, parts.egress)
    except RefusedAddress as refusal:
        raise Rejected("Refused address", status=422, detail=str(refusal)) from None
    streamer_id = fresh_key(request)
    command = AddStreamer(streamer_id=streamer_id, **dict(body))
    return await change(
        request, command, Streamer, _loader(parts, streamer_id), location=_location(streamer_id), created=True
    )


@router.get("/{streamer_id}", response_model=Streamer, dependencies=[reading("streamers")])
async def streamer(streamer_id: Id, parts: Parts) -> Response:
    """One streamer."""
    return resource(await _existing(parts, streamer_id), Streamer)


@router.patch("/{streamer_id}", response_model=Streamer, responses=ACCEPTED)
async def change_streamer(
    request: Request, streamer_id: Id, body: StreamerPatch, parts: Parts, principal: Operator, expected: Expected
) -> Response:
    """Change the name, template or own layer of a streamer."""
    guard_layer(principal, body.layer)
    command = ChangeStreamer(
        streamer_id=streamer_id,
        **dict(body),
        clear_template="template" in body.model_fields_set and body.template is None,
        expected_version=expected,
    )
    return await change(request, command, Streamer, _loader(parts, streamer_id), location=_location(streamer_id))


@router.delete("/{streamer_id}", status_code=204, responses=ACCEPTED, dependencies=[changing("streamers")])
async def remove_streamer(request: Request, streamer_id: Id, expected: Expected) -> Response:
    """Watch a channel no more. What was recorded stays."""
    command = RemoveStreamer(streamer_id=streamer_id, expected_version=expected)
    return await erase(request, command, location=_location(streamer_id))


@router.post("/{streamer_id}/start", response_model=Streamer, responses=ACCEPTED, dependencies=[changing("streamers")])
async def start_streamer(request: Request, streamer_id: Id, parts: Parts, expected: Expected) -> Response:
    """Watch a stopped streamer again."""
    command = StartStreamer(streamer_id=streamer_id, expected_version=expected)
    return await change(request, command, Streamer, _loader(parts, streamer_id), location=_location(streamer_id))


@router.post("/{streamer_id}/stop", response_model=Streamer, responses=ACCEPTED, dependencies=[changing("streamers")])
async def stop_streamer(request: Request, streamer_id: Id, parts: Parts, expected: Expected) -> Response:
    """Stop watching; a running recording ends and keeps what was written."""
    command = StopStreamer(streamer_id=streamer_id, expected_version=expected)
    return await change(request, command, Streamer, _loader(parts, streamer_id), location=_location(streamer_id))


@router.post("/{streamer_id}/check", status_code=202, response_model=Accepted, dependencies=[changing("streamers")])
async def check_streamer(request: Request, streamer_id: Id, parts: Parts) -> Response:
    """Ask the platform now instead of at the next turn. The answer shows in the state of the streamer."""
    item = await _existing(parts, streamer_id)
    effective = Streamer.model_validate(item).effective
    if effective is None:
        raise Rejected("Not ready", detail="the configuration of this streamer is not resolved yet")
    command = CheckChannel(
        streamer_id=streamer_id,
        url=item["url"],
        name=item["name"],
        offline_grace_s=effective.offline_grace_s,
        quality=effective.quality,
        protocol=effective.protocol,
        filters=effective.filters,
        network=effective.network,
        engine=effective.engine,
    )
    command_id = await parts.commands.send(command, metadata_of(request))
    return accepted(command_id.hex, _location(streamer_id))


@router.get("/{streamer_id}/filters", response_model=StreamerFilters, dependencies=[reading("streamers")])
async def filters(streamer_id: Id, parts: Parts) -> Response:
    """What is recorded of a channel: the filters in force, and where they come from."""
    return resource(_filters(await _existing(parts, streamer_id)), StreamerFilters)


@router.put(
    "/{streamer_id}/filters", response_model=StreamerFilters, responses=ACCEPTED, dependencies=[changing("streamers")]
)
async def set_filters(request: Request, streamer_id: Id, body: Filters, parts: Parts, expected: Expected) -> Response:
    """Give a streamer filters of its own; those of the layers below mean nothing for it then."""
    return await _set_filters(request, streamer_id, body, parts, expected)


@router.delete(
    "/{streamer_id}/filters", response_model=StreamerFilters, responses=ACCEPTED, dependencies=[changing("streamers")]
)
async def clear_filters(request: Request, streamer_id: Id, parts: Parts, expected: Expected) -> Response:
    """Take a streamer's own filters away: those of the layers below are in force again."""
    return await _set_filters(request, streamer_id, None, parts, expected)


@router.get("/{streamer_id}/history", dependencies=[reading("streamers")])
async def history(streamer_id: Id, parts: Parts, paging: Paged) -> Page[EventItem]:
    """Everything that ever happened to a streamer, newest first."""
    return await event_page(parts, paging, EventFilter(streamer_id=streamer_id), descending=True)


async def _set_filters(
    request: Request, streamer_id: str, wanted: Filters | None, parts: Parts, expected: int | None
) -> Response:
    item = await _existing(parts, streamer_id)
    require(expected, item["version"])
    layer = Layer.model_validate(item["layer"]).model_copy(update={"filters": wanted})
    # A layer is set whole: one that somebody else changed since it was read must not be undone.
    command = ChangeStreamer(streamer_id=streamer_id, layer=layer, expected_version=item["version"])

    async def load() -> dict[str, Any]:
        return _filters(await _existing(parts, streamer_id))

    return await change(request, command, StreamerFilters, load, location=f"{_location(streamer_id)}/filters")


def _filters(item: dict[str, Any]) -> dict[str, Any]:
    effective, provenance = item["effective"], item["provenance"]
    if effective is None or provenance is None:
        raise Rejected("Not ready", detail="the configuration of this streamer is not resolved yet")
    return {
        "filters": effective["filters"],
        "origin": provenance.get("filters", "default"),
        "version": item["version"],
    }


def _location(streamer_id: str) -> str:
    return f"/api/streamers/{streamer_id}"


def _loader(parts: Parts, streamer_id: str) -> Any:
    async def load() -> dict[str, Any] | None:
        found = await views.streamers(parts.pool, id=streamer_id)
        return _live(parts, found[0]) if found else None

    return load


async def _existing(parts: Parts, streamer_id: str) -> dict[str, Any]:
    return existing(await _loader(parts, streamer_id)(), "streamer", streamer_id)


def _live(parts: Parts, item: dict[str, Any]) -> dict[str, Any]:
    recording = item["recording"]
    if recording:
        progress = parts.signals.last(RecordingProgress, recording["id"])
        if progress:
            recording |= {name: progress[name] for name in ("bytes", "duration_ms", "bitrate")}
    return item
