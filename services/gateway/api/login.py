"""Logging in and out."""

from __future__ import annotations

from typing import Annotated, Literal

from contracts.gateway import UserName
from contracts.values import Strict
from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, Field, SecretStr

from services.gateway.accounts import TokenPair
from services.gateway.api.context import Parts, address_of
from services.gateway.api.problems import Refusal
from services.gateway.domain import Principal
from services.gateway.settings import MAX_PASSWORD

router = APIRouter(prefix="/api", tags=["login"])
Secret = Annotated[SecretStr, Field(min_length=1, max_length=MAX_PASSWORD)]


class Credentials(Strict):
    """Name and password."""

    username: UserName
    password: Secret


class RefreshToken(Strict):
    """The token that opens the next hour."""

    refresh_token: Secret


class MaybeRefreshToken(Strict):
    """The login to end, when it is not the one of the access token."""

    refresh_token: Secret | None = None


class TokenAnswer(BaseModel):
    """An access token, and the token for the next one, which is valid once."""

    access_token: str
    refresh_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105
    expires_in: int


class Me(BaseModel):
    """Who asks. ``scopes`` is null for a person."""

    user_id: str
    username: str
    role: str
    scopes: list[str] | None


@router.post("/login")
async def login(request: Request, credentials: Credentials, parts: Parts) -> TokenAnswer:
    """Open a login. After five failures of a name from one address (IPv6: one /64) the next attempts must wait (429)."""
    secret = credentials.password.get_secret_value()
    return _answer(await parts.accounts.login(credentials.username, secret, address_of(request)))


@router.post("/refresh")
async def refresh(body: RefreshToken, parts: Parts) -> TokenAnswer:
    """Exchange a refresh token. Using one a second time ends the whole login: one of the two users stole it."""
    return _answer(await parts.accounts.refresh(body.refresh_token.get_secret_value()))


@router.post("/logout", status_code=204)
async def logout(request: Request, parts: Parts, body: MaybeRefreshToken | None = None) -> Response:
    """End the login of the access token, or of a refresh token. Its access tokens stop working at once."""
    principal: Principal | None = request.state.principal
    token = body.refresh_token.get_secret_value() if body and body.refresh_token else None
    await parts.accounts.logout(principal.family if principal else None, token)
    return Response(status_code=204)


def _somebody(request: Request) -> Principal:
    principal: Principal | None = request.state.principal
    if principal is None:
        raise Refusal(401, "log in first", headers={"WWW-Authenticate": "Bearer"})
    return principal


Somebody = Annotated[Principal, Depends(_somebody)]


@router.get("/me")
async def me(principal: Somebody) -> Me:
    """Who the credentials belong to."""
    scopes = sorted(principal.scopes) if principal.scopes is not None else None
    return Me(user_id=principal.user_id, username=principal.username, role=principal.role, scopes=scopes)


def _answer(pair: TokenPair) -> TokenAnswer:
    return TokenAnswer(access_token=pair.access_token, refresh_token=pair.refresh_token, expires_in=pair.expires_in)
