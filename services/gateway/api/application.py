"""Puts the routers and the layers around them together."""

from __future__ import annotations

from typing import Annotated, Any

from contracts.values import Problem
from fastapi import Depends, FastAPI, Query, Request
from starlette.types import ASGIApp

from services.gateway.api import (
    api_keys,
    config,
    credentials,
    dead_letters,
    events,
    health,
    login,
    maintenance,
    notifications,
    pages,
    pipelines,
    problems,
    reclaims,
    recordings,
    sessions,
    streamers,
    uploads,
    users,
    websocket,
)
from services.gateway.api.context import Gateway, gateway_of
from services.gateway.api.edge import Edge
from services.gateway.api.idempotency import Idempotency
from services.gateway.api.security import Authenticate

VERSION = "0.1.0"
ROUTERS = (
    login,
    users,
    api_keys,
    streamers,
    config,
    credentials,
    sessions,
    recordings,
    pipelines,
    uploads,
    reclaims,
    notifications,
    events,
    dead_letters,
    maintenance,
    health,
)
DESCRIPTION = """
Changes wait for their outcome and answer with the resource, or 202 and a `Location` when it is not known in time.
Lists are pages by cursor. `ETag` is the aggregate version, `If-Match` the version you believe in. Every change takes an `Idempotency-Key`,
every read takes `after_position`. Errors are problem details (RFC 9457).
"""


async def _fresh(
    request: Request,
    after_position: Annotated[
        int | None, Query(ge=0, lt=2**53, description="`X-Event-Position` of a change: waits up to 2 s for it.")
    ] = None,
) -> None:
    if after_position is not None:
        await gateway_of(request).follower.reached(after_position, 2.0)


def application(gateway: Gateway) -> ASGIApp:
    """The ASGI application of one replica."""
    app = FastAPI(
        title="Aircheck",
        version=VERSION,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        responses=problems.DOCUMENTED,
    )
    app.state.gateway = gateway
    problems.install(app)
    for module in ROUTERS:
        app.include_router(module.router, dependencies=[Depends(_fresh)] if module is not health else [])
    app.include_router(websocket.router)
    app.include_router(pages.router)
    _document_problems(app)
    idempotent = Idempotency(app, pool=gateway.pool, system_key=gateway.system_key)
    authenticated = Authenticate(idempotent, accounts=gateway.accounts)
    return Edge(authenticated, max_body=gateway.settings.max_body_bytes)


def _document_problems(app: FastAPI) -> None:
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = generate()
            schema.setdefault("components", {}).setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
        return app.openapi_schema or schema

    app.openapi = openapi  # type: ignore[method-assign]
