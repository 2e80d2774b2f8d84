"""Keys of programs. Everybody has their own; administrators see all."""

from __future__ import annotations

from typing import Annotated, Any

from contracts.values import Id, Name, Strict
from fastapi import APIRouter, Request, Response
from pydantic import Field

from services.gateway.api.context import Parts, metadata_of
from services.gateway.api.login import Somebody
from services.gateway.api.operations import ApiKey, NewApiKey
from services.gateway.api.outcome import resource
from services.gateway.api.paging import Page, Paged
from services.gateway.api.problems import Refusal, not_found
from services.gateway.domain import Principal
from services.gateway.store import accounts as store

router = APIRouter(prefix="/api/api-keys", tags=["users"])
Scope = Annotated[str, Field(max_length=64)]


class KeyRequest(Strict):
    """A key for a program. Scopes are ``<resource>:<read|write>``, ``*`` for every resource; a key never exceeds its owner's role."""

    name: Name
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=64)]


@router.get("")
async def keys(parts: Parts, paging: Paged, principal: Somebody) -> Page[ApiKey]:
    """Your keys; an administrator's list holds everybody's."""
    _person(principal)
    owner = None if principal.role == "admin" else principal.user_id
    found = await store.keys(parts.pool, owner, paging.by_time(), paging.fetch)
    return Page[ApiKey].model_validate(paging.page(found, "created_at", "key_id"))


@router.post("", status_code=201, response_model=NewApiKey)
async def create_key(request: Request, body: KeyRequest, parts: Parts, principal: Somebody) -> Response:
    """Make a key. Its text is in this answer and nowhere else."""
    _person(principal)
    key_id, text = await parts.accounts.create_key(principal.user_id, body.name, body.scopes, metadata_of(request))
    item = {**(await _key(parts, key_id)), "key": text}
    return resource(item, NewApiKey, 201, {"Location": f"/api/api-keys/{key_id}"})


@router.get("/{key_id}", response_model=ApiKey)
async def key(key_id: Id, parts: Parts, principal: Somebody) -> Response:
    """One key, without its text."""
    return resource(await _own(parts, key_id, principal), ApiKey)


@router.delete("/{key_id}", status_code=204)
async def revoke_key(request: Request, key_id: Id, parts: Parts, principal: Somebody) -> Response:
    """Let a key open nothing any more."""
    await _own(parts, key_id, principal)
    await parts.accounts.revoke_key(key_id, metadata_of(request))
    return Response(status_code=204)


def _person(principal: Principal) -> None:
    if principal.scopes is not None:
        raise Refusal(403, "keys are made and listed by people, not by keys")


async def _own(parts: Parts, key_id: str, principal: Principal) -> dict[str, Any]:
    _person(principal)
    item = await _key(parts, key_id)
    if principal.role != "admin" and item["user_id"] != principal.user_id:
        raise not_found("API key", key_id)
    return item


async def _key(parts: Parts, key_id: str) -> dict[str, Any]:
    row = await parts.pool.fetchrow(store.QUERIES["key"], key_id)
    if row is None:
        raise not_found("API key", key_id)
    return dict(row)
