"""From a command to its response: the changed resource, or 202 when the outcome is not known in time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

from contracts.message import Command
from fastapi import Request
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from services.gateway.api.context import gateway_of, metadata_of, repeatable_id
from services.gateway.api.versions import etag

Load = Callable[[], Awaitable[dict[str, Any] | None]]


class Accepted(BaseModel):
    """The command is stored and will be handled; look again at ``Location``."""

    status: Literal["accepted"] = "accepted"
    command_id: str


ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {"model": Accepted, "description": "Stored on the bus; the outcome is not known yet."}
}


async def change(
    request: Request, command: Command, model: type[BaseModel], load: Load, *, location: str, created: bool = False
) -> Response:
    """Send a command, wait for its outcome and answer with the resource as the read models have it now."""
    executed = await gateway_of(request).commands.execute(command, metadata_of(request), id=repeatable_id(request))
    item = await load() if executed.done else None
    if item is None:
        return accepted(executed.command_id.hex, location)
    headers = {"X-Event-Position": str(executed.position)}
    if created:
        headers["Location"] = location
    return resource(item, model, 201 if created else 200, headers)


async def erase(request: Request, command: Command, *, location: str) -> Response:
    """Send a command that removes something."""
    executed = await gateway_of(request).commands.execute(command, metadata_of(request), id=repeatable_id(request))
    if not executed.done:
        return accepted(executed.command_id.hex, location)
    return Response(status_code=204, headers={"X-Event-Position": str(executed.position)})


def resource(
    item: dict[str, Any], model: type[BaseModel], status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """One resource with its ETag."""
    tag = {"ETag": etag(item["version"])} if "version" in item else {}
    body = model.model_validate(item).model_dump(mode="json")
    return JSONResponse(body, status, {**tag, **(headers or {})})


def accepted(command_id: str, location: str) -> Response:
    """The outcome is not known yet."""
    return JSONResponse(Accepted(command_id=command_id).model_dump(), 202, {"Location": location})
