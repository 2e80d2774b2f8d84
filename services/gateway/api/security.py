"""Who asks, and whether they may."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from chassis.database import UNREACHABLE
from contracts.values import Layer, Pipelines, Processor, Step
from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.types import ASGIApp, Receive, Scope, Send

from services.gateway.accounts import Accounts, LoginRefused
from services.gateway.api.problems import Refusal, problem
from services.gateway.domain import RESOURCES, Principal

PUBLIC = frozenset(("/api/login", "/api/refresh", "/api/health/live", "/api/health/ready", "/metrics"))
OPTIONAL = frozenset(("/api/logout",))
_DENIED = {"WWW-Authenticate": "Bearer"}
_scheme = HTTPBearer(auto_error=False, description="An access token from /api/login, or an API key")


class Authenticate:
    """ASGI middleware: puts the principal into ``state.principal``. What a principal may do is decided by each route."""

    def __init__(self, app: ASGIApp, *, accounts: Accounts) -> None:
        self.app, self.accounts = app, accounts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or scope["path"] in PUBLIC:
            await self.app(scope, receive, send)
            return
        state, token = scope["state"], bearer(scope)
        refused = None
        if token:
            try:
                state["principal"], state["token"] = await self.accounts.identify(token), token
            except LoginRefused:
                refused = (401, "Unauthorized", "wrong or expired credentials", _DENIED)
            except UNREACHABLE:
                refused = (503, "Service Unavailable", "the database does not answer: try again", {"Retry-After": "2"})
        if refused is not None and scope["path"] not in OPTIONAL:
            status, title, detail, headers = refused
            response = problem(
                status, title, detail, trace_id=state["trace_id"], instance=scope["path"], headers=headers
            )
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)


def allow(role: str, resource: str, action: str) -> Callable[..., Awaitable[Principal]]:
    """A dependency that admits principals of a role, and keys with a scope for it; ValueError for a resource that no key can name."""
    if resource not in RESOURCES:
        raise ValueError(f"{resource} is no resource of the API: see services.gateway.domain.RESOURCES")

    async def admit(
        request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_scheme)]
    ) -> Principal:
        principal: Principal | None = request.state.principal
        if principal is None:
            raise Refusal(401, "log in first", headers=_DENIED)
        refusal = principal.refusal(role, resource, action)
        if refusal:
            raise Refusal(403, refusal)
        return principal

    return admit


def reading(resource: str) -> Any:
    """The dependency of a route that reads."""
    return Depends(allow("viewer", resource, "read"))


def changing(resource: str) -> Any:
    """The dependency of a route that changes something."""
    return Depends(allow("operator", resource, "write"))


def administering(resource: str) -> Any:
    """The dependency of a route for administrators."""
    return Depends(allow("admin", resource, "write"))


def guard_layer(principal: Principal, layer: Layer | None) -> None:
    """Steps that run a program are for administrators: they run with the rights of the service."""
    if layer is not None and layer.pipelines is not None:
        pipelines: Pipelines = layer.pipelines
        guard_steps(principal, (*pipelines.segment, *pipelines.paired, *pipelines.session))


def guard_steps(principal: Principal, steps: tuple[Step, ...]) -> None:
    """See :func:`guard_layer`."""
    if any(step.processor is Processor.EXECUTE for step in steps):
        refusal = principal.refusal("admin", "config", "write")
        if refusal:
            raise Refusal(403, f"a step runs a program: {refusal}")


def bearer(scope: Scope) -> str:
    """The token of the ``Authorization`` header, empty without one."""
    written = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"), "")
    scheme, _, token = written.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
