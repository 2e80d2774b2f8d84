"""The outermost layer of every request: its trace, its bounds, its headers, and a last net for what nobody caught."""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import structlog
from chassis.telemetry import child_of
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway import metrics
from services.gateway.api.problems import internal, problem
from services.gateway.store.events import NUL

CHANGES = frozenset(("POST", "PUT", "PATCH", "DELETE"))
BODY_TIMEOUT_S = 30.0
DRAIN_BYTES = 16 << 20
"""What is read and thrown away of a body that is too large: a client that is still sending does not look at the answer."""

SECURITY_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        b" base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
log = structlog.get_logger(__name__)


class _TooLarge(Exception):
    pass


class _ClientLeft(Exception):
    pass


class Edge:
    """ASGI middleware. Bodies of changing requests are read whole here, at most ``max_body`` bytes, and put into ``state.body``."""

    def __init__(self, app: ASGIApp, *, max_body: int) -> None:
        self.app, self.max_body = app, max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        traceparent = _traceparent(scope)
        scope.setdefault("state", {})
        scope["state"] |= {
            "traceparent": traceparent,
            "trace_id": traceparent.split("-")[1],
            "principal": None,
            "token": "",
        }
        if scope["type"] == "websocket":
            await self.app(scope, receive, send)
            return
        with structlog.contextvars.bound_contextvars(trace_id=scope["state"]["trace_id"]):
            await _Exchange(scope, send).run(self.app, receive, self.max_body)


class _Exchange:
    """One request and its response."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope, self._send = scope, send
        self.status = 0
        self.started = time.perf_counter()

    async def run(self, app: ASGIApp, receive: Receive, max_body: int) -> None:
        try:
            refused = self._refused_address()
            if refused is None and self.scope["method"] in CHANGES:
                receive, refused = await self._read_body(receive, max_body)
            if refused is not None:
                await refused(self.scope, receive, self.send)
                return
            await app(self.scope, receive, self.send)
        except _ClientLeft:
            return
        except Exception:
            # The handlers of the application log and answer; here arrives what they raised again, or what they never saw.
            if not self.status:
                log.exception("http.uncaught", path=self.scope["path"])
                await internal(self.scope["state"]["trace_id"])(self.scope, receive, self.send)
        finally:
            self._measure()

    async def send(self, message: Message) -> None:
        """Add the headers that every response has."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", ()))
            present = {name.lower() for name, _ in headers}
            headers += [header for header in SECURITY_HEADERS if header[0] not in present]
            if b"cache-control" not in present:
                headers.append((b"cache-control", b"no-store"))
            headers.append((b"traceparent", self.scope["state"]["traceparent"].encode()))
            message = {**message, "headers": headers}
        await self._send(message)

    def _refused_address(self) -> Any:
        written = (self.scope.get("raw_path") or b"") + b"?" + self.scope.get("query_string", b"")
        if b"%00" in written or b"\x00" in written:
            return self._problem(400, "Bad Request", "the address contains a NUL")
        return None

    async def _read_body(self, receive: Receive, limit: int) -> tuple[Receive, Any]:
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await _whole_body(self.scope, receive, limit)
        except _TooLarge:
            close = {"Connection": "close"}
            return receive, self._problem(413, "Content Too Large", f"a body has at most {limit} bytes", headers=close)
        except TimeoutError:
            close = {"Connection": "close"}
            return receive, self._problem(408, "Request Timeout", "the body did not arrive in time", headers=close)
        if b"\x00" in body or NUL.search(body):
            return receive, self._problem(422, "Invalid request", "a text contains a NUL, which cannot be stored")
        self.scope["state"]["body"] = body
        return _replay(body, receive), None

    def _problem(self, status: int, title: str, detail: str, **more: Any) -> Any:
        state = self.scope["state"]
        return problem(status, title, detail, trace_id=state["trace_id"], instance=self.scope["path"], **more)

    def _measure(self) -> None:
        # The template of the route, never the address: labels must stay few.
        route = getattr(self.scope.get("route"), "path", "unknown")
        method = self.scope["method"] if self.scope["method"] in CHANGES | {"GET", "HEAD", "OPTIONS"} else "other"
        metrics.REQUESTS.labels(method, route, str(self.status or 499)).inc()
        metrics.REQUEST_SECONDS.labels(method, route).observe(time.perf_counter() - self.started)


async def _whole_body(scope: Scope, receive: Receive, limit: int) -> bytes:
    declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    too_large = not declared.isdigit() or int(declared[:20]) > limit
    body, size, more = bytearray(), 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientLeft
        chunk = message.get("body", b"")
        size += len(chunk)
        too_large = too_large or size > limit
        if not too_large:
            body += chunk
        more = message.get("more_body", False) and size <= limit + DRAIN_BYTES
    if too_large:
        raise _TooLarge
    return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _traceparent(scope: Scope) -> str:
    given = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"traceparent"), "")
    return child_of(given if _TRACEPARENT.fullmatch(given) else None)
