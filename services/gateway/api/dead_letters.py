"""Messages that could not be handled, of every service."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from contracts import system
from contracts.values import Id
from fastapi import APIRouter, Query, Request, Response

from services.gateway.api.context import Gateway, Parts
from services.gateway.api.operations import DeadLetter
from services.gateway.api.outcome import ACCEPTED, change, erase, resource
from services.gateway.api.paging import Page, Paged
from services.gateway.api.problems import not_found
from services.gateway.api.security import changing, reading
from services.gateway.store import views

router = APIRouter(prefix="/api/dead-letters", tags=["dead letters"])


@router.get("", dependencies=[reading("dead-letters")])
async def dead_letters(
    parts: Parts,
    paging: Paged,
    service: Annotated[str | None, Query(pattern=r"^[a-z]{1,20}$")] = None,
    state: Literal["buried", "replayed", "dropped"] | None = None,
) -> Page[DeadLetter]:
    """Dead letters, newest first."""
    found = await views.dead_letters(
        parts.pool, service=service, state=state, before=paging.by_time(), limit=paging.fetch
    )
    return Page[DeadLetter].model_validate(paging.page(found, "buried_at", "id"))


@router.get("/{letter_id}", response_model=DeadLetter, dependencies=[reading("dead-letters")])
async def dead_letter(letter_id: Id, parts: Parts) -> Response:
    """One dead letter."""
    return resource(await _existing(parts, letter_id), DeadLetter)


@router.post(
    "/{letter_id}/replay", response_model=DeadLetter, responses=ACCEPTED, dependencies=[changing("dead-letters")]
)
async def replay(request: Request, letter_id: Id, parts: Parts) -> Response:
    """Handle a message again, as if it had just been delivered."""
    item = await _existing(parts, letter_id)
    command = system.of(item["service"], system.ReplayDeadLetter)(letter_id=letter_id)
    return await change(
        request, command, DeadLetter, lambda: _existing(parts, letter_id), location=f"/api/dead-letters/{letter_id}"
    )


@router.delete("/{letter_id}", status_code=204, responses=ACCEPTED, dependencies=[changing("dead-letters")])
async def drop(request: Request, letter_id: Id, parts: Parts) -> Response:
    """Decide that a message need not be handled."""
    item = await _existing(parts, letter_id)
    command = system.of(item["service"], system.DropDeadLetter)(letter_id=letter_id)
    return await erase(request, command, location=f"/api/dead-letters/{letter_id}")


async def _existing(parts: Gateway, letter_id: str) -> dict[str, Any]:
    found = await views.dead_letters(parts.pool, id=letter_id)
    if not found:
        raise not_found("dead letter", letter_id)
    return found[0]
