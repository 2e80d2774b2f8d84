"""The shared layers: the global one, one per platform, templates."""

from __future__ import annotations

from typing import Annotated, Any

from contracts.config import RemoveLayer, SaveLayer
from contracts.values import Layer, Name, Strict
from fastapi import APIRouter, Depends, Path, Request, Response

from services.gateway.api.context import Parts, fresh_key
from services.gateway.api.outcome import ACCEPTED, change, erase, resource
from services.gateway.api.paging import Page, Paged
from services.gateway.api.problems import existing
from services.gateway.api.resources import SharedLayer
from services.gateway.api.security import allow, changing, guard_layer, reading
from services.gateway.api.versions import Expected, require
from services.gateway.domain import Principal
from services.gateway.store import views

router = APIRouter(prefix="/api", tags=["config"])
Operator = Annotated[Principal, Depends(allow("operator", "config", "write"))]
Part = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,100}$")]
GLOBAL = "global"


class Template(Strict):
    """A named layer that streamers can choose."""

    name: Name
    layer: Layer = Layer()


@router.get("/config", response_model=SharedLayer, dependencies=[reading("config")])
async def global_layer(parts: Parts) -> Response:
    """The global layer; version 0 while nobody set it."""
    item = await _load(parts, GLOBAL)
    blank = {"id": GLOBAL, "kind": "global", "name": GLOBAL, "layer": {}, "version": 0, "updated_at": None}
    return resource(item or blank, SharedLayer)


@router.put("/config", response_model=SharedLayer, responses=ACCEPTED)
async def save_global_layer(
    request: Request, body: Layer, parts: Parts, principal: Operator, expected: Expected
) -> Response:
    """Set the global layer whole."""
    guard_layer(principal, body)
    command = SaveLayer(layer_id=GLOBAL, kind="global", name=GLOBAL, layer=body, expected_version=expected)
    return await change(request, command, SharedLayer, _loader(parts, GLOBAL), location="/api/config")


@router.get("/config/platforms", dependencies=[reading("config")])
async def platform_layers(parts: Parts, paging: Paged) -> Page[SharedLayer]:
    """The layers of platforms by name."""
    found = await views.layers(parts.pool, kind="platform", after=paging.by_name(), limit=paging.fetch)
    return Page[SharedLayer].model_validate(paging.page(found, "name", "id"))


@router.get("/config/platforms/{name}", response_model=SharedLayer, dependencies=[reading("config")])
async def platform_layer(name: Part, parts: Parts) -> Response:
    """The layer of one platform."""
    return resource(await _existing(parts, f"platform-{name}", "platform layer", name), SharedLayer)


@router.put("/config/platforms/{name}", response_model=SharedLayer, responses=ACCEPTED)
async def save_platform_layer(
    request: Request, name: Part, body: Layer, parts: Parts, principal: Operator, expected: Expected
) -> Response:
    """Set the layer of a platform whole."""
    guard_layer(principal, body)
    layer_id = f"platform-{name}"
    command = SaveLayer(layer_id=layer_id, kind="platform", name=name, layer=body, expected_version=expected)
    location = f"/api/config/platforms/{name}"
    return await change(request, command, SharedLayer, _loader(parts, layer_id), location=location)


@router.delete("/config/platforms/{name}", status_code=204, responses=ACCEPTED, dependencies=[changing("config")])
async def remove_platform_layer(request: Request, name: Part, parts: Parts, expected: Expected) -> Response:
    """Take the layer of a platform away."""
    item = await _existing(parts, f"platform-{name}", "platform layer", name)
    require(expected, item["version"])
    return await erase(request, RemoveLayer(layer_id=item["id"]), location=f"/api/config/platforms/{name}")


@router.get("/templates", dependencies=[reading("config")])
async def templates(parts: Parts, paging: Paged) -> Page[SharedLayer]:
    """All templates by name."""
    found = await views.layers(parts.pool, kind="template", after=paging.by_name(), limit=paging.fetch)
    page = paging.page(found, "name", "id")
    return Page[SharedLayer].model_validate({**page, "items": [_template(item) for item in page["items"]]})


@router.post("/templates", status_code=201, response_model=SharedLayer, responses=ACCEPTED)
async def add_template(request: Request, body: Template, parts: Parts, principal: Operator) -> Response:
    """Make a template. Its ``id`` is what a streamer names in ``template``."""
    return await _save_template(request, fresh_key(request), body, parts, principal, None, created=True)


@router.get("/templates/{template_id}", response_model=SharedLayer, dependencies=[reading("config")])
async def template(template_id: Part, parts: Parts) -> Response:
    """One template."""
    return resource(_template(await _existing_template(parts, template_id)), SharedLayer)


@router.put("/templates/{template_id}", response_model=SharedLayer, responses=ACCEPTED)
async def save_template(
    request: Request, template_id: Part, body: Template, parts: Parts, principal: Operator, expected: Expected
) -> Response:
    """Set a template whole; made when there is none."""
    return await _save_template(request, template_id, body, parts, principal, expected)


@router.delete("/templates/{template_id}", status_code=204, responses=ACCEPTED, dependencies=[changing("config")])
async def remove_template(request: Request, template_id: Part, parts: Parts, expected: Expected) -> Response:
    """Take a template away; refused while a streamer uses it."""
    item = await _existing_template(parts, template_id)
    require(expected, item["version"])
    return await erase(request, RemoveLayer(layer_id=item["id"]), location=f"/api/templates/{template_id}")


async def _save_template(
    request: Request,
    template_id: str,
    body: Template,
    parts: Parts,
    principal: Principal,
    expected: int | None,
    *,
    created: bool = False,
) -> Response:
    guard_layer(principal, body.layer)
    layer_id = f"template-{template_id}"
    command = SaveLayer(layer_id=layer_id, kind="template", name=body.name, layer=body.layer, expected_version=expected)

    async def load() -> dict[str, Any] | None:
        item = await _load(parts, layer_id)
        return _template(item) if item else None

    location = f"/api/templates/{template_id}"
    return await change(request, command, SharedLayer, load, location=location, created=created)


def _template(item: dict[str, Any]) -> dict[str, Any]:
    return {**item, "id": item["id"].removeprefix("template-")}


def _loader(parts: Parts, layer_id: str) -> Any:
    return lambda: _load(parts, layer_id)


async def _load(parts: Parts, layer_id: str) -> dict[str, Any] | None:
    found = await views.layers(parts.pool, id=layer_id)
    return found[0] if found and not found[0]["removed"] else None


async def _existing(parts: Parts, layer_id: str, what: str, name: str) -> dict[str, Any]:
    return existing(await _load(parts, layer_id), what, name)


async def _existing_template(parts: Parts, template_id: str) -> dict[str, Any]:
    return await _existing(parts, f"template-{template_id}", "template", template_id)
