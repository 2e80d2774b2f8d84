"""Users, for administrators; a password also for its owner."""

from __future__ import annotations

from typing import Annotated, Any

from contracts.gateway import Role, UserName
from contracts.values import Id, Strict
from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field, SecretStr

from services.gateway.api.context import Parts, address_of, metadata_of
from services.gateway.api.login import Somebody
from services.gateway.api.operations import User
from services.gateway.api.outcome import resource
from services.gateway.api.paging import Page, Paged
from services.gateway.api.problems import Refusal, not_found
from services.gateway.api.security import administering, allow
from services.gateway.settings import MAX_PASSWORD, MIN_PASSWORD
from services.gateway.store import accounts as store

router = APIRouter(prefix="/api/users", tags=["users"])
Password = Annotated[SecretStr, Field(min_length=MIN_PASSWORD, max_length=MAX_PASSWORD)]


class NewUser(Strict):
    """A person to let in."""

    username: UserName
    password: Password
    role: Role


class NewPassword(Strict):
    """``current_password`` is required of everybody who changes their own."""

    password: Password
    current_password: Annotated[SecretStr, Field(max_length=MAX_PASSWORD)] | None = None


@router.get("", dependencies=[Depends(allow("admin", "users", "read"))])
async def users(parts: Parts, paging: Paged) -> Page[User]:
    """All users by name."""
    found = await store.users(parts.pool, paging.by_name(), paging.fetch)
    return Page[User].model_validate(paging.page(found, "username", "user_id"))


@router.post("", status_code=201, response_model=User, dependencies=[administering("users")])
async def create_user(request: Request, body: NewUser, parts: Parts) -> Response:
    """Let a person in."""
    user_id = await parts.accounts.create_user(
        body.username, body.password.get_secret_value(), body.role, metadata_of(request)
    )
    return resource(await _user(parts, user_id), User, 201, {"Location": f"/api/users/{user_id}"})


@router.get("/{user_id}", response_model=User, dependencies=[Depends(allow("admin", "users", "read"))])
async def user(user_id: Id, parts: Parts) -> Response:
    """One user."""
    return resource(await _user(parts, user_id), User)


@router.delete("/{user_id}", status_code=204, dependencies=[administering("users")])
async def remove_user(request: Request, user_id: Id, parts: Parts) -> Response:
    """Let a person in no more; keys and logins end at once. The last administrator stays."""
    await parts.accounts.remove_user(user_id, metadata_of(request))
    return Response(status_code=204)


@router.put("/{user_id}/password", status_code=204)
async def change_password(
    request: Request, user_id: Id, body: NewPassword, parts: Parts, principal: Somebody
) -> Response:
    """Set a password: your own, or as an administrator anybody's. Every login of the user ends."""
    refusal = principal.refusal("admin", "users", "write")
    if principal.user_id == user_id and principal.scopes is None:
        current = body.current_password.get_secret_value() if body.current_password else ""
        if not await parts.accounts.confirm(user_id, principal.username, current, address_of(request)):
            raise Refusal(403, "the current password is wrong or missing")
    elif refusal:
        raise Refusal(403, refusal)
    await parts.accounts.change_password(user_id, body.password.get_secret_value(), metadata_of(request))
    return Response(status_code=204)


async def _user(parts: Parts, user_id: str) -> dict[str, Any]:
    row = await parts.pool.fetchrow(store.QUERIES["user"], user_id)
    if row is None:
        raise not_found("user", user_id)
    return dict(row)
