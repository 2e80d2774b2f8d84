"""The event store: pages, single events, and the stream."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated, Any, Literal
from uuid import UUID

from contracts.values import Id
from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from services.gateway import metrics
from services.gateway.accounts import LoginRefused
from services.gateway.api.context import Gateway, Parts
from services.gateway.api.paging import Page, Paged, Paging
from services.gateway.api.problems import Refusal, not_found
from services.gateway.api.security import reading
from services.gateway.realtime.mailbox import Gone, Mailbox
from services.gateway.store import events, views
from services.gateway.store.events import StoredEvent
from services.gateway.store.views import EventFilter

router = APIRouter(prefix="/api/events", tags=["events"])
HEARTBEAT_S = 15.0
CATCH_UP = 500
RETRY_MS = 3000
EventItem = dict[str, Any]
"""A CloudEvent in structured mode with the extensions position, stream, version, correlationid, causationid, traceparent and actor."""

Token = Annotated[str | None, Query(max_length=256, pattern=r"^[A-Za-z0-9_.:-]+$")]
Key = Annotated[Id | None, Query()]


def _filter(
    type: Annotated[Token, Query(description="A type, or its beginning up to a dot: `downloader.recording`.")] = None,
    service: Token = None,
    stream: Token = None,
    streamer_id: Key = None,
    session_id: Key = None,
    correlation_id: UUID | None = None,
    causation_id: UUID | None = None,
) -> EventFilter:
    wanted = type.removeprefix("aircheck.") if type else None
    return EventFilter(wanted, service, stream, streamer_id, session_id, correlation_id, causation_id)


Filter = Annotated[EventFilter, Depends(_filter)]


@router.get("", dependencies=[reading("events")])
async def history(
    parts: Parts,
    paging: Paged,
    which: Filter,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    order: Literal["asc", "desc"] = "asc",
) -> Page[EventItem]:
    """Events of all services in the order of the store."""
    return await event_page(parts, paging, which, after=after, descending=order == "desc")


async def event_page(
    parts: Gateway, paging: Paging, which: EventFilter, *, after: int = 0, descending: bool = False
) -> Page[EventItem]:
    """A page of events."""
    cursor = paging.by_position()
    bounds: dict[str, int] = {"after": after}
    if cursor is not None:
        bounds |= {"before": cursor} if descending else {"after": max(after, cursor)}
    found = await views.history(parts.pool, which, **bounds, descending=descending, limit=paging.fetch)
    return Page[EventItem].model_validate(paging.page([event.cloud_event for event in found], "position"))


@router.get("/stream", dependencies=[reading("events")], response_class=StreamingResponse)
async def stream(
    request: Request,
    parts: Parts,
    which: Filter,
    last_event_id: Annotated[str | None, Header()] = None,
    from_query: Annotated[str | None, Query(alias="last_event_id")] = None,
) -> Response:
    """Server-sent events from a position on, or from now on. ``event: reset`` says that the store is younger than the position."""
    after = _position(from_query if last_event_id is None else last_event_id)
    box = parts.clients.open()
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    body = _Stream(parts, box, which, request.state.token).frames(after)
    return StreamingResponse(body, media_type="text/event-stream", headers=headers)


@router.get("/{position}", dependencies=[reading("events")])
async def event(position: Annotated[int, Path(ge=1, le=2**53)], parts: Parts) -> EventItem:
    """One event by its position."""
    found = await events.at(parts.pool, [position])
    if not found:
        raise not_found("event at position", str(position))
    return found[0].cloud_event


class _Stream:
    """One client that follows the store."""

    def __init__(self, parts: Gateway, box: Mailbox, which: EventFilter, token: str) -> None:
        self.parts, self.box, self.which, self.token = parts, box, which, token

    async def frames(self, after: int | None) -> AsyncIterator[bytes]:
        """The body: what was missed, then what happens, a heartbeat when nothing does."""
        metrics.STREAMS.labels("sse").inc()
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            head = await events.head(self.parts.pool)
            if after is not None and after > head:
                yield f"id: {head}\nevent: reset\ndata: {json.dumps({'position': head})}\n\n".encode()
                after = None
            cursor = head if after is None else after
            await self.parts.follower.reached(cursor, 2.0)
            async for frame in self._catch_up(cursor):
                yield frame
            with suppress(Gone, LoginRefused):
                async for frame in self._live():
                    yield frame
        finally:
            self.parts.follower.unsubscribe(self.box)
            self.parts.clients.forget(self.box)
            metrics.STREAMS.labels("sse").dec()

    async def _catch_up(self, cursor: int) -> AsyncIterator[bytes]:
        while not self.parts.follower.subscribe(self.box, cursor, self.which.admits):
            scanned = self.parts.follower.position
            page = await views.history(self.parts.pool, self.which, after=cursor, before=scanned + 1, limit=CATCH_UP)
            for stored in page:
                yield _frame(stored)
            cursor = page[-1].position if len(page) == CATCH_UP else scanned

    async def _live(self) -> AsyncIterator[bytes]:
        beat = time.monotonic() + HEARTBEAT_S
        while True:
            stored = await self.box.get(max(0.0, beat - time.monotonic()))
            if stored is not None:
                yield _frame(stored)
            if time.monotonic() >= beat:
                # A login that ended, or a key that was revoked, ends the stream too.
                await self.parts.accounts.identify(self.token)
                yield b": heartbeat\n\n"
                beat = time.monotonic() + HEARTBEAT_S


def _frame(stored: StoredEvent) -> bytes:
    data = json.dumps(stored.cloud_event, ensure_ascii=False, separators=(",", ":"))
    return f"id: {stored.position}\nevent: {stored.type}\ndata: {data}\n\n".encode()


def _position(text: str | None) -> int | None:
    if text is None or not text.strip():
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise Refusal(400, "Last-Event-ID is a position of the store", title="Malformed Last-Event-ID")
    return int(text)
