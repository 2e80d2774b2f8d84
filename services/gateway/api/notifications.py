"""Notifications: where they go, and what became of them. Addresses are sealed before they leave this process."""

from __future__ import annotations

from typing import Annotated, Any

from chassis.egress import RefusedAddress, check_url
from contracts.aggregate import Rejected
from contracts.notifier import EventTypes, RemoveTarget, SaveTarget, Target, TestTarget
from contracts.values import Id, Name, Strict
from fastapi import APIRouter, Query, Request, Response
from pydantic import Field, SecretStr

from services.gateway.api.context import Gateway, Parts, fresh_key
from services.gateway.api.operations import Notification
from services.gateway.api.operations import Target as TargetView
from services.gateway.api.outcome import ACCEPTED, change, erase, resource
from services.gateway.api.paging import Page, Paged
from services.gateway.api.problems import existing
from services.gateway.api.security import changing, reading
from services.gateway.api.versions import Expected, require
from services.gateway.store import views

router = APIRouter(prefix="/api/notifications", tags=["notifications"])


class TargetBody(Strict):
    """A place notifications go to. ``events`` are message types; empty means every event that can be notified."""

    kind: Target
    name: Name
    address: Annotated[SecretStr, Field(min_length=1, max_length=4096)]
    secret: Annotated[SecretStr, Field(max_length=4096)] = SecretStr("")
    events: EventTypes = ()
    enabled: bool = True


@router.get("", dependencies=[reading("notifications")])
async def notifications(
    parts: Parts,
    paging: Paged,
    target_id: Annotated[Id | None, Query()] = None,
    state: Annotated[str | None, Query(pattern=r"^[a-z]{1,20}$")] = None,
) -> Page[Notification]:
    """What was sent, newest first."""
    found = await views.notifications(
        parts.pool, target_id=target_id, state=state, before=paging.by_time(), limit=paging.fetch
    )
    return Page[Notification].model_validate(paging.page(found, "requested_at", "id"))


@router.get("/targets", dependencies=[reading("notifications")])
async def targets(parts: Parts, paging: Paged) -> Page[TargetView]:
    """All targets by name."""
    found = await views.targets(parts.pool, after=paging.by_name(), limit=paging.fetch)
    return Page[TargetView].model_validate(paging.page(found, "name", "id"))


@router.post(
    "/targets",
    status_code=201,
    response_model=TargetView,
    responses=ACCEPTED,
    dependencies=[changing("notifications")],
)
async def add_target(request: Request, body: TargetBody, parts: Parts) -> Response:
    """Send notifications to one more place."""
    return await _save(request, fresh_key(request), body, parts, created=True)


@router.get("/targets/{target_id}", response_model=TargetView, dependencies=[reading("notifications")])
async def target(target_id: Id, parts: Parts) -> Response:
    """One target, without its address."""
    return resource(await _existing(parts, target_id), TargetView)


@router.put(
    "/targets/{target_id}",
    response_model=TargetView,
    responses=ACCEPTED,
    dependencies=[changing("notifications")],
)
async def save_target(request: Request, target_id: Id, body: TargetBody, parts: Parts, expected: Expected) -> Response:
    """Set a target whole, its address included."""
    item = await _existing(parts, target_id)
    require(expected, item["version"])
    return await _save(request, target_id, body, parts)


@router.delete("/targets/{target_id}", status_code=204, responses=ACCEPTED, dependencies=[changing("notifications")])
async def remove_target(request: Request, target_id: Id, parts: Parts, expected: Expected) -> Response:
    """Send nothing there any more and forget its secrets."""
    item = await _existing(parts, target_id)
    require(expected, item["version"])
    return await erase(request, RemoveTarget(target_id=target_id), location=_location(target_id))


@router.post(
    "/targets/{target_id}/test",
    response_model=TargetView,
    responses=ACCEPTED,
    dependencies=[changing("notifications")],
)
async def test_target(request: Request, target_id: Id, parts: Parts) -> Response:
    """Send one test message; what became of it is in the notifications of the target."""
    await _existing(parts, target_id)
    command = TestTarget(target_id=target_id)
    return await change(request, command, TargetView, lambda: _load(parts, target_id), location=_location(target_id))


async def _save(
    request: Request, target_id: str, body: TargetBody, parts: Gateway, *, created: bool = False
) -> Response:
    address, secret = body.address.get_secret_value(), body.secret.get_secret_value()
    if body.kind == "webhook":
        try:
            check_url(address, parts.egress)
        except RefusedAddress as refusal:
            raise Rejected("Refused address", status=422, detail=str(refusal)) from None
    command = SaveTarget(
        target_id=target_id,
        kind=body.kind,
        name=body.name,
        sealed_address=parts.system_key.seal(address),
        sealed_secret=parts.system_key.seal(secret) if secret else "",
        events=body.events,
        enabled=body.enabled,
    )
    location = _location(target_id)
    return await change(
        request, command, TargetView, lambda: _load(parts, target_id), location=location, created=created
    )


def _location(target_id: str) -> str:
    return f"/api/notifications/targets/{target_id}"


async def _load(parts: Gateway, target_id: str) -> dict[str, Any] | None:
    found = await views.targets(parts.pool, id=target_id)
    return found[0] if found else None


async def _existing(parts: Gateway, target_id: str) -> dict[str, Any]:
    return existing(await _load(parts, target_id), "notification target", target_id)
