"""``Idempotency-Key`` (draft-ietf-httpapi-idempotency-key-header-07) for every change: asked twice, done once, answered the same."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from chassis.database import Pool
from chassis.secrets import SystemKey
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.api.edge import CHANGES
from services.gateway.api.problems import problem
from services.gateway.domain import Principal
from services.gateway.store import idempotency as store
from services.gateway.store.idempotency import Answer, Claim, InFlight, OtherRequest

REPLAYED = "Idempotency-Replayed"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_KEPT = ("content-type", "etag", "location", "x-event-position")
_WITHOUT_EFFECT = frozenset((400, 401, 403, 404, 405, 413, 422, 429))


class Idempotency:
    """ASGI middleware between authentication and the routes. Keys belong to a user; ids made from ``state.seed`` repeat no effect."""

    def __init__(self, app: ASGIApp, *, pool: Pool, system_key: SystemKey) -> None:
        self.app, self.pool, self.system_key = app, pool, system_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        key = _key(scope) if scope["type"] == "http" and scope["method"] in CHANGES else None
        principal: Principal | None = scope["state"]["principal"] if key else None
        if key is None or principal is None:
            await self.app(scope, receive, send)
            return
        response = await self._begin(scope, principal.user_id, key)
        if response is not None:
            await response(scope, receive, send)
            return
        await self._run(scope, receive, send, principal.user_id, key)

    async def _begin(self, scope: Scope, owner: str, key: str) -> Response | None:
        if not _KEY.fullmatch(key):
            return _refused(scope, 400, "an Idempotency-Key has 1 to 255 printable characters without spaces")
        try:
            found = await store.begin(self.pool, self.system_key, owner, key, _fingerprint(scope))
        except InFlight:
            return _refused(scope, 409, "the first request with this Idempotency-Key is still being handled")
        except OtherRequest:
            return _refused(scope, 422, "this Idempotency-Key was used for another request")
        if isinstance(found, Claim):
            scope["state"]["seed"] = found.seed
            return None
        return Response(found.body, found.status, {**found.headers, REPLAYED: "true"})

    async def _run(self, scope: Scope, receive: Receive, send: Send, owner: str, key: str) -> None:
        recorder = _Recorder()
        try:
            await self.app(scope, receive, recorder)
        except BaseException:
            await store.release(self.pool, owner, key)
            raise
        answer = recorder.answer()
        if answer.status >= 500:
            await store.release(self.pool, owner, key)
        elif answer.status in _WITHOUT_EFFECT:
            await store.forget(self.pool, owner, key)
        else:
            await store.finish(self.pool, self.system_key, owner, key, answer)
        for message in recorder.messages:
            await send(message)


class _Recorder:
    """Holds a response back until its answer is stored."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    async def __call__(self, message: Message) -> None:
        self.messages.append(message)

    def answer(self) -> Answer:
        """What is stored of the response."""
        start: Any = next(message for message in self.messages if message["type"] == "http.response.start")
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in start["headers"]}
        body = b"".join(m.get("body", b"") for m in self.messages if m["type"] == "http.response.body")
        return Answer(start["status"], {name: headers[name] for name in _KEPT if name in headers}, body)


def _key(scope: Scope) -> str | None:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"idempotency-key"), None)


def _fingerprint(scope: Scope) -> bytes:
    condition = next((value for name, value in scope["headers"] if name == b"if-match"), b"")
    parts = (scope["method"].encode(), scope["path"].encode(), scope["query_string"], condition, scope["state"]["body"])
    return hashlib.sha256(b"\0".join(parts)).digest()


def _refused(scope: Scope, status: int, detail: str) -> Response:
    state = scope["state"]
    return problem(status, "Idempotency-Key", detail, trace_id=state["trace_id"], instance=scope["path"])
