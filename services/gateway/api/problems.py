"""Every error as RFC 9457 problem details. What went wrong inside is logged with the trace id and never told."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from chassis.database import UNREACHABLE
from chassis.errors import Conflict
from contracts.aggregate import Rejected
from contracts.values import Problem
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from services.gateway.accounts import LoginRefused, LoginThrottled
from services.gateway.realtime.commands import BusUnavailable, NotHandled
from services.gateway.realtime.mailbox import TooManyClients

MEDIA_TYPE = "application/problem+json"
DOCUMENTED: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "Problem details (RFC 9457)",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}
log = structlog.get_logger(__name__)


class Refusal(Exception):
    """A request the API itself turns away."""

    def __init__(self, status: int, detail: str, *, title: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail
        self.title, self.headers = title or HTTPStatus(status).phrase, dict(headers or {})


def not_found(what: str, id: str) -> Refusal:
    """There is no such thing."""
    return Refusal(404, f"there is no {what} {id}")


def existing(item: dict[str, Any] | None, what: str, id: str) -> dict[str, Any]:
    """What was looked for. Raises the refusal of `not_found`."""
    if item is None:
        raise not_found(what, id)
    return item


def problem(
    status: int,
    title: str,
    detail: str,
    *,
    trace_id: str | None,
    instance: str | None = None,
    errors: tuple[dict[str, Any], ...] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A problem as a response."""
    body = Problem(title=title, status=status, detail=detail, instance=instance, errors=errors, trace_id=trace_id)
    return Response(body.model_dump_json(), status, media_type=MEDIA_TYPE, headers=dict(headers or {}))


def internal(trace_id: str | None) -> Response:
    """Something we did not expect."""
    detail = "something went wrong here; the log has it under the trace id"
    return problem(500, "Internal Server Error", detail, trace_id=trace_id)


def install(app: FastAPI) -> None:
    """Answer every exception with a problem."""
    app.add_exception_handler(Refusal, _refusal)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Rejected, _rejected)
    app.add_exception_handler(Conflict, _conflict)
    app.add_exception_handler(LoginRefused, _login)
    app.add_exception_handler(LoginThrottled, _throttled)
    app.add_exception_handler(TooManyClients, _unavailable)
    app.add_exception_handler(BusUnavailable, _unavailable)
    app.add_exception_handler(NotHandled, _not_handled)
    for cls in UNREACHABLE:
        app.add_exception_handler(cls, _unavailable)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, _unexpected)


def _answer(request: Request, status: int, title: str, detail: str, **more: Any) -> Response:
    trace_id = getattr(request.state, "trace_id", None)
    return problem(status, title, detail, trace_id=trace_id, instance=request.url.path, **more)


async def _refusal(request: Request, error: Any) -> Response:
    return _answer(request, error.status, error.title, error.detail, headers=error.headers)


async def _http(request: Request, error: Any) -> Response:
    title = HTTPStatus(error.status_code).phrase
    detail = "" if error.detail == title else str(error.detail)
    return _answer(request, error.status_code, title, detail, headers=error.headers)


async def _invalid(request: Request, error: Any) -> Response:
    found = error.errors()
    if any(one["type"] == "json_invalid" for one in found):
        return _answer(request, 400, "Malformed JSON", "the body is not JSON")
    # Without the input: it may be a password.
    errors = tuple(
        {"field": ".".join(str(part) for part in one["loc"]), "message": one["msg"], "code": one["type"]}
        for one in found[:100]
    )
    names = ", ".join(error["field"] for error in errors[:5])
    return _answer(request, 422, "Invalid request", f"not accepted: {names}", errors=errors)


async def _rejected(request: Request, error: Any) -> Response:
    refused: Problem = error.problem
    status = refused.status if 400 <= refused.status < 500 else 409
    return _answer(request, status, refused.title, refused.detail, errors=refused.errors)


async def _not_handled(request: Request, error: Any) -> Response:
    detail = f"nothing was changed: the command could not be handled and waits in the dead letters as {error.letter_id}"
    return _answer(request, 500, "Not handled", detail)


async def _conflict(request: Request, _: Any) -> Response:
    return _answer(request, 409, "Conflict", "somebody changed the same thing at the same moment: try again")


async def _login(request: Request, _: Any) -> Response:
    headers = {"WWW-Authenticate": "Bearer"}
    return _answer(request, 401, "Unauthorized", "wrong or expired credentials", headers=headers)


async def _throttled(request: Request, error: Any) -> Response:
    return _answer(
        request, 429, "Too Many Requests", str(error), headers={"Retry-After": str(math.ceil(error.seconds))}
    )


async def _unavailable(request: Request, error: Any) -> Response:
    log.warning("http.unavailable", path=request.url.path, error=repr(error)[:300])
    detail = "a part of the system does not answer: try again in a moment"
    return _answer(request, 503, "Service Unavailable", detail, headers={"Retry-After": "2"})


async def _unexpected(request: Request, error: Any) -> Response:
    log.error("http.failed", method=request.method, path=request.url.path, exc_info=error)
    return internal(getattr(request.state, "trace_id", None))
